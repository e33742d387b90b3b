"""CIGIN as a whole: tasks, padding, domains, devices, training."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problem import problem

from molrel.data.batches import MoleculeSizes, index_batch
from molrel.data.types import Examples
from molrel.methods.cigin import CIGINConfig
from molrel.methods.method import gather_batch

CONFIG = CIGINConfig(width=8, depth=1)
TABLE = problem()[0]
N = 11
RNG = np.random.default_rng(0)
PAIRS = RNG.integers(0, 16, (N, 2))


def make_batch(labels, padding=0):
    """Eleven source pairs and ``padding`` rows of padding."""
    examples = Examples.pairs(PAIRS, labels)
    sizes = MoleculeSizes(TABLE)
    budget = sizes.of(np.arange(TABLE.padding_id))
    packed = index_batch(examples, N + padding, budget, sizes, (1, 1))
    assert packed is not None
    return gather_batch(TABLE, jax.tree.map(jnp.asarray, packed))


def build(kind="binary", n_outputs=1, symmetric=True, config=CONFIG):
    """The method."""
    return config.build(None, kind=kind, n_outputs=n_outputs, symmetric=symmetric)


@cache
def setting():
    """(binary batch, params)."""
    batch = make_batch((PAIRS.sum(1) % 2).astype(np.float32)[:, None])
    return batch, jax.jit(build().init)(jax.random.key(0), batch).params


@cache
def compiled(config=CONFIG):
    """(params, batch, key) -> (loss and terms), gradients of the binary task."""
    method = build(config=config)

    def loss(params, batch, key):
        total, (_, terms) = method.loss(params, {}, batch, key, 0.5)
        return total, terms

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def assert_near(one, other):
    """Equal but for rounding."""
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5), one, other)


def test_settings():
    assert not CONFIG.adapts and CONFIG.needs == frozenset() and CONFIG.source_only() is CONFIG
    assert not build().target


@pytest.mark.parametrize(
    ("kind", "n_outputs", "n_labels", "symmetric"),
    [
        ("binary", 1, 1, False),
        ("multilabel", 3, 3, True),
        ("multiclass", 4, 1, True),
        ("regression", 2, 2, False),
    ],
)
def test_every_kind_of_task(kind, n_outputs, n_labels, symmetric):
    labels = RNG.integers(0, 2, (N, n_labels)).astype(np.float32)
    labels[0, 0] = np.nan
    batch = make_batch(labels)
    method = build(kind, n_outputs, symmetric)

    @jax.jit
    def run(key):
        variables = method.init(key, batch)
        total, (_, terms) = method.loss(*variables, batch, key, 0.5)
        encoded = method.encode(*variables, batch.molecules)
        logits = method.predict(*variables, encoded, batch.sides)
        return total, terms, logits, method.embed(encoded)

    total, terms, logits, z = run(jax.random.key(0))
    assert all(np.isfinite(x) for x in (total, *terms.values()))
    assert logits.shape == (N, n_outputs) and z.shape == (TABLE.padding_id, CONFIG.width)
    assert np.isfinite(logits).all() and np.isfinite(z).all()


def test_padding_examples_have_no_influence():
    batch, params = setting()
    padded = make_batch(np.asarray(batch.labels), padding=3)
    assert_near(*(compiled()(params, b, jax.random.key(1)) for b in (batch, padded)))


def test_only_the_source_is_looked_at():
    _, params = setting()
    found = []
    labels = (PAIRS.sum(1) % 2).astype(np.float32)[:, None]
    labels[8:] = np.nan
    batch = make_batch(labels)
    outside = jnp.arange(N) >= 8
    found.append(batch.replace(domain=jnp.where(outside, 1, 0), weight=jnp.full(N, 2.0)))
    found.append(batch.replace(mask=~outside))
    found.append(batch.replace(weight=jnp.where(outside, 0.0, 1.0)))
    first, *others = (compiled()(params, b, jax.random.key(1)) for b in found)
    for other in others:
        assert_near(first, other)


def test_shares_of_devices_add_up():
    batch, params = setting()
    empty = jax.tree.map(lambda x: x, batch).replace(mask=jnp.zeros_like(batch.mask))
    stacked = jax.tree.map(lambda x, y, z: jnp.stack([x, y, z]), batch, empty, batch)
    method = build()

    @jax.jit
    def shares(params):
        def loss(batch):
            total, (_, terms) = method.loss(params, {}, batch, jax.random.key(1), 0.5, "devices")
            return total, terms

        return jax.vmap(loss, axis_name="devices")(stacked)

    # A device without examples, and one that draws the same: the mean stays.
    expected = compiled()(params, batch, jax.random.key(1))[0]
    found = shares(params)
    jax.tree.map(lambda x: np.testing.assert_array_equal(x[1], 0), found)
    assert_near(jax.tree.map(lambda x: x.sum(0), found), expected)


def test_a_few_steps_lower_the_loss():
    batch, params = setting()
    optimiser = optax.adam(1e-2)
    run = compiled()

    def mean_loss(params):
        return np.mean([run(params, batch, jax.random.key(i))[0][0] for i in range(5)])

    before, state = mean_loss(params), optimiser.init(params)
    for step in range(30):
        _, gradient = run(params, batch, jax.random.key(step))
        updates, state = optimiser.update(gradient, state)
        params = optax.apply_updates(params, updates)
    assert mean_loss(params) < before - 0.1
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))


def test_the_labels_are_the_only_term():
    batch, params = setting()
    (total, terms), _ = compiled()(params, batch, jax.random.key(1))
    assert set(terms) == {"supervised"} and total == terms["supervised"]


def test_every_parameter_is_trained_and_the_score_ignores_the_order():
    batch, params = setting()
    _, gradient = compiled()(params, batch, jax.random.key(1))
    assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(gradient))
    method = build()
    encoded = jax.jit(method.encode)(params, {}, batch.molecules)
    a, b = batch.sides
    predict = jax.jit(method.predict)
    assert_near(predict(params, {}, encoded, (a, b)), predict(params, {}, encoded, (b, a)))
