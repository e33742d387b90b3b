"""Source-only siamese networks: one atom encoder, mean pooling, a head on both sides.

GCN: Kipf & Welling, ICLR 2017. GIN: Xu et al., ICLR 2019, with bonds as in GINE (Hu et al.,
ICLR 2020). GAT: Velickovic et al., ICLR 2018. D-MPNN: Yang et al., J. Chem. Inf. Model.
59:3370 (2019).
"""

from __future__ import annotations

from dataclasses import dataclass

from molrel.data.knowledge import DomainKnowledge
from molrel.fields import at
from molrel.methods.method import Method, SourceOnlyConfig
from molrel.methods.networks import source_only_method
from molrel.nn.siamese import Encoder, SiameseNetwork


@dataclass(frozen=True)
class SiameseConfig(SourceOnlyConfig):
    """A siamese graph network that is trained on the source alone."""

    encoder: Encoder = "gin"
    width: int = at(128, least=1, most=2**16)
    depth: int = at(3, least=1, most=1000)
    dropout: float = at(0.0, least=0, below=1, static=True)

    def build(
        self, knowledge: DomainKnowledge | None, *, kind: str, n_outputs: int, symmetric: bool
    ) -> Method:
        """See ``MethodConfig``."""
        network = SiameseNetwork(
            self.encoder, self.width, self.depth, n_outputs, symmetric, self.dropout
        )
        return source_only_method(network, kind)
