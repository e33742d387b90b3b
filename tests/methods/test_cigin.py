"""CIGIN, and what CGIB and CMRL share with it: tasks, padding, domains, devices, training."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from interaction_setting import (
    CIGIN,
    CONFIGS,
    LABELS,
    PAIRS,
    TABLE,
    N,
    assert_near,
    build,
    compiled,
    make_batch,
    random_params,
    setting,
)
from problem import loss_of

every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: type(c).__name__)


@every_config
def test_settings(config):
    assert not config.adapts and config.needs == frozenset() and config.source_only() is config
    assert not build(config).target
    assert replace(config, width=4) != config and hash(config) == hash(replace(config))


@every_config
@pytest.mark.parametrize(
    ("kind", "n_outputs", "n_labels", "symmetric"),
    [("multilabel", 3, 3, True), ("multiclass", 4, 1, False), ("regression", 2, 2, False)],
)
def test_every_kind_of_task(config, kind, n_outputs, n_labels, symmetric):
    labels = np.random.default_rng(1).integers(0, 2, (N, n_labels)).astype(np.float32)
    labels[0, 0] = np.nan
    batch = make_batch(labels)
    method = build(config, kind, n_outputs, symmetric)
    params = random_params(method, batch)
    run = jax.jit(lambda params: loss_of(method, params, {}, batch, jax.random.key(0), 0.5))
    total, (_, terms) = run(params)
    assert all(np.isfinite(x) and x > 0 for x in (total, *terms.values()))


@every_config
def test_padding_target_and_weightless_examples_have_no_influence(config):
    method = build(config, symmetric=False)
    batch, more = make_batch(), make_batch(extra=3)
    params = random_params(method, batch)
    run = jax.jit(lambda batch: loss_of(method, params, {}, batch, jax.random.key(1), 0.5))
    expected = run(batch)
    outside = jnp.arange(N + 3) >= N
    hidden = jnp.where(outside[:, None], jnp.nan, more.labels)
    for other in (
        more.replace(mask=~outside),
        more.replace(domain=jnp.where(outside, 1, 0).astype(jnp.int32), labels=hidden),
        more.replace(weight=jnp.where(outside, 0.0, 1.0)),
    ):
        assert_near(run(other), expected)
    assert abs(run(more)[0] - expected[0]) > 1e-4


@every_config
def test_shares_of_devices_add_up(config):
    batch = make_batch()
    empty = batch.replace(mask=jnp.zeros_like(batch.mask))
    stacked = jax.tree.map(lambda *x: jnp.stack(x), batch, empty, batch)
    method = build(config)
    params = random_params(method, batch)

    def share(batch, axis_name):
        total, (_, terms) = loss_of(method, params, {}, batch, jax.random.key(1), 0.5, axis_name)
        return {"total": total, **terms}

    shares = jax.jit(jax.vmap(lambda b: share(b, "devices"), axis_name="devices"))(stacked)
    # A device without examples, and one that holds and draws the same: the mean stays.
    jax.tree.map(lambda x: np.testing.assert_array_equal(x[1], 0), shares)
    expected = jax.jit(lambda b: share(b, None))(batch)
    assert_near(jax.tree.map(lambda x: x.sum(0), shares), expected)


# CMRL has the most parts; the others by `make test-slow`.
@pytest.mark.parametrize(
    "config",
    [
        pytest.param(c, marks=[pytest.mark.slow] * (type(c).__name__ != "CMRLConfig"))
        for c in CONFIGS
    ],
    ids=lambda c: type(c).__name__,
)
def test_a_few_steps_lower_the_loss_and_move_every_parameter(config):
    batch, params = setting(config)
    run, optimiser = compiled(config), optax.adam(1e-2)
    _, gradient = run(params, batch, jax.random.key(1))
    assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(gradient))

    def mean_loss(params):
        return np.mean([run(params, batch, jax.random.key(i))[0][0] for i in range(5)])

    before, state = mean_loss(params), optimiser.init(params)
    for step in range(30):
        _, gradient = run(params, batch, jax.random.key(step))
        with jax.numpy_dtype_promotion("standard"):  # see train/step.py
            updates, state = optimiser.update(gradient, state)
        params = optax.apply_updates(params, updates)
    assert mean_loss(params) < before - 0.1
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))


def test_labels_are_the_only_term_of_cigin():
    batch, params = setting(CIGIN)
    (total, terms), _ = compiled(CIGIN)(params, batch, jax.random.key(1))
    assert set(terms) == {"supervised"} and total == terms["supervised"]


def test_prediction_and_embedding():
    batch = make_batch()
    method = build(CIGIN, n_outputs=3)
    params = random_params(method, batch)
    a, b = batch.sides

    @jax.jit
    def run(params):
        encoded = method.encode(params, {}, batch.molecules)
        sides = (a, b), (b, a)
        return [method.predict(params, {}, encoded, s) for s in sides], method.embed(encoded)

    (forward, backward), z = run(params)
    assert forward.shape == (len(LABELS), 3) and z.shape == (TABLE.padding_id, CIGIN.width)
    assert_near(forward, backward)
    # Pairs of the same molecules score the same, others do not.
    keys = [tuple(sorted(p)) for p in PAIRS.tolist()]
    assert len(np.unique(np.round(forward[:, 0], 4))) == len(set(keys))
