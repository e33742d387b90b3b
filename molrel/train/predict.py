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
from molrel.train.settings import SeedsMode
from molrel.train.step import resolve_seeds_mode, unstack

MOLECULES = 256
EXAMPLES = 2048


Predict = Callable[[Any, Any, Examples], np.ndarray]


def make_predictor(
    method: Method, table: MoleculeTable, *, symmetric: bool, mode: SeedsMode = "auto"
) -> Predict:
    """Builds ``predict(params, state, examples) -> logits float32 [S, N, T]`` of S seeds.

    Every leaf of params and state has a leading seed axis. Molecules are encoded in fixed chunks
    and examples scored in fixed chunks, so there are two compiled programs however many calls
    are made. For a symmetric task the two molecules of a pair are put in id order first, so
    f(a, b) and f(b, a) agree to the bit.

    Args:
      method: what predicts.
      table: all molecules.
      symmetric: whether the order of a pair means nothing.
      mode: how the seeds are run; see ``compile_step``.
    """
    if resolve_seeds_mode(mode) == "vmap":
        return _make_predictor(method, table, symmetric=symmetric, mapped=True)
    single = _make_predictor(method, table, symmetric=symmetric, mapped=False)

    def loop(params: Any, state: Any, examples: Examples) -> np.ndarray:
        params, state = jax.device_put((params, state))
        n_seeds = len(jax.tree.leaves(params)[0])
        return np.stack(
            [single(unstack(params, i), unstack(state, i), examples) for i in range(n_seeds)]
        )

    return loop


def make_embedder(
    method: Method, table: MoleculeTable
) -> Callable[[Any, Any, np.ndarray, int], np.ndarray]:
    """Builds ``embed(params, state, ids, domain) -> float32 [S, len(ids), D]``, of ids in any
    order, as molecules of a domain (0 source, 1 target)."""
    encode = _Encoder(method, table, mapped=False)

    def embed(params: Any, state: Any, ids: np.ndarray, domain: int) -> np.ndarray:
        found = []
        for i in range(len(jax.tree.leaves(params)[0])):
            encoded, place = encode(unstack(params, i), unstack(state, i), np.unique(ids), domain)
            found.append(np.asarray(method.embed(encoded))[place[ids]])
        return np.stack(found)

    return embed


def _make_predictor(
    method: Method, table: MoleculeTable, *, symmetric: bool, mapped: bool
) -> Predict:
    """``make_predictor`` of one seed, logits [N, T]; mapped over all seeds, [S, N, T]."""
    encode, score = _Encoder(method, table, mapped=mapped), jax.jit(method.predict)
    if mapped:
        score = jax.jit(jax.vmap(method.predict, in_axes=(0, 0, 0, None)))

    def predict(params: Any, state: Any, examples: Examples) -> np.ndarray:
        if not method.apart:
            return of_domain(params, state, examples, 0)
        parts = [np.flatnonzero(examples.domain == d) for d in (0, 1)]
        found = [
            of_domain(params, state, examples.take(index), d)
            for d, index in enumerate(parts)
            if len(index)
        ]
        return np.concatenate(found, axis=-2)[..., np.argsort(np.concatenate(parts)), :]

    def of_domain(params: Any, state: Any, examples: Examples, domain: int) -> np.ndarray:
        encoded, place = encode(params, state, examples.molecules(), domain)
        sides = [side.dense() for side in examples.sides]
        if symmetric and [s.shape[1] for s in sides] == [1, 1]:
            sides = [np.minimum(*sides), np.maximum(*sides)]
        sides = [np.where(s < 0, -1, place[s]) for s in sides]
        out = []
        # Attention between two bags needs memory by the product of their sizes.
        rows = max(16, EXAMPLES // max(s.shape[1] for s in sides))
        for start in range(0, len(examples), rows):
            part = [s[start : start + rows] for s in sides]
            kept = len(part[0])
            part = tuple(np.pad(s, ((0, rows - kept), (0, 0)), constant_values=-1) for s in part)
            out.append(np.asarray(score(params, state, encoded, part))[..., :kept, :])
        return np.concatenate(out, axis=-2)

    return predict


class _Encoder:
    """Encodes molecules in chunks of one static size, each molecule once."""

    def __init__(self, method: Method, table: MoleculeTable, *, mapped: bool):
        self.table, self.sizes, self.axis = table, MoleculeSizes(table), int(mapped)
        self.chunks = _chunks(table.padding_id)
        self.budget = budget = _chunk_budget(self.sizes, self.chunks)

        def encode(params, state, table, ids, domain):
            return method.encode(params, state, gather(table, ids, budget, domain))

        axes = (0, 0, None, None, None)
        self.encode = jax.jit(jax.vmap(encode, in_axes=axes) if mapped else encode)

    def __call__(
        self, params: Any, state: Any, needed: np.ndarray, domain: int
    ) -> tuple[Any, np.ndarray]:
        """Per-molecule arrays, and the row of each molecule in them, int32 by id.

        Group after group; blank up to the size of all molecules, so that one program scores
        whatever is needed.
        """
        width = len(self.chunks[0])
        groups = _pack(needed, self.sizes, self.budget, width)
        padding = self.table.padding_id
        place = np.full(padding + 1, -1, np.int32)
        parts = []
        for i, group in enumerate(groups):
            place[group] = i * width + np.arange(len(group), dtype=np.int32)
            ids = np.pad(group, (0, width - len(group)), constant_values=padding)
            domains = np.full_like(ids, domain)
            parts.append(self.encode(params, state, self.table, ids, domains))
        blank = jax.tree.map(jnp.zeros_like, parts[0])
        filled = parts + [blank] * (len(self.chunks) - len(parts))
        return jax.tree.map(lambda *xs: jnp.concatenate(xs, self.axis), *filled), place


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
