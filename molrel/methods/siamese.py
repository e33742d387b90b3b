"""Source-only siamese networks: one atom encoder and readout, a head on both sides.

GCN: Kipf & Welling, ICLR 2017. GIN: Xu et al., ICLR 2019, with bonds as in GINE (Hu et al.,
ICLR 2020). GAT: Velickovic et al., ICLR 2018. D-MPNN: Yang et al., J. Chem. Inf. Model.
59:3370 (2019). In place of their mean over atoms (their attention, for GAT) stands the package's
readout (``nn.readout``): behind a mean of drugs' atoms a head learns next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from molrel.data.knowledge import DomainKnowledge
from molrel.fields import at
from molrel.methods.method import Method, SourceOnlyConfig
from molrel.methods.networks import source_only_method
from molrel.nn.siamese import Encoder, SiameseNetwork


@dataclass(frozen=True)
class SiameseConfig(SourceOnlyConfig):
    """A siamese graph network that is trained on the source's labels alone."""

    encoder: Encoder = "gin"
    width: int = at(128, least=1, most=2**16)
    depth: int = at(3, least=1, most=1000)
    dropout: float = at(0.0, least=0, below=1, static=True)
    domain_statistics: bool = False
    """Whether BatchNorm keeps statistics of each domain (AdaBN, Li et al. 2016,
    arXiv:1603.04779)."""

    @property
    def adapts(self) -> bool:
        """Whether the target's molecules are looked at."""
        return self.domain_statistics

    def source_only(self) -> SiameseConfig:
        """See ``MethodConfig``."""
        return replace(self, domain_statistics=False)

    def build(
        self, knowledge: DomainKnowledge | None, *, kind: str, n_outputs: int, symmetric: bool
    ) -> Method:
        """See ``MethodConfig``."""
        network = SiameseNetwork(
            self.encoder,
            self.width,
            self.depth,
            n_outputs,
            symmetric,
            self.dropout,
            self.domain_statistics,
        )
        return source_only_method(network, kind, apart=self.domain_statistics)
