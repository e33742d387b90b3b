"""What every loss must satisfy: jit, vmap, gradients, padding, order, zeros, masks, dtypes."""

from __future__ import annotations

import doctest
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from loss_cases import Case, all_cases

from molrel.losses import (
    _checks,
    adversarial,
    alignment,
    confidence,
    moments,
    separation,
    supervised,
)

CASES = all_cases()
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def strict_float64():
    """Double precision, no implicit promotion of dtypes or ranks."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield


def split(case: Case, rows: dict | None = None) -> tuple[dict, dict]:
    """Differentiable and other arguments of the loss."""
    arrays = {k: jnp.asarray(v) for k, v in {**case.rows, **case.fixed, **(rows or {})}.items()}
    moving = {name: arrays.pop(name) for name in case.differentiable}
    return moving, arrays


def value_and_grad(case: Case):
    """The function (moving, constant) -> value, gradients with respect to moving."""
    return jax.value_and_grad(lambda moving, constant: case.loss(**moving, **constant))


@cache
def compiled(name: str):
    """The same, compiled once for all tests."""
    return jax.jit(value_and_grad(next(case for case in CASES if case.name == name)))


def evaluate(case: Case, rows: dict | None = None):
    """Value, and gradient with respect to each differentiable array."""
    return compiled(case.name)(*split(case, rows))


def assert_same(one, other, tolerance: float = 1e-12):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), one, other)


@every_case
def test_jit_gives_the_same(case):
    assert_same(evaluate(case), value_and_grad(case)(*split(case)))


@every_case
def test_vmap_is_a_loop(case):
    moving, constant = split(case)
    stacked = jax.tree.map(lambda x: jnp.stack([x, 0.5 * x, -x]), moving)
    together = jax.jit(jax.vmap(value_and_grad(case), in_axes=(0, None)))(stacked, constant)
    for i in range(3):
        one = jax.tree.map(lambda x, i=i: x[i], stacked)
        assert_same(jax.tree.map(lambda x, i=i: x[i], together), evaluate(case, one))


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.constants], ids=lambda case: case.name
)
def test_gradient_is_that_of_finite_differences(case):
    moving, constant = split(case)
    value, gradient = evaluate(case)
    assert np.isfinite(value)
    assert all(np.abs(g).max() > 1e-3 for g in gradient.values()), "the check would be empty"
    loss = jax.jit(lambda m: case.loss(**m, **constant))
    check_grads(loss, (moving,), order=1, modes=["rev"], atol=1e-7, rtol=1e-7, eps=1e-6)


@every_case
def test_padding_changes_neither_value_nor_gradient(case):
    n, extra = len(next(iter(case.rows.values()))), 5
    place = np.sort(np.random.default_rng(1).permutation(n + extra)[:n])
    padded = {}
    for name, array in case.rows.items():
        padded[name] = np.full((n + extra, *array.shape[1:]), case.padding[name], array.dtype)
        padded[name][place] = array
    value, gradient = evaluate(case)
    padded_value, padded_gradient = evaluate(case, padded)
    assert_same(padded_value, value)
    for name, g in padded_gradient.items():
        assert_same(g[place], gradient[name])
        assert not np.delete(g, place, axis=0).any()


@every_case
def test_order_of_rows_does_not_matter(case):
    order = np.random.default_rng(2).permutation(len(next(iter(case.rows.values()))))
    value, gradient = evaluate(case)
    permuted = evaluate(case, {name: array[order] for name, array in case.rows.items()})
    assert_same(permuted, (value, {name: g[order] for name, g in gradient.items()}))


@every_case
def test_finite_where_everything_is_zero(case):
    zeros = {name: np.zeros_like(case.rows[name]) for name in case.differentiable}
    value, gradient = evaluate(case, zeros)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in gradient.values())
    if case.at_zero is not None:
        assert value == pytest.approx(case.at_zero, abs=1e-12)


@every_case
def test_zero_where_everything_is_masked(case):
    nothing = {name: np.full_like(case.rows[name], hidden) for name, hidden in case.absent.items()}
    value, gradient = evaluate(case, nothing)
    assert value == 0.0
    assert all(not np.asarray(g).any() for g in gradient.values())


@every_case
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_narrow_inputs_keep_their_gradient_dtype(case, dtype):
    narrow = {name: jnp.asarray(case.rows[name], dtype) for name in case.differentiable}
    value, gradient = evaluate(case, narrow)
    assert value.dtype == jnp.float32
    assert all(g.dtype == dtype for g in gradient.values())
    rounded = {name: np.asarray(x, np.float64) for name, x in narrow.items()}
    np.testing.assert_allclose(value, evaluate(case, rounded)[0], rtol=2e-5)


@every_case
def test_scaling_all_weights_changes_nothing(case):
    names = [name for name in case.rows if "weight" in name]
    scaled = {name: 7.0 * case.rows[name] for name in names}
    if names:
        assert_same(evaluate(case, scaled), evaluate(case))


@pytest.mark.parametrize(
    "module",
    [supervised, adversarial, alignment, confidence, moments, separation],
    ids=lambda m: m.__name__,
)
def test_examples_of_the_docstrings(module):
    with jax.enable_x64(False):
        result = doctest.testmod(module)
    assert result.attempted and not result.failed


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": np.zeros((4, 2))}, ValueError, r"labels.*\(4, 2\).*N must be 3 as in logits"),
        ({"mask": np.ones((3, 1), bool)}, ValueError, r"mask.*\(3, 1\), expected axes \(N\)"),
        ({"mask": np.ones(3)}, TypeError, "mask must have a bool dtype, got float64"),
        ({"logits": np.zeros((3, 2), int)}, TypeError, "logits must have a float dtype"),
        ({"weight": 1.0}, TypeError, "weight must be an array, got float"),
    ],
)
def test_wrong_arguments_are_named(unchecked, change, error, message):
    arrays = {
        "logits": np.zeros((3, 2)),
        "labels": np.zeros((3, 2)),
        "mask": np.ones(3, bool),
        "weight": np.ones(3),
    }
    supervised.binary_cross_entropy(**arrays)
    with pytest.raises(error, match=message):
        supervised.binary_cross_entropy(**{**arrays, **change})


def test_whole_shapes_must_agree(unchecked):
    with pytest.raises(ValueError, match=r"weight has shape \(3,\), but its shape must be \(2,\)"):
        supervised.masked_mean(jnp.ones(2), jnp.ones(3))


def test_a_temperature_must_be_positive():
    _checks.check_positive("temperature", jnp.array(-1.0))
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        _checks.check_positive("temperature", 0)
