"""The gradient reversal layer against an oracle that needs no rule of its own."""

from __future__ import annotations

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molrel.nn import gradient_reversal
from molrel.nn.gradient_reversal import reverse_gradient

X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 5)), jnp.float32)


def oracle(x, coefficient):
    """Same gradient, by autodiff alone; the forward value is right up to rounding."""
    return (1 + coefficient) * jax.lax.stop_gradient(x) - coefficient * x


def downstream(x):
    return jnp.sum(jnp.sin(x) * jnp.cumsum(x, axis=-1))


def gradient_through(layer, x, coefficient):
    return jax.grad(lambda x: downstream(layer(jnp.tanh(x), coefficient)))(x)


@pytest.mark.parametrize("coefficient", [0.0, 0.3, 1.0, 2.5, -0.7])
def test_same_gradient_as_the_oracle(coefficient):
    expected = gradient_through(oracle, X, coefficient)
    np.testing.assert_allclose(
        gradient_through(reverse_gradient, X, coefficient), expected, rtol=1e-5, atol=1e-5
    )


def test_forward_is_the_identity_bit_for_bit():
    np.testing.assert_array_equal(reverse_gradient(X, 0.3), X)


def test_gradient_of_a_sum_is_minus_the_coefficient():
    np.testing.assert_array_equal(jax.grad(lambda x: reverse_gradient(x, 0.25).sum())(X), -0.25)


def test_zero_blocks_the_gradient():
    assert not gradient_through(reverse_gradient, X, 0.0).any()


def test_minus_one_is_the_identity():
    plain = gradient_through(lambda x, _: x, X, None)
    np.testing.assert_array_equal(gradient_through(reverse_gradient, X, -1.0), plain)


def test_every_fragment_may_have_its_own_coefficient():
    coefficient = jnp.linspace(-1.0, 2.0, 12).reshape(3, 4, 1)
    per_fragment = gradient_through(reverse_gradient, X, coefficient)
    for u in range(3):
        for f in range(4):
            alone = gradient_through(reverse_gradient, X[u, f], coefficient[u, f, 0])
            np.testing.assert_allclose(per_fragment[u, f], alone, rtol=1e-6)


def test_coefficient_gets_no_gradient():
    coefficient = jnp.full((3, 4, 1), 0.5)
    gradient = jax.grad(lambda c: downstream(reverse_gradient(X, c)))(coefficient)
    np.testing.assert_array_equal(gradient, jnp.zeros((3, 4, 1)))


def test_jit_and_vmap_over_coefficients():
    coefficients = jnp.array([0.0, 0.5, 1.0, -1.0])
    loop = jnp.stack([gradient_through(reverse_gradient, X, c) for c in coefficients])

    def one(c):
        return gradient_through(reverse_gradient, X, c)

    np.testing.assert_allclose(jax.vmap(one)(coefficients), loop, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(coefficients), loop, rtol=1e-6, atol=1e-6)


def test_inside_scan_and_remat():
    def layers(x, coefficients, layer):
        def body(x, c):
            return jnp.sin(layer(1.1 * x, c)), None

        return downstream(jax.lax.scan(jax.checkpoint(body), x, coefficients)[0])

    coefficients = jnp.array([0.5, -1.0, 0.8])
    gradient = jax.jit(jax.grad(lambda x: layers(x, coefficients, reverse_gradient)))(X)
    expected = jax.grad(lambda x: layers(x, coefficients, oracle))(X)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("coefficient", [0.5, jnp.float32(0.5), jnp.full((3, 4, 1), 0.5)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_dtype_of_the_gradient_is_kept(coefficient, dtype):
    x = X.astype(dtype)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        value, vjp = jax.vjp(lambda x: reverse_gradient(x, coefficient), x)
        (gradient,) = vjp(x)
    assert value.dtype == gradient.dtype == dtype
    np.testing.assert_array_equal(gradient, -0.5 * x)


def test_one_trace_as_the_coefficient_changes():
    traces = []

    @jax.jit
    def step(x, coefficient):
        traces.append(None)
        return gradient_through(reverse_gradient, x, coefficient)

    results = [step(X, c) for c in (0.0, 0.1, 0.9)]
    assert len(traces) == 1
    np.testing.assert_allclose(9 * results[1], results[2], rtol=1e-5, atol=1e-6)


def test_finite_differences_must_disagree():
    # They see the identity: a reversal that passes this check does not reverse.
    x, step = jnp.float32(0.3), 1e-2
    slope = (reverse_gradient(x + step, 1.0) - reverse_gradient(x - step, 1.0)) / (2 * step)
    assert float(slope) == pytest.approx(1.0, abs=1e-4)
    assert jax.grad(reverse_gradient)(x, 1.0) == -1.0


def test_forward_mode_raises():
    with pytest.raises(TypeError):
        jax.jvp(lambda x: reverse_gradient(x, 1.0), (X,), (X,))


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 3, 4, 5), (3,)])
def test_coefficient_that_does_not_fit(shape):
    with pytest.raises(ValueError, match="does not broadcast to x of shape"):
        reverse_gradient(X, jnp.ones(shape))


def test_integers_have_no_gradient(unchecked):
    with pytest.raises(TypeError, match="x must have a float dtype, got int32"):
        reverse_gradient(jnp.arange(3), 1.0)


def test_example_of_the_docstring():
    result = doctest.testmod(gradient_reversal)
    assert result.attempted and not result.failed
