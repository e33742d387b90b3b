"""Losses of domain separation networks: values worked by hand, and NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_cases import unit

from molrel.losses import separation


@pytest.fixture(autouse=True)
def strict_float64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def as_jax(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: jnp.asarray(array) for name, array in arrays.items()}


def test_orthogonality_against_numpy():
    rng = np.random.default_rng(0)
    shared, private = rng.normal(size=(8, 3)), rng.normal(size=(8, 4)) + 2
    weight = np.array([1.0, 2.0, 1.0, 0.0, 1.0, 3.0, 1.0, 0.0])
    chance = weight / weight.sum()
    s, p = (unit(x - np.average(x, axis=0, weights=weight)) for x in (shared, private))
    expected = np.sum((s.T @ np.diag(chance) @ p) ** 2)
    value = separation.orthogonality(
        shared=jnp.asarray(shared), private=jnp.asarray(private), weight=jnp.asarray(weight)
    )
    assert value == pytest.approx(expected, rel=1e-12)


def test_orthogonality_is_zero_for_independent_features():
    x = jnp.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    y = jnp.array([[5.0], [5.0], [3.0], [3.0]])
    assert separation.orthogonality(shared=x, private=y, weight=jnp.ones(4)) == 0
    same = separation.orthogonality(shared=x, private=x, weight=jnp.ones(4))
    assert same == pytest.approx(1.0)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_orthogonality_is_finite_where_rows_have_no_direction(rows):
    weight = jnp.asarray((np.arange(4) < rows).astype(float))
    x = jnp.full((4, 3), 0.3)  # with two rows, equal ones
    value, gradient = jax.value_and_grad(
        lambda x: separation.orthogonality(shared=x, private=x, weight=weight)
    )(x)
    assert value == 0 and not gradient.any()


def test_scale_invariant_error_against_the_formula():
    rng = np.random.default_rng(0)
    predictions, targets = rng.normal(size=(2, 5, 4))
    weight = np.array([1.0, 0.0, 2.0, 1.0, 1.0])
    e = predictions - targets
    each = (e**2).sum(1) / 4 - e.sum(1) ** 2 / 16
    arrays = as_jax({"predictions": predictions, "targets": targets, "weight": weight})
    value = separation.scale_invariant_error(**arrays)
    assert value == pytest.approx(np.average(each, weights=weight), rel=1e-12)
    moved = dict(arrays, predictions=arrays["predictions"] + 7.0)
    assert separation.scale_invariant_error(**moved) == pytest.approx(float(value), rel=1e-10)
