"""Contrastive and prototype losses: values worked by hand, and loops in NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import unit

from molrel.losses import alignment

# Compiled, as they are used; test_loss_contract.py holds that this changes nothing.
info_nce = jax.jit(alignment.info_nce)
prototype_loss = jax.jit(alignment.prototype_loss)
guidance_loss = jax.jit(alignment.guidance_loss)
update_prototypes = jax.jit(alignment.update_prototypes, static_argnames="decay")


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def as_jax(arrays: dict) -> dict[str, Any]:
    return {name: jnp.asarray(array) for name, array in arrays.items()}


# --- l2_normalise ------------------------------------------------------------------------


def test_normalise_gives_unit_vectors_and_zero_at_zero():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0], [1e-9, 0.0], [-2e30, 0.0]])
    expected = [[0.6, 0.8], [0.0, 0.0], [0.0, 0.0], [-1.0, 0.0]]
    np.testing.assert_allclose(alignment.l2_normalise(x), expected, atol=1e-15)


def test_normalise_has_a_tangential_gradient_and_none_at_zero():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    gradient = jax.grad(lambda x: alignment.l2_normalise(x)[:, 0].sum())(x)
    # d(x / |x|) / dx = (1 - u u^T) / |x| with u = (0.6, 0.8)
    np.testing.assert_allclose(gradient, [[0.64 / 5, -0.48 / 5], [0.0, 0.0]], atol=1e-15)


# --- info_nce ----------------------------------------------------------------------------


def info_nce_by_loop(z_a, z_b, ids, weight, temperature):
    a, b = unit(z_a), unit(z_b)
    total = 0.0
    for rows, columns in ((a, b), (b, a)):
        for u in range(len(ids)):
            terms = [
                w * np.exp(rows[u] @ c / temperature) for c, w in zip(columns, weight, strict=True)
            ]
            hit = sum(x for x, i in zip(terms, ids, strict=True) if i == ids[u])
            total -= 0.5 * weight[u] * np.log(hit / sum(terms))
    return total / weight.sum()


def test_info_nce_by_hand():
    # Two orthogonal molecules at temperature 1: every row is e / (e + 1).
    z = jnp.array([[2.0, 0.0], [0.0, 3.0]])
    arrays = {"z_a": z, "z_b": z, "ids": jnp.array([7, 4]), "temperature": 1.0}
    value = info_nce(**arrays, weight=jnp.ones(2))
    assert value == pytest.approx(np.log(1 + np.exp(-1)), abs=1e-14)
    # Weights 1 and 3: the rows become e / (e + 3) and 3 e / (3 e + 1).
    value = info_nce(**arrays, weight=jnp.array([1.0, 3.0]))
    e = np.e
    expected = -(np.log(e / (e + 3)) + 3 * np.log(3 * e / (3 * e + 1))) / 4
    assert value == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_info_nce_against_a_loop(seed):
    rng = np.random.default_rng(seed)
    arrays = {
        "z_a": rng.normal(size=(8, 3)),
        "z_b": rng.normal(size=(8, 3)),
        "ids": rng.integers(0, 5, 8).astype(np.int32),
        "weight": rng.uniform(0.5, 3, 8),
    }
    value = info_nce(**as_jax(arrays), temperature=0.3)
    assert value == pytest.approx(info_nce_by_loop(**arrays, temperature=0.3), rel=1e-12)


def test_info_nce_with_distinct_ids_is_the_cross_entropy_of_the_diagonal():
    rng = np.random.default_rng(5)
    z_a, z_b = (jnp.asarray(x) for x in rng.normal(size=(2, 6, 4)))
    value = info_nce(z_a=z_a, z_b=z_b, ids=jnp.arange(6), weight=jnp.ones(6), temperature=0.1)
    logits = unit(np.asarray(z_a)) @ unit(np.asarray(z_b)).T / 0.1
    diagonal = [np.diag(jax.nn.log_softmax(logits, axis=axis)) for axis in (0, 1)]
    assert value == pytest.approx(-np.mean(diagonal), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=3, max_size=12), st.integers(0, 10_000))
def test_copies_of_a_molecule_are_one_molecule_with_the_summed_weight(copies, seed):
    rng = np.random.default_rng(seed)
    z_a, z_b = rng.normal(size=(2, 5, 3))
    # padded to one size, so that the loss compiles once
    which = np.array(copies + [0] * (12 - len(copies)))
    weight = np.where(np.arange(12) < len(copies), rng.uniform(0.5, 2, 12), 0)
    once = {"ids": np.arange(5), "weight": np.bincount(which, weight, 5), "z_a": z_a, "z_b": z_b}
    often = {"ids": which, "weight": weight, "z_a": z_a[which], "z_b": z_b[which]}
    with jax.enable_x64(True):
        values = [float(info_nce(**as_jax(arrays))) for arrays in (once, often)]
    assert values[0] == pytest.approx(values[1], rel=1e-11, abs=1e-13)


def test_info_nce_is_symmetric_and_zero_for_a_single_molecule():
    rng = np.random.default_rng(1)
    z_a, z_b = (jnp.asarray(x) for x in rng.normal(size=(2, 5, 3)))
    rest: dict[str, Any] = {"ids": jnp.arange(5), "weight": jnp.arange(1, 6)}
    one = info_nce(z_a=z_a, z_b=z_b, **rest)
    assert one == pytest.approx(float(info_nce(z_a=z_b, z_b=z_a, **rest)), rel=1e-13)
    alone = info_nce(z_a=z_a, z_b=z_b, ids=jnp.zeros(5, int), weight=jnp.ones(5))
    assert alone == pytest.approx(0.0, abs=1e-13)


def test_temperature_can_be_trained():
    rng = np.random.default_rng(2)
    arrays = as_jax({"z_a": rng.normal(size=(5, 3)), "z_b": rng.normal(size=(5, 3))})
    rest: dict[str, Any] = {"ids": jnp.arange(5), "weight": jnp.ones(5)}

    def loss(temperature):
        return info_nce(**arrays, **rest, temperature=temperature)

    step = 1e-6
    slope = (loss(jnp.array(0.2 + step)) - loss(jnp.array(0.2 - step))) / (2 * step)
    assert jax.grad(loss)(jnp.array(0.2)) == pytest.approx(float(slope), rel=1e-6)


# --- prototypes --------------------------------------------------------------------------


def test_prototype_sums_by_hand():
    embedding = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [jnp.nan, 1.0], [7.0, jnp.nan]])
    group = jnp.array([2, 0, 2, -1, 3])
    weight = jnp.array([1.0, 2.0, 3.0, 1.0, 1.0])
    sums, counts = alignment.prototype_sums(embedding, group, weight, 3)
    np.testing.assert_array_equal(sums, [[6.0, 8.0], [0.0, 0.0], [16.0, 20.0]])
    np.testing.assert_array_equal(counts, [2.0, 0.0, 4.0])
    means, present = alignment.prototype_means(sums, counts)
    np.testing.assert_array_equal(means, [[3.0, 4.0], [0.0, 0.0], [4.0, 5.0]])
    np.testing.assert_array_equal(present, [True, False, True])


def test_update_of_prototypes_by_hand():
    updated, seen = update_prototypes(
        prototypes=jnp.array([[1.0, 0.0], [7.0, 7.0], [0.6, 0.8]]),
        counts_seen=jnp.array([4, 0, 9], jnp.int32),
        batch_mean=jnp.array([[0.0, 0.5], [0.0, -0.2], [1.0, 0.0]]),
        present=jnp.array([True, True, False]),
        decay=0.8,
    )
    length = np.hypot(0.8, 0.1)
    expected = [[0.8 / length, 0.1 / length], [0.0, -1.0], [0.6, 0.8]]
    np.testing.assert_allclose(updated, expected, atol=1e-15)
    np.testing.assert_array_equal(seen, [5, 1, 9])
    assert seen.dtype == jnp.int32


def test_prototypes_converge_to_the_direction_they_are_shown_and_carry_no_gradient():
    direction = jnp.asarray(unit(np.array([[1.0, 2.0, 3.0]])))
    prototypes, seen = jnp.zeros((1, 3)), jnp.zeros(1, jnp.int32)
    opposite = -direction[:, ::-1]
    present = jnp.array([True])
    prototypes, seen = update_prototypes(
        prototypes=prototypes, counts_seen=seen, batch_mean=opposite, present=present
    )
    for _ in range(300):
        prototypes, seen = update_prototypes(
            prototypes=prototypes, counts_seen=seen, batch_mean=direction, present=present
        )
    np.testing.assert_allclose(prototypes, direction, atol=1e-3)
    assert seen == 301
    gradient = jax.grad(
        lambda m: update_prototypes(
            prototypes=prototypes, counts_seen=seen, batch_mean=m, present=present
        )[0].sum()
    )(direction)
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_out_of_range(decay):
    ones = jnp.ones((1, 2))
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
        update_prototypes(
            prototypes=ones,
            counts_seen=jnp.zeros(1, int),
            batch_mean=ones,
            present=jnp.array([True]),
            decay=decay,
        )


def prototype_problem() -> dict:
    """Groups: 0 both present, 1 present / ready, 2 present / nothing, 3 ready / ready."""
    return {
        "mean_s": jnp.array([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [9.0, 9.0]]),
        "mean_t": jnp.array([[3.0, 4.0], [9.0, 9.0], [9.0, 9.0], [9.0, 9.0]]),
        "present_s": jnp.array([True, True, True, False]),
        "present_t": jnp.array([True, False, False, False]),
        "ema_s": jnp.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
        "ema_t": jnp.array([[0.0, 1.0], [0.8, -0.6], [0.0, 0.0], [-1.0, 0.0]]),
        "ready_s": jnp.array([True, False, False, True]),
        "ready_t": jnp.array([True, True, False, True]),
        "group_weight": jnp.array([1.0, 2.0, 50.0, 5.0]),
    }


def test_prototype_loss_by_hand():
    # cosines 0.6, -0.6, (left out), -1 with weights 1, 2, 5 over 8
    value = prototype_loss(**prototype_problem())
    assert value == pytest.approx((0.4 + 2 * 1.6 + 5 * 2.0) / 8, abs=1e-14)


def test_prototype_loss_moves_only_batch_means():
    arrays = prototype_problem()
    names = ("mean_s", "mean_t", "ema_s", "ema_t")
    gradient = jax.grad(lambda m: prototype_loss(**{**arrays, **m}))(
        {name: arrays[name] for name in names}
    )
    assert not gradient["ema_s"].any() and not gradient["ema_t"].any()
    np.testing.assert_array_equal(gradient["mean_s"].any(axis=1), [True, True, False, False])
    np.testing.assert_array_equal(gradient["mean_t"].any(axis=1), [True, False, False, False])


# --- guidance ----------------------------------------------------------------------------


def guidance_by_loop(embedding, group, weight, prototypes, ready, exclude, temperature):
    total, count = 0.0, 0.0
    for s, f, w in zip(embedding, group, weight, strict=True):
        if not (0 <= f < len(ready) and ready[f]):
            continue
        scores = {
            g: np.exp(s @ prototypes[g] / temperature)
            for g in range(len(ready))
            if g == f or (ready[g] and not exclude[f, g])
        }
        total -= w * np.log(scores[f] / sum(scores.values()))
        count += w
    return total / count


def guidance_problem(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "embedding": unit(rng.normal(size=(11, 3))),
        "group": rng.integers(-1, 6, 11).astype(np.int32),
        "weight": rng.integers(0, 3, 11).astype(float),
        "prototypes": unit(rng.normal(size=(5, 3))),
        "ready": np.array([True, True, False, True, True]),
        "exclude": rng.random((5, 5)) < 0.3,
    }


def test_guidance_by_hand():
    arrays = {
        "embedding": jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
        "group": jnp.array([0, 1, 2]),
        "weight": jnp.array([1.0, 3.0, 9.0]),
        "prototypes": jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
        "ready": jnp.array([True, True, False]),
        "temperature": 1.0,
    }
    value = guidance_loss(**arrays, exclude=jnp.eye(3, dtype=bool))
    assert value == pytest.approx(np.log(1 + np.exp(-1)), abs=1e-14)
    # group 1 is no negative of group 0, but group 0 remains one of group 1
    exclude = jnp.zeros((3, 3), bool).at[0, 1].set(True)
    value = guidance_loss(**arrays, exclude=exclude)
    assert value == pytest.approx(0.75 * np.log(1 + np.exp(-1)), abs=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_guidance_against_a_loop(seed):
    arrays = guidance_problem(seed)
    value = guidance_loss(**as_jax(arrays), temperature=0.1)
    assert value == pytest.approx(guidance_by_loop(**arrays, temperature=0.1), rel=1e-12)


def test_guidance_does_not_move_the_prototypes():
    arrays = as_jax(guidance_problem(0))
    prototypes = arrays.pop("prototypes")
    gradient = jax.grad(lambda p: guidance_loss(prototypes=p, **arrays))(prototypes)
    np.testing.assert_array_equal(gradient, 0.0)


def test_guidance_ignores_prototypes_that_are_not_ready():
    arrays = as_jax(guidance_problem(1))
    value = guidance_loss(**arrays)
    arrays["prototypes"] = arrays["prototypes"].at[2].set(1e3)
    assert guidance_loss(**arrays) == value
    nothing_ready = {**arrays, "ready": jnp.zeros(5, bool)}
    assert guidance_loss(**nothing_ready) == 0.0
