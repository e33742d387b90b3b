"""MK-MMD and Deep CORAL: values worked by hand, and loops in NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_cases import assert_finite, numerical_gradient

from molrel.losses import moments


@pytest.fixture(autouse=True)
def strict_float64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def two_domains(seed: int = 0, n: int = 9, width: int = 3) -> dict[str, Any]:
    """Features with n rows, some in both domains, the last in neither."""
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, 4, (2, n)).astype(float)
    source[:3], target[1:4] = 1.0, 2.0
    source[-1] = target[-1] = 0.0
    features = rng.normal(size=(n, width)) * [1.0, 3.0, 0.5]
    return {"features": features, "source_weight": source, "target_weight": target}


def as_jax(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: jnp.asarray(array) for name, array in arrays.items()}


# --- MK-MMD ------------------------------------------------------------------------------


def mean_squared_distance(features, source_weight, target_weight):
    chance = 0.5 * (source_weight / source_weight.sum() + target_weight / target_weight.sum())
    return sum(
        chance[i] * chance[j] * np.sum((x - y) ** 2)
        for i, x in enumerate(features)
        for j, y in enumerate(features)
    )


def mmd_by_loop(features, source_weight, target_weight, bandwidth):
    """Mean kernel of two rows of the source, of the target, less twice that between them."""
    a, b = source_weight / source_weight.sum(), target_weight / target_weight.sum()
    total = 0.0
    for i, x in enumerate(features):
        for j, y in enumerate(features):
            squared = np.sum((x - y) ** 2)
            kernel = sum(np.exp(-squared / (2 * 2.0**k * bandwidth)) for k in range(-3, 2))
            total -= 2 * a[i] * b[j] * kernel
            if i != j:
                total += a[i] * a[j] * kernel / (1 - np.sum(a**2))
                total += b[i] * b[j] * kernel / (1 - np.sum(b**2))
    return total


def test_mmd_by_hand():
    # Rows 0 and 2: within a domain the kernel is 1, across it is exp(-4 / (2 s bandwidth)). The
    # mean squared distance is 4 / 2, since half of the pairs are of one domain.
    source = jnp.array([1.0, 1.0, 0.0, 0.0])
    arrays: dict[str, Any] = {
        "features": jnp.array([[0.0], [0.0], [2.0], [2.0]]),
        "source_weight": source,
        "target_weight": 1 - source,
    }
    value = moments.mk_mmd(**arrays)
    assert value == pytest.approx(sum(2 - 2 * np.exp(-1 / 2.0**k) for k in range(-3, 2)))
    value = moments.mk_mmd(**arrays, bandwidth=1.0, scales=(1.0,))
    assert value == pytest.approx(2 - 2 * np.exp(-2))


@pytest.mark.parametrize("seed", range(2))
def test_mmd_and_its_gradient_against_a_loop(seed):
    arrays = two_domains(seed)
    features = arrays.pop("features")
    bandwidth = mean_squared_distance(features, **arrays)

    def loss(x):
        return moments.mk_mmd(features=x, **as_jax(arrays))

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(features))
    assert value == pytest.approx(mmd_by_loop(features, **arrays, bandwidth=bandwidth), rel=1e-12)
    # The bandwidth is a constant.
    expected = numerical_gradient(lambda x: mmd_by_loop(x, **arrays, bandwidth=bandwidth), features)
    np.testing.assert_allclose(gradient, expected, atol=1e-8)


def test_mmd_of_equal_domains_is_nought_on_average():
    # Over all ways to part six rows, every pair of rows is as often within as across.
    features = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))
    values = []
    for chosen in itertools.combinations(range(6), 3):
        source = jnp.zeros(6).at[jnp.array(chosen)].set(1.0)
        values.append(
            moments.mk_mmd(
                features=features, source_weight=source, target_weight=1 - source, bandwidth=2.0
            )
        )
    assert np.mean(values) == pytest.approx(0, abs=1e-12)
    assert np.min(values) < 0 < np.max(values)


def test_mmd_does_not_depend_on_scale_or_origin():
    arrays = two_domains()
    value = moments.mk_mmd(**as_jax(arrays))
    moved = arrays | {"features": 30 * arrays["features"] + 1000}
    assert moments.mk_mmd(**as_jax(moved)) == pytest.approx(float(value), rel=1e-9)


def test_mmd_of_collapsed_features_is_finite_in_single_precision():
    rng = np.random.default_rng(0)
    arrays = as_jax(two_domains())
    noise = 3.0 + 1e-6 * rng.normal(size=(9, 3))
    arrays = {k: v.astype(jnp.float32) for k, v in arrays.items()}
    gradient = jax.grad(lambda x: moments.mk_mmd(**{**arrays, "features": x}))(
        jnp.asarray(noise, jnp.float32)
    )
    assert np.abs(gradient).max() < 10


# --- Deep CORAL --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_coral_against_numpy(seed):
    arrays = two_domains(seed)
    covariances = [
        np.cov(arrays["features"].T, aweights=arrays[name])
        for name in ("source_weight", "target_weight")
    ]
    expected = np.sum((covariances[0] - covariances[1]) ** 2) / (4 * 3**2)
    assert moments.deep_coral(**as_jax(arrays)) == pytest.approx(expected, rel=1e-12)


def test_coral_sees_spread_and_not_means():
    x = jnp.array([[0.0, 0.0], [2.0, 0.0], [10.0, 7.0], [10.0, 9.0]])
    source = jnp.array([1.0, 1.0, 0.0, 0.0])
    # Covariances diag(2, 0) and diag(0, 2): 8 / (4 * 4).
    value = moments.deep_coral(features=x, source_weight=source, target_weight=1 - source)
    assert value == pytest.approx(0.5)
    moved = jnp.array([[0.0, 0.0], [2.0, 0.0], [10.0, 7.0], [12.0, 7.0]])
    value = moments.deep_coral(features=moved, source_weight=source, target_weight=1 - source)
    assert value == pytest.approx(0, abs=1e-12)


def test_coral_is_zero_where_the_domains_are_the_same():
    loss, arrays = moments.deep_coral, two_domains()
    arrays["target_weight"] = 3 * arrays["source_weight"]
    found = jax.value_and_grad(lambda x: loss(**{**as_jax(arrays), "features": x}))(
        jnp.asarray(arrays["features"])
    )
    assert all(np.abs(x).max() < 1e-12 for x in jax.tree.leaves(found))
    # Two copies of the same rows, each in one domain.
    features = np.concatenate([arrays["features"]] * 2)
    first = np.repeat([1.0, 0.0], len(features) // 2)
    value = loss(
        **as_jax({"features": features, "source_weight": first, "target_weight": 1 - first})
    )
    assert value == pytest.approx(0, abs=1e-12)


# --- both --------------------------------------------------------------------------------

both = pytest.mark.parametrize("loss", [moments.mk_mmd, moments.deep_coral])


@both
def test_the_domains_may_change_places(loss):
    arrays = as_jax(two_domains())
    swapped = dict(arrays, source_weight=arrays["target_weight"])
    swapped["target_weight"] = arrays["source_weight"]
    assert loss(**swapped) == pytest.approx(float(loss(**arrays)), rel=1e-12)
    assert abs(loss(**arrays)) > 1e-3


@both
@pytest.mark.parametrize("name", ["source_weight", "target_weight"])
@pytest.mark.parametrize("rows", [0, 1])
def test_finite_with_an_empty_domain_or_a_single_row(loss, name, rows):
    arrays = two_domains()
    arrays[name] = np.zeros(9)
    arrays[name][:rows] = 1.0
    value, gradient = jax.value_and_grad(lambda x: loss(**{**as_jax(arrays), "features": x}))(
        jnp.asarray(arrays["features"])
    )
    assert_finite(gradient)
    assert value == 0 and not gradient.any()


def test_a_bandwidth_must_be_positive():
    with pytest.raises(ValueError, match="bandwidth must be positive"):
        moments.mk_mmd(**as_jax(two_domains()), bandwidth=0.0)
