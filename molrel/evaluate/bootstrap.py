"""Bootstrap intervals clustered by molecule.

Pairs that share a molecule are not independent, so molecules are resampled and not pairs:
the pigeonhole bootstrap (Owen, "The pigeonhole bootstrap", Ann. Appl. Stat. 1:386, 2007).
The weight of an example is the product of the multiplicities of its molecules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from molrel.evaluate.metrics import (
    REGRESSION,
    classification_metrics,
    expected_calibration_error,
    regression_metrics,
)


class Interval(NamedTuple):
    """A value on all data and its 95 % percentile interval."""

    mean: float
    low: float
    high: float


def cluster_weights(clusters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float64 [N], weights of the examples in one bootstrap replicate.

    Args:
      clusters: int [N, C], molecules of each example, -1 padding; a molecule in two
        columns of one example counts once.
      rng: random generator.
    """
    _, index = np.unique(clusters, return_inverse=True)
    index = index.reshape(clusters.shape)
    return _draw(_distinct(clusters, index), int(index.max()) + 1, rng)


def _distinct(clusters: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Dense molecule index [N, C]; -1 where padding or equal to an earlier column."""
    index = np.where(clusters < 0, -1, index)
    for c in range(1, index.shape[1]):
        repeated = (index[:, :c] == index[:, c : c + 1]).any(axis=1)
        index[repeated, c] = -1
    return index


def _draw(index: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    times = np.append(np.bincount(rng.integers(0, n, n), minlength=n), 1)  # -1 picks the 1
    return np.prod(times[index], axis=1).astype(np.float64)


class Ranked:
    """Labels sorted once by score, so that each replicate costs only sums.

    Args:
      labels: [N] 0 or 1.
      scores: [N].
    """

    def __init__(self, labels: np.ndarray, scores: np.ndarray):
        self.order = np.argsort(-scores, kind="stable")
        sorted_scores = scores[self.order]
        self.labels = labels[self.order]
        self.last = np.flatnonzero(np.append(sorted_scores[1:] < sorted_scores[:-1], True))

    def _sums(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cumulated weight of positives and negatives at the end of each tie."""
        w = weight[self.order]
        positive = np.cumsum(w * self.labels)
        return positive[self.last], (np.cumsum(w) - positive)[self.last]

    def auroc(self, weight: np.ndarray) -> float:
        """Weighted area under the ROC curve; equals scikit-learn's with sample_weight."""
        positive, negative = self._sums(weight)
        if positive[-1] == 0 or negative[-1] == 0:
            return float("nan")
        area = np.sum(np.diff(negative, prepend=0) * (positive + np.append(0, positive[:-1])) / 2)
        return float(area / positive[-1] / negative[-1])

    def ap(self, weight: np.ndarray) -> float:
        """Weighted average precision; equals scikit-learn's with sample_weight."""
        positive, negative = self._sums(weight)
        if positive[-1] == 0:
            return float("nan")
        total = positive + negative
        precision = np.divide(positive, total, out=np.zeros_like(total), where=total > 0)
        return float(np.sum(np.diff(positive, prepend=0) * precision) / positive[-1])


def _weighted(
    metric: str, y: np.ndarray, p: np.ndarray, w: np.ndarray, ranked: Ranked, threshold: float
) -> float:
    """One weighted metric, NaN where the replicate cannot define it."""
    total = w.sum()
    if total == 0:
        return float("nan")
    if metric == "auroc":
        return ranked.auroc(w)
    if metric == "ap":
        return ranked.ap(w)
    decided = p >= threshold
    if metric == "f1":
        hit = np.sum(w * decided * y)
        return float(2 * hit / max(np.sum(w * decided) + np.sum(w * y), 1e-12))
    if metric == "accuracy":
        return float(np.sum(w * (decided == y)) / total)
    if metric == "ece":
        return expected_calibration_error(y, p, w)
    if metric == "mae":
        return float(np.sum(w * np.abs(p - y)) / total)
    squared = np.sum(w * (p - y) ** 2)
    if metric == "brier":
        return float(squared / total)
    if metric == "rmse":
        return float(np.sqrt(squared / total))
    mean = np.sum(w * y) / total
    if metric == "r2":
        spread = np.sum(w * (y - mean) ** 2)
        return float(1 - squared / spread) if spread > 0 else float("nan")
    ry, rp = _weighted_ranks(y, w), _weighted_ranks(p, w)  # spearman
    ry, rp = ry - np.sum(w * ry) / total, rp - np.sum(w * rp) / total
    scale = np.sqrt(np.sum(w * ry**2) * np.sum(w * rp**2))
    return float(np.sum(w * ry * rp) / scale) if scale > 0 else float("nan")


def _weighted_ranks(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Mid-ranks of x where each entry stands for w equal ones."""
    _, group = np.unique(x, return_inverse=True)
    size = np.bincount(group, w)
    return (np.cumsum(size) - size / 2)[group]


def _point(metric: str, y: np.ndarray, p: np.ndarray, threshold: float) -> float:
    if metric in REGRESSION:
        return regression_metrics(y, p)[metric]
    return classification_metrics(y, p, threshold)[metric]


def _replicate(
    metrics: Sequence[str],
    y: np.ndarray,
    all_scores: Sequence[np.ndarray],
    all_thresholds: Sequence[Sequence[float]],
    clusters: np.ndarray,
    replicates: int,
    seed: int,
) -> np.ndarray:
    """[methods, metrics, replicates] means over resampled seeds; shared molecule weights."""
    _, index = np.unique(clusters, return_inverse=True)
    index = index.reshape(clusters.shape)
    n, index = int(index.max()) + 1, _distinct(clusters, index)
    ranked = [[Ranked(y, s) for s in scores] for scores in all_scores]
    out = np.empty((len(all_scores), len(metrics), replicates))
    for r in range(replicates):
        rng = np.random.default_rng([seed, r])
        w = _draw(index, n, rng)
        for m, scores in enumerate(all_scores):
            drawn = np.bincount(rng.integers(0, len(scores), len(scores)), minlength=len(scores))
            for k, metric in enumerate(metrics):
                values = [
                    times * _weighted(metric, y, scores[s], w, ranked[m][s], all_thresholds[m][s])
                    for s, times in enumerate(drawn)
                    if times
                ]
                out[m, k, r] = np.sum(values) / len(scores)
    return out


def _interval(mean: float, values: np.ndarray) -> Interval:
    """Percentile interval; replicates that are NaN (a single class drawn) are left out."""
    values = values[~np.isnan(values)]
    if not len(values) or np.isnan(mean):
        return Interval(mean, float("nan"), float("nan"))
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(mean, float(low), float(high))


def _checked(
    labels: np.ndarray, scores: np.ndarray, clusters: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.asarray(labels, np.float64)
    keep = ~np.isnan(labels)
    scores = np.atleast_2d(np.asarray(scores, np.float64))[:, keep]
    return labels[keep], scores, np.asarray(clusters).reshape(len(labels), -1)[keep]


def intervals(
    metrics: Sequence[str],
    labels: np.ndarray,
    scores: np.ndarray,
    clusters: np.ndarray,
    *,
    replicates: int = 200,
    seed: int = 0,
    thresholds: Sequence[float] | None = None,
) -> dict[str, Interval]:
    """Metrics averaged over seeds, each with an interval over molecules and seeds.

    Args:
      metrics: names out of ``metrics.CLASSIFICATION`` or ``metrics.REGRESSION``.
      labels: [N], NaN where unknown (left out).
      scores: [S, N], one row a seed.
      clusters: int [N, C], molecules of each example, -1 padding.
      replicates: bootstrap replicates.
      seed: of the resampling.
      thresholds: decision threshold of each seed; 0.5 by default.

    Returns:
      Metric -> (value on all data, 2.5 % and 97.5 % percentile).
    """
    y, p, c = _checked(labels, scores, clusters)
    t = [0.5] * len(p) if thresholds is None else list(thresholds)
    if not len(y):
        return {m: Interval(*[float("nan")] * 3) for m in metrics}
    values = _replicate(metrics, y, [p], [t], c, replicates, seed)[0]
    return {
        m: _interval(float(np.mean([_point(m, y, s, h) for s, h in zip(p, t, strict=True)])), v)
        for m, v in zip(metrics, values, strict=True)
    }


def paired_difference(
    metric: str,
    labels: np.ndarray,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    clusters: np.ndarray,
    *,
    replicates: int = 200,
    seed: int = 0,
) -> Interval:
    """metric(a) - metric(b) on the same examples, with the same resampled molecules.

    Seeds of the two methods are resampled apart, since they are not paired.

    Args:
      metric, labels, clusters, replicates, seed: see ``intervals``.
      scores_a, scores_b: [S, N] and [S', N].
    """
    y, a, c = _checked(labels, scores_a, clusters)
    b = _checked(labels, scores_b, clusters)[1]
    halves = [[0.5] * len(a), [0.5] * len(b)]
    values = _replicate([metric], y, [a, b], halves, c, replicates, seed)[:, 0]
    means = [np.mean([_point(metric, y, s, 0.5) for s in scores]) for scores in (a, b)]
    return _interval(float(means[0] - means[1]), values[0] - values[1])
