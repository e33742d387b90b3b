"""Siamese networks: both sides through one atom encoder and readout, one head."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from molrel.nn.encoders import DMPNN, GAT, GCN
from molrel.nn.gine import GINE
from molrel.nn.graph import Molecules
from molrel.nn.readout import Pooled, Readout, moments_over_atoms
from molrel.nn.relation import MLP, PairLayer, Sides

Encoder = Literal["gcn", "gin", "gat", "dmpnn"]
ENCODERS: dict[str, type[nn.Module]] = {"gcn": GCN, "gin": GINE, "gat": GAT, "dmpnn": DMPNN}


class SiameseNetwork(nn.Module):
    """Atom encoder, readout across molecules, pair features, MLP.

    Attributes:
      encoder: key of ``ENCODERS``.
      width, depth: of the encoder.
      n_outputs: logits of an example.
      symmetric: whether f(a, b) = f(b, a).
      dropout: on the pair features.
      by_domain: whether BatchNorm keeps statistics of each domain.
    """

    encoder: Encoder
    width: int
    depth: int
    n_outputs: int = 1
    symmetric: bool = True
    dropout: float = 0.0
    by_domain: bool = False

    def setup(self):
        self.atoms = ENCODERS[self.encoder](self.width, self.depth)
        self.readout = Readout(self.width, self.by_domain)
        self.pair = PairLayer(2 * self.width, self.symmetric)
        self.drop = nn.Dropout(self.dropout)
        self.head = MLP((self.width, self.n_outputs))

    def encode(self, m: Molecules, train: bool = False, axis_name: str | None = None) -> Pooled:
        """Encodes each unique molecule once."""
        moments = moments_over_atoms(self.atoms(m), m)
        return Pooled(self.readout(moments, m, train=train, axis_name=axis_name))

    def relate(
        self, e: Pooled, sides: Sides, train: bool = False
    ) -> tuple[Float[Array, "p w"], Float[Array, "p t"]]:
        """(pair features, logits) of the sides."""
        z = self.drop(self.pair(e.z, sides), deterministic=not train)
        return z, self.head(z)

    def __call__(self, m: Molecules, sides: Sides) -> Array:
        return self.relate(self.encode(m), sides)[1]
