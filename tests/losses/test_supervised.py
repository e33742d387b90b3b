"""Losses against labels: values worked by hand, and loops in NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molrel.losses.supervised import (
    binary_cross_entropy,
    masked_mean,
    softmax_cross_entropy,
    squared_error,
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def problem(seed: int, n: int = 9, tasks: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, tasks)).astype(float)
    labels[rng.random((n, tasks)) < 0.4] = np.nan
    return {
        "outputs": rng.normal(size=(n, tasks)) * 3,
        "labels": labels,
        "mask": rng.random(n) < 0.7,
        "weight": rng.integers(0, 4, n).astype(float),
    }


def loop(arrays: dict[str, np.ndarray], formula) -> float:
    """Weighted mean of formula(output, label) over the known entries, one at a time."""
    total, count = 0.0, 0.0
    for n in range(len(arrays["mask"])):
        for t in range(arrays["labels"].shape[1]):
            if arrays["mask"][n] and not np.isnan(arrays["labels"][n, t]):
                value = formula(arrays["outputs"][n, t], arrays["labels"][n, t])
                total += arrays["weight"][n] * value
                count += arrays["weight"][n]
    return total / count


def test_masked_mean_by_hand():
    # (1 * 2 + 3 * 6) / 4; the infinite value has no weight
    value = masked_mean(jnp.array([2.0, 6.0, jnp.inf]), jnp.array([1.0, 3.0, 0.0]))
    assert value == 5.0


def test_weights_are_constants_for_differentiation():
    gradient = jax.grad(lambda w: masked_mean(jnp.array([2.0, 6.0]), w))(jnp.array([1.0, 3.0]))
    np.testing.assert_array_equal(gradient, 0.0)


def test_binary_cross_entropy_by_hand():
    # s(log 3) = 3/4: -log 3/4 for label 1 (weight 1), -log 1/4 for label 0 (weight 3);
    # the missing label, and the masked example, do not count.
    value = binary_cross_entropy(
        logits=jnp.log(3.0) * jnp.ones((3, 2)),
        labels=jnp.array([[1.0, jnp.nan], [0.0, jnp.nan], [1.0, 1.0]]),
        mask=jnp.array([True, True, False]),
        weight=jnp.array([1.0, 3.0, 5.0]),
    )
    assert value == pytest.approx((np.log(4 / 3) + 3 * np.log(4)) / 4, abs=1e-14)


def test_squared_error_by_hand():
    value = squared_error(
        predictions=jnp.array([[1.0], [5.0]]),
        labels=jnp.array([[3.0], [4.0]]),
        mask=jnp.array([True, True]),
        weight=jnp.array([1.0, 2.0]),
    )
    assert value == pytest.approx((4 + 2 * 1) / 3, abs=1e-14)


def test_missing_labels_get_no_gradient_where_labels_come_from_a_teacher():
    def loss(labels):
        return squared_error(
            predictions=jnp.array([[1.0, 1.0]]),
            labels=labels,
            mask=jnp.array([True]),
            weight=jnp.ones(1),
        )

    np.testing.assert_array_equal(jax.grad(loss)(jnp.array([[3.0, jnp.nan]])), [[4.0, 0.0]])


@pytest.mark.parametrize("seed", range(3))
def test_against_a_loop(seed):
    arrays = problem(seed)
    rest: dict[str, Any] = {
        name: jnp.asarray(arrays[name]) for name in ("labels", "mask", "weight")
    }
    outputs = jnp.asarray(arrays["outputs"])

    def bernoulli(logit, label):
        probability = 1 / (1 + np.exp(-logit))
        return -(label * np.log(probability) + (1 - label) * np.log(1 - probability))

    expected = loop(arrays, bernoulli)
    assert binary_cross_entropy(logits=outputs, **rest) == pytest.approx(expected, rel=1e-12)
    expected = loop(arrays, lambda p, y: (p - y) ** 2)
    assert squared_error(predictions=outputs, **rest) == pytest.approx(expected, rel=1e-12)


def test_large_logits_stay_exact_in_float32():
    arguments: dict[str, Any] = {"mask": jnp.array([True]), "weight": jnp.ones(1, jnp.float32)}
    logits = jnp.array([[90.0]], jnp.float32)
    wrong = binary_cross_entropy(logits=logits, labels=jnp.zeros((1, 1), jnp.float32), **arguments)
    assert wrong == 90.0


def test_weights_may_be_integers_or_booleans():
    values = jnp.array([1.0, 2.0, 4.0])
    assert masked_mean(values, jnp.array([0, 1, 3])) == 3.5
    assert masked_mean(values, jnp.array([False, True, True])) == 3.0


def test_softmax_cross_entropy_by_hand_and_with_two_classes_as_binary():
    # Class probabilities 1/2, 1/4, 1/4: -log 1/4 (weight 3) and -log 1/2 (weight 1).
    logits = jnp.log(jnp.array([[2.0, 1.0, 1.0]] * 3))
    value = softmax_cross_entropy(
        logits=logits,
        labels=jnp.array([[1.0], [0.0], [jnp.nan]]),
        mask=jnp.array([True, True, True]),
        weight=jnp.array([3.0, 1.0, 5.0]),
    )
    np.testing.assert_allclose(value, (3 * np.log(4) + np.log(2)) / 4)
    arrays = problem(3, tasks=1)
    arrays = {name: jnp.asarray(array) for name, array in arrays.items()}
    known = {k: arrays[k] for k in ("labels", "mask", "weight")}
    two = jnp.concatenate([jnp.zeros_like(arrays["outputs"]), arrays["outputs"]], axis=1)
    np.testing.assert_allclose(
        softmax_cross_entropy(logits=two, **known),
        binary_cross_entropy(logits=arrays["outputs"], **known),
    )
