"""Floors: predictors that learn nothing of molecules, to stand in every table."""

from __future__ import annotations

import numpy as np


def pair_keys(pairs: np.ndarray) -> np.ndarray:
    """int64 [N], equal for pairs of the same molecules in either order."""
    low, high = pairs.min(axis=1).astype(np.int64), pairs.max(axis=1).astype(np.int64)
    return low << 32 | high


def source_label_copier(
    source_pairs: np.ndarray, source_labels: np.ndarray, target_pairs: np.ndarray
) -> np.ndarray:
    """The source's label of the same pair, and its prevalence where it has none.

    Args:
      source_pairs, target_pairs: int [n, 2] and [m, 2] in one id space, unordered.
      source_labels: [n]; a pair that occurs repeatedly counts with its mean label.

    Returns:
      float64 [m] probabilities.
    """
    keys, index = np.unique(pair_keys(source_pairs), return_inverse=True)
    mean = np.bincount(index, source_labels) / np.bincount(index)
    wanted = pair_keys(target_pairs)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, mean[place], np.mean(source_labels))


def floor_scores(
    source_pairs: np.ndarray, source_labels: np.ndarray, target_pairs: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores [m] of every floor: the source's prevalence, all positive, the label copier."""
    m = len(target_pairs)
    floors = {
        "floor: prevalence": np.full(m, float(np.mean(source_labels))),
        "floor: all positive": np.ones(m),
    }
    if source_pairs.shape[1] == 2:
        floors["floor: source-label copier"] = source_label_copier(
            source_pairs, source_labels, target_pairs
        )
    return floors
