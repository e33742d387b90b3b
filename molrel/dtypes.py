"""The dtype that results leave in."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def widen(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x in float32 if it is narrower: a sum in bfloat16 keeps only 8 bits. float64 stays."""
    x = jnp.asarray(x)
    return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)
