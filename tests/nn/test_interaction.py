"""CIGIN's network and the gates on it: readout, map, padding, order, noise, single atoms."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from molecules import SMILES, make_batch, make_table

from molrel.nn.interaction import (
    BottleneckNetwork,
    CausalNetwork,
    EncodedAtoms,
    GatedNetwork,
    InteractionNetwork,
    Set2Set,
    interact,
    interaction_map,
    moments,
    unit_rows,
)

RNG = np.random.default_rng(0)
TABLE = make_table(SMILES)
IDS = np.arange(len(SMILES))
# Aspirin, helium, ethanol, ...: rows 1 and 4 are a single atom and two atoms without a bond.
A = jnp.array([[0], [1], [2], [5], [1], [7]])
B = jnp.array([[2], [3], [1], [0], [1], [4]])
BAGS = (jnp.array([[0, 1], [2, -1], [5, 6]]), jnp.array([[3], [4], [1]]))


@cache
def build(cls=InteractionNetwork, symmetric=True):
    """(network, params)."""
    network = cls(16, 1, 2, symmetric)
    batch = make_batch(TABLE, IDS)
    return network, jax.jit(network.init)(jax.random.key(0), batch, (A, B))["params"]


def encode(network, params, batch):
    """Encoded molecules."""
    return network.apply({"params": params}, batch, method="encode")


def relate(network, params, encoded, sides, seed=None):
    """(logits, what is known of each gated side); in training where there is a seed."""
    variables = {"params": params}
    settings = {"train": seed is not None}
    if seed is not None:
        settings["rngs"] = {"dropout": jax.random.key(seed)}
    if isinstance(network, BottleneckNetwork):
        settings["method"] = "compress"
        logits, views = network.apply(variables, encoded, sides, **settings)
        return logits, [(v.logits, v.partner, v.predicted) for v in views]
    if isinstance(network, CausalNetwork):
        rows = jnp.arange(len(sides[0]))
        return network.apply(variables, encoded, sides, rows, method="separate", **settings)
    return network.apply(variables, encoded, sides, method="relate", **settings)[1], []


@partial(jax.jit, static_argnums=0)
def outputs(network, params, batch, sides, seed=None):
    """Every output of a network, compiled as one program."""
    logits, views = relate(network, params, encode(network, params, batch), sides, seed)
    return {"logits": logits, "views": views}


NETWORKS = [InteractionNetwork, BottleneckNetwork, CausalNetwork]
every_network = pytest.mark.parametrize("cls", NETWORKS)
assert_near = partial(jax.tree.map, partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def set2set_loop(tokens, params, steps=2):
    """One unpadded molecule in float64 NumPy, gate by gate."""
    width = tokens.shape[1]
    kernel, bias = (np.asarray(params["cell"][k], np.float64) for k in ("kernel", "bias"))
    query = memory = read = np.zeros(width)
    for _ in range(steps):
        write, keep, new, show = np.split(np.append(query, read) @ kernel + bias, 4)
        memory = sigmoid(keep) * memory + sigmoid(write) * np.tanh(new)
        query = sigmoid(show) * np.tanh(memory)
        score = np.array([float(token @ query) for token in tokens])
        weight = np.exp(score - score.max())
        weight /= weight.sum()
        read = sum(w * token for w, token in zip(weight, tokens))
    return np.append(query, read)


def test_set2set_matches_a_loop_over_each_molecule():
    sizes, width = (5, 1, 3), 6
    tokens = RNG.normal(size=(3, 7, width)).astype(np.float32)
    mask = np.arange(7) < np.array(sizes)[:, None]
    module = Set2Set()
    params = module.init(jax.random.key(0), jnp.asarray(tokens), jnp.asarray(mask))["params"]
    # A zero bias would leave the first question at 0.
    params["cell"]["bias"] = jnp.asarray(RNG.normal(size=4 * width), jnp.float32)
    tokens[~mask] = 1e3
    got = module.apply({"params": params}, jnp.asarray(tokens), jnp.asarray(mask))
    for row, size in enumerate(sizes):
        expected = set2set_loop(tokens[row, :size].astype(np.float64), params)
        np.testing.assert_allclose(got[row], expected, atol=1e-5)
    # A single token is its own answer.
    np.testing.assert_allclose(got[1, width:], tokens[1, 0], atol=1e-6)


def test_set2set_ignores_the_order_of_tokens_and_survives_having_none():
    tokens = jnp.asarray(RNG.normal(size=(1, 5, 4)), jnp.float32)
    mask = jnp.ones((1, 5), bool)
    module = Set2Set()
    params = module.init(jax.random.key(0), tokens, mask)
    turned = module.apply(params, tokens[:, ::-1], mask)
    np.testing.assert_allclose(module.apply(params, tokens, mask), turned, atol=1e-6)
    value, gradient = jax.value_and_grad(
        lambda x: jnp.sum(module.apply(params, x, jnp.zeros_like(mask)) ** 2)
    )(tokens)
    assert np.isfinite(value) and not np.asarray(gradient).any()


def test_interaction_map_is_the_dense_product_of_real_atoms():
    sizes_a, sizes_b, width = (4, 1), (2, 3), 5
    a = RNG.normal(size=(2, 6, width)) * (np.arange(6) < np.array(sizes_a)[:, None])[..., None]
    b = RNG.normal(size=(2, 4, width)) * (np.arange(4) < np.array(sizes_b)[:, None])[..., None]
    similarity = interaction_map(jnp.asarray(a), jnp.asarray(b))
    seen_a, seen_b = interact(jnp.asarray(a), jnp.asarray(b))
    for p, (n, m) in enumerate(zip(sizes_a, sizes_b)):
        expected = a[p, :n] @ b[p, :m].T
        np.testing.assert_allclose(similarity[p, :n, :m], expected, atol=1e-5)
        np.testing.assert_allclose(
            seen_a[p, :n], np.hstack([a[p, :n], expected @ b[p, :m]]), atol=1e-5
        )
        np.testing.assert_allclose(
            seen_b[p, :m], np.hstack([b[p, :m], expected.T @ a[p, :n]]), atol=1e-5
        )
        assert not np.asarray(seen_a[p, n:]).any() and not np.asarray(seen_b[p, m:]).any()


def test_the_mean_of_the_partner_does_not_grow_with_it():
    """A partner of the same atom twice says what the atom says once; by the sum, twice as much."""
    atoms = jnp.broadcast_to(jnp.array([0.6, 0.8]), (2, 2, 2))
    for gather, factor in (("sum", 2), ("mean", 1)):
        network = InteractionNetwork(2, 1, gather=gather)

        def seen(partner, network=network):
            # The atoms of both sides are given, without an encoder before them.
            encoded = EncodedAtoms(atoms[:, 0], atoms, jnp.array([[True, False], partner]))
            sides = jnp.array([[0]]), jnp.array([[1]])
            return network.apply({}, encoded, sides, method="tokens")[0][0][0, 0, 2:]

        np.testing.assert_allclose(seen([True, True]), factor * seen([True, False]), rtol=1e-5)


def test_unit_rows_have_length_one_and_a_gradient_at_zero():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(unit_rows(x), [[0.6, 0.8], [0, 0]], atol=1e-6)
    assert np.isfinite(jax.jacobian(unit_rows)(x)).all()


def test_encoded_atoms_are_unit_rows_and_z_is_the_mean_of_the_atoms():
    network, params = build()
    batch = make_batch(TABLE, IDS, spare=2)

    @jax.jit
    def run(params):
        h = network.apply({"params": params}, batch, method=lambda n, m: n.atoms(m))
        return encode(network, params, batch), h

    encoded, h = run(params)
    n_atoms = np.asarray(batch.graph.n_node[:-1])
    mask = np.asarray(encoded.mask)
    assert mask.sum(axis=1).tolist() == n_atoms.tolist()
    lengths = np.linalg.norm(encoded.atoms, axis=-1)
    np.testing.assert_allclose(lengths[mask], 1, atol=1e-4)
    assert not lengths[~mask].any()
    first = np.cumsum(n_atoms) - n_atoms
    for u, (start, size) in enumerate(zip(first[:-2], n_atoms[:-2])):
        rows = np.asarray(h)[start : start + size]
        np.testing.assert_allclose(encoded.z[u], rows.mean(axis=0), atol=1e-5)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(encoded.atoms[u, :size], unit, atol=1e-4)


@pytest.mark.parametrize(
    ("cls", "sides"),
    [(InteractionNetwork, BAGS), (BottleneckNetwork, (A, B)), (CausalNetwork, (A, B))],
)
def test_padding_changes_neither_value_nor_gradient(cls, sides):
    network, params = build(cls)

    def run(spare, rows):
        batch = make_batch(TABLE, IDS, spare)
        n = len(sides[0])
        padded = tuple(
            jnp.pad(s, ((0, rows), (0, rows if s.shape[1] > 1 else 0)), constant_values=-1)
            for s in sides
        )

        def value(params):
            found = jax.tree.map(lambda x: x[:n], outputs(network, params, batch, padded))
            return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(found)), found

        return jax.jit(jax.grad(value, has_aux=True))(params)

    gradient, found = run(0, 0)
    padded_gradient, padded_found = run(5, 2)
    assert_near(found, padded_found)
    assert_near(gradient, padded_gradient)
    assert np.abs(gradient["atoms"]["atoms"]["kernel"]).max() > 0


def test_a_side_shows_atoms_if_it_is_one_molecule_and_molecules_if_more():
    network, params = build()
    batch = make_batch(TABLE, IDS)
    pair = outputs(network, params, batch, (A, B))["logits"]
    bags = (jnp.pad(A, ((0, 0), (0, 1)), constant_values=-1), B)
    np.testing.assert_allclose(outputs(network, params, batch, bags)["logits"], pair, atol=1e-5)
    encoded = encode(network, params, batch)
    (tokens, mask), _ = network.apply({"params": params}, encoded, BAGS, method="tokens")
    assert mask.sum(axis=1).tolist() == [2, int(encoded.mask[2].sum()), 2]
    np.testing.assert_allclose(tokens[0, :2, :16], unit_rows(encoded.z[:2]), atol=1e-6)
    assert not tokens[0, 2:].any()


@every_network
@pytest.mark.parametrize("symmetric", [True, False])
def test_order_of_the_pair_matters_only_where_it_should(cls, symmetric):
    network, params = build(cls, symmetric)
    batch = make_batch(TABLE, IDS)
    forward = outputs(network, params, batch, (A, B))
    backward = outputs(network, params, batch, (B, A))
    assert np.allclose(forward["logits"], backward["logits"], atol=1e-5) == symmetric
    if cls is not InteractionNetwork:
        assert len(forward["views"]) == (2 if symmetric else 1)
    if symmetric:
        # Which side is gated changes places with the sides.
        assert_near(forward["views"], backward["views"][::-1])


@every_network
def test_noise_only_in_training_and_never_in_the_plain_path(cls):
    network, params = build(cls)
    batch = make_batch(TABLE, IDS)
    # Without a stream of random numbers: a draw would be an error.
    still = outputs(network, params, batch, (A, B))
    one, again, other = (outputs(network, params, batch, (A, B), seed) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    for each in (one, other):
        np.testing.assert_allclose(each["logits"], still["logits"], atol=1e-5)
    if cls is BottleneckNetwork:
        # The partner's readout has no noise in it, the gated side has.
        for i in range(2):
            assert_near(one["views"][i][1], still["views"][i][1])
        one, other, still = ({"views": [v[::2] for v in x["views"]]} for x in (one, other, still))
    for x, y, z in zip(*(jax.tree.leaves(each["views"]) for each in (one, other, still))):
        assert np.abs(x - y).max() > 1e-5 and np.abs(x - z).max() > 1e-5


@every_network
def test_a_prediction_is_that_of_the_plain_path(cls):
    network, params = build(cls)
    batch = make_batch(TABLE, IDS)

    @jax.jit
    def predict(params):
        encoded = encode(network, params, batch)
        return network.apply({"params": params}, encoded, (A, B), method="relate")[1]

    expected = outputs(network, params, batch, (A, B), 0)["logits"]
    np.testing.assert_allclose(predict(params), expected, atol=1e-5)


@every_network
def test_gradients_are_finite_for_single_atoms_and_padding_examples(cls):
    network, params = build(cls)
    batch = make_batch(TABLE, IDS, spare=1)
    sides = jnp.array([[1], [1], [-1]]), jnp.array([[1], [0], [-1]])

    def value(params):
        found = outputs(network, params, batch, sides, 0)
        return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(found))

    total, gradient = jax.jit(jax.value_and_grad(value))(params)
    assert np.isfinite(total)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_moments_are_those_of_the_real_tokens():
    tokens = RNG.normal(size=(3, 4, 2))
    mask = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    mean, std = moments(jnp.asarray(tokens), jnp.asarray(mask))
    np.testing.assert_allclose(mean[0, 0], tokens[0, :3].mean(0), atol=1e-6)
    np.testing.assert_allclose(std[0, 0], tokens[0, :3].std(0, ddof=1), atol=1e-6)
    np.testing.assert_allclose(mean[1, 0], tokens[1, 0], atol=1e-6)
    assert not std[1:].any() and not mean[2].any()


class _Opened(GatedNetwork):
    """A gate that can be set, to see what it does to the tokens."""

    def halves(self, tokens, mask, train):
        return self.split(tokens, mask, train)


@pytest.mark.parametrize("bias", [-30.0, 30.0])
def test_an_open_gate_keeps_all_and_a_closed_one_keeps_the_moments(bias):
    network = _Opened(4, 1)
    tokens = jnp.asarray(RNG.normal(size=(2, 500, 8)), jnp.float32)
    mask = jnp.arange(500)[None] < jnp.array([[500], [400]])
    params = network.init(jax.random.key(0), tokens, mask, False, method="halves")["params"]
    params["importance"]["out"]["bias"] = jnp.array([bias])

    def run(**kwargs):
        return network.apply({"params": params}, tokens, mask, method="halves", **kwargs)

    for gated in (run(train=False), run(train=True, rngs={"dropout": jax.random.key(1)})):
        assert not np.asarray(gated.kept)[~np.asarray(mask)].any()
        if bias > 0:
            expected = jnp.where(mask[..., None], tokens, 0)
            np.testing.assert_allclose(gated.kept, expected, atol=1e-4)
    closed = run(train=True, rngs={"dropout": jax.random.key(1)})
    if bias < 0:
        np.testing.assert_allclose(
            run(train=False).kept[0], gated.mean[0].repeat(500, 0), atol=1e-5
        )
        mean, std = moments(closed.kept, mask)
        np.testing.assert_allclose(mean, closed.mean, atol=0.25)
        np.testing.assert_allclose(std, closed.std, atol=0.25)
        assert np.abs(np.asarray(closed.kept - tokens))[np.asarray(mask)].mean() > 0.5


def widened(tree):
    """The tree with floating leaves in float64."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


@pytest.mark.slow
def test_float64_stays_float64():
    network, params = build(BottleneckNetwork)
    with jax.enable_x64(True):
        batch = widened(make_batch(TABLE, IDS))
        with jax.numpy_dtype_promotion("standard"):  # of flax's float32 parameters
            found = outputs(network, widened(params), batch, (A, B), 0)
    assert {x.dtype for x in jax.tree.leaves(found)} == {np.dtype("float64")}


def test_no_implicit_promotion():
    module = Set2Set()
    with jax.enable_x64(True):
        tokens, mask = jnp.asarray(RNG.normal(size=(2, 5, 4))), jnp.arange(10).reshape(2, 5) > 2
        with jax.numpy_dtype_promotion("standard"):  # of flax's float32 parameters
            params = widened(module.init(jax.random.key(0), tokens, mask))
        with jax.numpy_dtype_promotion("strict"):
            found = module.apply(params, tokens, mask), interact(tokens, tokens)
            found += moments(tokens, mask)
    assert {x.dtype for x in jax.tree.leaves(found)} == {np.dtype("float64")}
