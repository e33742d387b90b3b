"""Losses of a classifier's confidence: values worked by hand, and NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_cases import assert_finite, numerical_gradient

from molrel.losses import confidence

KINDS = ("binary", "multilabel", "multiclass")


@pytest.fixture(autouse=True)
def strict_float64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def probabilities(kind: str, logits: np.ndarray) -> np.ndarray:
    """[N, S, C]."""
    if kind == "multiclass":
        e = np.exp(logits)
        return (e / e.sum(1, keepdims=True))[:, None]
    s = 1 / (1 + np.exp(-logits))
    return np.stack([1 - s, s], axis=-1)


def entropies(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(p)).sum(-1)


def confusion_by_matrix(kind, logits, weight, certainty=None):
    """With the matrix of the paper; certainty [N, S] is 1 + exp(-H) if it is not given."""
    p = probabilities(kind, logits / 2.5)
    certainty = 1 + np.exp(-entropies(p)) if certainty is None else certainty
    found = []
    for task in range(p.shape[1]):
        w = weight * certainty[:, task]
        w = weight.sum() * w / w.sum()
        confusion = p[:, task].T @ np.diag(w) @ p[:, task]
        confusion /= confusion.sum(1, keepdims=True)
        found.append((confusion.sum() - np.trace(confusion)) / len(confusion))
    return np.mean(found)


def predictions(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    width = 1 if kind == "binary" else 3
    return 4 * rng.normal(size=(7, width)), np.array([1.0, 2.0, 0.0, 1.0, 3.0, 1.0, 0.0])


@pytest.mark.parametrize("kind", KINDS)
def test_confusion_and_its_gradient_against_the_matrix(kind):
    logits, weight = predictions(kind)

    def loss(x):
        return confidence.minimum_class_confusion(kind=kind, logits=x, weight=jnp.asarray(weight))

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(logits))
    assert value == pytest.approx(confusion_by_matrix(kind, logits, weight), rel=1e-12)
    certainty = 1 + np.exp(-entropies(probabilities(kind, logits / 2.5)))
    expected = numerical_gradient(lambda x: confusion_by_matrix(kind, x, weight, certainty), logits)
    np.testing.assert_allclose(gradient, expected, atol=1e-9)


def test_confusion_by_hand():
    # One example with s = 1/3 at temperature 1 confuses class 1 with 0 by 2/3, 0 with 1 by 1/3.
    value = confidence.minimum_class_confusion(
        kind="binary", logits=-jnp.log(jnp.array([[2.0]])), weight=jnp.ones(1), temperature=1.0
    )
    assert value == pytest.approx(0.5)
    # Two sure examples of different classes confuse nothing.
    value = confidence.minimum_class_confusion(
        kind="binary", logits=jnp.array([[-50.0], [50.0]]), weight=jnp.ones(2), temperature=1.0
    )
    assert value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_confusion_is_finite_where_a_class_is_never_predicted(kind):
    logits, weight = (jnp.asarray(x, jnp.float32) for x in predictions(kind))
    logits = logits.at[:, 0].add(-2000.0)
    found = jax.value_and_grad(
        lambda x: confidence.minimum_class_confusion(kind=kind, logits=x, weight=weight)
    )(logits)
    assert_finite(found)
    # The class is confused with the others as much as can be, whatever its own mass.
    assert found[0] > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_entropy_against_numpy(kind):
    logits, weight = predictions(kind)
    expected = np.average(entropies(probabilities(kind, logits)).mean(1), weights=weight)
    value = confidence.prediction_entropy(
        kind=kind, logits=jnp.asarray(logits), weight=jnp.asarray(weight)
    )
    assert value == pytest.approx(expected, rel=1e-12)


def test_entropy_by_hand():
    # A fair coin, and one of probability 3/4; the third example does not count.
    value = confidence.prediction_entropy(
        kind="binary",
        logits=jnp.array([[0.0], [jnp.log(3.0)], [9.0]]),
        weight=jnp.array([1.0, 1.0, 0.0]),
    )
    quarter = 0.75 * np.log(4 / 3) + 0.25 * np.log(4)
    assert value == pytest.approx((np.log(2) + quarter) / 2, abs=1e-14)


def test_entropy_of_confident_predictions_is_exact_in_float32():
    found = confidence.prediction_entropy(
        kind="binary", logits=jnp.array([[20.0]], jnp.float32), weight=jnp.ones(1, jnp.float32)
    )
    # (20 + 1) e^-20 to first order; softplus(l) - l s(l) would give 0 in float32
    assert found == pytest.approx(21 * np.exp(-20), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_entropy_weights_against_numpy(kind):
    logits, weight = predictions(kind)
    raw = weight * (1 + np.exp(-entropies(probabilities(kind, logits)).mean(1)))
    found = confidence.entropy_weights(
        kind=kind, logits=jnp.asarray(logits), weight=jnp.asarray(weight)
    )
    np.testing.assert_allclose(found, raw * weight.sum() / raw.sum(), rtol=1e-12)
    assert found.sum() == pytest.approx(weight.sum())
    nothing = confidence.entropy_weights(
        kind=kind, logits=jnp.asarray(logits), weight=jnp.zeros(len(weight))
    )
    assert not nothing.any()


@pytest.mark.parametrize("kind", [*KINDS, "regression"])
def test_conditional_features_are_outer_products(kind):
    logits, weight = predictions(kind)
    features = np.random.default_rng(0).normal(size=(7, 4))
    if kind == "regression":
        prediction = np.concatenate([np.ones((7, 1)), logits], axis=1)
    else:
        prediction = probabilities(kind, logits).reshape(7, -1)
    mask = weight > 0
    expected = [np.outer(g, f).ravel() * m for g, f, m in zip(prediction, features, mask)]

    def joint(logits, features):
        return confidence.conditional_features(
            kind=kind, logits=logits, features=features, mask=jnp.asarray(mask)
        )

    arrays = jnp.asarray(logits), jnp.asarray(features)
    np.testing.assert_allclose(joint(*arrays), expected, rtol=1e-12, atol=1e-15)
    of_logits, of_features = jax.grad(lambda *x: joint(*x).sum(), (0, 1))(*arrays)
    assert not of_logits.any()
    total = prediction.sum(1) * mask
    np.testing.assert_allclose(of_features, np.repeat(total[:, None], 4, 1), rtol=1e-12)


def test_a_regression_has_no_classes():
    arrays: dict[str, Any] = {"logits": jnp.zeros((2, 1)), "weight": jnp.ones(2)}
    for loss in (
        confidence.minimum_class_confusion,
        confidence.prediction_entropy,
        confidence.entropy_weights,
    ):
        with pytest.raises(ValueError, match="no class probabilities"):
            loss(kind="regression", **arrays)
