"""Random forest on Morgan counts: the baseline that a learned representation must beat.

Fingerprints with a classical learner are competitive with graph networks on molecular
relations (Breiman, "Random forests", Mach. Learn. 45:5, 2001, on the counts of Rogers and
Hahn, J. Chem. Inf. Model. 50:742, 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from molrel.errors import InputError

MAX_COLUMNS = 1024
CHUNK = 20_000


def pair_features(
    fingerprints: np.ndarray, sides: np.ndarray, *, symmetric: bool = True
) -> np.ndarray:
    """Features of examples of one or two molecules.

    Args:
      fingerprints: uint8 [M, B], counts; those above 127 are taken as 127.
      sides: int [N, 1] or [N, 2], molecules of each example.
      symmetric: whether the order of the two molecules plays no role.

    Returns:
      uint8 [N, 2B]: sum and absolute difference of the two (from which a tree can tell
      the larger and the smaller count) if symmetric, otherwise one after the other;
      uint8 [N, B] for one molecule.
    """
    counts = np.minimum(fingerprints, 127)
    if sides.shape[1] == 1:
        return counts[sides[:, 0]]
    a, b = counts[sides[:, 0]], counts[sides[:, 1]]
    if symmetric:
        a, b = a + b, np.maximum(a, b) - np.minimum(a, b)
    return np.concatenate([a, b], axis=1)


def fold(fingerprints: np.ndarray, bits: int) -> np.ndarray:
    """Folds uint8 [M, B] to [M, bits], as if hashed to fewer bits: counts that meet add up.

    Args:
      fingerprints: counts.
      bits: a divisor of B.

    Returns:
      uint8 [M, bits]; more than 255 is given as 255.
    """
    folded = fingerprints.reshape(len(fingerprints), -1, bits).sum(axis=1, dtype=np.int64)
    return np.minimum(folded, 255).astype(np.uint8)


def informative(fingerprints: np.ndarray, molecules: np.ndarray) -> np.ndarray:
    """Drops the columns that are constant over the training molecules.

    No tree can split on them, so this only saves time and memory. Where more than 1024
    columns are left, the fingerprints are folded to 1024 bits first.

    Args:
      fingerprints: uint8 [M, B], counts.
      molecules: int, the training molecules.

    Returns:
      uint8 [M, B'], at least one column.
    """
    for counts in (fingerprints, fold(fingerprints, _folded_size(fingerprints.shape[1]))):
        varied = np.ptp(counts[molecules], axis=0) > 0
        if varied.sum() <= MAX_COLUMNS:
            break
    return counts[:, varied] if varied.any() else counts[:, :1]  # pyright: ignore


def _folded_size(bits: int) -> int:
    """The largest divisor of the number of bits that is at most 1024."""
    return max(d for d in range(1, min(bits, MAX_COLUMNS) + 1) if bits % d == 0)


def random_forest(
    fingerprints: np.ndarray,
    sides: np.ndarray,
    labels: np.ndarray,
    targets: Sequence[np.ndarray],
    *,
    kind: str = "binary",
    symmetric: bool = True,
    seed: int = 0,
    n_estimators: int = 100,
    max_examples: int = 40_000,
    examples_per_tree: int = 15_000,
) -> list[np.ndarray]:
    """Fits a random forest to source examples and scores other sets of examples.

    Args:
      fingerprints: uint8 [M, B], Morgan counts.
      sides: int [n, 1] or [n, 2], training examples; exchanging the molecules of a pair
        changes no score if ``symmetric``.
      labels: [n], NaN where unknown (left out); 0 or 1 unless regression.
      targets: int [m, 1] or [m, 2] each, examples to score.
      kind: "regression" for predictions in the unit of the labels, else probabilities.
      symmetric: whether f(a, b) = f(b, a) must hold.
      seed: of the forest and of the subsample.
      n_estimators: trees.
      max_examples: a random subsample of this size is trained on if there are more, which
        bounds the memory.
      examples_per_tree: drawn from these with replacement for each tree, at most; more
        would cost time and, as trees then differ less, gain little.

    Returns:
      float64 [m] for each of ``targets``.

    Raises:
      InputError: no training label is known.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    chosen = np.flatnonzero(~np.isnan(labels))
    if not len(chosen):
        raise InputError("the random forest has no labelled example to learn from")
    if len(chosen) > max_examples:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, max_examples, replace=False))
    counts = informative(fingerprints, np.unique(sides[chosen]))
    settings: dict[str, Any] = {
        "n_estimators": n_estimators,
        "max_samples": min(examples_per_tree, len(chosen)),
        "n_jobs": 2,
        "random_state": seed,
    }
    if kind == "regression":
        # One third is the usual share for regression; classification takes the square root.
        model = RandomForestRegressor(max_features=1 / 3, **settings)
    else:
        model = RandomForestClassifier(**settings)
    model.fit(pair_features(counts, sides[chosen], symmetric=symmetric), labels[chosen])

    def score(part: np.ndarray) -> np.ndarray:
        features = pair_features(counts, part, symmetric=symmetric)
        if isinstance(model, RandomForestRegressor):
            return model.predict(features)
        # A weighted sum and not column 1: a single training class leaves one column.
        return model.predict_proba(features) @ np.asarray(model.classes_, np.float64)

    # In pieces, for scikit-learn makes float32 of all features that it is given at once.
    return [
        np.concatenate([np.zeros(0), *(score(t[i : i + CHUNK]) for i in range(0, len(t), CHUNK))])
        for t in targets
    ]
