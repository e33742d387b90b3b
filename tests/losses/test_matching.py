"""Losses between domains: values worked by hand, and loops in NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_cases import unit

from molrel.losses import matching

KINDS = ("binary", "multilabel", "multiclass")


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


def numerical_gradient(function, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences."""
    out = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][index] += step
        moved[1][index] -= step
        out[index] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return out


def assert_finite(tree):
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(tree))


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
    value = matching.mk_mmd(**arrays)
    assert value == pytest.approx(sum(2 - 2 * np.exp(-1 / 2.0**k) for k in range(-3, 2)))
    value = matching.mk_mmd(**arrays, bandwidth=1.0, scales=(1.0,))
    assert value == pytest.approx(2 - 2 * np.exp(-2))


@pytest.mark.parametrize("seed", range(2))
def test_mmd_and_its_gradient_against_a_loop(seed):
    arrays = two_domains(seed)
    features = arrays.pop("features")
    bandwidth = mean_squared_distance(features, **arrays)

    def loss(x):
        return matching.mk_mmd(features=x, **as_jax(arrays))

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
            matching.mk_mmd(
                features=features, source_weight=source, target_weight=1 - source, bandwidth=2.0
            )
        )
    assert np.mean(values) == pytest.approx(0, abs=1e-12)
    assert np.min(values) < 0 < np.max(values)


def test_mmd_does_not_depend_on_scale_or_origin():
    arrays = two_domains()
    value = matching.mk_mmd(**as_jax(arrays))
    moved = arrays | {"features": 30 * arrays["features"] + 1000}
    assert matching.mk_mmd(**as_jax(moved)) == pytest.approx(float(value), rel=1e-9)


def test_mmd_of_collapsed_features_is_finite_in_single_precision():
    rng = np.random.default_rng(0)
    arrays = as_jax(two_domains())
    noise = 3.0 + 1e-6 * rng.normal(size=(9, 3))
    arrays = {k: v.astype(jnp.float32) for k, v in arrays.items()}
    gradient = jax.grad(lambda x: matching.mk_mmd(**{**arrays, "features": x}))(
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
    assert matching.deep_coral(**as_jax(arrays)) == pytest.approx(expected, rel=1e-12)


def test_coral_sees_spread_and_not_means():
    x = jnp.array([[0.0, 0.0], [2.0, 0.0], [10.0, 7.0], [10.0, 9.0]])
    source = jnp.array([1.0, 1.0, 0.0, 0.0])
    # Covariances diag(2, 0) and diag(0, 2): 8 / (4 * 4).
    value = matching.deep_coral(features=x, source_weight=source, target_weight=1 - source)
    assert value == pytest.approx(0.5)
    moved = jnp.array([[0.0, 0.0], [2.0, 0.0], [10.0, 7.0], [12.0, 7.0]])
    value = matching.deep_coral(features=moved, source_weight=source, target_weight=1 - source)
    assert value == pytest.approx(0, abs=1e-12)


def test_coral_is_zero_where_the_domains_are_the_same():
    loss, arrays = matching.deep_coral, two_domains()
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

both = pytest.mark.parametrize("loss", [matching.mk_mmd, matching.deep_coral])


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
        matching.mk_mmd(**as_jax(two_domains()), bandwidth=0.0)


# --- predictions -------------------------------------------------------------------------


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
        return matching.minimum_class_confusion(kind=kind, logits=x, weight=jnp.asarray(weight))

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(logits))
    assert value == pytest.approx(confusion_by_matrix(kind, logits, weight), rel=1e-12)
    certainty = 1 + np.exp(-entropies(probabilities(kind, logits / 2.5)))
    expected = numerical_gradient(lambda x: confusion_by_matrix(kind, x, weight, certainty), logits)
    np.testing.assert_allclose(gradient, expected, atol=1e-9)


def test_confusion_by_hand():
    # One example with s = 1/3 at temperature 1 confuses class 1 with 0 by 2/3, 0 with 1 by 1/3.
    value = matching.minimum_class_confusion(
        kind="binary", logits=-jnp.log(jnp.array([[2.0]])), weight=jnp.ones(1), temperature=1.0
    )
    assert value == pytest.approx(0.5)
    # Two sure examples of different classes confuse nothing.
    value = matching.minimum_class_confusion(
        kind="binary", logits=jnp.array([[-50.0], [50.0]]), weight=jnp.ones(2), temperature=1.0
    )
    assert value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_confusion_is_finite_where_a_class_is_never_predicted(kind):
    logits, weight = (jnp.asarray(x, jnp.float32) for x in predictions(kind))
    logits = logits.at[:, 0].add(-2000.0)
    found = jax.value_and_grad(
        lambda x: matching.minimum_class_confusion(kind=kind, logits=x, weight=weight)
    )(logits)
    assert_finite(found)
    # The class is confused with the others as much as can be, whatever its own mass.
    assert found[0] > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_entropy_against_numpy(kind):
    logits, weight = predictions(kind)
    expected = np.average(entropies(probabilities(kind, logits)).mean(1), weights=weight)
    value = matching.prediction_entropy(
        kind=kind, logits=jnp.asarray(logits), weight=jnp.asarray(weight)
    )
    assert value == pytest.approx(expected, rel=1e-12)


def test_entropy_by_hand():
    # A fair coin, and one of probability 3/4; the third example does not count.
    value = matching.prediction_entropy(
        kind="binary",
        logits=jnp.array([[0.0], [jnp.log(3.0)], [9.0]]),
        weight=jnp.array([1.0, 1.0, 0.0]),
    )
    quarter = 0.75 * np.log(4 / 3) + 0.25 * np.log(4)
    assert value == pytest.approx((np.log(2) + quarter) / 2, abs=1e-14)


def test_entropy_of_confident_predictions_is_exact_in_float32():
    found = matching.prediction_entropy(
        kind="binary", logits=jnp.array([[20.0]], jnp.float32), weight=jnp.ones(1, jnp.float32)
    )
    # (20 + 1) e^-20 to first order; softplus(l) - l s(l) would give 0 in float32
    assert found == pytest.approx(21 * np.exp(-20), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_entropy_weights_against_numpy(kind):
    logits, weight = predictions(kind)
    raw = weight * (1 + np.exp(-entropies(probabilities(kind, logits)).mean(1)))
    found = matching.entropy_weights(
        kind=kind, logits=jnp.asarray(logits), weight=jnp.asarray(weight)
    )
    np.testing.assert_allclose(found, raw * weight.sum() / raw.sum(), rtol=1e-12)
    assert found.sum() == pytest.approx(weight.sum())
    nothing = matching.entropy_weights(
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
        return matching.conditional_features(
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
        matching.minimum_class_confusion,
        matching.prediction_entropy,
        matching.entropy_weights,
    ):
        with pytest.raises(ValueError, match="no class probabilities"):
            loss(kind="regression", **arrays)


# --- domain separation -------------------------------------------------------------------


def test_orthogonality_against_numpy():
    rng = np.random.default_rng(0)
    shared, private = rng.normal(size=(8, 3)), rng.normal(size=(8, 4)) + 2
    weight = np.array([1.0, 2.0, 1.0, 0.0, 1.0, 3.0, 1.0, 0.0])
    chance = weight / weight.sum()
    s, p = (unit(x - np.average(x, axis=0, weights=weight)) for x in (shared, private))
    expected = np.sum((s.T @ np.diag(chance) @ p) ** 2)
    value = matching.orthogonality(
        shared=jnp.asarray(shared), private=jnp.asarray(private), weight=jnp.asarray(weight)
    )
    assert value == pytest.approx(expected, rel=1e-12)


def test_orthogonality_is_zero_for_independent_features():
    x = jnp.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    y = jnp.array([[5.0], [5.0], [3.0], [3.0]])
    assert matching.orthogonality(shared=x, private=y, weight=jnp.ones(4)) == 0
    same = matching.orthogonality(shared=x, private=x, weight=jnp.ones(4))
    assert same == pytest.approx(1.0)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_orthogonality_is_finite_where_rows_have_no_direction(rows):
    weight = jnp.asarray((np.arange(4) < rows).astype(float))
    x = jnp.full((4, 3), 0.3)  # with two rows, equal ones
    value, gradient = jax.value_and_grad(
        lambda x: matching.orthogonality(shared=x, private=x, weight=weight)
    )(x)
    assert value == 0 and not gradient.any()


def test_scale_invariant_error_against_the_formula():
    rng = np.random.default_rng(0)
    predictions, targets = rng.normal(size=(2, 5, 4))
    weight = np.array([1.0, 0.0, 2.0, 1.0, 1.0])
    e = predictions - targets
    each = (e**2).sum(1) / 4 - e.sum(1) ** 2 / 16
    arrays = as_jax({"predictions": predictions, "targets": targets, "weight": weight})
    value = matching.scale_invariant_error(**arrays)
    assert value == pytest.approx(np.average(each, weights=weight), rel=1e-12)
    moved = dict(arrays, predictions=arrays["predictions"] + 7.0)
    assert matching.scale_invariant_error(**moved) == pytest.approx(float(value), rel=1e-10)
