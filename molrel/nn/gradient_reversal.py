"""The gradient reversal layer: identity forwards, gradient times -coefficient backwards."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def reverse_gradient(
    x: Float[Array, "*shape"], coefficient: Float[Array, "*coefficient"] | float
) -> Float[Array, "*shape"]:
    """Returns x unchanged; its cotangent g becomes -coefficient * g, in the dtype of g.

    The encoder below then climbs the loss that the discriminator above descends. The
    coefficient is an argument, so that a schedule does not compile anew, and may be an array,
    so that every fragment has its own strength. Only reverse mode is defined: ``jax.jvp``
    raises.

    Ganin et al., "Domain-adversarial training of neural networks" (JMLR 2016), equation 16.

    Args:
      x: floating, any shape.
      coefficient: scalar, or array that broadcasts to the shape of x, such as [U, F, 1] for
        x [U, F, D]. -1 leaves the gradient as it is, 0 blocks it. Its own gradient is zero.

    Returns:
      x, same values, shape and dtype.

    Raises:
      TypeError: x is not floating.
      ValueError: coefficient does not broadcast to the shape of x.

    Example:
      >>> gradient = jax.grad(lambda x: reverse_gradient(x, 0.5) ** 2)
      >>> float(gradient(3.0))
      -3.0
    """
    x, coefficient = jnp.asarray(x), jnp.asarray(coefficient)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"x must have a float dtype, got {x.dtype}")
    try:
        fits = np.broadcast_shapes(x.shape, coefficient.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"coefficient of shape {coefficient.shape} does not broadcast to x of shape {x.shape}"
        )
    return _reverse(x, coefficient)


@jax.custom_vjp
def _reverse(x: Array, coefficient: Array) -> Array:
    del coefficient
    return x


def _forward(x: Array, coefficient: Array) -> tuple[Array, Array]:
    return x, coefficient


def _backward(coefficient: Array, g: Array) -> tuple[Array, None]:
    # The product is taken in the wider dtype and cast back: without the cast, a float32
    # coefficient would turn the bfloat16 gradients of all layers below into float32.
    coefficient = jnp.broadcast_to(coefficient, g.shape)
    with jax.numpy_dtype_promotion("standard"):
        return (-coefficient * g).astype(g.dtype), None


_reverse.defvjp(_forward, _backward)
