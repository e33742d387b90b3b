"""What is chosen by without labels of the target."""

import numpy as np

from molrel.evaluate.selection import (
    deep_embedded_risk,
    importance_weighted_risk,
    importance_weights,
    soft_neighbourhood_density,
)


def gaussians(rng, n=4000, shift=1.0):
    """Source N(0, 1) and target N(shift, 1), and the ratio of their densities on the source."""
    source, target = rng.normal(size=(n, 1)), rng.normal(shift, 1, size=(n, 1))
    return source, target, np.exp(shift * source[:, 0] - shift**2 / 2)


def test_weights_are_the_ratio_of_densities():
    source, target, ratio = gaussians(np.random.default_rng(0))
    found = importance_weights(source, target)
    assert abs(found.mean() - 1) < 1e-9
    assert np.corrcoef(np.log(found), np.log(ratio))[0, 1] > 0.99
    assert np.abs(found / ratio - 1)[np.abs(source[:, 0]) < 1].max() < 0.2


def test_weighted_risks_are_those_of_the_target():
    """Loss x^2: 1 on the source, 2 on the target, by either estimate; DEV's varies less."""
    plain, dev = [], []
    for seed in range(200):
        source, _, ratio = gaussians(np.random.default_rng(seed), n=300)
        losses = source[:, 0] ** 2
        plain.append(importance_weighted_risk(losses, ratio))
        dev.append(deep_embedded_risk(losses, ratio))
    assert abs(np.mean(plain) - 2) < 0.1 and abs(np.mean(dev) - 2) < 0.2
    assert np.std(dev) < np.std(plain)


def test_equal_weights_leave_the_mean():
    losses = np.array([1.0, 2.0, 6.0])
    assert importance_weighted_risk(losses, np.ones(3)) == 3
    assert deep_embedded_risk(losses, np.ones(3)) == 3


def test_density_by_hand():
    """All alike: uniform neighbourhoods, log(N - 1). Two clusters of n: log(n - 1)."""
    assert abs(soft_neighbourhood_density(np.full(50, 0.7)) - np.log(49)) < 1e-9
    two = np.repeat([0.0, 1.0], 50)
    assert abs(soft_neighbourhood_density(two) - np.log(49)) < 1e-3
    scattered = np.random.default_rng(0).dirichlet(np.ones(20) * 0.05, 100)
    clustered = np.eye(20)[np.arange(100) % 5]
    assert soft_neighbourhood_density(clustered) > soft_neighbourhood_density(scattered)
