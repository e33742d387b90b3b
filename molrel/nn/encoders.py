"""Further encoders of atoms: GCN, GAT and D-MPNN over gathered molecules.

GAT and D-MPNN work on the list of directed bonds. That list is sorted by receiver, so what
arrives at an atom stands in one stretch of it, and the bonds that leave an atom are the
reverses of those. Sums over bonds are therefore gathers of at most four rows an atom, forward
and backward, and only what is beyond the fourth bond of an atom is scattered.
"""

from __future__ import annotations

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from molrel.data.table import MAX_NEIGHBOURS
from molrel.errors import InputError
from molrel.nn import graph as ops
from molrel.nn.dense import Dense
from molrel.nn.graph import Molecules


@flax.struct.dataclass
class Bonds:
    """The E directed bonds of N gathered atoms, and how to find them from an atom.

    Attributes:
      senders, receivers: int32 [E]; padding joins the last atom to itself.
      mask: bool [E].
      reverse: int32 [E], the bond in the other direction; padding is its own reverse.
      incoming: int32 [N, 4], the first four bonds that arrive at each atom.
      incoming_mask: bool [N, 4].
      crowding: int32 [X], the bonds that arrive at an atom as its fifth or later.
      crowding_mask: bool [X].
    """

    senders: Int[Array, " e"]
    receivers: Int[Array, " e"]
    mask: Bool[Array, " e"]
    reverse: Int[Array, " e"]
    incoming: Int[Array, "n 4"]
    incoming_mask: Bool[Array, "n 4"]
    crowding: Int[Array, " x"]
    crowding_mask: Bool[Array, " x"]


def directed_bonds(molecules: Molecules) -> Bonds:
    """Finds the reverse of each bond and the bonds of each atom (inside jit).

    Bonds are sorted by receiver and then by sender. Sorted by sender and then by receiver, the
    bond in place i is the reverse of bond i, since each bond is there in both directions.
    """
    m = molecules
    g = m.graph
    assert g.senders is not None and g.receivers is not None
    n = len(m.node_mask)
    beyond = jnp.asarray(n, g.senders.dtype)
    # A stable sort by sender keeps the order of receivers, and padding behind all bonds.
    reverse = jnp.argsort(jnp.where(m.edge_mask, g.senders, beyond), stable=True)
    receivers = jnp.where(m.edge_mask, g.receivers, beyond)
    first = jnp.searchsorted(receivers, jnp.arange(n + 1, dtype=receivers.dtype))
    first = first.astype(jnp.int32)
    place = jnp.arange(MAX_NEIGHBOURS, dtype=jnp.int32)
    incoming_mask = place[None] < jnp.diff(first)[:, None]
    # An atom has a bond beyond its fourth for each that found no slot, or fewer: both
    # directions of a bond without a slot are among the extra bonds.
    n_crowding = len(m.extra_mask)
    rank = jnp.arange(len(receivers), dtype=jnp.int32) - first[receivers]
    crowded = m.edge_mask & (rank >= MAX_NEIGHBOURS)
    crowding = jnp.nonzero(crowded, size=n_crowding, fill_value=0)[0]
    return Bonds(
        senders=g.senders,
        receivers=g.receivers,
        mask=m.edge_mask,
        reverse=reverse.astype(jnp.int32),
        incoming=jnp.where(incoming_mask, first[:-1, None] + place[None], 0),
        incoming_mask=incoming_mask,
        crowding=crowding.astype(jnp.int32),
        crowding_mask=jnp.arange(n_crowding) < crowded.sum(),
    )


def _masked(x: Float[Array, "*k d"], mask: Bool[Array, "*k"]) -> Float[Array, "*k d"]:
    return jnp.where(mask[..., None], x, 0)


def _sum_per_atom(h: Float[Array, "e d"], bonds: Bonds, *, leaving: bool) -> Float[Array, "n d"]:
    """Sum over the bonds that arrive at (or leave) each atom."""
    if len(h) == 0:
        return jnp.zeros((len(bonds.incoming), h.shape[1]), h.dtype)
    index, crowding = bonds.incoming, bonds.crowding
    owner = bonds.receivers[crowding]
    if leaving:
        index, crowding = bonds.reverse[index], bonds.reverse[crowding]
    # One gather a slot, as in ``ops.sum_neighbours``.
    total = sum(
        (_masked(h[index[:, s]], bonds.incoming_mask[:, s]) for s in range(index.shape[1])),
        jnp.zeros((len(index), h.shape[1]), h.dtype),
    )
    if len(crowding) == 0:
        return total
    return total + ops.segment_sum(_masked(h[crowding], bonds.crowding_mask), owner, len(total))


@jax.custom_vjp
def sum_incoming(h: Float[Array, "e d"], bonds: Bonds) -> Float[Array, "n d"]:
    """sum_u h_uv over the bonds that arrive at each atom v."""
    return _sum_per_atom(h, bonds, leaving=False)


sum_incoming.defvjp(
    lambda h, bonds: (sum_incoming(h, bonds), bonds),
    lambda bonds, g: (_masked(g[bonds.receivers], bonds.mask), None),
)


@jax.custom_vjp
def sum_leaving(h: Float[Array, "e d"], bonds: Bonds) -> Float[Array, "n d"]:
    """sum_v h_uv over the bonds that leave each atom u."""
    return _sum_per_atom(h, bonds, leaving=True)


sum_leaving.defvjp(
    lambda h, bonds: (sum_leaving(h, bonds), bonds),
    lambda bonds, g: (_masked(g[bonds.senders], bonds.mask), None),
)


@jax.custom_vjp
def at_senders(x: Float[Array, "n d"], bonds: Bonds) -> Float[Array, "e d"]:
    """x_u for each bond u -> v, 0 for padding."""
    return _masked(x[bonds.senders], bonds.mask)


at_senders.defvjp(
    lambda x, bonds: (at_senders(x, bonds), bonds),
    lambda bonds, g: (_sum_per_atom(g, bonds, leaving=True), None),
)


@jax.custom_vjp
def at_receivers(x: Float[Array, "n d"], bonds: Bonds) -> Float[Array, "e d"]:
    """x_v for each bond u -> v, 0 for padding."""
    return _masked(x[bonds.receivers], bonds.mask)


at_receivers.defvjp(
    lambda x, bonds: (at_receivers(x, bonds), bonds),
    lambda bonds, g: (_sum_per_atom(g, bonds, leaving=False), None),
)


@jax.custom_vjp
def at_reverses(h: Float[Array, "e d"], bonds: Bonds) -> Float[Array, "e d"]:
    """h_vu for each bond u -> v; its own transpose, since reversing twice changes nothing."""
    return h[bonds.reverse]


at_reverses.defvjp(
    lambda h, bonds: (at_reverses(h, bonds), bonds),
    lambda bonds, g: (g[bonds.reverse], None),
)


def sum_adjacent(h: Float[Array, "n d"], molecules: Molecules) -> Float[Array, "n d"]:
    """sum_j h_j over the neighbours j of each atom, bonds without a slot included."""
    m = molecules
    out = ops.sum_neighbours(h, m.neighbours, m.neighbour_mask)
    if len(m.extra_mask) == 0:
        return out
    extra = _masked(h[m.extra_senders], m.extra_mask)
    return out + ops.segment_sum(extra, m.extra_receivers, len(h))


class GCN(nn.Module):
    """h <- ReLU(D^-1/2 (A + I) D^-1/2 h W + b), after Kipf & Welling, ICLR 2017 (eq. 2).

    D is the degree with the loop. Bonds have no features here. Atoms are first embedded by
    Dense and ReLU; there is no normalisation of states, no dropout, and the last layer ends
    in ReLU as well (published is a softmax over classes).

    Returns [N, width]; rows of padding atoms hold no meaning and must be masked.
    """

    width: int = 128
    depth: int = 3

    @nn.compact
    def __call__(self, molecules: Molecules) -> Float[Array, "n d"]:
        h = jax.nn.relu(Dense(self.width, name="atoms")(molecules.nodes))
        degree = sum_adjacent(jnp.ones_like(h[:, :1]), molecules) + 1
        scale = jnp.broadcast_to(jax.lax.rsqrt(degree), h.shape)
        bias = nn.initializers.zeros
        for i in range(self.depth):
            h = Dense(self.width, use_bias=False, name=f"layer_{i}")(h) * scale
            h = (h + sum_adjacent(h, molecules)) * scale
            b = self.param(f"bias_{i}", bias, (self.width,))
            h = jax.nn.relu(h + b[None].astype(h.dtype))
        return h


class GATLayer(nn.Module):
    """Graph attention of Velickovic et al., ICLR 2018 (eqs. 1-5), before its nonlinearity.

    For each head: x = W h; l_uv = LeakyReLU(a . [x_v | x_u], slope 0.2); weights are the softmax
    of l_uv over the neighbours u of v and v itself; the result is the weighted sum of x_u.
    Heads are concatenated and a bias is added.

    Attributes:
      width: of all heads together.
      heads: their number, a divisor of width.
      bond_logits: whether a linear function of the bond's features is added to l_uv before
        LeakyReLU (0 for the atom itself); not in the paper.
    """

    width: int
    heads: int
    bond_logits: bool = False

    @nn.compact
    def __call__(
        self, h: Float[Array, "n d"], molecules: Molecules, bonds: Bonds
    ) -> Float[Array, "n w"]:
        if self.width % self.heads:
            raise InputError(
                f"{self.heads} attention heads cannot share a width of {self.width}",
                remedy="Choose a width that is a multiple of the number of heads.",
            )
        shape = (self.heads, self.width // self.heads)
        x = Dense(self.width, use_bias=False, name="values")(h)

        def per_head(weights: Float[Array, "k h"], values: Float[Array, "k d"]):
            return (weights[..., None] * values.reshape(-1, *shape)).reshape(values.shape)

        def scores(name: str) -> Float[Array, "n h"]:
            vector = self.param(name, nn.initializers.glorot_uniform(), shape)
            return jnp.einsum("nhd,hd->nh", x.reshape(-1, *shape), vector.astype(x.dtype))

        senders, receivers = scores("senders"), scores("receivers")
        logits = at_senders(senders, bonds) + at_receivers(receivers, bonds)
        if self.bond_logits:
            logits += Dense(self.heads, use_bias=False, name="bonds")(molecules.edges)
        logits = jax.nn.leaky_relu(logits, 0.2)
        own = jax.nn.leaky_relu(senders + receivers, 0.2)
        highest = highest_arriving(logits, own, bonds)
        # Padding bonds have weight 1 and are left out of each sum.
        weight = jnp.exp(_masked(logits - highest[bonds.receivers], bonds.mask))
        own_weight = jnp.exp(own - highest)
        # At least one of the terms is 1, so nothing is divided by 0.
        total = sum_incoming(weight, bonds) + own_weight
        out = sum_incoming(per_head(weight, at_senders(x, bonds)), bonds) + per_head(own_weight, x)
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        return per_head(1 / total, out) + bias[None].astype(x.dtype)


def highest_arriving(
    logits: Float[Array, "e h"], own: Float[Array, "n h"], bonds: Bonds
) -> Float[Array, "n h"]:
    """The largest of the logits that meet at each atom; a constant for the gradient."""
    logits, own = jax.lax.stop_gradient((logits, own))
    if len(logits) == 0:
        return own
    arriving = jnp.where(bonds.incoming_mask[..., None], logits[bonds.incoming], -jnp.inf)
    highest = jnp.maximum(own, arriving.max(axis=1))
    if len(bonds.crowding) == 0:
        return highest
    crowding = jnp.where(bonds.crowding_mask[:, None], logits[bonds.crowding], -jnp.inf)
    return highest.at[bonds.receivers[bonds.crowding]].max(crowding)


class GAT(nn.Module):
    """Graph attention network: embedding, then ``depth`` layers of ELU(attention).

    After Velickovic et al., ICLR 2018. Different here: atoms are first embedded by Dense and
    ReLU; bond features enter the attention; the heads of the last layer are concatenated
    too and pass ELU (published: averaged); no dropout.

    Returns [N, width]; rows of padding atoms hold no meaning and must be masked.
    """

    width: int = 128
    depth: int = 3
    heads: int = 4

    @nn.compact
    def __call__(self, molecules: Molecules) -> Float[Array, "n d"]:
        bonds = directed_bonds(molecules)
        h = jax.nn.relu(Dense(self.width, name="atoms")(molecules.nodes))
        for i in range(self.depth):
            layer = GATLayer(self.width, self.heads, bond_logits=True, name=f"layer_{i}")
            h = jax.nn.elu(layer(h, molecules, bonds))
        return h


class DMPNN(nn.Module):
    """Directed message passing of Yang et al., J. Chem. Inf. Model. 59:3370 (2019).

    States belong to directed bonds, so that no message returns along the bond it came by:

        h0_uv = ReLU(W_i [x_u | e_uv])
        m_uv  = sum over w in N(u) without v of h_wu
        h_uv  = ReLU(h0_uv + W_m m_uv), ``depth`` times
        h_v   = ReLU(W_a [x_v | sum_u h_uv])

    W_m is one matrix for all steps and has no bias. W_i and W_a have biases here; there is no
    dropout. The authors' code adds W_i [x_u | e_uv] before its ReLU in each step; this follows
    the text.

    Returns [N, width]; rows of padding atoms hold no meaning and must be masked.
    """

    width: int = 128
    depth: int = 3

    @nn.compact
    def __call__(self, molecules: Molecules) -> Float[Array, "n d"]:
        m = molecules
        bonds = directed_bonds(m)
        # W_i in two parts, so that each atom is multiplied once and not once a bond.
        of_atoms = Dense(self.width, name="atoms")(m.nodes)
        of_bonds = Dense(self.width, use_bias=False, name="bonds")(m.edges)
        h = initial = jax.nn.relu(at_senders(of_atoms, bonds) + of_bonds)
        step = Dense(self.width, use_bias=False, name="step")
        for _ in range(self.depth):
            arriving = at_senders(sum_incoming(h, bonds), bonds)
            h = jax.nn.relu(initial + step(arriving - at_reverses(h, bonds)))
        joined = jnp.concatenate([m.nodes, sum_incoming(h, bonds)], axis=-1)
        return jax.nn.relu(Dense(self.width, name="join")(joined))
