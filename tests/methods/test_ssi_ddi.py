"""SSI-DDI: the published formula, order of the sides, bags, padding, zeros, training."""

from functools import cache
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problem import loss_of, problem

from molrel.data.batches import MoleculeSizes, index_batch
from molrel.data.types import Examples
from molrel.errors import InputError
from molrel.methods.batch import gather_batch
from molrel.methods.ssi_ddi import SSIDDIConfig
from molrel.nn.graph import gather
from molrel.nn.ssi_ddi import AttentionReadout, SSIDDINetwork, Substructures

CONFIG = SSIDDIConfig(8, 2, 2)
TABLE = problem()[0]
SIZES = MoleculeSizes(TABLE)
BUDGET = SIZES.of(np.arange(TABLE.padding_id))
N, U, B, D = 11, 5, 3, 8
PAIRS = np.random.default_rng(0).integers(0, 16, (N, 2))
KEY = jax.random.key(0)
LABELS = (PAIRS.sum(1) % 2).astype(np.float32)[:, None]


def make_batch(labels=LABELS, extra=0):
    """Eleven source pairs and, with ``extra``, padding pairs."""
    packed = index_batch(Examples.pairs(PAIRS, labels), N + extra, BUDGET, SIZES, (1, 1))
    assert packed is not None
    return gather_batch(TABLE, jax.tree.map(jnp.asarray, packed))


def build(kind="binary", n_outputs=1, symmetric=True):
    return CONFIG.build(None, kind=kind, n_outputs=n_outputs, symmetric=symmetric)


def random_like(shapes, seed=0):
    """Parameters of the right shapes, biases too different from 0."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(0.5 * rng.normal(size=x.shape), x.dtype), shapes)


@cache
def head(symmetric=True, n_outputs=2):
    """(relate as a jitted function of parameters, readouts and sides; parameters)."""
    network = SSIDDINetwork(D, B, 2, n_outputs, symmetric)
    sides = (jnp.array([[0]]), jnp.array([[1]]))

    def run(params, blocks, sides):
        encoded = Substructures(blocks.mean(axis=1), blocks)
        return network.apply({"params": params}, encoded, sides, method="relate")

    def init(key):
        blocks = jnp.zeros((U, B, D))
        return network.init(key, Substructures(blocks[:, 0], blocks), sides, method="relate")

    return jax.jit(run), random_like(jax.eval_shape(init, KEY)["params"])


BLOCKS = np.random.default_rng(1).normal(size=(U, B, D)).astype(np.float32)
A, C = np.array([[0], [1], [2], [3]]), np.array([[1], [1], [4], [0]])


def formula(params, a, b):
    """Logits and pair features of one ordered pair of readouts [B, D], summed term by term."""
    p = jax.tree.map(lambda x: np.asarray(x, float), params)
    attention, relation = SimpleNamespace(**p["co_attention"]), p["relation"]
    matrices = relation["kernel"].reshape(D, D, -1)
    logits, shown, seen = relation["bias"].copy(), np.zeros(D), np.zeros(D)
    for one in a:
        for other in b:
            key = one @ attention.keys["kernel"] + attention.keys["bias"]
            alpha = np.tanh(key + other @ attention.queries["kernel"]) @ attention.score["kernel"]
            u, v = one / np.linalg.norm(one), other / np.linalg.norm(other)
            logits += alpha * np.einsum("d,det,e->t", u, matrices, v)
            shown, seen = shown + alpha * u, seen + alpha * v
    return logits, np.concatenate([shown, seen])


@pytest.mark.parametrize("symmetric", [False, True])
def test_head_is_the_published_formula(symmetric):
    run, params = head(symmetric)
    features, logits = run(params, BLOCKS, (A, C))
    for i, (a, b) in enumerate(zip(A[:, 0], C[:, 0])):
        orders = [formula(params, BLOCKS[a], BLOCKS[b])]
        orders += [formula(params, BLOCKS[b], BLOCKS[a])] if symmetric else []
        for got, expected in zip((logits, features), zip(*orders)):
            np.testing.assert_allclose(got[i], np.mean(expected, axis=0), rtol=1e-3, atol=1e-4)


def test_order_of_the_sides():
    for symmetric in (True, False):
        run, params = head(symmetric)
        one, two = run(params, BLOCKS, (A, C)), run(params, BLOCKS, (C, A))
        for x, y in zip(one, two):
            assert np.allclose(x, y, atol=1e-6) == symmetric


def test_bags_show_their_mean_and_padding_of_bags_nothing():
    run, params = head()
    mixed = np.concatenate([BLOCKS, [(BLOCKS[0] + BLOCKS[3]) / 2]])
    bag = run(params, BLOCKS, (np.array([[0, 3, -1]]), np.array([[1, -1]])))
    swapped = run(params, BLOCKS, (np.array([[-1, 3, 0]]), np.array([[-1, 1]])))
    mean = run(params, mixed, (np.array([[U]]), np.array([[1]])))
    for x, y, z in zip(bag, swapped, mean):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(x, z, rtol=1e-5, atol=1e-6)


def test_empty_sides_and_zero_readouts_have_finite_gradients():
    run, params = head()
    sides = np.array([[0], [-1], [2]]), np.array([[1], [0], [-1]])
    blocks = BLOCKS * (np.arange(U) != 0)[:, None, None]

    def loss(params, blocks):
        return sum(jnp.sum(jnp.sin(x)) for x in run(params, blocks, sides))

    gradients = jax.grad(loss, argnums=(0, 1))(params, jnp.asarray(blocks))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


def test_readout_weighs_atoms_by_themselves_and_their_neighbours():
    m = make_batch().molecules
    h = np.random.default_rng(2).normal(size=(len(m.node_mask), D)).astype(np.float32)
    params = random_like(jax.eval_shape(AttentionReadout().init, KEY, h, m))
    got: Any = AttentionReadout().apply(params, h, m)
    own, around = (np.asarray(params["params"][k]["kernel"])[:, 0] for k in ("own", "around"))
    score = h @ own
    for u, v, real in zip(*map(np.asarray, (m.graph.senders, m.graph.receivers, m.edge_mask))):
        score[v] += real * (h[u] @ around)
    for molecule in np.flatnonzero(m.mask):
        atoms = np.asarray(m.node_molecule) == molecule
        weight = np.exp(score[atoms])
        expected = weight @ h[atoms] / weight.sum()
        np.testing.assert_allclose(got[molecule], expected, rtol=1e-4, atol=1e-5)


def test_encoding_ignores_padding_and_order_of_molecules():
    method = build()
    params = random_like(jax.eval_shape(method.init, KEY, make_batch()).params)
    encode = jax.jit(lambda ids: method.encode(params, {}, gather(TABLE, ids, BUDGET)))
    ids = np.arange(TABLE.padding_id, dtype=np.int32)
    whole = encode(ids)
    assert whole.blocks.shape == (len(ids), CONFIG.blocks, CONFIG.width)
    np.testing.assert_allclose(whole.blocks.mean(axis=1), method.embed(whole), rtol=1e-5)
    few = np.where(ids < 4, 7 - ids, TABLE.padding_id).astype(np.int32)
    padded = encode(few)
    np.testing.assert_allclose(padded.blocks[:4], whole.blocks[7:3:-1], rtol=1e-4, atol=1e-5)
    assert not np.asarray(padded.blocks[4:]).any()


def test_every_kind_of_task():
    rng = np.random.default_rng(1)
    for kind, outputs, n_labels, symmetric in (
        ("multilabel", 3, 3, True),
        ("multiclass", 4, 1, False),
        ("regression", 2, 2, False),
    ):
        labels = rng.integers(0, 2, (N, n_labels)).astype(np.float32)
        labels[0, 0] = np.nan
        batch, method = make_batch(labels), build(kind, outputs, symmetric)
        params = random_like(jax.eval_shape(method.init, KEY, batch).params)
        run = jax.jit(lambda p, m=method, b=batch: loss_of(m, p, {}, b, KEY, 0.5))
        total, (_, terms) = run(params)
        assert np.isfinite(total) and total > 0 and set(terms) == {"supervised"}


@pytest.mark.slow
def test_a_few_steps_lower_the_loss_and_padding_examples_do_not_count():
    method, batch, optimiser = build(), make_batch(), optax.adam(2e-2)
    params = jax.jit(method.init)(KEY, batch).params
    run = jax.jit(jax.value_and_grad(lambda p, b: loss_of(method, p, {}, b, KEY, 0.5)[0]))
    before, gradient = run(params, batch)
    padded = run(params, make_batch(extra=3))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5),
        (before, gradient),
        padded,
    )
    state, loss = optimiser.init(params), before
    assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(gradient))
    for _ in range(40):
        loss, gradient = run(params, batch)
        with jax.numpy_dtype_promotion("standard"):  # see train/step.py
            updates, state = optimiser.update(gradient, state)
        params = optax.apply_updates(params, updates)
    assert loss < before - 0.2
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))


def test_settings():
    assert not CONFIG.adapts and CONFIG.needs == frozenset() and CONFIG.source_only() is CONFIG
    assert not build().target and hash(CONFIG) == hash(SSIDDIConfig(8, 2, 2))
    for wrong in ((9, 2, 2), (8, 0, 2), (8, 2, 0), (0, 2, 2)):
        with pytest.raises(InputError, match="SSI-DDI cannot have"):
            SSIDDIConfig(*wrong)
