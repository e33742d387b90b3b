"""Morgan counts and a multilayer perceptron, trained on the source alone.

The neural counterpart of the classical learners: competitive with graph networks on drug
interactions (arXiv 2503.23550).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import flax.linen as nn
from jaxtyping import Array, Float

from molrel.data.knowledge import DomainKnowledge
from molrel.fields import at
from molrel.methods.method import Method, Need, SourceOnlyConfig
from molrel.methods.networks import source_only_method
from molrel.nn.graph import Molecules
from molrel.nn.readout import CountsReadout, Pooled
from molrel.nn.relation import MLP, PairLayer, Sides


class FingerprintNetwork(nn.Module):
    """log(1 + counts), one layer across molecules, pair features, MLP.

    Attributes:
      bits: length that the fingerprints are folded to; divides theirs.
      width: of the hidden layers.
      n_outputs: logits of an example.
      symmetric: whether f(a, b) = f(b, a).
      dropout: on the pair features.
      by_domain: whether BatchNorm keeps statistics of each domain.
    """

    bits: int
    width: int
    n_outputs: int = 1
    symmetric: bool = True
    dropout: float = 0.0
    by_domain: bool = False

    def setup(self):
        self.readout = CountsReadout(self.width, self.bits, self.by_domain)
        self.pair = PairLayer(2 * self.width, self.symmetric)
        self.drop = nn.Dropout(self.dropout)
        self.head = MLP((self.width, self.n_outputs))

    def encode(self, m: Molecules, train: bool = False, axis_name: str | None = None) -> Pooled:
        """Encodes each unique molecule once."""
        return Pooled(self.readout(m, train=train, axis_name=axis_name))

    def relate(
        self, e: Pooled, sides: Sides, train: bool = False
    ) -> tuple[Float[Array, "p w"], Float[Array, "p t"]]:
        """(pair features, logits) of the sides."""
        z = self.drop(self.pair(e.z, sides), deterministic=not train)
        return z, self.head(z)

    def __call__(self, m: Molecules, sides: Sides) -> Array:
        return self.relate(self.encode(m), sides)[1]


@dataclass(frozen=True)
class FingerprintMLPConfig(SourceOnlyConfig):
    """A multilayer perceptron on Morgan counts: a layer on molecules, then on pairs of them."""

    bits: int = 1024
    """The fingerprints are folded to this length."""
    width: int = at(128, least=1, most=2**16)
    dropout: float = at(0.0, least=0, below=1, static=True)
    domain_statistics: bool = False
    """Whether BatchNorm keeps statistics of each domain (AdaBN, Li et al. 2016,
    arXiv:1603.04779)."""

    @property
    def adapts(self) -> bool:
        """Whether the target's molecules are looked at."""
        return self.domain_statistics

    def source_only(self) -> FingerprintMLPConfig:
        """See ``MethodConfig``."""
        return replace(self, domain_statistics=False)

    @property
    def needs(self) -> frozenset[Need]:
        """Fingerprints."""
        return frozenset({"fingerprints"})

    def build(
        self, knowledge: DomainKnowledge | None, *, kind: str, n_outputs: int, symmetric: bool
    ) -> Method:
        """See ``MethodConfig``."""
        apart = self.domain_statistics
        network = FingerprintNetwork(
            self.bits, self.width, n_outputs, symmetric, self.dropout, apart
        )
        return source_only_method(network, kind, apart=apart)
