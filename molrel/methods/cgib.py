"""CGIB: conditional graph information bottleneck (Lee et al., ICML 2023).

CIGIN's network, and on it a gate that replaces atoms by noise: what is left of one molecule
must still predict the label together with its partner, while it is charged for every atom
that it keeps:

    L = supervised(plain) + supervised(bottleneck) + beta (compression + partner)

Where this differs from the paper and its code, beside the list in ``molrel.nn.interaction``:

* a symmetric task gates each side in turn and averages the two losses, where the code gates
  the first molecule of every pair; an ordered task gates the first side, as published;
* LayerNorm in the gate's MLP, where the code has BatchNorm;
* the noise is normal, as in the paper, where the code draws from [0, 1);
* a floor under the standard deviation of atoms: see ``compression_cost``, which otherwise
  follows the code and not the bound in the paper;
* the gate's noise, as all noise, depends on how a batch is dealt to devices.

Prediction takes the plain path, without gate and noise, as the published code does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax.numpy as jnp

from molrel.data.knowledge import DomainKnowledge
from molrel.fields import at
from molrel.losses.bottleneck import compression_cost
from molrel.losses.supervised import masked_mean
from molrel.methods.batch import Batch
from molrel.methods.method import Context, LossOutput, Method, SourceOnlyConfig
from molrel.methods.networks import add_terms, from_network, outputs, supervise
from molrel.nn.interaction import BottleneckNetwork


@dataclass(frozen=True)
class BottleneckWeights:
    """Weight of each term beside the supervised loss of the plain path; 0 leaves it out."""

    bottleneck: float = 1.0
    """Supervised loss of what the gate keeps."""
    compression: float = 1e-4
    """Price of what the gate keeps, beta."""
    partner: float = 1e-4
    """Squared error of the partner's readout, predicted from what the gate keeps; beta."""


@dataclass(frozen=True)
class CGIBConfig(SourceOnlyConfig):
    """CGIB, trained on the source alone."""

    width: int = at(64, least=1, most=2**16)
    """Width of atoms."""
    depth: int = at(3, least=1, most=1000)
    """Message-passing layers."""
    dropout: float = at(0.0, least=0, below=1, static=True)
    """On the pair features."""
    weights: BottleneckWeights = field(default_factory=BottleneckWeights)

    def build(
        self, knowledge: DomainKnowledge | None, *, kind: str, n_outputs: int, symmetric: bool
    ) -> Method:
        """See ``MethodConfig``."""
        network = BottleneckNetwork(self.width, self.depth, n_outputs, symmetric, self.dropout)

        def loss(params, state, batch: Batch, context: Context) -> LossOutput:
            axis_name = context.axis_name
            apply = {"params": params}
            encoded = network.apply(apply, batch.molecules, method="encode")
            logits, views = network.apply(  # pyright: ignore[reportGeneralTypeIssues]
                apply, encoded, batch.sides, True, method="compress", rngs={"dropout": context.key}
            )
            weight = batch.labelled
            found = [_terms(kind, view, batch, weight, axis_name) for view in views]
            plain = supervise(kind, logits, batch, axis_name)
            total, terms = add_terms(plain, found, self.weights)
            return LossOutput(total, state, terms, outputs(encoded, None, logits))

        return from_network(network, loss, target=False)


def _terms(kind, view, batch, weight, axis_name):
    """Terms of one gated side, each this device's share."""
    gated = view.gated
    error = jnp.mean(jnp.square(view.predicted - view.partner), axis=-1)
    return {
        "bottleneck": supervise(kind, view.logits, batch, axis_name),
        "compression": compression_cost(
            tokens=gated.tokens,
            gate=gated.gate,
            mean=gated.mean,
            std=gated.std,
            mask=gated.mask,
            weight=weight,
            axis_name=axis_name,
        ),
        "partner": masked_mean(error, weight, axis_name),
    }
