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
    """K binary trees of at most N nodes. Node 0 is the root, so a child 0 means none: a leaf.

    Zeros are then padding: a node that is never reached, or a tree whose root is a leaf of 0.

    Attributes:
      feature: int32 [K, N], what a node splits on.
      threshold: float32 [K, N]; at most this goes to the left.
      left, right: int32 [K, N], the nodes below; 0 in a leaf.
      value: float32 [K, N, C], of the leaves.
    """

    feature: Int[Array, "k n"]
    threshold: Float[Array, "k n"]
    left: Int[Array, "k n"]
    right: Int[Array, "k n"]
    value: Float[Array, "k n c"]


def sum_of_trees(trees: Trees, x: Real[Array, "p w"]) -> Float[Array, "p c"]:
    """Sum over the trees of the values of the leaves that each row ends in.

    Args:
      trees: K of them.
      x: P rows of features.
    """
    trees, x = jax.tree.map(jnp.asarray, (trees, x))
    tree, row = jnp.arange(len(trees.left))[None], jnp.arange(len(x))[:, None]

    def descend(node: Array) -> Array:
        to_left = x[row, trees.feature[tree, node]] <= trees.threshold[tree, node]
        below = jnp.where(to_left, trees.left[tree, node], trees.right[tree, node])
        return jnp.where(trees.left[tree, node] > 0, below, node)

    leaf = jax.lax.while_loop(
        lambda node: jnp.any(trees.left[tree, node] > 0),
        descend,
        jnp.zeros((len(x), len(trees.left)), jnp.int32),
    )
    return trees.value[tree, leaf].sum(axis=1)


def stack_padded(trees: Sequence[Any]) -> Any:
    """Stacks pytrees of NumPy arrays, each filled up with zeros to the largest in every axis."""

    def stack(*leaves: np.ndarray) -> np.ndarray:
        shape = np.max([np.shape(x) for x in leaves], axis=0)
        return np.stack(
            [np.pad(x, [(0, n - m) for m, n in zip(np.shape(x), shape)]) for x in leaves]
        )

    return jax.tree.map(stack, *trees)
