"""Ensembles of decision trees as arrays: scored inside jit, kept without pickle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real


@flax.struct.dataclass
class Trees:
    """The N nodes of many binary trees, one below the other. Node 0 is a leaf of value 0 and of no
    tree, so a child 0 means none: a leaf. Zeros at the end are never reached.

    Attributes:
      feature: int32 [N], what a node splits on.
      threshold: float32 [N]; at most this goes to the left.
      left, right: int32 [N], the nodes below; 0 in a leaf.
      value: float32 [N, C], of the leaves.
    """

    feature: Int[Array, " n"]
    threshold: Float[Array, " n"]
    left: Int[Array, " n"]
    right: Int[Array, " n"]
    value: Float[Array, "n c"]


def sum_of_trees(
    trees: Trees, roots: Int[Array, " k"], x: Real[Array, "p w"]
) -> Float[Array, "p c"]:
    """Sum over K trees of the values of the leaves that each row ends in.

    Args:
      trees: these and others.
      roots: node that each of the K begins at; 0 is a tree of value 0.
      x: P rows of features.
    """
    trees, x = jax.tree.map(jnp.asarray, (trees, x))
    row = jnp.arange(len(x))[:, None]

    def descend(node: Array) -> Array:
        value = x[row, trees.feature[node]].astype(trees.threshold.dtype)
        below = jnp.where(value <= trees.threshold[node], trees.left[node], trees.right[node])
        return jnp.where(trees.left[node] > 0, below, node)

    leaf = jax.lax.while_loop(
        lambda node: jnp.any(trees.left[node] > 0),
        descend,
        jnp.broadcast_to(jnp.asarray(roots)[None], (len(x), len(roots))),
    )
    return trees.value[leaf].sum(axis=1)


def stack_padded(trees: Sequence[Any]) -> Any:
    """Stacks pytrees of NumPy arrays, each filled up with zeros to the largest in every axis."""

    def stack(*leaves: np.ndarray) -> np.ndarray:
        shape = np.max([np.shape(x) for x in leaves], axis=0)
        return np.stack(
            [np.pad(x, [(0, n - m) for m, n in zip(np.shape(x), shape)]) for x in leaves]
        )

    return jax.tree.map(stack, *trees)
