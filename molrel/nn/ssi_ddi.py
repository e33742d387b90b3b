"""SSI-DDI: attention between the substructures of two molecules, with one readout a block.

Nyamabo, Yu & Shi, Briefings in Bioinformatics 22:bbab133 (2021). Graph attention blocks see
wider and wider surroundings of each atom; the readout of block i stands for substructures of
radius i. With the B readouts u_i and v_j of two molecules and one matrix M for each output:

    alpha_ij = a . tanh(W_k u_i + W_q v_j + b)
    logit    = sum_ij alpha_ij (u_i / |u_i|)^T M (v_j / |v_j|)

What differs from the paper and its code:

* where the task is symmetric, everything is the mean over both orders of the pair; published,
  f(a, b) and f(b, a) differ;
* M is not brought to length 1, and each output has a bias, so that regressions and rare classes
  can be fitted too; published is a bare score of one relation against sampled negatives;
* LayerNorm is over the features of each atom (published: over all atoms of a molecule at
  once);
* a side that is a bag of several molecules shows, block by block, the mean of their readouts.
"""

from __future__ import annotations

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from molrel.dtypes import widen
from molrel.nn import graph as ops
from molrel.nn.dense import Dense
from molrel.nn.encoders import GATLayer, directed_bonds, sum_adjacent
from molrel.nn.graph import Molecules
from molrel.nn.interaction import unit_rows
from molrel.nn.relation import Sides, side_mean


@flax.struct.dataclass
class Substructures:
    """What ``relate`` needs of each molecule.

    Attributes:
      z: f32 [U, D], mean of the readouts.
      blocks: f32 [U, B, D], the readout of each block; 0 for padding molecules.
    """

    z: Float[Array, "u d"]
    blocks: Float[Array, "u b d"]


class AttentionReadout(nn.Module):
    """sum_i softmax_i(s_i) h_i over the atoms of a molecule, s_i = w . h_i + w' . sum_j h_j.

    j runs over the neighbours of i. This is SAGPool (Lee et al., ICML 2019) as SSI-DDI uses
    it: no atom is dropped, and all are summed. A bias would cancel in the softmax.

    Returns [U, D]; 0 for padding molecules.
    """

    @nn.compact
    def __call__(self, h: Float[Array, "n d"], molecules: Molecules) -> Float[Array, "u d"]:
        n = len(molecules.ids)
        # Linear, so neighbours are summed after the product, one number an atom.
        around = sum_adjacent(Dense(1, use_bias=False, name="around")(h), molecules)
        score = (Dense(1, use_bias=False, name="own")(h) + around)[:, 0]
        weight = ops.segment_softmax(score, molecules.node_molecule, n)
        return ops.segment_sum(h * weight[:, None], molecules.node_molecule, n)


class CoAttention(nn.Module):
    """alpha_ij of two sides; rows are not normalised, as in the authors' code."""

    @nn.compact
    def __call__(self, a: Float[Array, "p b d"], b: Float[Array, "p b d"]) -> Float[Array, "p b b"]:
        width = a.shape[-1] // 2
        keys = Dense(width, name="keys")(a)
        queries = Dense(width, use_bias=False, name="queries")(b)
        both = jnp.tanh(keys[:, :, None] + queries[:, None])
        return Dense(1, use_bias=False, name="score")(both)[..., 0]


class SSIDDINetwork(nn.Module):
    """Graph attention blocks, a readout of each, co-attention, bilinear score.

    Attributes:
      width: of atoms after each block, and of the readouts.
      blocks: their number.
      heads: attention heads of a block, a divisor of width.
      n_outputs: logits of an example.
      symmetric: whether f(a, b) = f(b, a).
    """

    width: int = 64
    blocks: int = 4
    heads: int = 2
    n_outputs: int = 1
    symmetric: bool = True

    def setup(self):
        self.norm = nn.LayerNorm()
        self.layers = [GATLayer(self.width, self.heads) for _ in range(self.blocks)]
        # What follows the last block is its readout alone.
        self.norms = [nn.LayerNorm() for _ in range(self.blocks - 1)]
        self.readouts = [AttentionReadout() for _ in range(self.blocks)]
        self.co_attention = CoAttention()
        # The kernel is M of all outputs, [D * D, T]; its initial columns have length 1.
        self.relation = Dense(self.n_outputs)

    def encode(
        self, m: Molecules, train: bool = False, axis_name: str | None = None
    ) -> Substructures:
        """Encodes each unique molecule once, in training as at test."""
        bonds = directed_bonds(m)
        h = self.norm(m.nodes)
        found = []
        for i, (layer, readout) in enumerate(zip(self.layers, self.readouts)):
            h = layer(h, m, bonds)
            found.append(readout(h, m))
            if i < len(self.norms):
                h = jax.nn.elu(self.norms[i](h))
        blocks = widen(jnp.stack(found, axis=1))
        return Substructures(blocks.mean(axis=1), blocks)

    def _relate_in_order(
        self, a: Float[Array, "p b d"], b: Float[Array, "p b d"]
    ) -> tuple[Float[Array, "p w"], Float[Array, "p t"]]:
        """([sum_ij alpha_ij u_i | sum_ij alpha_ij v_j], logits), u and v of length 1."""
        alpha = self.co_attention(a, b)
        u, v = unit_rows(a), unit_rows(b)
        seen = jnp.einsum("pij,pje->pie", alpha, v)
        # sum_ij alpha_ij u_i v_j^T once, however many outputs weigh it.
        outer = jnp.einsum("pid,pie->pde", u, seen)
        logits = self.relation(outer.reshape(len(a), -1))
        shown = jnp.einsum("pij,pid->pd", alpha, u)
        return jnp.concatenate([shown, seen.sum(axis=1)], axis=-1), logits

    def relate(
        self, e: Substructures, sides: Sides, train: bool = False
    ) -> tuple[Float[Array, "p w"], Float[Array, "p t"]]:
        """(pair features, logits) of the sides; nothing is random in training."""
        shape = e.blocks.shape[1:]
        a, b = (
            side_mean(e.blocks.reshape(len(e.blocks), -1), side).reshape(-1, *shape)
            for side in sides[:2]
        )
        if not self.symmetric:
            return self._relate_in_order(a, b)
        both = self._relate_in_order(jnp.concatenate([a, b]), jnp.concatenate([b, a]))
        features, logits = (x.reshape(2, len(a), -1).mean(axis=0) for x in both)
        return features, logits

    def __call__(self, m: Molecules, sides: Sides) -> Array:
        return self.relate(self.encode(m), sides)[1]
