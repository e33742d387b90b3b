"""Domain separation networks (Bousmalis et al., NeurIPS 2016) for pairs of molecules.

A shared encoder sees what the domains have in common, a private encoder for each domain the
rest; both together must be able to tell what the pair was made of, and only the shared features
are classified:

    L = supervised(shared) + alpha * reconstruction(shared + private)
        + beta * difference(shared, private) + gamma * similarity(shared)

Where this differs from the paper and its code:

* the shared encoder and the head are those of DisTrans (graph and pictures, z_ab); a private
  encoder is a smaller siamese one: GINE, readout, pair features as wide as z_ab;
* what is reconstructed is not the input but its composition, the mean atom features of each
  side: added up where the order of the sides does not matter, one after the other where it does.
  In a side of several molecules each of them counts the same;
* the decoder is an MLP;
* similarity is the adversarial variant (DANN) with one discriminator of two hidden layers; the
  paper also has an MMD variant. It starts after a warm-up and grows by the schedule of Ganin et
  al.; the code switches it on after 10,000 steps;
* ``difference`` is normalised (see ``separation.orthogonality``), so weights do not carry over.

Predictions take the shared path alone, as published.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from molrel.data.knowledge import DomainKnowledge
from molrel.dtypes import widen
from molrel.losses import adversarial, separation
from molrel.methods.batch import Batch
from molrel.methods.method import Context, LossOutput, Method, State, active
from molrel.methods.networks import (
    TwoViewConfig,
    apply_network,
    apply_with_statistics,
    from_network,
    outputs,
    source_only_method,
    supervise,
)
from molrel.nn.gine import GINE, mean_over_atoms
from molrel.nn.graph import Molecules
from molrel.nn.readout import Readout, moments_over_atoms
from molrel.nn.relation import MLP, PairLayer, Sides, side_mean
from molrel.nn.two_view import TwoViewNetwork


@dataclass(frozen=True)
class SeparationWeights:
    """Weight of each term beside the supervised loss; 0 leaves a term out."""

    reconstruction: float = 0.01
    """alpha."""
    difference: float = 0.05
    """beta."""
    similarity: float = 0.25
    """gamma."""


@dataclass(frozen=True)
class SeparationConfig(TwoViewConfig):
    """Domain separation network; with all weights 0 it is the source-only baseline."""

    private_depth: int = 2
    """Message-passing layers of each private encoder, which read the graph."""
    weights: SeparationWeights = field(default_factory=SeparationWeights)

    @property
    def adapts(self) -> bool:
        """Whether anything looks at the target domain."""
        return self._separates or self.domain_statistics

    @property
    def _separates(self) -> bool:
        w = self.weights
        return any(active(term) for term in (w.reconstruction, w.difference, w.similarity))

    def source_only(self) -> SeparationConfig:
        """The same encoder and head without any term that looks at the target."""
        weights = SeparationWeights(0.0, 0.0, 0.0)
        return replace(self, weights=weights, domain_statistics=False)

    def build(
        self,
        knowledge: DomainKnowledge | None,
        *,
        kind: str = "binary",
        n_outputs: int = 1,
        symmetric: bool = True,
    ) -> Method:
        """See ``MethodConfig``."""
        size = self.size(n_outputs, symmetric)
        apart = self.domain_statistics
        if not self._separates:
            return source_only_method(TwoViewNetwork(**size), kind, apart=apart)
        network = SeparationNetwork(**size, private_depth=self.private_depth)

        def loss(params, state, batch: Batch, context: Context) -> LossOutput:
            axis_name = context.axis_name
            encoded, z_ab, logits, state = apply_network(network, params, state, batch, context)
            terms = {"supervised": supervise(kind, logits, batch, axis_name)}
            total, w = terms["supervised"], self.weights
            if active(w.reconstruction) or active(w.difference):
                found, state = _separate(network, params, state, z_ab, batch, context)
                for name, term in found.items():
                    if active(getattr(w, name)):
                        terms[name] = term
                        total += getattr(w, name) * term
            if active(w.similarity):
                rho = adversarial.reversal_progress(context.progress, self.warmup)
                judged = {
                    "logits": network.apply(
                        {"params": params}, z_ab, rho * self.reversal, method="judge_pairs"
                    ),
                    "source_weight": batch.in_domain(0),
                    "target_weight": batch.in_domain(1),
                }
                terms["similarity"] = adversarial.domain_cross_entropy(
                    **judged, axis_name=axis_name
                )
                terms["domain_accuracy"] = adversarial.domain_accuracy(
                    **judged, axis_name=axis_name
                )
                total += w.similarity * terms["similarity"]
            return LossOutput(total, state, terms, outputs(encoded, z_ab, logits))

        return from_network(network, loss, target=True, apart=apart)


def _separate(
    network, params, state, z_ab, batch: Batch, context: Context
) -> tuple[dict[str, Array], State]:
    """(reconstruction and difference, each the sum over the domains of a mean over examples; new
    state)."""
    axis_name = context.axis_name
    inputs = z_ab, batch.molecules, batch.sides, batch.domain
    (private, predictions), state = apply_with_statistics(
        network, params, state, context.key, *inputs, axis_name=axis_name, method="separate"
    )
    targets = composition(batch.molecules, batch.sides, network.symmetric)
    shares = [
        (
            separation.scale_invariant_error(
                predictions=predictions, targets=targets, weight=weight, axis_name=axis_name
            ),
            separation.orthogonality(
                shared=z_ab, private=private, weight=weight, axis_name=axis_name
            ),
        )
        for weight in (batch.in_domain(0), batch.in_domain(1))
    ]
    return {
        "reconstruction": shares[0][0] + shares[1][0],
        "difference": shares[0][1] + shares[1][1],
    }, state


def composition(m: Molecules, sides: Sides, symmetric: bool) -> Float[Array, "p k"]:
    """Mean atom features of the sides, added up for a symmetric task, else side by side."""
    atoms = mean_over_atoms(m.nodes, m)
    a, b = (side_mean(atoms, side) for side in sides)
    return a + b if symmetric else jnp.concatenate([a, b], axis=1)


class PrivateEncoder(nn.Module):
    """What only one domain has: GINE, readout, pair features of twice the width."""

    width: int
    depth: int
    symmetric: bool

    @nn.compact
    def __call__(self, m: Molecules, sides: Sides, **mode: Any) -> Float[Array, "p w"]:
        moments = moments_over_atoms(GINE(self.width, self.depth, name="atoms")(m), m)
        z = Readout(self.width, name="readout")(moments, m, **mode)
        return widen(PairLayer(2 * self.width, self.symmetric, name="pair")(z, sides))


class Decoder(nn.Module):
    """MLP to a number of values that is known from the batch."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "p w"], n_values: int) -> Float[Array, "p k"]:
        return MLP((self.width, n_values), name="mlp")(x)


class SeparationNetwork(TwoViewNetwork):
    """``TwoViewNetwork`` as the shared encoder, with private encoders and a decoder."""

    private_depth: int = 2

    def setup(self):
        super().setup()
        private = {"width": self.width, "depth": self.private_depth, "symmetric": self.symmetric}
        self.source_private = PrivateEncoder(**private)
        self.target_private = PrivateEncoder(**private)
        self.decoder = Decoder(self.width)

    def separate(
        self,
        z_ab: Float[Array, "p w"],
        m: Molecules,
        sides: Sides,
        domain: Int[Array, " p"],
        train: bool = False,
        axis_name: str | None = None,
    ) -> tuple[Float[Array, "p w"], Float[Array, "p k"]]:
        """(private features of each pair by the encoder of its domain, decoded composition)."""
        mode = {"train": train, "axis_name": axis_name}
        source = self.source_private(m, sides, **mode)
        target = self.target_private(m, sides, **mode)
        private = jnp.where((domain == 0)[:, None], source, target)
        n_values = m.nodes.shape[-1] * (1 if self.symmetric else len(sides))
        return private, widen(self.decoder(z_ab + private, n_values))

    def __call__(self, m: Molecules, sides: Sides) -> Array:
        """Touches every part that is used, to initialise it."""
        z_ab, logits = self.relate(self.encode(m), sides)
        self.separate(z_ab, m, sides, jnp.zeros(len(z_ab), jnp.int32))
        self.judge_pairs(z_ab, jnp.ones(()))
        return logits
