"""Morgan counts and a multilayer perceptron, trained on the source alone.

The neural counterpart of the classical learners: competitive with graph networks on drug
interactions (arXiv 2503.23550).
"""

from __future__ import annotations

from dataclasses import dataclass

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float

from molrel.data.knowledge import DomainKnowledge
from molrel.fields import at
from molrel.methods.method import Method, Need, SourceOnlyConfig
from molrel.methods.networks import source_only_method
from molrel.nn.graph import Molecules
from molrel.nn.relation import MLP, PairFeatures, Sides, side_mean


@flax.struct.dataclass
class Fingerprints:
    """z: f32 [U, B], log(1 + counts) of the folded fingerprint."""

    z: Float[Array, "u b"]


class FingerprintNetwork(nn.Module):
    """log(1 + counts), mean over each bag, pair features, MLP.

    Attributes:
      bits: length that the fingerprints are folded to; divides theirs.
      width: of the hidden layers.
      n_outputs: logits of an example.
      symmetric: whether f(a, b) = f(b, a).
      dropout: on the pair features.
    """

    bits: int
    width: int
    n_outputs: int = 1
    symmetric: bool = True
    dropout: float = 0.0

    def setup(self):
        self.pair = PairFeatures(2 * self.width, self.symmetric)
        self.drop = nn.Dropout(self.dropout)
        self.head = MLP((self.width, self.n_outputs))

    def encode(self, m: Molecules) -> Fingerprints:
        """Folds the counts; nothing here is learned."""
        assert m.fingerprints is not None
        counts = m.fingerprints.astype(m.nodes.dtype)
        folded = counts.reshape(len(counts), -1, self.bits).sum(axis=1)
        return Fingerprints(jnp.log1p(folded))

    def relate(
        self, e: Fingerprints, sides: Sides, train: bool = False
    ) -> tuple[Float[Array, "p w"], Float[Array, "p t"]]:
        """(pair features, logits) of the sides."""
        z = self.pair(side_mean(e.z, sides[0]), side_mean(e.z, sides[1]))
        z = self.drop(z, deterministic=not train)
        return z, self.head(z)

    def __call__(self, m: Molecules, sides: Sides) -> Array:
        return self.relate(self.encode(m), sides)[1]


@dataclass(frozen=True)
class FingerprintMLPConfig(SourceOnlyConfig):
    """A multilayer perceptron on pair features of Morgan counts."""

    bits: int = 1024
    """The fingerprints are folded to this length."""
    width: int = at(128, least=1, most=2**16)
    dropout: float = at(0.0, least=0, below=1, static=True)

    @property
    def needs(self) -> frozenset[Need]:
        """Fingerprints."""
        return frozenset({"fingerprints"})

    def build(
        self, knowledge: DomainKnowledge | None, *, kind: str, n_outputs: int, symmetric: bool
    ) -> Method:
        """See ``MethodConfig``."""
        network = FingerprintNetwork(self.bits, self.width, n_outputs, symmetric, self.dropout)
        return source_only_method(network, kind)
