"""Scoring examples: each molecule is encoded once, however many pairs it occurs in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
        encoded = encode_all(params, state, examples.molecules())
        sides = [side.dense() for side in examples.sides]
        if symmetric and [s.shape[1] for s in sides] == [1, 1]:
            sides = [np.minimum(*sides), np.maximum(*sides)]
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

    def encode_all(params: Any, state: Any, needed: np.ndarray) -> Any:
        """Per-molecule arrays with one row an id; chunks without a needed molecule are 0."""
        parts: list[Any] = [
            encode(params, state, table, ids) if np.isin(ids, needed).any() else None
            for ids in chunks
        ]
        blank = jax.tree.map(jnp.zeros_like, next(p for p in parts if p is not None))
        filled = [blank if p is None else p for p in parts]
        return jax.tree.map(lambda *xs: jnp.concatenate(xs), *filled)

    return predict


def _chunks(n_molecules: int) -> list[np.ndarray]:
    """All ids in order, in chunks of one static size, padded with the padding id."""
    size = min(MOLECULES, -(-n_molecules // 8) * 8)
    ids = np.arange(-(-n_molecules // size) * size, dtype=np.int32)
    return list(np.minimum(ids, n_molecules).reshape(-1, size))


def _chunk_budget(sizes: MoleculeSizes, chunks: list[np.ndarray]) -> Budget:
    """The smallest budget that every chunk fits into."""
    needed = [sizes.of(ids) for ids in chunks]
    return round_up(
        Budget(**{f.name: max(getattr(n, f.name) for n in needed) for f in fields(Budget)})
    )
