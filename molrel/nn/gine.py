"""Graph encoders of atoms: GIN and GINE over gathered molecules."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from molrel.nn import graph as ops
from molrel.nn.dense import Dense
from molrel.nn.graph import Molecules

MessagePath = Literal["slots", "segments"]


def aggregate(
    h: Float[Array, "n d"],
    molecules: Molecules,
    embed_bonds: Dense,
    *,
    relu: bool,
    message_path: MessagePath,
) -> Float[Array, "n d"]:
    """sum_j f(h_j + W e_ij) over the neighbours j of each atom, f = ReLU or identity.

    Args:
      h: atom states.
      molecules: the gathered batch.
      embed_bonds: the linear map W (without bias) of bond features.
      relu: whether messages pass a ReLU (GINE) or not (GIN of Hu et al.).
      message_path: ``slots`` is scatter-free; ``segments`` sums over the list of bonds with
        ``jraph.segment_sum``. Both give the same numbers.
    """
    m = molecules
    if message_path == "segments":
        g = m.graph
        assert g.senders is not None and g.receivers is not None
        return ops.sum_bonds(
            h, embed_bonds(m.edges), g.senders, g.receivers, m.edge_mask, relu=relu
        )
    if relu:
        out = ops.sum_messages(h, embed_bonds(m.neighbour_bonds), m.neighbours, m.neighbour_mask)
    else:
        # Without ReLU the bond terms can be summed before they are embedded.
        bonds = embed_bonds(m.neighbour_bonds.sum(axis=1))
        out = ops.sum_neighbours(h, m.neighbours, m.neighbour_mask) + bonds
    if m.extra_mask.shape[0]:
        out += ops.sum_bonds(
            h,
            embed_bonds(m.extra_bonds),
            m.extra_senders,
            m.extra_receivers,
            m.extra_mask,
            relu=relu,
        )
    return out


class GINLayer(nn.Module):
    """h <- act(norm(MLP((1 + eps) h + sum_j f(h_j + W e_ij)))), MLP d - 2d - d.

    GINE (Hu et al., ICLR 2020, eq. 5) with f = ReLU; GIN (Xu et al., ICLR 2019, eq. 4.1)
    with f = identity.
    """

    width: int
    relu_messages: bool = True
    norm: bool = True
    last: bool = False
    message_path: MessagePath = "slots"
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, h: Float[Array, "n d"], molecules: Molecules) -> Float[Array, "n d"]:
        embed_bonds = Dense(self.width, use_bias=False, dtype=self.dtype, name="bonds")
        total = aggregate(
            h, molecules, embed_bonds, relu=self.relu_messages, message_path=self.message_path
        )
        eps = self.param("eps", nn.initializers.zeros, ())
        h = h * (1 + eps).astype(h.dtype) + total
        h = Dense(2 * self.width, dtype=self.dtype, name="up")(h)
        h = Dense(self.width, dtype=self.dtype, name="down")(jax.nn.relu(h))
        if self.norm:
            h = nn.LayerNorm(dtype=self.dtype, name="norm")(h)
        return h if self.last else jax.nn.relu(h)


class GINE(nn.Module):
    """Atom encoder: embedding, ``depth`` layers, all depths joined and mapped to ``width``.

    The join of all depths follows the public encoder of CGIB (Lee et al., ICML 2023);
    LayerNorm stands where that code has BatchNorm switched off.

    Returns [N, width]; rows of padding atoms hold no meaning and must be masked.
    """

    width: int = 128
    depth: int = 3
    message_path: MessagePath = "slots"
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, molecules: Molecules) -> Float[Array, "n d"]:
        h = Dense(self.width, dtype=self.dtype, name="atoms")(molecules.nodes)
        outputs = [jax.nn.relu(h)]
        for i in range(self.depth):
            layer = GINLayer(
                self.width, message_path=self.message_path, dtype=self.dtype, name=f"layer_{i}"
            )
            outputs.append(layer(outputs[-1], molecules))
        return Dense(self.width, dtype=self.dtype, name="join")(jnp.concatenate(outputs, -1))


class FragmentPool(nn.Module):
    """Atoms to fragments by attention, then one step on the fragment graph.

    h_u = sum_{i in u} softmax_i(a . tanh(W h_i)) h_i and
    h^_u = h_u + MLP(sum_{v ~ u} h_v), so that h^_u carries the adjacency pattern.

    Returns [U, F, width]; rows of padding fragments are 0.
    """

    width: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, h: Float[Array, "n d"], molecules: Molecules) -> Float[Array, "u f d"]:
        mask = molecules.fragment_mask
        n_fragments = mask.size
        score = Dense(1, dtype=self.dtype, name="score")(
            jnp.tanh(Dense(self.width // 2, dtype=self.dtype, name="key")(h))
        )[:, 0]
        weight = ops.segment_softmax(score, molecules.node_fragment, n_fragments)
        pooled = ops.segment_sum(h * weight[:, None], molecules.node_fragment, n_fragments)
        u = pooled.reshape(*mask.shape, -1)
        around = jnp.einsum("ufg,ugd->ufd", molecules.fragment_adjacency.astype(u.dtype), u)
        step = Dense(self.width, dtype=self.dtype, name="up")(around)
        u = u + Dense(self.width, dtype=self.dtype, name="down")(jax.nn.relu(step))
        return u * mask[..., None].astype(u.dtype)


def mean_over_atoms(h: Float[Array, "n d"], molecules: Molecules) -> Float[Array, "u d"]:
    """Mean of the atoms of each molecule, 0 for padding molecules."""
    return ops.segment_mean(h, molecules.node_molecule, len(molecules.ids))
