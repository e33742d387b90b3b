"""Fusion, cross-attention and pair features: symmetry and masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molrel.nn.relation import GatedFusion, PairFeatures, cross_attention, side_mean, side_tokens

RNG = np.random.default_rng(0)


def tokens(n_pairs=3, n_tokens=4, width=5):
    x = jnp.asarray(RNG.normal(size=(n_pairs, n_tokens, width)), jnp.float32)
    mask = jnp.asarray(RNG.random((n_pairs, n_tokens)) < 0.7).at[:, 0].set(True)
    return jnp.where(mask[..., None], x, 0), mask


def test_cross_attention_swaps_with_its_arguments():
    a, b = tokens(), tokens(n_tokens=6)
    forward, backward = cross_attention(*a, *b), cross_attention(*b, *a)
    np.testing.assert_allclose(forward[0], backward[1], atol=1e-6)
    np.testing.assert_allclose(forward[1], backward[0], atol=1e-6)


def test_cross_attention_matches_a_loop():
    (a, mask_a), (b, mask_b) = tokens(), tokens(n_tokens=6)
    got = cross_attention(a, mask_a, b, mask_b, temperature=0.5)[0]
    for p in range(3):
        rows = []
        others = [b[p, k] for k in range(6) if mask_b[p, k]]
        for t in range(4):
            if not mask_a[p, t]:
                continue
            cos = [
                np.dot(a[p, t], o)
                / np.sqrt((np.dot(a[p, t], a[p, t]) + 1e-6) * (np.dot(o, o) + 1e-6))
                for o in others
            ]
            weight = np.exp(np.array(cos) / 0.5)
            weight /= weight.sum()
            mixed = sum(w * np.asarray(o) for w, o in zip(weight, others))
            rows.append(np.asarray(a[p, t]) * mixed)
        np.testing.assert_allclose(got[p], np.mean(rows, axis=0), atol=1e-5)


def test_cross_attention_is_finite_where_a_side_has_no_token():
    a, mask = tokens()
    none = jnp.zeros_like(mask)

    def value(a):
        return sum(jnp.sum(x) for x in cross_attention(a, none, a, mask))

    assert value(a) == 0
    assert np.isfinite(jax.grad(value)(jnp.zeros_like(a))).all()


@pytest.mark.parametrize("symmetric", [True, False])
def test_pair_features_are_symmetric_only_when_asked(symmetric):
    parts = [jnp.asarray(RNG.normal(size=(4, 6)), jnp.float32) for _ in range(4)]
    module = PairFeatures(8, symmetric)
    params = module.init(jax.random.key(0), *parts)
    forward = module.apply(params, *parts)
    a, b, ab, ba = parts
    backward = module.apply(params, b, a, ba, ab)
    assert np.allclose(forward, backward, atol=1e-6) == symmetric


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
