"""The gate's assignments: what TopExpert's formulas must give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molrel.losses import experts

RNG = np.random.default_rng(0)
Z, CENTROIDS = RNG.normal(size=(20, 4)).astype(np.float32), RNG.normal(size=(3, 4))
CENTROIDS = CENTROIDS.astype(np.float32)
REAL = jnp.ones(20, bool)


def test_assignment_by_hand():
    q = np.asarray(experts.student_t_assignment(*map(jnp.asarray, (Z, CENTROIDS))))
    near = 1 / (1 + ((Z[:, None] - CENTROIDS) ** 2).sum(-1))
    np.testing.assert_allclose(q, near / near.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(q.sum(1), 1, rtol=1e-6)


def test_sharpened_target_rows_sum_to_one_and_sharpen():
    q = experts.student_t_assignment(*map(jnp.asarray, (Z, CENTROIDS)))
    p = np.asarray(experts.sharpened_target(q, REAL))
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)
    by_hand = np.asarray(q) ** 2 / np.asarray(q).sum(0)
    np.testing.assert_allclose(p, by_hand / by_hand.sum(1, keepdims=True), rtol=1e-5)
    clear = np.asarray(q).max(1) > 0.6
    assert clear.any() and (p.max(1) > np.asarray(q).max(1))[clear].all()


def test_equal_assignments_have_no_clustering_loss():
    q = jnp.full((20, 3), 1 / 3)
    p = experts.sharpened_target(q, REAL)
    assert abs(float(experts.clustering_loss(p, q, REAL))) < 1e-6


def test_padding_rows_change_no_target():
    q = experts.student_t_assignment(*map(jnp.asarray, (Z, CENTROIDS)))
    padded = jnp.concatenate([q, jnp.full((5, 3), 0.9)])
    mask = jnp.arange(25) < 20
    np.testing.assert_allclose(
        experts.sharpened_target(padded, mask)[:20], experts.sharpened_target(q, REAL), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("temperature", "mean"),
    [
        (10.0, (0.381, 0.310, 0.309)),
        (1.0, (0.681, 0.159, 0.159)),
        (0.1, (0.80, 0.10, 0.10)),
    ],
)
def test_mean_gumbel_weights(temperature, mean):
    q = jnp.tile(jnp.array([[0.8, 0.1, 0.1]]), (20_000, 1))
    drawn = experts.gumbel_softmax(jax.random.key(0), q, temperature)
    np.testing.assert_allclose(drawn.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.01)


def test_expert_loss_by_hand():
    losses = RNG.uniform(size=(6, 2, 3)).astype(np.float32)
    gate = RNG.uniform(size=(6, 3)).astype(np.float32)
    known = np.array([[1, 1], [1, 0], [0, 1], [1, 1], [0, 0], [1, 1]], bool)
    total = 0.0
    for t in range(2):
        for k in range(3):
            weight = gate[:, k] * known[:, t]
            total += (weight * losses[:, t, k]).sum() / weight.sum() / 2
    assert float(experts.expert_loss(*map(jnp.asarray, (losses, gate, known)))) == pytest.approx(
        total, rel=1e-5
    )


def test_one_expert_is_a_mean_loss():
    losses = RNG.uniform(size=(6, 1, 1)).astype(np.float32)
    value = experts.expert_loss(jnp.asarray(losses), jnp.ones((6, 1)), jnp.ones((6, 1), bool))
    assert float(value) == pytest.approx(losses.mean(), rel=1e-5)
