"""Masked BatchNorm: statistics of real rows only, as PyTorch's, and the same on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from molrel.nn.batch_norm import BatchNorm, moments

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(10, 3)) * [1, 5, 0.1] + [0, 7, -2]).astype(np.float32)
NORM = BatchNorm()


def start(width=3):
    variables = NORM.init(jax.random.key(0), jnp.zeros((1, width)))
    params = {"scale": jnp.array([2.0, 1, 0.5]), "bias": jnp.array([0.0, 1, -1])}
    return {**variables, "params": params}


def apply(x, weight, variables=None):
    return NORM.apply(
        variables or start(),
        jnp.asarray(x),
        jnp.asarray(weight),
        train=True,
        mutable=["batch_stats"],
    )


def test_values_and_running_averages_by_hand():
    out, new = apply(X, np.ones(10, np.float32))
    expected = (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5) * [2, 1, 0.5] + [0, 1, -1]
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    kept = jax.tree.map(np.asarray, new["batch_stats"])
    np.testing.assert_allclose(kept["mean"], 0.1 * X.mean(0), rtol=1e-5)
    np.testing.assert_allclose(kept["var"], 0.9 + 0.1 * X.var(0, ddof=1), rtol=1e-5)
    plain = NORM.apply({**start(), **new}, jnp.asarray(X))
    by_hand = (X - kept["mean"]) / np.sqrt(np.asarray(kept["var"]) + 1e-5) * [2, 1, 0.5]
    np.testing.assert_allclose(plain, by_hand + [0, 1, -1], rtol=1e-4, atol=1e-4)


def test_padding_rows_are_never_looked_at():
    padded = np.concatenate([X, np.full((4, 3), np.nan, np.float32)])
    weight = (np.arange(14) < 10).astype(np.float32)
    out, new = apply(padded, weight)
    expected, expected_new = apply(X, np.ones(10, np.float32))
    np.testing.assert_allclose(out[:10], expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), new, expected_new)


def test_a_weight_counts_as_repetition():
    weight = np.array([2, 1, 0, 3, 1, 1, 1, 1, 1, 1], np.float32)
    out, new = apply(X, weight)
    repeated = np.repeat(X, weight.astype(int), axis=0)
    expected, expected_new = apply(repeated, np.ones(len(repeated), np.float32))
    np.testing.assert_allclose(out[0], expected[0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), new, expected_new)


def test_no_row_keeps_the_averages():
    out, new = apply(X, np.zeros(10, np.float32))
    assert np.isfinite(out).all()
    jax.tree.map(np.testing.assert_array_equal, new["batch_stats"], start()["batch_stats"])


def test_gradient_is_that_of_finite_differences():
    with jax.enable_x64(True):
        weight = jnp.array([1.0, 1, 0, 2, 1, 1, 0, 1, 1, 1])
        draw = jnp.asarray(RNG.normal(size=(10, 3)))

        def loss(x):
            mean, variance, _ = moments(x, weight)
            return jnp.sum(jnp.sin((x - mean[None]) * jax.lax.rsqrt(variance + 1e-5)[None]) * draw)

        check_grads(
            jax.jit(loss),
            (jnp.asarray(X, jnp.float64),),
            order=1,
            modes=["rev"],
            atol=1e-4,
            rtol=1e-5,
        )


@pytest.mark.parametrize("counts", [(4, 6), (1, 9), (0, 10)])
def test_devices_with_other_counts_share_their_statistics(counts):
    rows = max(counts)
    x = np.full((2, rows, 3), 1e3, np.float32)
    weight = np.zeros((2, rows), np.float32)
    first = 0
    for device, count in enumerate(counts):
        x[device, :count], weight[device, :count] = X[first : first + count], 1
        first += count
    found = jax.vmap(lambda x, w: moments(x, w, "devices"), axis_name="devices")(x, weight)
    for value, expected in zip(found, (X.mean(0), X.var(0), 10)):
        np.testing.assert_allclose(value[0], expected, rtol=1e-4)
        np.testing.assert_array_equal(value[0], value[1])
