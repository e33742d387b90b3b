"""Molecules encoded by ``HuEncoder``, and examples of one or two sides made of them."""

from __future__ import annotations

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float

from molrel.nn import graph as ops
from molrel.nn.graph import Molecules
from molrel.nn.hu import Convolution, HuEncoder, linear
from molrel.nn.relation import PairFeatures, Sides, side_mean


@flax.struct.dataclass
class Atoms:
    """What is known of each of U molecules.

    Attributes:
      z: f32 [U, D], mean over atoms.
      total: f32 [U, D], sum over atoms.
    """

    z: Float[Array, "u d"]
    total: Float[Array, "u d"]


class MoleculeNetwork(nn.Module):
    """Encoder of atoms, mean over the atoms of a molecule, one linear head.

    An example of one side is represented by that side (the mean over its molecules); of two
    sides by ``PairFeatures``.

    Attributes:
      convolution, width, depth, dropout: of the encoder.
      n_outputs: logits of an example.
      symmetric: whether f(a, b) = f(b, a).
    """

    convolution: Convolution
    width: int
    depth: int
    dropout: float
    n_outputs: int = 1
    symmetric: bool = True

    def setup(self):
        self.atoms = HuEncoder(self.convolution, self.width, self.depth, self.dropout)
        self.pair = PairFeatures(self.width, self.symmetric)
        self.head = linear(self.n_outputs, self.width)

    def encode(
        self,
        m: Molecules,
        weight: Float[Array, " u"] | None = None,
        train: bool = False,
        axis_name: str | None = None,
    ) -> Atoms:
        """Encodes each unique molecule once; see ``HuEncoder``."""
        h = self.atoms(m, weight, train=train, axis_name=axis_name)
        total = ops.segment_sum(h, m.node_molecule, len(m.ids))
        count = jnp.maximum(m.graph.n_node[:-1], 1).astype(h.dtype)
        return Atoms(total / count[:, None], total)

    def represent(self, e: Atoms, sides: Sides) -> Float[Array, "p w"]:
        """What the head sees of each example."""
        means = [side_mean(e.z, side) for side in sides]
        return means[0] if len(means) == 1 else self.pair(*means)

    def relate(
        self, e: Atoms, sides: Sides, train: bool = False
    ) -> tuple[Float[Array, "p w"], Float[Array, "p t"]]:
        """(representation, logits) of the sides."""
        z = self.represent(e, sides)
        return z, self.head(z)

    def __call__(self, m: Molecules, sides: Sides) -> Array:
        return self.relate(self.encode(m), sides)[1]
