"""Fusion, sides and pair features: symmetry and masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molrel.nn.relation import GatedFusion, PairFeatures, PairLayer, side_mean, side_tokens

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("symmetric", [True, False])
def test_pair_features_are_symmetric_only_when_asked(symmetric):
    a, b = (jnp.asarray(RNG.normal(size=(4, 6)), jnp.float32) for _ in range(2))
    module = PairFeatures(8, symmetric)
    params = module.init(jax.random.key(0), a, b)
    forward, backward = module.apply(params, a, b), module.apply(params, b, a)
    assert np.allclose(forward, backward, atol=1e-6) == symmetric


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_pair_layer_is_one_linear_map_of_the_pair_features(symmetric):
    """What is computed once a molecule adds up to what a dense layer on the pair would give."""
    z = jnp.asarray(RNG.normal(size=(5, 6)), jnp.float32)
    sides = jnp.array([[0, 2], [3, -1]]), jnp.array([[1, -1], [4, -1]])
    module = PairLayer(8, symmetric)
    variables = module.init(jax.random.key(0), z, sides)
    kernels = {name: p["kernel"] for name, p in variables["params"].items()}
    bias = RNG.normal(size=8).astype(np.float32)
    variables["params"]["first"]["bias"] = jnp.asarray(bias)
    a, b = (side_mean(z, side) for side in sides)
    parts = (
        {"first": a + b, "difference": jnp.abs(a - b)} if symmetric else {"first": a, "second": b}
    )
    expected = jnp.asarray(bias * (2 if symmetric else 1))[None]
    expected += sum(x @ kernels[name] for name, x in (parts | {"product": a * b}).items())
    expected = jax.nn.relu(expected)
    found = module.apply(variables, z, sides)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.allclose(found, module.apply(variables, z, sides[::-1]), atol=1e-6) == symmetric


def test_side_mean_and_tokens_of_bags():
    z = jnp.arange(8.0).reshape(4, 2)
    side = jnp.array([[0, 2], [3, -1], [-1, -1]])
    np.testing.assert_allclose(side_mean(z, side), [[2, 3], [6, 7], [0, 0]])
    fragments, mask = jnp.ones((4, 3, 2)), jnp.ones((4, 3), bool)
    found, found_mask = side_tokens(fragments, mask, z, side)
    # Two molecules show themselves, a single one shows its fragments, in any width of bags.
    assert found_mask.tolist() == [[True, True, False], [True] * 3, [False] * 3]
    np.testing.assert_array_equal(found[0, :2], z[jnp.array([0, 2])])
    np.testing.assert_array_equal(found[1], fragments[3])
    single, single_mask = side_tokens(fragments, mask, z, jnp.array([[1], [-1]]))
    assert single.shape == (2, 3, 2) and single_mask.tolist() == [[True] * 3, [False] * 3]


def test_gate_mixes_the_two_views():
    module = GatedFusion(4)
    graph, picture = jnp.ones((2, 3)), jnp.ones((2, 5))
    params = module.init(jax.random.key(0), graph, picture)
    closed = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_array_equal(module.apply(closed, graph, picture), np.zeros((2, 4)))
    assert module.apply(params, graph, picture).shape == (2, 4)
