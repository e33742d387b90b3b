"""Encoders of atoms after Hu et al., "Strategies for pre-training graph neural networks".

ICLR 2020; layers, sizes and initial values follow their code (chem/model.py), whose features
are ``schemes.HU_SCHEME``. Every layer has loops with a bond embedding of their own, embeds
bonds anew, and ends in BatchNorm, ReLU (not in the last) and dropout; the last layer's atoms
are the output. Initial values are PyTorch's: they decide a point or two of ROC-AUC.
"""

from __future__ import annotations

import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from molrel.chem.schemes import HU_SCHEME
from molrel.nn import encoders
from molrel.nn import graph as ops
from molrel.nn.batch_norm import BatchNorm
from molrel.nn.dense import Dense
from molrel.nn.dropout import Dropout
from molrel.nn.gine import aggregate
from molrel.nn.graph import Molecules

Convolution = Literal["gin", "gcn", "gat", "sage"]

_LOOP = np.concatenate(
    [
        np.arange(HU_SCHEME.bond_sizes[0]) == 4,  # the code "loop" of the bond type
        np.arange(HU_SCHEME.bond_sizes[1]) == 0,
    ]
).astype(np.float32)


def uniform(bound: float) -> nn.initializers.Initializer:
    """Uniform between -bound and bound."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def linear(features: int, fan_in: int, *, name: str | None = None) -> Dense:
    """A linear map with PyTorch's initial values: uniform within 1 / sqrt(fan_in)."""
    init = uniform(1 / math.sqrt(fan_in))
    return Dense(features, kernel_init=init, bias_init=init, name=name)


def embedding(features: int, sizes: tuple[int, ...], *, name: str) -> Dense:
    """The sum of one embedding a code, as a matrix product with their one-hot encodings.

    Each table [size, features] has Xavier's uniform initial values.
    """

    def init(key, shape, dtype=jnp.float32):
        keys = jax.random.split(key, len(sizes))
        tables = [
            uniform(math.sqrt(6 / (size + features)))(k, (size, features), dtype)
            for k, size in zip(keys, sizes)
        ]
        return jnp.concatenate(tables).reshape(shape)

    return Dense(features, use_bias=False, kernel_init=init, name=name)


def _embed_bonds(width: int) -> Dense:
    return embedding(width, HU_SCHEME.bond_sizes, name="bonds")


def _loop(embed: Dense) -> Float[Array, "1 d"]:
    """Embedding of the loop that every atom has."""
    return embed(jnp.asarray(_LOOP)[None])


class GINConv(nn.Module):
    """MLP(sum over neighbours and itself of h_u + e_uv), MLP d - 2d - d."""

    width: int

    @nn.compact
    def __call__(self, h: Float[Array, "n d"], molecules: Molecules) -> Float[Array, "n d"]:
        embed = _embed_bonds(self.width)
        around = aggregate(h, molecules, embed, relu=False, message_path="slots")
        total = around + h + _loop(embed)
        hidden = jax.nn.relu(linear(2 * self.width, self.width, name="up")(total))
        return linear(self.width, 2 * self.width, name="down")(hidden)


class GCNConv(nn.Module):
    """sum over neighbours and itself of (x_u + e_uv) / sqrt(d_u d_v), x = W h + b.

    d counts the loop.
    """

    width: int

    @nn.compact
    def __call__(self, h: Float[Array, "n d"], molecules: Molecules) -> Float[Array, "n d"]:
        m = molecules
        embed = _embed_bonds(self.width)
        scale = jax.lax.rsqrt(encoders.sum_adjacent(jnp.ones_like(h[:, :1]), m)[:, 0] + 1)
        x = linear(self.width, self.width, name="linear")(h)
        own = scale[:, None] * (x + _loop(embed))
        around = encoders.sum_adjacent(x * scale[:, None], m)
        # e is linear in the codes of a bond, so these are scaled and summed first.
        codes = jnp.einsum("nsb,ns->nb", m.neighbour_bonds, scale[m.neighbours])
        if len(m.extra_mask):
            extra = m.extra_bonds * scale[m.extra_senders][:, None]
            codes += ops.segment_sum(extra, m.extra_receivers, len(h))
        return scale[:, None] * (own + around + embed(codes))


class SAGEConv(nn.Module):
    """Mean over neighbours and itself of x_u + e_uv, x = W h + b, scaled to length 1."""

    width: int

    @nn.compact
    def __call__(self, h: Float[Array, "n d"], molecules: Molecules) -> Float[Array, "n d"]:
        embed = _embed_bonds(self.width)
        x = linear(self.width, self.width, name="linear")(h)
        total = aggregate(x, molecules, embed, relu=False, message_path="slots")
        degree = encoders.sum_adjacent(jnp.ones_like(h[:, :1]), molecules)
        mean = (total + x + _loop(embed)) / (degree + 1)
        # Safe at 0, where the gradient of the length is not defined.
        return mean * jax.lax.rsqrt(jnp.sum(mean * mean, axis=-1, keepdims=True) + 1e-24)


class GATConv(nn.Module):
    """Attention of two heads, averaged, over x_u + e_uv, x = W h + b.

    The weight of u for v is the softmax of LeakyReLU(a . [x_v | x_u + e_uv], slope 0.2). It is
    taken over the atoms v that u sends to, and not over those that v hears from, as in the
    reference code (where the edge index is normalised by its first row).
    """

    width: int
    heads: int = 2

    @nn.compact
    def __call__(self, h: Float[Array, "n d"], molecules: Molecules) -> Float[Array, "n d"]:
        bonds, wide = encoders.directed_bonds(molecules), self.heads * self.width
        embed = embedding(wide, HU_SCHEME.bond_sizes, name="bonds")
        x = linear(wide, self.width, name="linear")(h)
        glorot = uniform(math.sqrt(6 / (self.heads + 2 * self.width)))
        attention = self.param("attention", glorot, (2, self.heads, self.width))

        def heads(values: Array) -> Array:
            return values.reshape(-1, self.heads, self.width)

        def logits(receiver: Array, sent: Array) -> Array:
            left = jnp.einsum("nhd,hd->nh", heads(receiver), attention[0])
            right = jnp.einsum("nhd,hd->nh", heads(sent), attention[1])
            return jax.nn.leaky_relu(left + right, 0.2)

        sent = encoders.at_senders(x, bonds) + embed(molecules.edges)
        own = x + _loop(embed)
        among, alone = logits(encoders.at_receivers(x, bonds), sent), logits(x, own)
        # The bonds that leave an atom are the reverses of those that arrive there.
        highest = encoders.highest_arriving(among[bonds.reverse], alone, bonds)
        above = jnp.where(bonds.mask[:, None], among - highest[bonds.senders], 0)
        weight = jnp.where(bonds.mask[:, None], jnp.exp(above), 0)
        weight_own = jnp.exp(alone - highest)
        # At least one of the terms is 1, so nothing is divided by 0.
        total = weight_own + encoders.sum_leaving(weight, bonds)
        share = weight * encoders.at_senders(1 / total, bonds)
        out = heads(own) * (weight_own / total)[..., None]
        out += heads(
            encoders.sum_incoming((heads(sent) * share[..., None]).reshape(-1, wide), bonds)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        return out.mean(axis=1) + bias[None]


CONVOLUTIONS: dict[str, type[nn.Module]] = {
    "gin": GINConv,
    "gcn": GCNConv,
    "gat": GATConv,
    "sage": SAGEConv,
}


class HuEncoder(nn.Module):
    """``depth`` layers of one kind on embedded atoms.

    Attributes:
      convolution: key of ``CONVOLUTIONS``.
      width, depth: of the layers; 300 and 5 in the paper.
      dropout: behind every layer.
    """

    convolution: Convolution
    width: int = 300
    depth: int = 5
    dropout: float = 0.5

    @nn.compact
    def __call__(
        self,
        molecules: Molecules,
        weight: Float[Array, " u"] | None = None,
        *,
        train: bool = False,
        axis_name: str | None = None,
    ) -> Float[Array, "n d"]:
        """Encodes atoms.

        Args:
          molecules: of ``HU_SCHEME``.
          weight: how often each molecule counts in the statistics of BatchNorm.
          train: whether to drop out, and to normalise by the statistics of these atoms.
          axis_name: device axis.
        """
        of_atom = None if weight is None else jnp.append(weight, 0)[molecules.node_molecule]
        h = embedding(self.width, HU_SCHEME.atom_sizes, name="atoms")(molecules.nodes)
        for i in range(self.depth):
            h = CONVOLUTIONS[self.convolution](self.width, name=f"layer_{i}")(h, molecules)
            h = BatchNorm(name=f"norm_{i}")(h, of_atom, train=train, axis_name=axis_name)
            h = h if i == self.depth - 1 else jax.nn.relu(h)
            h = Dropout(self.dropout)(h, train=train)
        return h
