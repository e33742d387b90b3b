"""Gathering molecules into one padded jraph graph, and guarded operations on segments.

This is the only module that imports jraph: its last release is old, and the parts in use
are few enough to be replaced here if they ever have to be.
"""

from __future__ import annotations

import functools

import flax.struct
import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Bool, Float, Int, UInt8

from molrel.data.batches import Budget
from molrel.data.table import MoleculeTable, Ragged, expand_codes

segment_sum = jraph.segment_sum


@flax.struct.dataclass
class Molecules:
    """U unique molecules of a batch, gathered; N, E, X, Q, R are the budget's sizes.

    Attributes:
      ids: int32 [U], row of each molecule in the table.
      mask: bool [U], whether the molecule is real.
      domain: int32 [U], 0 source, 1 target: whose statistics the molecule belongs to.
      weight: f32 [U], in statistics over molecules: 1 over the number of devices that hold it, 0
        for padding.
      graph: ``nodes`` f32 [N, Da], ``edges`` f32 [E, Db], one graph a molecule and one
        last graph that holds all padding (``n_node`` is [U + 1]).
      node_molecule: int32 [N], molecule of each atom, U for padding.
      node_mask, edge_mask: bool [N], [E].
      neighbours: int32 [N, 4], atom in each neighbour slot (itself where empty).
      neighbour_bonds: f32 [N, 4, Db], bond to each neighbour.
      neighbour_mask: bool [N, 4].
      extra_senders, extra_receivers: int32 [X]; extra_bonds f32 [X, Db]; extra_mask [X]:
        the bonds that have no slot.
      node_fragment: int32 [N], index into the U x F fragments laid flat, U x F for padding.
      fragment_types: int32 [U, F], -1 padding.
      fragment_adjacency: f32 [U, F, F].
      instance_group: int32 [Q], functional group of each instance, -1 padding.
      instance_molecule: int32 [Q], U for padding.
      member_node, member_instance: int32 [R]; padding has instance Q.
      pictures: uint8 [U, S, S, 3] or None.
      fingerprints: uint8 [U, B] or None.
      positions: f32 [N, 2], place of each atom in its molecule's picture (row, column).
      scaffold: int32 [U] or None, see ``MoleculeTable.scaffolds``.
      max_atoms, n_scaffolds: of the table.
    """

    ids: Int[Array, " u"]
    mask: Bool[Array, " u"]
    domain: Int[Array, " u"]
    weight: Float[Array, " u"]
    graph: jraph.GraphsTuple
    node_molecule: Int[Array, " n"]
    node_mask: Bool[Array, " n"]
    edge_mask: Bool[Array, " e"]
    neighbours: Int[Array, "n 4"]
    neighbour_bonds: Float[Array, "n 4 b"]
    neighbour_mask: Bool[Array, "n 4"]
    extra_senders: Int[Array, " x"]
    extra_receivers: Int[Array, " x"]
    extra_bonds: Float[Array, "x b"]
    extra_mask: Bool[Array, " x"]
    node_fragment: Int[Array, " n"]
    fragment_types: Int[Array, "u f"]
    fragment_adjacency: Float[Array, "u f f"]
    instance_group: Int[Array, " q"]
    instance_molecule: Int[Array, " q"]
    member_node: Int[Array, " r"]
    member_instance: Int[Array, " r"]
    pictures: UInt8[Array, "u s s 3"] | None
    fingerprints: UInt8[Array, "u b"] | None
    positions: Float[Array, "n 2"]
    scaffold: Int[Array, " u"] | None
    max_atoms: int = flax.struct.field(pytree_node=False)
    n_scaffolds: int = flax.struct.field(pytree_node=False)

    @property
    def nodes(self) -> Float[Array, "n a"]:
        """Atom features."""
        return self.graph.nodes  # pyright: ignore[reportReturnType]

    @property
    def edges(self) -> Float[Array, "e b"]:
        """Features of the directed bonds."""
        return self.graph.edges  # pyright: ignore[reportReturnType]

    @property
    def fragment_mask(self) -> Bool[Array, "u f"]:
        """Whether each fragment is real."""
        return self.fragment_types >= 0


def gather_rows(
    ragged: Ragged, ids: Int[Array, " u"], budget: int
) -> tuple[dict[str, Array], Int[Array, " b"], Bool[Array, " b"], Int[Array, " u_plus_1"]]:
    """Picks the rows of the given molecules out of a ragged part of the table.

    Args:
      ragged: rows by molecule.
      ids: molecule ids; the padding molecule has no rows.
      budget: static number of rows of the result, at least the sum over ids.

    Returns:
      (values of each row, 0 for padding; position in ``ids`` of each row's molecule, U for
      padding; mask; first row of each molecule and, last, the number of real rows).
    """
    sizes = ragged.offsets[ids + 1] - ragged.offsets[ids]
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(sizes, dtype=jnp.int32)])
    row = jnp.arange(budget, dtype=jnp.int32)
    mask = row < starts[-1]
    owner = jnp.repeat(jnp.arange(len(ids), dtype=jnp.int32), sizes, total_repeat_length=budget)
    index = jnp.where(mask, ragged.offsets[ids[owner]] + row - starts[owner], 0)
    values = {
        name: jnp.where(mask.reshape(-1, *[1] * (v.ndim - 1)), v[index], 0)
        for name, v in ragged.values.items()
    }
    return values, jnp.where(mask, owner, len(ids)), mask, starts


@functools.partial(jax.jit, static_argnames="budget", inline=True)
def gather(
    table: MoleculeTable,
    ids: Int[Array, " u"],
    budget: Budget,
    domain: Int[Array, " u"] | None = None,
    copies: Int[Array, " u"] | None = None,
) -> Molecules:
    """Builds the padded batch of molecules on the device.

    Args:
      table: all molecules of the run.
      ids: int32 [U], unique molecule ids padded with ``table.padding_id``.
      budget: static sizes; the host has checked that the molecules fit.
      domain: see ``Molecules``; by default all are of the source.
      copies: number of devices that hold each molecule; by default 1.
    """
    ids = jnp.asarray(ids)
    mask = ids < table.padding_id
    n_unique, n_fragments = len(ids), table.fragment_types.shape[1]
    atoms, node_molecule, node_mask, first_atom = gather_rows(table.atoms, ids, budget.atoms)
    bonds, bond_molecule, edge_mask, _ = gather_rows(table.bonds, ids, budget.bonds)
    extra, extra_molecule, extra_mask, _ = gather_rows(table.extra_bonds, ids, budget.extra_bonds)
    instances, instance_molecule, instance_mask, first_instance = gather_rows(
        table.instances, ids, budget.instances
    )
    members, member_molecule, member_mask, _ = gather_rows(table.members, ids, budget.members)

    nodes = expand_codes(atoms["codes"], atoms["values"], table.code_sizes)
    # Padding bonds join the last atom to itself. The budget of atoms may be full, so they
    # are excluded by their mask and never by their place.
    last = budget.atoms - 1

    def bond_features(codes, values, mask):
        features = expand_codes(codes, values, table.bond_code_sizes)
        return features * _like(mask[..., None], features)

    def absolute(local, owner, mask):
        return jnp.where(mask, first_atom[owner] + local, last)

    slot_mask = (atoms["neighbours"] >= 0) & node_mask[:, None]
    own = jnp.arange(budget.atoms, dtype=jnp.int32)[:, None]
    neighbours = jnp.where(slot_mask, first_atom[node_molecule][:, None] + atoms["neighbours"], own)
    n_node = jnp.diff(first_atom)
    n_edge = segment_sum(edge_mask.astype(jnp.int32), bond_molecule, n_unique + 1)
    graph = jraph.GraphsTuple(
        nodes=nodes * _like(node_mask[:, None], nodes),
        edges=bond_features(bonds["codes"], bonds["values"], edge_mask),
        senders=absolute(bonds["senders"], bond_molecule, edge_mask),
        receivers=absolute(bonds["receivers"], bond_molecule, edge_mask),
        globals=None,
        n_node=jnp.append(n_node, budget.atoms - first_atom[-1]),
        n_edge=n_edge.at[-1].set(budget.bonds - edge_mask.sum(dtype=jnp.int32)),
    )
    return Molecules(
        ids=ids,
        mask=mask,
        domain=jnp.zeros_like(ids) if domain is None else jnp.asarray(domain),
        weight=mask.astype(float) / (1.0 if copies is None else copies.astype(float)),
        graph=graph,
        node_molecule=node_molecule,
        node_mask=node_mask,
        edge_mask=edge_mask,
        neighbours=neighbours,
        neighbour_bonds=bond_features(atoms["bond_codes"], atoms["bond_values"], slot_mask),
        neighbour_mask=slot_mask,
        extra_senders=absolute(extra["senders"], extra_molecule, extra_mask),
        extra_receivers=absolute(extra["receivers"], extra_molecule, extra_mask),
        extra_bonds=bond_features(extra["codes"], extra["values"], extra_mask),
        extra_mask=extra_mask,
        node_fragment=jnp.where(
            node_mask, node_molecule * n_fragments + atoms["fragment"], n_unique * n_fragments
        ),
        fragment_types=table.fragment_types[ids],
        fragment_adjacency=table.fragment_adjacency[ids].astype(nodes.dtype),
        instance_group=jnp.where(instance_mask, instances["group"], -1),
        instance_molecule=instance_molecule,
        member_node=absolute(members["atom"], member_molecule, member_mask),
        member_instance=jnp.where(
            member_mask, first_instance[member_molecule] + members["instance"], budget.instances
        ),
        pictures=None if table.pictures is None else table.pictures[ids],
        fingerprints=None if table.fingerprints is None else table.fingerprints[ids],
        positions=atoms["positions"],
        scaffold=None if table.scaffolds is None else table.scaffolds[ids],
        max_atoms=table.max_atoms,
        n_scaffolds=table.n_scaffolds,
    )


def shuffle_fragments(molecules: Molecules) -> Molecules:
    """A control: the atoms of each molecule trade fragments at random.

    Numbers, sizes and types of the fragments and their graph stay, only which atoms are in
    which is random; the same in every batch for a molecule of one table.
    """
    m = molecules
    first = jnp.cumsum(m.graph.n_node) - m.graph.n_node
    row = jnp.arange(len(m.node_molecule), dtype=jnp.int32)
    ids = jnp.append(m.ids, 0)[m.node_molecule]
    mixed = (row - first[m.node_molecule] + 1).astype(jnp.uint32) * jnp.uint32(2654435761)
    mixed = (mixed ^ (mixed >> 15)) * (jnp.uint32(2246822519) + ids.astype(jnp.uint32) * 2)
    order = jnp.lexsort((mixed ^ (mixed >> 13), m.node_molecule))
    return m.replace(node_fragment=m.node_fragment[order])  # pyright: ignore


def dense_atoms(
    h: Float[Array, "n d"], molecules: Molecules
) -> tuple[Float[Array, "u a d"], Bool[Array, "u a"]]:
    """Atoms laid out by molecule, A the most atoms of a molecule of the table.

    Returns:
      (rows of h, 0 where a molecule has no such atom; mask).
    """
    n_node = molecules.graph.n_node[:-1]
    first = jnp.cumsum(n_node) - n_node
    place = jnp.arange(molecules.max_atoms, dtype=n_node.dtype)[None]
    mask = place < n_node[:, None]
    index = jnp.where(mask, first[:, None] + place, 0)
    return jnp.where(mask[..., None], h[index], 0), mask


def segment_mean(
    values: Float[Array, "n d"], segments: Int[Array, " n"], n_segments: int
) -> Float[Array, "s d"]:
    """Mean of each segment, 0 for an empty one; rows with segment >= n_segments are dropped."""
    total = segment_sum(values, segments, n_segments)
    count = segment_sum(jnp.ones(len(values), values.dtype), segments, n_segments)
    return total / jnp.maximum(count, 1)[:, None]


def segment_softmax(
    logits: Float[Array, " n"], segments: Int[Array, " n"], n_segments: int
) -> Float[Array, " n"]:
    """Softmax within each segment; rows with segment >= n_segments get 0.

    Finite in value and gradient for empty segments, unlike ``jraph.segment_softmax``.
    """
    inside = segments < n_segments
    safe = jnp.where(inside, segments, 0)
    highest = jax.ops.segment_max(jax.lax.stop_gradient(logits), segments, n_segments)
    highest = jnp.where(jnp.isfinite(highest), highest, 0)
    weight = jnp.where(inside, jnp.exp(jnp.where(inside, logits - highest[safe], 0)), 0)
    return weight / jnp.maximum(segment_sum(weight, segments, n_segments), 1e-9)[safe]


def sum_messages(
    nodes: Float[Array, "n d"],
    bonds: Float[Array, "n 4 d"],
    neighbours: Int[Array, "n 4"],
    mask: Bool[Array, "n 4"],
) -> Float[Array, "n d"]:
    """GINE aggregation sum_j ReLU(h_j + b_ij) over the neighbour slots, without a scatter.

    The backward pass gathers as well: bonds are symmetric, so the atoms that receive from
    j are the neighbours of j, and the bond in j's slot has the features of its reverse.

    Args:
      nodes: h, one row an atom.
      bonds: b, embedded bond to each neighbour; must be equal for both directions.
      neighbours: atom in each slot; the slots are symmetric (j is in a slot of i exactly
        when i is in a slot of j).
      mask: which slots are filled.
    """
    return _sum_messages(nodes, bonds, neighbours, mask)


def _like(mask: Array, x: Array) -> Array:
    """A mask as numbers of the kind of x."""
    return mask.astype(x.dtype)


@jax.custom_vjp
def _sum_messages(nodes, bonds, neighbours, mask):
    return jnp.sum(jax.nn.relu(nodes[neighbours] + bonds) * _like(mask[..., None], nodes), axis=1)


def _sum_messages_fwd(nodes, bonds, neighbours, mask):
    return _sum_messages(nodes, bonds, neighbours, mask), (nodes, bonds, neighbours, mask)


def _sum_messages_bwd(residuals, cotangent):
    nodes, bonds, neighbours, mask = residuals
    arriving = (nodes[neighbours] + bonds > 0) & mask[..., None]
    leaving = (nodes[:, None] + bonds > 0) & mask[..., None]
    d_bonds = jnp.where(arriving, cotangent[:, None], 0)
    d_nodes = jnp.where(leaving, cotangent[neighbours], 0).sum(axis=1)
    return d_nodes, d_bonds, None, None


_sum_messages.defvjp(_sum_messages_fwd, _sum_messages_bwd)


@jax.custom_vjp
def sum_neighbours(
    nodes: Float[Array, "n d"], neighbours: Int[Array, "n 4"], mask: Bool[Array, "n 4"]
) -> Float[Array, "n d"]:
    """Sum of the neighbours' rows; its own transpose, since the slots are symmetric.

    One gather a slot: XLA on CPU then adds them up in one pass, more than ten times as fast as
    a reduction of [N, 4, D].
    """
    slots = range(neighbours.shape[1])
    rows = (nodes[neighbours[:, s]] * _like(mask[:, s, None], nodes) for s in slots)
    return sum(rows, jnp.zeros_like(nodes))


def _sum_neighbours_fwd(nodes, neighbours, mask):
    return sum_neighbours(nodes, neighbours, mask), (neighbours, mask)


def _sum_neighbours_bwd(residuals, cotangent):
    neighbours, mask = residuals
    return sum_neighbours(cotangent, neighbours, mask), None, None


sum_neighbours.defvjp(_sum_neighbours_fwd, _sum_neighbours_bwd)


def sum_bonds(
    nodes: Float[Array, "n d"],
    bonds: Float[Array, "e d"],
    senders: Int[Array, " e"],
    receivers: Int[Array, " e"],
    mask: Bool[Array, " e"],
    *,
    relu: bool,
) -> Float[Array, "n d"]:
    """The same sums over a list of directed bonds by ``jraph.segment_sum``.

    The reference for the two slot versions, and the path of the bonds without a slot.
    """
    messages = nodes[senders] + bonds
    messages = jax.nn.relu(messages) if relu else messages
    return segment_sum(messages * _like(mask[:, None], messages), receivers, len(nodes))
