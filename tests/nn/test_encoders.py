"""GCN, GAT and D-MPNN: against plain dense formulas, padding, order of atoms, crowded atoms."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from molecules import CONFIG, SMILES, make_batch, make_table
from problem import permuted

from molrel.chem.features import featurise
from molrel.data.table import build_table
from molrel.errors import InputError
from molrel.nn.encoders import (
    DMPNN,
    GAT,
    GCN,
    at_receivers,
    at_reverses,
    at_senders,
    directed_bonds,
    sum_adjacent,
    sum_incoming,
)
from molrel.nn.gine import mean_over_atoms
from molrel.nn.siamese import ENCODERS, SiameseNetwork

TABLE = make_table()
# Rings, hypervalent atoms with six neighbours, a single atom, a pair without a bond.
IDS = np.array([5, 0, 3, 1, 7, 6, 4])
WIDTH, DEPTH = 8, 2
NETWORKS = {"gcn": GCN(WIDTH, DEPTH), "gat": GAT(WIDTH, DEPTH, 2), "dmpnn": DMPNN(WIDTH, DEPTH)}
every_encoder = pytest.mark.parametrize("name", NETWORKS)


@cache
def random_params(name):
    """Parameters of the right shapes, all of them (biases too) different from 0."""
    shapes = jax.eval_shape(NETWORKS[name].init, jax.random.key(0), make_batch(TABLE, IDS))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: (0.4 * rng.normal(size=x.shape)).astype(np.float32), shapes)


@cache
def runner(name):
    """(params, batch) -> atoms, jitted."""
    return jax.jit(NETWORKS[name].apply)


def dense(batch):
    """(atom features, adjacency, bond features [N, N, B] by receiver and sender) in float64."""
    n = int(batch.node_mask.sum())
    adjacency, features = np.zeros((n, n)), np.zeros((n, n, batch.edges.shape[1]))
    for u, v, e, real in zip(
        *map(np.asarray, (batch.graph.senders, batch.graph.receivers, batch.edges)),
        np.asarray(batch.edge_mask),
    ):
        if real:
            adjacency[v, u], features[v, u] = 1, e
    return np.asarray(batch.nodes, float)[:n], adjacency, features


def relu(x):
    return np.maximum(x, 0)


def affine(x, layer):
    return x @ np.asarray(layer["kernel"], float) + layer.get("bias", 0)


def dense_gcn(p, nodes, adjacency, _):
    looped = adjacency + np.eye(len(nodes))
    root = np.diag(looped.sum(1) ** -0.5)
    h = relu(affine(nodes, p["atoms"]))
    for i in range(DEPTH):
        h = relu(root @ looped @ root @ affine(h, p[f"layer_{i}"]) + p[f"bias_{i}"])
    return h


def dense_gat(p, nodes, adjacency, features):
    looped = adjacency + np.eye(len(nodes)) > 0
    h = relu(affine(nodes, p["atoms"]))
    for i in range(DEPTH):
        q = p[f"layer_{i}"]
        x = affine(h, q["values"]).reshape(len(h), 2, -1)
        heads = []
        for k in range(2):
            logits = (x[:, k] @ q["receivers"][k])[:, None] + (x[:, k] @ q["senders"][k])[None]
            logits = logits + affine(features, q["bonds"])[..., k]
            weight = np.exp(np.where(logits > 0, logits, 0.2 * logits)) * looped
            heads.append(weight / weight.sum(1, keepdims=True) @ x[:, k])
        h = np.concatenate(heads, 1) + q["bias"]
        h = np.where(h > 0, h, np.expm1(h))
    return h


def dense_dmpnn(p, nodes, adjacency, features):
    pairs = [(int(u), int(v)) for v, u in np.argwhere(adjacency)]

    def start(u, v):
        return relu(affine(nodes[u], p["atoms"]) + affine(features[v, u], p["bonds"]))

    first = {(u, v): start(u, v) for u, v in pairs}
    h = first
    for _ in range(DEPTH):
        message = {
            (u, v): sum((h[w, x] for w, x in pairs if x == u and w != v), np.zeros(WIDTH))
            for u, v in pairs
        }
        h = {uv: relu(first[uv] + affine(message[uv], p["step"])) for uv in pairs}
    arrived = np.zeros((len(nodes), WIDTH))
    for (_, v), state in h.items():
        arrived[v] += state
    return relu(affine(np.concatenate([nodes, arrived], 1), p["join"]))


@every_encoder
@pytest.mark.parametrize("spare", [0, 3])
def test_same_as_the_dense_formula(name, spare):
    batch = make_batch(TABLE, IDS, spare)
    params = random_params(name)
    expected = globals()[f"dense_{name}"](params["params"], *dense(batch))
    got = np.asarray(runner(name)(params, batch))
    assert got.shape == (len(batch.node_mask), WIDTH) and np.isfinite(got).all()
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(got[: len(expected)], expected, rtol=1e-4, atol=1e-4)


@every_encoder
def test_more_padding_changes_neither_values_nor_gradients(name):
    weight = jax.random.normal(jax.random.key(3), (len(IDS), WIDTH))

    @jax.jit
    def run(params, batch):
        def loss(params):
            z = mean_over_atoms(NETWORKS[name].apply(params, batch), batch)[: len(IDS)]
            return jnp.sum(jnp.sin(z) * weight), z

        return jax.grad(loss, has_aux=True)(params)

    params = random_params(name)
    tight, loose = (run(params, make_batch(TABLE, IDS, spare)) for spare in (0, 9))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), tight, loose)
    assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(tight[0]))


@every_encoder
def test_order_of_atoms_only_permutes_the_rows(name):
    f = featurise(SMILES[6], CONFIG)
    order = np.random.default_rng(0).permutation(len(f.atom_codes))
    other = permuted(f, order)
    settings = {"type_map": np.arange(72), "groups": np.arange(85), "pictures": False}
    one, two = (
        runner(name)(random_params(name), make_batch(build_table([x], CONFIG, **settings), [0]))
        for x in (f, other)
    )
    np.testing.assert_allclose(one[order], two, rtol=1e-4, atol=1e-5)


@every_encoder
def test_molecules_without_any_bond(name):
    batch = make_batch(make_table(("[He]", "[Na+].[Cl-]")), np.array([1, 0]))
    params = random_params(name)
    gradient = jax.jit(jax.grad(lambda p: NETWORKS[name].apply(p, batch).sum()))(params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    expected = globals()[f"dense_{name}"](params["params"], *dense(batch))
    np.testing.assert_allclose(runner(name)(params, batch), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spare", [0, 4])
def test_every_bond_finds_its_reverse_and_every_atom_its_bonds(spare):
    batch = make_batch(TABLE, IDS, spare)
    bonds = jax.tree.map(np.asarray, directed_bonds(batch))
    real = bonds.mask
    assert real.sum() == len(real) - spare and len(bonds.crowding) == 8 + spare
    np.testing.assert_array_equal(bonds.senders[bonds.reverse][real], bonds.receivers[real])
    np.testing.assert_array_equal(bonds.receivers[bonds.reverse][real], bonds.senders[real])
    np.testing.assert_array_equal(bonds.reverse[~real], np.flatnonzero(~real))
    found = bonds.incoming[bonds.incoming_mask]
    owner = np.nonzero(bonds.incoming_mask)[0]
    np.testing.assert_array_equal(bonds.receivers[found], owner)
    # SF6 and PF6-: two bonds beyond the fourth each.
    crowding = bonds.crowding[bonds.crowding_mask]
    assert len(crowding) == 4
    np.testing.assert_array_equal(np.sort(np.concatenate([found, crowding])), np.flatnonzero(real))


@pytest.mark.parametrize("spare", [0, 3])
def test_bond_operations_and_their_gradients(spare):
    batch = make_batch(TABLE, IDS, spare)
    bonds = directed_bonds(batch)
    mask = np.asarray(bonds.mask)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(len(batch.node_mask), 3)))
        h = jnp.asarray(rng.normal(size=(len(mask), 3)))
        arrived, adjacent = np.zeros(x.shape), np.zeros(x.shape)
        for i in np.flatnonzero(mask):
            arrived[bonds.receivers[i]] += h[i]
            adjacent[bonds.receivers[i]] += x[bonds.senders[i]]
        for operation, argument, expected in (
            (sum_incoming, h, arrived),
            (at_senders, x, np.where(mask[:, None], x[bonds.senders], 0)),
            (at_receivers, x, np.where(mask[:, None], x[bonds.receivers], 0)),
            (at_reverses, h, h[bonds.reverse]),
        ):
            value = operation(argument, bonds)
            assert value.dtype == jnp.float64
            np.testing.assert_allclose(value, expected, atol=1e-12)
            check_grads(
                jax.jit(lambda y, f=operation: f(y, bonds)), (argument,), order=1, modes=["rev"]
            )
            # Seeds are an axis that is mapped over.
            stacked = jnp.stack([argument, 2 * argument])
            twice = jax.vmap(lambda y, f=operation: f(y, bonds))(stacked)
            np.testing.assert_allclose(twice, jnp.stack([value, 2 * value]), atol=1e-12)
        np.testing.assert_allclose(sum_adjacent(x, batch), adjacent, atol=1e-12)


@every_encoder
def test_float64_stays(name):
    batch, params = make_batch(TABLE, IDS), random_params(name)
    # flax promotes parameters and inputs to one dtype.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        wide = jax.tree.map(lambda x: x.astype(float) if x.dtype == np.float32 else x, batch)
        assert jax.eval_shape(NETWORKS[name].apply, params, wide).dtype == np.float64


def test_attention_of_large_logits_stays_finite():
    batch, params = make_batch(TABLE, IDS), random_params("gat")
    large = jax.tree.map(lambda x: 100 * x, params)
    run = jax.jit(jax.value_and_grad(lambda p: NETWORKS["gat"].apply(p, batch).mean()))
    value, gradient = run(large)
    assert np.isfinite(value) and all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_heads_must_share_the_width():
    with pytest.raises(InputError, match="3 attention heads"):
        jax.eval_shape(GAT(8, 1, 3).init, jax.random.key(0), make_batch(TABLE, IDS))


@pytest.mark.parametrize("name", ENCODERS)
def test_siamese_networks_take_any_encoder(name):
    batch = make_batch(TABLE, IDS)
    network = SiameseNetwork(name, 8, 1)
    sides = jnp.array([[0], [2]]), jnp.array([[1], [3]])
    logits, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), batch, sides)
    assert logits.shape == (2, 1)


def test_architectures_are_frozen():
    counts = {
        name: {part: sum(x.size for x in jax.tree.leaves(v)) for part, v in p["params"].items()}
        for name, p in ((name, random_params(name)) for name in NETWORKS)
    }
    atoms = 133 * 8 + 8
    # A layer of GAT: values 8*8, vectors 2*8, bonds 14*2, bias 8.
    assert counts == {
        "gcn": {"atoms": atoms, "layer_0": 64, "bias_0": 8, "layer_1": 64, "bias_1": 8},
        "gat": {"atoms": atoms, "layer_0": 116, "layer_1": 116},
        "dmpnn": {"atoms": atoms, "bonds": 14 * 8, "step": 64, "join": (133 + 8) * 8 + 8},
    }
