"""CMRL: causal substructures for molecular relational learning (Lee et al., KDD 2023).

CIGIN's network, and on it a gate that splits the atoms of one molecule into the cause of the
label and a shortcut. The cause must predict the label, whatever other pair's shortcut stands
beside it, and the shortcut alone must predict nothing:

    L = supervised(plain) + supervised(causal) + lambda_1 KL(uniform || shortcut)
        + lambda_2 supervised(causal beside the shortcut of another pair)

Where this differs from the paper and its code, beside the list in ``molrel.nn.interaction``:

* a symmetric task gates each side in turn and averages the two losses, where the code takes
  the one side in even epochs and the other in odd ones; an ordered task gates the first side,
  as published;
* LayerNorm in the gate's MLP, where the code has BatchNorm;
* the noise in place of dropped atoms is normal, where the code draws from [0, 1);
* the shortcut of a binary task has one logit and the Bernoulli divergence, where the code has
  two logits; of a regression see ``divergence_from_uniform``;
* the shortcut of another pair was gated beside that pair's own partner. The code can also
  compute it beside the partner of the pair that it is shown to (``conditional``);
* the head of the intervened pair reads the pair features and has a hidden layer, where the
  code has a linear map of the readouts;
* shortcuts change places among the source examples of one device, so the permutation, and
  the noise, depend on how a batch is dealt to devices.

Prediction takes the plain path, without gate and noise, as the published code does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from molrel.data.knowledge import DomainKnowledge
from molrel.fields import at
from molrel.losses.bottleneck import divergence_from_uniform
from molrel.methods.batch import Batch
from molrel.methods.method import Context, LossOutput, Method, SourceOnlyConfig
from molrel.methods.networks import add_terms, from_network, outputs, supervise
from molrel.nn.interaction import CausalNetwork


@dataclass(frozen=True)
class CausalWeights:
    """Weight of each term beside the supervised loss of the plain path; 0 leaves it out."""

    causal: float = 1.0
    """Supervised loss of the causal substructure."""
    shortcut: float = 1.0
    """Divergence of the shortcut's prediction from uniform, lambda_1."""
    intervention: float = 1.0
    """Supervised loss beside the shortcut of another pair, lambda_2."""


@dataclass(frozen=True)
class CMRLConfig(SourceOnlyConfig):
    """CMRL, trained on the source alone."""

    width: int = at(64, least=1, most=2**16)
    """Width of atoms."""
    depth: int = at(3, least=1, most=1000)
    """Message-passing layers."""
    dropout: float = at(0.0, least=0, below=1, static=True)
    """On the pair features."""
    weights: CausalWeights = field(default_factory=CausalWeights)

    def build(
        self, knowledge: DomainKnowledge | None, *, kind: str, n_outputs: int, symmetric: bool
    ) -> Method:
        """See ``MethodConfig``."""
        network = CausalNetwork(self.width, self.depth, n_outputs, symmetric, self.dropout)

        def loss(params, state, batch: Batch, context: Context) -> LossOutput:
            axis_name = context.axis_name
            order_key, noise_key = jax.random.split(context.key)
            weight = batch.labelled
            apply = {"params": params}
            encoded = network.apply(apply, batch.molecules, method="encode")
            logits, views = network.apply(  # pyright: ignore[reportGeneralTypeIssues]
                apply,
                encoded,
                batch.sides,
                permute_among(order_key, weight > 0),
                True,
                method="separate",
                rngs={"dropout": noise_key},
            )
            found = [_terms(kind, view, batch, weight, axis_name) for view in views]
            plain = supervise(kind, logits, batch, axis_name)
            total, terms = add_terms(plain, found, self.weights)
            return LossOutput(total, state, terms, outputs(encoded, None, logits))

        return from_network(network, loss, target=False)


def _terms(kind, view, batch, weight, axis_name):
    """Terms of one gated side, each this device's share."""
    return {
        "causal": supervise(kind, view.causal, batch, axis_name),
        "shortcut": divergence_from_uniform(
            kind=kind, logits=view.shortcut, weight=weight, axis_name=axis_name
        ),
        "intervention": supervise(kind, view.intervened, batch, axis_name),
    }


def permute_among(key: Key[Array, ""], chosen: Bool[Array, " p"]) -> Int[Array, " p"]:
    """A random permutation of the chosen rows; every other row stays where it is."""
    n = len(chosen)
    # Chosen rows come first, in random order; the i-th chosen row takes the i-th of them.
    shuffled = jnp.argsort(jnp.where(chosen, jax.random.uniform(key, (n,)), 2.0))
    rank = jnp.cumsum(chosen) - 1
    return jnp.where(chosen, shuffled[rank], jnp.arange(n, dtype=shuffled.dtype))
