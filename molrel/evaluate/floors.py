"""Floors: predictors that look at no molecule's structure, to stand in every table.

What a data set's base rate or its memory of the source already explains is no merit of a
model. The floor of AUROC is 0.5 and that of average precision is the prevalence.
"""

from __future__ import annotations

import numpy as np

from molrel.errors import InputError

PREFIX = "floor: "


def prevalence(source_labels: np.ndarray, n_target: int) -> np.ndarray:
    """float64 [n_target], the mean known label of the source, for every example.

    For regression it is the mean that R2 compares with.

    Raises:
      InputError: no source label is known.
    """
    known = ~np.isnan(source_labels)
    if not known.any():
        raise InputError("the source has no labelled example to take the base rate of")
    return np.full(n_target, np.mean(source_labels[known], dtype=np.float64))


def all_positive(n_target: int) -> np.ndarray:
    """float64 [n_target] ones: its F1 is what agreeing to everything earns."""
    return np.ones(n_target)


def source_label_copier(
    source_pairs: np.ndarray,
    source_labels: np.ndarray,
    target_pairs: np.ndarray,
    fallback: float | None = None,
) -> np.ndarray:
    """The source's label of the same pair, where it has one.

    Args:
      source_pairs, target_pairs: int [n, 2] and [m, 2] molecules in one id space (at least
        0), without order (where it matters, a molecule has one id on each side:
        ``splits.role_ids``); one column for properties of single molecules.
      source_labels: [n], NaN where unknown (left out); a pair that occurs more than once
        counts with its mean label.
      fallback: score of pairs that the source does not know; its prevalence by default.

    Returns:
      float64 [m].

    Raises:
      InputError: no source label is known.
    """
    if fallback is None:
        fallback = float(prevalence(source_labels, 1)[0])
    known = ~np.isnan(source_labels)
    source, target = _unordered(source_pairs[known]), _unordered(target_pairs)
    both = np.concatenate([source, target])
    n_relations, relation = 0, np.zeros(0, np.int64)
    if len(both):
        unique, relation = np.unique(both, axis=0, return_inverse=True)
        n_relations, relation = len(unique), relation.reshape(-1)
    of_source, of_target = relation[: len(source)], relation[len(source) :]
    count = np.bincount(of_source, minlength=n_relations)
    total = np.bincount(of_source, source_labels[known].astype(np.float64), n_relations)
    mean = np.divide(total, count, out=np.full(n_relations, fallback), where=count > 0)
    return mean[of_target]


def _unordered(pairs: np.ndarray) -> np.ndarray:
    return np.sort(np.asarray(pairs, np.int64), axis=1)


def molecule_means(
    known_pairs: np.ndarray, known_labels: np.ndarray, pairs: np.ndarray
) -> np.ndarray:
    """Mean label of the other pairs that the molecules of a pair are known in.

    How much is explained by which molecules interact often: no structure is looked at. The
    score is the mean over the sides of (sum of labels + base) / (number of labels + 1), with
    the base ``prevalence``.

    Args:
      known_pairs, known_labels: int [n, S] and [n], pairs whose labels are read.
      pairs: int [m, S], other pairs.

    Returns:
      float64 [m], the base for molecules without a known pair.

    Raises:
      InputError: no label is known.
    """
    known = ~np.isnan(known_labels)
    molecules, labels = known_pairs[known], known_labels[known].astype(np.float64)
    base = float(prevalence(labels, 1)[0])
    size = int(max(known_pairs.max(initial=0), pairs.max(initial=0))) + 1
    count, total = np.zeros(size), np.zeros(size)
    for side in molecules.T:
        count += np.bincount(side, minlength=size)
        total += np.bincount(side, labels, size)
    means = (total + base) / (count + 1)
    return means[pairs].mean(axis=1)


def floor_scores(
    source_pairs: np.ndarray,
    source_labels: np.ndarray,
    target_pairs: np.ndarray,
    *,
    regression: bool = False,
) -> dict[str, np.ndarray]:
    """Scores of every floor; see ``source_label_copier`` for arguments.

    Returns:
      Name as printed in reports, starting with ``PREFIX`` -> float64 [m] probabilities, or
      values of a regression.
    """
    m = len(target_pairs)
    known = source_pairs, source_labels, target_pairs
    base = prevalence(source_labels, m)
    constant = {"prevalence": base, "all positive": all_positive(m)}
    found = ({"mean": base} if regression else constant) | {
        "source-label copier": source_label_copier(*known),
        "molecule means": molecule_means(*known),
    }
    return {PREFIX + name: scores for name, scores in found.items()}
