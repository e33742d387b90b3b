"""Domain losses: values worked by hand, loops in NumPy, the schedule."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molrel.losses.adversarial import (
    domain_accuracy,
    domain_cross_entropy,
    mean_one,
    reversal_progress,
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_domain_cross_entropy_by_hand():
    # s(log 3) = 3/4. Source: logits log 3 (weight 1) and 0 (weight 1); target: 0 (weight 2),
    # log 3 (weight 1). The second fragment occurs in both domains.
    value = domain_cross_entropy(
        logits=jnp.array([np.log(3), 0.0, np.log(3)]),
        source_weight=jnp.array([1.0, 1.0, 0.0]),
        target_weight=jnp.array([0.0, 2.0, 1.0]),
    )
    source = (np.log(4 / 3) + np.log(2)) / 2
    target = (2 * np.log(2) + np.log(4)) / 3
    assert value == pytest.approx((source + target) / 2, abs=1e-14)


@pytest.mark.parametrize("shape", [(7,), (5, 4)])
def test_against_a_loop(shape):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=shape)
    weights = rng.integers(0, 3, (2, *shape)).astype(float)
    expected, right = [], []
    for sign, weight in zip((1, -1), weights, strict=True):
        entries = list(zip(logits.ravel(), weight.ravel(), strict=True))
        total = sum(w for _, w in entries)
        expected.append(sum(w * np.log(1 + np.exp(-sign * x)) for x, w in entries) / total)
        right.append(sum(w for x, w in entries if sign * x > 0) / total)
    arrays: dict[str, Any] = {
        "logits": jnp.asarray(logits),
        "source_weight": jnp.asarray(weights[0]),
        "target_weight": jnp.asarray(weights[1]),
    }
    assert domain_cross_entropy(**arrays) == pytest.approx(np.mean(expected), rel=1e-12)
    assert domain_accuracy(**arrays) == pytest.approx(np.mean(right), rel=1e-12)


def test_an_empty_domain_adds_nothing_to_the_loss():
    arrays: dict[str, Any] = {"logits": jnp.array([0.0, 5.0]), "source_weight": jnp.ones(2)}
    value = domain_cross_entropy(**arrays, target_weight=jnp.zeros(2))
    assert value == pytest.approx((np.log(2) + np.log1p(np.exp(-5))) / 4, rel=1e-12)
    # the accuracy is then that of the other domain: a tie counts one half
    assert domain_accuracy(**arrays, target_weight=jnp.zeros(2)) == pytest.approx(0.75)


def test_each_domain_counts_for_one_half_whatever_its_size():
    logits = jnp.array([3.0, -1.0, -1.0, -1.0])
    source = jnp.array([1.0, 0.0, 0.0, 0.0])
    once = domain_cross_entropy(
        logits=logits[:2], source_weight=source[:2], target_weight=1 - source[:2]
    )
    assert once == domain_cross_entropy(
        logits=logits, source_weight=source, target_weight=1 - source
    )


def test_exchanging_the_domains_exchanges_the_sign():
    rng = np.random.default_rng(3)
    logits, source, target = (jnp.asarray(x) for x in rng.uniform(0, 2, (3, 6)))
    one = domain_cross_entropy(logits=logits, source_weight=source, target_weight=target)
    other = domain_cross_entropy(logits=-logits, source_weight=target, target_weight=source)
    assert one == pytest.approx(float(other), rel=1e-14)


def test_accuracy_is_not_differentiated_and_finite_without_weight():
    logits = jnp.array([1.0, -2.0])
    ones, zeros = jnp.ones(2), jnp.zeros(2)
    assert domain_accuracy(logits=logits, source_weight=ones, target_weight=ones) == 0.5
    assert domain_accuracy(logits=logits, source_weight=zeros, target_weight=zeros) == 0.0
    gradient = jax.grad(
        lambda x: domain_accuracy(logits=x, source_weight=ones, target_weight=ones)
    )(logits)
    np.testing.assert_array_equal(gradient, 0.0)


def test_schedule_follows_its_formula():
    progress = np.linspace(0, 1, 21)
    p = np.clip((progress - 0.1) / 0.9, 0, 1)
    expected = 2 / (1 + np.exp(-10 * p)) - 1
    np.testing.assert_allclose(reversal_progress(jnp.asarray(progress), 0.1), expected, atol=1e-15)
    assert not np.asarray(reversal_progress(jnp.array([0.0, 0.05, 0.1]), 0.1)).any()
    assert float(reversal_progress(1.0)) == pytest.approx(np.tanh(5), abs=1e-12)


def test_schedule_does_not_compile_anew_as_progress_moves():
    traces = []

    @jax.jit
    def schedule(progress):
        traces.append(None)
        return reversal_progress(progress, 0.1)

    values = [float(schedule(p)) for p in (0.0, 0.2, 0.5, 1.0)]
    assert values == sorted(values) and len(traces) == 1


@pytest.mark.parametrize("warmup", [-0.1, 1.0, float("nan")])
def test_warmup_out_of_range(warmup):
    with pytest.raises(ValueError, match=r"warmup must be in \[0, 1\)"):
        reversal_progress(0.5, warmup)


@pytest.mark.parametrize("seed", range(3))
def test_coefficients_of_mean_size_one_in_proportion(seed):
    rng = np.random.default_rng(seed)
    coefficient = rng.normal(size=(5, 3)) + 1
    weights = [rng.integers(0, 3, (5, 3)).astype(np.float32) for _ in range(2)]
    found = np.asarray(mean_one(jnp.asarray(coefficient), **domains(*weights)))
    means = [np.average(np.abs(found), weights=w) for w in weights]
    np.testing.assert_allclose(np.mean(means), 1, rtol=1e-6)
    ratio = found / coefficient
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)
    assert ratio[0, 0] > 0


def test_coefficients_of_one_domain_and_of_none():
    some, none = np.array([2.0, 2.0, 0.0]), np.zeros(3)
    found = mean_one(jnp.array([1.0, 3.0, 9.0]), **domains(some, none))
    np.testing.assert_allclose(found, [0.5, 1.5, 4.5])
    np.testing.assert_array_equal(mean_one(jnp.zeros(3), **domains(some, some)), 0)
    np.testing.assert_array_equal(mean_one(jnp.ones(3), **domains(none, none)), 0)


def domains(source, target):
    return {"source_weight": jnp.asarray(source), "target_weight": jnp.asarray(target)}
