"""Checks of shape and dtype that run while tracing, so they cost nothing under jit."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

_KINDS = {
    "float": (jnp.floating,),
    "int": (jnp.integer,),
    "bool": (jnp.bool_,),
    "real": (jnp.floating, jnp.integer, jnp.bool_),
}


def check(**arrays: tuple[Any, str]) -> None:
    """Checks that arrays have the dtype kind and the shape that their specifications name.

    A specification is a kind (float, int, bool, or real for any of them) followed by one
    word an axis; axes of one name must agree. ``*S`` stands for a whole shape.

    Args:
      **arrays: by argument name, the array and its specification, such as "float N T".

    Raises:
      TypeError: an argument is not an array or has another kind of dtype.
      ValueError: a shape disagrees; the message names the argument and what it disagrees with.
    """
    bound: dict[str, tuple[Any, str]] = {}
    for name, (array, specification) in arrays.items():
        kind, *axes = specification.split()
        _check_kind(name, array, kind)
        shape = tuple(array.shape)
        sizes = (shape,) if axes and axes[0].startswith("*") else shape
        if len(sizes) != len(axes):
            raise ValueError(f"{name} has shape {shape}, expected axes ({', '.join(axes)})")
        for axis, size in zip(axes, sizes, strict=True):
            expected, first = bound.setdefault(axis, (size, name))
            if size != expected:
                what = "its shape" if axis.startswith("*") else axis
                raise ValueError(
                    f"{name} has shape {shape}, but {what} must be {expected} as in {first}"
                )


def _check_kind(name: str, array: Any, kind: str) -> None:
    if not (hasattr(array, "dtype") and hasattr(array, "shape")):
        raise TypeError(f"{name} must be an array, got {type(array).__name__}")
    if not any(jnp.issubdtype(array.dtype, allowed) for allowed in _KINDS[kind]):
        raise TypeError(f"{name} must have a {kind} dtype, got {array.dtype}")


def check_positive(name: str, value: Any) -> None:
    """Raises ValueError unless value is positive; a traced value is taken on trust."""
    if isinstance(value, (int, float)) and not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")
