"""Siamese networks: both sides through one atom encoder, mean pooling, one head."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import flax.struct
import jax
from jaxtyping import Array, Float

from molrel.dtypes import widen
from molrel.nn.dense import Dense
from molrel.nn.encoders import DMPNN, GAT, GCN
from molrel.nn.gine import GINE, mean_over_atoms
from molrel.nn.graph import Molecules
from molrel.nn.relation import MLP, PairFeatures, Sides, side_mean

Encoder = Literal["gcn", "gin", "gat", "dmpnn"]
ENCODERS: dict[str, type[nn.Module]] = {"gcn": GCN, "gin": GINE, "gat": GAT, "dmpnn": DMPNN}


@flax.struct.dataclass
class Pooled:
    """z: f32 [U, D], one vector a molecule."""

    z: Float[Array, "u d"]


class SiameseNetwork(nn.Module):
    """Atom encoder, mean over atoms, pair features, MLP.

    Attributes:
      encoder: key of ``ENCODERS``.
      width, depth: of the encoder.
      n_outputs: logits of an example.
      symmetric: whether f(a, b) = f(b, a).
      dropout: on the pair features.
    """

    encoder: Encoder
    width: int
    depth: int
    n_outputs: int = 1
    symmetric: bool = True
    dropout: float = 0.0

    def setup(self):
        self.atoms = ENCODERS[self.encoder](self.width, self.depth)
        self.readout = Dense(self.width)
        self.pair = PairFeatures(2 * self.width, self.symmetric)
        self.drop = nn.Dropout(self.dropout)
        self.head = MLP((self.width, self.n_outputs))

    def encode(self, m: Molecules) -> Pooled:
        """Encodes each unique molecule once."""
        return Pooled(widen(jax.nn.relu(self.readout(mean_over_atoms(self.atoms(m), m)))))

    def relate(
        self, e: Pooled, sides: Sides, train: bool = False
    ) -> tuple[Float[Array, "p w"], Float[Array, "p t"]]:
        """(pair features, logits) of the sides."""
        z = self.pair(side_mean(e.z, sides[0]), side_mean(e.z, sides[1]))
        z = self.drop(z, deterministic=not train)
        return z, self.head(z)

    def __call__(self, m: Molecules, sides: Sides) -> Array:
        return self.relate(self.encode(m), sides)[1]
