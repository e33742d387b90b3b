"""Every collective of the package, each a plain identity when there is no device axis.

The rule for many devices. A loss returns *this device's share* of the global loss:

* the sum of the shares over the devices is the global loss, and
* the sum over the devices of the gradients of the shares is the gradient of the global loss.

So one ``reduce`` of gradients and logged terms at the end of the step is the only reduction.
A loss that were itself summed over devices before it is differentiated would have every
gradient counted once per device. Two forms of loss follow the rule:

* a mean over examples: local weighted sum / ``sum_counts`` of the weights;
* anything nonlinear in a global sum, such as the angle between two global means: build the
  global quantity with ``gather_sum`` or ``gather_rows`` (``all_gather``, whose transpose is
  right), compute the whole loss on every device and return its ``share``.

The rule holds inside ``jax.pmap`` and ``jax.shard_map(..., check_vma=False)``. With
``check_vma=True`` JAX sums the gradient of replicated parameters by itself, and ``reduce``
would count it twice.
"""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

Tree = TypeVar("Tree")


def axis_size(axis_name: str | None) -> int:
    """Number of devices along the axis, a Python int; 1 when axis_name is None."""
    return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def sum_counts(x: Shaped[Array, "*shape"], axis_name: str | None) -> Shaped[Array, "*shape"]:
    """Sum over devices of a count or weight, treated as a constant.

    Args:
      x: any shape and number type.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      The sum, same shape and dtype, equal on every device; its gradient is zero.
    """
    x = jax.lax.stop_gradient(x)
    return x if axis_name is None else jax.lax.psum(x, axis_name)


def gather_rows(x: Shaped[Array, "n ..."], axis_name: str | None) -> Shaped[Array, "m ..."]:
    """Rows of all devices, one below the other; differentiable.

    Args:
      x: this device's rows; every device holds the same number n.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      m = n * axis_size rows in the order of the devices, equal on every device.
    """
    return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)


def gather_sum(x: Float[Array, "*shape"], axis_name: str | None) -> Float[Array, "*shape"]:
    """Sum over devices that may be differentiated, if the loss built on it is a ``share``.

    The forward value is that of ``psum``. It goes through ``all_gather`` because the
    transpose of that always collects what the shares of all devices say about this device's
    x, whereas the transpose of ``psum`` depends on how the devices are mapped.
    """
    return x if axis_name is None else jnp.sum(jax.lax.all_gather(x, axis_name), axis=0)


def share(x: Float[Array, "*shape"], axis_name: str | None) -> Float[Array, "*shape"]:
    """This device's part of a value that every device computed in full: x / axis_size."""
    return x / axis_size(axis_name)


def reduce(tree: Tree, axis_name: str | None) -> Tree:
    """Sum of every leaf over the devices.

    The only reduction of gradients and logged terms; never call it inside a function that is
    differentiated.
    """
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def fold_in_device(key: Key[Array, ""], axis_name: str | None) -> Key[Array, ""]:
    """A key of this device's own, for dropout and augmentation; key itself without an axis."""
    if axis_name is None:
        return key
    return jax.random.fold_in(key, jax.lax.axis_index(axis_name))


def of_first_host(tree: Tree) -> Tree:
    """What the first process has, on all of them, as NumPy arrays; the tree itself where there is
    one process. Typed keys are kept.

    Not inside jit. For what must not differ between hosts by a bit, as it decides what comes next.
    """
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return with_keys(tree, multihost_utils.broadcast_one_to_all(plain(tree)))


def plain(tree: Any) -> Any:
    """The tree as NumPy arrays, typed keys as their data."""
    return jax.tree.map(lambda x: np.asarray(jax.random.key_data(x) if _is_key(x) else x), tree)


def with_keys(like: Tree, tree: Any) -> Tree:
    """The tree of ``plain`` with typed keys where ``like`` has them."""
    return jax.tree.map(lambda a, x: jax.random.wrap_key_data(x) if _is_key(a) else x, like, tree)


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
