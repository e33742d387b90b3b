"""Losses of gates: golden values, the best gate, padding, shares, single atoms."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molrel.losses import bottleneck
from molrel.losses.bottleneck import STD_FLOOR, compression_cost, divergence_from_uniform

RNG = np.random.default_rng(0)
SIZES = np.array([5, 3, 1, 4])
KINDS = ["binary", "multilabel", "multiclass", "regression"]


@pytest.fixture(autouse=True)
def strict_float64():
    """Double precision, no implicit promotion of dtypes or ranks."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield


def make_sides(width=3, n_tokens=6, weight=(1.0, 2.0, 0.5, 1.0)):
    """Sides of 5, 3, 1 and 4 tokens, NaN wherever there is none."""
    tokens = RNG.normal(size=(4, n_tokens, width))
    mask = np.arange(n_tokens) < SIZES[:, None]
    real = [t[m] for t, m in zip(tokens, mask)]
    mean = np.stack([r.mean(0) for r in real])[:, None]
    std = np.stack([r.std(0, ddof=1) if len(r) > 1 else np.zeros(width) for r in real])[:, None]
    gate = RNG.uniform(0.1, 0.9, (4, n_tokens))
    tokens[~mask], gate[~mask] = np.nan, np.nan
    arrays = dict(tokens=tokens, gate=gate, mean=mean, std=std, mask=mask, weight=np.array(weight))
    return {k: jnp.asarray(v) for k, v in arrays.items()}


def test_compression_is_the_released_formula_molecule_by_molecule():
    sides = make_sides()
    costs = []
    for p, size in enumerate(SIZES):
        mean, std = np.asarray(sides["mean"][p, 0]), np.asarray(sides["std"][p, 0])
        cost = 0.0
        for t in range(size):
            keep, h = float(sides["gate"][p, t]), np.asarray(sides["tokens"][p, t])
            noisy_mean, noisy_std = keep * h + (1 - keep) * mean, (1 - keep) * std
            scale = np.sqrt(std**2 + STD_FLOOR**2)
            cost += 0.5 * np.mean(noisy_std**2 / scale**2)
            cost += np.mean((noisy_mean - mean) ** 2 / scale**2)
        costs.append(cost)
    weight = np.asarray(sides["weight"])
    expected = np.sum(weight * costs) / weight.sum()
    np.testing.assert_allclose(compression_cost(**sides), expected, rtol=1e-10)


@pytest.mark.parametrize("place", range(4))
def test_a_gate_that_keeps_all_or_nothing_has_a_known_cost(place):
    sides = make_sides(weight=np.eye(4)[place])
    size = SIZES[place]
    kept = compression_cost(**sides | {"gate": jnp.ones((4, 6))})
    dropped = compression_cost(**sides | {"gate": jnp.zeros((4, 6))})
    # The floor under the standard deviation is felt in the sixth digit.
    np.testing.assert_allclose(kept, size - 1, atol=1e-4)
    np.testing.assert_allclose(dropped, size / 2 if size > 1 else 0, atol=1e-4)
    if size > 1:
        third = compression_cost(**sides | {"gate": jnp.full((4, 6), 1 / 3)})
        assert third < min(kept, dropped)


def test_a_single_atom_and_equivalent_atoms_have_small_gradients():
    mask = jnp.array([[True, False], [True, True]])
    same = np.full((2, 2, 3), 0.3)
    same[1, 1] += 1e-9
    rest = {
        "gate": jnp.full((2, 2), 0.5),
        "mean": jnp.full((2, 1, 3), 0.3),
        "std": jnp.asarray([[[0.0] * 3], [[1e-9] * 3]]),
        "mask": mask,
        "weight": jnp.ones(2),
    }
    value, gradient = jax.value_and_grad(lambda t: compression_cost(tokens=t, **rest))(
        jnp.asarray(same)
    )
    assert np.isfinite(value) and np.abs(gradient).max() < 1e-2


def test_statistics_carry_no_gradient():
    sides = make_sides()
    moving = {k: sides.pop(k) for k in ("mean", "std")}
    gradient = jax.grad(lambda m: compression_cost(**m, **sides))(moving)
    assert not any(np.asarray(g).any() for g in gradient.values())


@pytest.mark.parametrize("kind", KINDS)
def test_uniform_predictions_cost_nothing(kind):
    logits = jnp.zeros((2, 3)) if kind != "multiclass" else jnp.array([[0.0] * 3, [7.0] * 3])
    value = divergence_from_uniform(kind=kind, logits=logits, weight=jnp.ones(2))
    np.testing.assert_allclose(value, 0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_is_that_of_the_distributions(kind):
    logits = RNG.normal(size=(4, 3)) * 2
    weight = np.array([1.0, 0.0, 2.0, 1.0])
    if kind == "regression":
        rows = (logits**2).mean(1)
    elif kind == "multiclass":
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        rows = np.sum(np.log((1 / 3) / p) / 3, axis=1)
    else:
        p = 1 / (1 + np.exp(-logits))
        rows = (0.5 * np.log(0.5 / p) + 0.5 * np.log(0.5 / (1 - p))).mean(1)
    logits[1] = np.nan
    got = divergence_from_uniform(kind=kind, logits=jnp.asarray(logits), weight=jnp.asarray(weight))
    np.testing.assert_allclose(got, (weight * rows).sum() / weight.sum(), rtol=1e-10)


def losses():
    """name -> (loss(arrays, axis_name), arrays with one row an example, their gradients' names)."""
    logits = jnp.asarray(RNG.normal(size=(4, 2)))
    uniform = {"logits": logits, "weight": jnp.array([1.0, 2.0, 0.5, 1.0])}

    def divergence(axis_name=None, **arrays):
        return divergence_from_uniform(kind="binary", axis_name=axis_name, **arrays)

    return {
        "compression": (compression_cost, make_sides(), ("tokens", "gate")),
        "divergence": (divergence, uniform, ("logits",)),
    }


def gradients(loss, arrays, names, axis_name=None):
    moving = {k: arrays[k] for k in names}
    return jax.value_and_grad(lambda m: loss(**arrays | m, axis_name=axis_name))(moving)


@pytest.mark.parametrize("name", ["compression", "divergence"])
def test_padding_examples_have_no_influence(name):
    loss, arrays, names = losses()[name]
    value, gradient = gradients(loss, arrays, names)
    filler = {"mask": False, "weight": 0.0}
    padded = {
        k: jnp.pad(v, [(0, 2)] + [(0, 0)] * (v.ndim - 1), constant_values=filler.get(k, np.nan))
        for k, v in arrays.items()
    }
    padded_value, padded_gradient = gradients(loss, padded, names)
    np.testing.assert_allclose(padded_value, value, rtol=1e-12)
    for key, g in gradient.items():
        np.testing.assert_allclose(padded_gradient[key][:4], g, rtol=1e-12)
        assert np.isfinite(padded_gradient[key]).all()
        assert not np.asarray(padded_gradient[key][4:]).any()


@pytest.mark.parametrize("name", ["compression", "divergence"])
def test_shares_of_devices_add_up(name):
    loss, arrays, names = losses()[name]
    value, gradient = gradients(loss, arrays, names)
    # Three rows and one row, by masking the others.
    held = jnp.array([[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0]])
    shares, of_shares = jax.vmap(
        lambda h: gradients(loss, arrays | {"weight": arrays["weight"] * h}, names, "devices"),
        axis_name="devices",
    )(held)
    np.testing.assert_allclose(shares.sum(), value, rtol=1e-12)
    for key, g in gradient.items():
        np.testing.assert_allclose(of_shares[key].sum(0), g, rtol=1e-10, atol=1e-14)


def test_nothing_has_weight():
    for loss, arrays, names in losses().values():
        nothing = arrays | {"weight": jnp.zeros(4)}
        value, gradient = gradients(loss, nothing, names)
        assert value == 0 and not any(np.asarray(g).any() for g in gradient.values())


def test_wrong_shapes_are_named(unchecked):
    with pytest.raises(ValueError, match="gate"):
        compression_cost(**make_sides() | {"gate": jnp.ones((4, 5))})


def test_examples_of_the_docstrings():
    with jax.enable_x64(False):
        result = doctest.testmod(bottleneck)
    assert result.attempted and not result.failed
