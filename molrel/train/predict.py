"""Scoring examples: each molecule is encoded once, however many pairs it occurs in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from molrel.data.batches import Budget, MoleculeSizes, round_up
from molrel.data.table import MoleculeTable
from molrel.data.types import Examples
from molrel.methods.method import Method
from molrel.nn.graph import gather

MOLECULES = 256
EXAMPLES = 2048


def make_predictor(
    method: Method, table: MoleculeTable, *, symmetric: bool
) -> Callable[[Any, Any, Examples], np.ndarray]:
    """Builds ``predict(params, state, examples) -> logits float32 [N, T]``.

    Molecules are encoded in fixed chunks and examples scored in fixed chunks, so there
    are two compiled programs however many calls are made. For a symmetric task the two
    molecules of a pair are put in id order first, so f(a, b) and f(b, a) agree to the bit.
    """
    sizes = MoleculeSizes(table)
    chunks = _chunks(table.padding_id)
    budget = _chunk_budget(sizes, chunks)

    @jax.jit
    def encode(params, state, table, ids):
        return method.encode(params, state, gather(table, ids, budget))

    @jax.jit
    def score(params, state, encoded, sides):
        return method.predict(params, state, encoded, sides)

    def predict(params: Any, state: Any, examples: Examples) -> np.ndarray:
        needed = examples.molecules()
        groups = _pack(needed, sizes, budget, len(chunks[0]))
        encoded = encode_groups(params, state, groups)
        place = np.full(table.padding_id + 1, -1, np.int32)
        for i, group in enumerate(groups):
            place[group] = i * len(chunks[0]) + np.arange(len(group), dtype=np.int32)
        sides = [side.dense() for side in examples.sides]
        if symmetric and [s.shape[1] for s in sides] == [1, 1]:
            sides = [np.minimum(*sides), np.maximum(*sides)]
        sides = [np.where(s < 0, -1, place[s]) for s in sides]
        out = []
        # Attention between two bags needs memory by the product of their sizes.
        rows = max(16, EXAMPLES // max(s.shape[1] for s in sides))
        for start in range(0, len(examples), rows):
            part = [s[start : start + rows] for s in sides]
            padding = rows - len(part[0])
            part = tuple(np.pad(s, ((0, padding), (0, 0)), constant_values=-1) for s in part)
            logits = np.asarray(score(params, state, encoded, part))
            out.append(logits[: rows - padding])
        return np.concatenate(out)

    def encode_groups(params: Any, state: Any, groups: list[np.ndarray]) -> Any:
        """Per-molecule arrays, group after group; blank up to the size of all molecules, so
        that one program scores whatever is needed."""
        width = len(chunks[0])
        padded = [
            np.pad(ids, (0, width - len(ids)), constant_values=table.padding_id) for ids in groups
        ]
        parts = [encode(params, state, table, ids) for ids in padded]
        blank = jax.tree.map(jnp.zeros_like, parts[0])
        filled = parts + [blank] * (len(chunks) - len(parts))
        return jax.tree.map(lambda *xs: jnp.concatenate(xs), *filled)

    return predict


def to_scores(
    logits: np.ndarray, kind: str, label_mean: np.ndarray, label_scale: np.ndarray
) -> np.ndarray:
    """What a method's logits [N, T] say: float64 [N, T], or [N] where T is 1.

    Predictions in the task's units for a regression, else probabilities: of each target, or of
    each class.

    Args:
      logits: of ``predict``.
      kind: of the task.
      label_mean, label_scale: [T], what the labels of a regression were standardised with.
    """
    scores = logits.astype(np.float64)
    if kind == "regression":
        scores = scores * label_scale + label_mean
    elif kind == "multiclass":
        scores = scipy.special.softmax(scores, axis=1)
    else:
        scores = 1 / (1 + np.exp(-scores))
    return scores[:, 0] if scores.shape[1] == 1 else scores


def _chunks(n_molecules: int) -> list[np.ndarray]:
    """All ids in order, in chunks of one static size, padded with the padding id."""
    size = min(MOLECULES, -(-n_molecules // 8) * 8)
    ids = np.arange(-(-n_molecules // size) * size, dtype=np.int32)
    return list(np.minimum(ids, n_molecules).reshape(-1, size))


def _pack(needed: np.ndarray, sizes: MoleculeSizes, budget: Budget, most: int) -> list[np.ndarray]:
    """The needed ids in order, as few groups of at most ``most`` as the budget allows.

    Never more than the chunks of all ids, which the budget was made for.
    """
    rows = sizes.per_molecule[needed]
    limit = np.array([getattr(budget, f.name) for f in fields(Budget)][1:])
    groups, start = [], 0
    while start < len(needed):
        total = np.cumsum(rows[start : start + most], axis=0)
        fitting = int((total <= limit[None]).all(axis=1).sum())
        groups.append(needed[start : start + fitting].astype(np.int32))
        start += fitting
    return groups


def _chunk_budget(sizes: MoleculeSizes, chunks: list[np.ndarray]) -> Budget:
    """The smallest budget that every chunk fits into."""
    needed = [sizes.of(ids) for ids in chunks]
    return round_up(
        Budget(**{f.name: max(getattr(n, f.name) for n in needed) for f in fields(Budget)})
    )
