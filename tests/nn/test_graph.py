"""Gathering from the table and the guarded segment operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from molecules import CONFIG, SMILES, make_batch, make_table

from molrel.chem.features import expand, featurise
from molrel.chem.schemes import FEATURE_SCHEMES
from molrel.data.table import neighbour_slots
from molrel.nn import graph as ops

TABLE = make_table()
IDS = np.array([5, 0, 3, 1, 7, 6])


def test_gathered_atoms_are_those_of_the_molecules():
    batch = make_batch(TABLE, IDS, spare=5)
    scheme = FEATURE_SCHEMES[CONFIG.scheme]
    expected = np.concatenate(
        [
            expand(f.atom_codes, f.atom_values, scheme.atom_sizes)
            for f in (featurise(SMILES[i], CONFIG) for i in IDS)
        ]
    )
    n = len(expected)
    np.testing.assert_allclose(batch.graph.nodes[:n], expected, rtol=1e-6)
    assert not np.asarray(batch.graph.nodes[n:]).any()
    assert batch.node_mask.sum() == n
    assert batch.graph.n_node.sum() == len(batch.graph.nodes)
    assert batch.graph.n_edge.sum() == len(batch.graph.edges)
    assert batch.mask.tolist() == [True] * 6 + [False] * 5


def test_bonds_join_atoms_of_one_molecule_and_come_in_both_directions():
    batch = make_batch(TABLE, IDS, spare=4)
    g, mask = batch.graph, np.asarray(batch.edge_mask)
    senders, receivers = np.asarray(g.senders)[mask], np.asarray(g.receivers)[mask]
    owner = np.asarray(batch.node_molecule)
    assert (owner[senders] == owner[receivers]).all()
    assert {*zip(senders, receivers)} == {*zip(receivers, senders)}


def test_crowded_atoms_use_extra_bonds():
    batch = make_batch(TABLE, IDS, spare=1)
    # SF6 and PF6-: two bonds beyond the fourth each, both directions.
    assert batch.extra_mask.sum() == 8


@pytest.mark.parametrize("relu", [True, False])
def test_slots_equal_the_jraph_segment_sum(relu):
    batch = make_batch(TABLE, IDS, spare=3)
    width, n = 6, len(batch.graph.nodes)
    h = jax.random.normal(jax.random.key(0), (n, width))
    weight = jax.random.normal(jax.random.key(1), (batch.graph.edges.shape[1], width))

    def by_segments(h, weight):
        g = batch.graph
        return ops.sum_bonds(
            h, g.edges @ weight, g.senders, g.receivers, batch.edge_mask, relu=relu
        )

    def by_slots(h, weight):
        extra = ops.sum_bonds(
            h,
            batch.extra_bonds @ weight,
            batch.extra_senders,
            batch.extra_receivers,
            batch.extra_mask,
            relu=relu,
        )
        bonds = batch.neighbour_bonds @ weight
        if relu:
            return extra + ops.sum_messages(h, bonds, batch.neighbours, batch.neighbour_mask)
        return (
            extra
            + ops.sum_neighbours(h, batch.neighbours, batch.neighbour_mask)
            + jnp.sum(jnp.where(batch.neighbour_mask[..., None], bonds, 0), axis=1)
        )

    mask = batch.node_mask[:, None].astype(jnp.float32)
    np.testing.assert_allclose(by_segments(h, weight) * mask, by_slots(h, weight) * mask, atol=1e-5)
    probe = jax.random.normal(jax.random.key(2), (n, width)) * mask
    gradients = [
        jax.grad(lambda h, w, f=f: jnp.sum(f(h, w) * probe), argnums=(0, 1))(h, weight)
        for f in (by_segments, by_slots)
    ]
    for a, b in zip(*gradients):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_sum_messages_gradient_by_finite_differences():
    with jax.enable_x64(True):
        batch = make_batch(TABLE, np.array([0, 5]))
        rng = np.random.default_rng(0)
        n = len(batch.graph.nodes)
        h = jnp.asarray(rng.normal(size=(n, 2)))
        weight = jnp.asarray(rng.normal(size=(batch.neighbour_bonds.shape[-1], 2)))

        def value(h, weight):
            bonds = batch.neighbour_bonds.astype(h.dtype) @ weight
            out = ops.sum_messages(h, bonds, batch.neighbours, batch.neighbour_mask)
            return jnp.sum(out**2)

        check_grads(jax.jit(value), (h, weight), order=1, modes=["rev"], eps=1e-6)


def test_neighbour_slots_are_symmetric_and_lose_no_bond():
    # A star of six: four bonds fit into the centre's slots, two are left over.
    senders = np.array([0] * 6 + list(range(1, 7)))
    receivers = np.array(list(range(1, 7)) + [0] * 6)
    slots, extra = neighbour_slots(senders, receivers, 7)
    held = slots[slots >= 0]
    assert sorted([*held, *extra]) == list(range(12))
    pairs = {(int(senders[i]), int(receivers[i])) for i in held}
    assert pairs == {(b, a) for a, b in pairs}
    assert len(extra) == 4


def test_segment_softmax_is_finite_for_empty_and_padding_segments():
    segments = jnp.array([0, 0, 2, 3])  # segment 1 is empty, 3 is padding
    logits = jnp.array([1.0, 2.0, -1e30, 5.0])
    value = ops.segment_softmax(logits, segments, 3)
    expected = np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum()
    np.testing.assert_allclose(value, [*expected, 1.0, 0.0], rtol=1e-6)
    grad = jax.grad(lambda x: jnp.sum(ops.segment_softmax(x, segments, 3) ** 2))(logits)
    assert np.isfinite(grad).all()


def test_segment_mean_of_an_empty_segment_is_zero():
    out = ops.segment_mean(jnp.ones((3, 2)), jnp.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(out, [[1, 1], [0, 0], [1, 1]])
