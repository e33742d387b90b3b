"""Graph networks of Hu et al. with one linear head: the baseline of property prediction.

Hu et al., "Strategies for pre-training graph neural networks" (ICLR 2020) without pre-training:
GIN, GCN, GAT or GraphSAGE, 5 layers of width 300, the last layer's atoms averaged. Pairs of
molecules, which the paper does not have, go through symmetric pair features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from molrel.data.knowledge import DomainKnowledge
from molrel.methods.batch import Batch
from molrel.methods.method import Context, LossOutput, Method
from molrel.methods.networks import (
    MoleculeNetworkConfig,
    apply_with_statistics,
    from_network,
    outputs,
    supervise,
)


@dataclass(frozen=True)
class MoleculeGNNConfig(MoleculeNetworkConfig):
    """A graph network with one head, trained on labels alone."""

    def build(
        self, knowledge: DomainKnowledge | None, *, kind: str, n_outputs: int, symmetric: bool
    ) -> Method:
        """See ``MethodConfig``."""
        network = self.body(n_outputs, symmetric)

        def loss(params, state, batch: Batch, context: Context) -> LossOutput:
            axis_name = context.axis_name
            # A molecule counts in BatchNorm as often as it occurs.
            weight = batch.occurrences(0) + batch.occurrences(1)
            inputs = batch.molecules, weight
            encoded, state = apply_with_statistics(
                network, params, state, context.key, *inputs, axis_name=axis_name, method="encode"
            )
            related: Any = network.apply({"params": params}, encoded, batch.sides, method="relate")
            total = supervise(kind, related[1], batch, axis_name)
            out = outputs(encoded, *related)
            return LossOutput(total, state, {"supervised": total}, out)

        return from_network(network, loss, target=False)
