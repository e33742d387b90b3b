"""Fingerprint baselines of scikit-learn: the first question of every reviewer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pair_features(fingerprints: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """uint8 [N, 2B]: sum and absolute difference of two fingerprints; B for one molecule.

    Args:
      fingerprints: uint8 [M, B], Morgan counts.
      sides: int [N, 2] or [N, 1], molecules of each example; their order plays no role.
    """
    if sides.shape[1] == 1:
        return fingerprints[sides[:, 0]]
    a, b = (np.minimum(fingerprints[side], 127) for side in sides.T)
    return np.concatenate([a + b, np.maximum(a, b) - np.minimum(a, b)], axis=1)


def fold(fingerprints: np.ndarray, bits: int) -> np.ndarray:
    """uint8 [M, bits]: counts of bits that fall together are added, at most 255."""
    folded = fingerprints.reshape(len(fingerprints), -1, bits).sum(axis=1)
    return np.minimum(folded, 255).astype(np.uint8)


def random_forest(
    fingerprints: np.ndarray,
    sides: np.ndarray,
    labels: np.ndarray,
    targets: Sequence[np.ndarray],
    *,
    kind: str = "binary",
    seed: int = 0,
    n_estimators: int = 100,
    max_examples: int = 20_000,
) -> list[np.ndarray]:
    """Fits a random forest on symmetric pair features and scores several sets of pairs.

    Args:
      fingerprints: uint8 [M, B], Morgan counts; folded to 512 bits.
      sides: int [n, 2], training pairs.
      labels: [n].
      targets: int [m_i, 2] each, pairs to score.
      kind: ``binary`` gives probabilities, ``regression`` predictions.
      seed: of the forest and of the subsample of training pairs.
      n_estimators: trees.
      max_examples: training pairs used; more are subsampled.

    Returns:
      float64 [m_i] for each of ``targets``.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    folded = fold(fingerprints, min(512, fingerprints.shape[1]))
    known = np.flatnonzero(~np.isnan(labels))
    if len(known) > max_examples:
        known = np.random.default_rng(seed).choice(known, max_examples, replace=False)
    forest = RandomForestRegressor if kind == "regression" else RandomForestClassifier
    model = forest(n_estimators=n_estimators, min_samples_leaf=1, n_jobs=2, random_state=seed)
    model.fit(pair_features(folded, sides[known]), labels[known])
    scores = []
    for target in targets:
        features = pair_features(folded, target)
        if isinstance(model, RandomForestRegressor):
            scores.append(model.predict(features))
        else:
            scores.append(model.predict_proba(features) @ model.classes_)
    return scores
