"""Dropout by bytes: how often, how large, and that the gradient follows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molrel.nn.dropout import Dropout, dropout

X = jnp.ones((401, 250))


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_rate_and_mean(rate):
    out = np.asarray(dropout(X, rate, jax.random.key(0)))
    rounded = round(rate * 256) / 256
    assert (out == 0).mean() == pytest.approx(rounded, abs=0.006)
    np.testing.assert_allclose(out[out > 0], 1 / (1 - rounded), rtol=1e-6)
    assert out.mean() == pytest.approx(1, abs=0.03)
    # Neither rows nor columns share their draws.
    assert 0 < (out == 0).mean(axis=0).std() < 0.1 and 0 < (out == 0).mean(axis=1).std() < 0.1


def test_the_gradient_is_that_of_the_kept_entries():
    key = jax.random.key(1)
    gradient = jax.grad(lambda x: dropout(x, 0.5, key).sum())(X)
    np.testing.assert_array_equal(gradient, dropout(X, 0.5, key))


def test_keys_decide_and_nothing_else():
    a, b = (dropout(X, 0.5, jax.random.key(i)) for i in (0, 1))
    assert (a != b).any() and (a == dropout(X, 0.5, jax.random.key(0))).all()


def test_switched_off():
    assert dropout(X, 0.0, jax.random.key(0)) is X
    assert Dropout(0.5).apply({}, X, train=False) is X
    with pytest.raises(ValueError, match="rate"):
        dropout(X, 1.0, jax.random.key(0))
