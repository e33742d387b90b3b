"""Metrics of one set of predictions under many weightings: what the bootstrap repeats.

Sorting and binning are done once; a weighting then costs a few passes over the examples. A
weight of k counts an example as k equal ones, so that whole-number weights give exactly the
metric of the repeated data. The values equal scikit-learn's with ``sample_weight``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from molrel.evaluate.metrics import ECE_BINS, REGRESSION, calibration_bins

NAN = float("nan")
Weighted = Callable[[np.ndarray], dict[str, float]]


def weighted_metrics(
    names: Sequence[str], labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5
) -> Weighted:
    """A function of weights for some metrics of fixed predictions.

    Args:
      names: all out of ``metrics.CLASSIFICATION`` or all out of ``metrics.REGRESSION``.
      labels: float64 [N], none NaN; 0 or 1 for classification.
      scores: float64 [N], finite.
      threshold: a score of at least this counts as positive in F1 and accuracy.

    Returns:
      Function from weights (float64 [N], at least 0) to metric name -> value; NaN where the
      weighted labels leave the metric undefined.
    """
    if names[0] in REGRESSION:
        return RegressionSums(names, labels, scores)
    return BinarySums(names, labels, scores, threshold)


class BinarySums:
    """Weighted classification metrics of fixed predictions; see ``weighted_metrics``."""

    def __init__(
        self,
        names: Sequence[str],
        labels: np.ndarray,
        scores: np.ndarray,
        threshold: float,
    ):
        self.names = tuple(names)
        if {"auroc", "ap"} & set(names):
            self.order = np.argsort(-scores, kind="stable")
            ranked = scores[self.order]
            self.ranked_labels = labels[self.order]
            self.last_of_tie = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        decided = (scores >= threshold).astype(np.float64)
        self.sums = np.stack(
            [
                np.ones_like(labels),
                labels,
                decided,
                decided * labels,
                (decided == labels).astype(np.float64),
                (scores - labels) ** 2,
            ]
        )
        self.bins, self.gap = calibration_bins(scores), labels - scores

    def __call__(self, weights: np.ndarray) -> dict[str, float]:
        total, positive, decided, hit, right, squared = self.sums @ weights
        if total <= 0:
            return dict.fromkeys(self.names, NAN)
        values = {"accuracy": right / total, "brier": squared / total}
        both = 0 < positive < total
        values["f1"] = 2 * hit / (decided + positive) if both else NAN
        if "ece" in self.names:
            values["ece"] = np.abs(np.bincount(self.bins, weights * self.gap, ECE_BINS)).sum()
            values["ece"] /= total
        if {"auroc", "ap"} & set(self.names):
            values["auroc"], values["ap"] = self._ranking(weights) if both else (NAN, NAN)
        return {name: float(values[name]) for name in self.names}

    def _ranking(self, weights: np.ndarray) -> tuple[float, float]:
        """Area under the ROC curve (trapezoids) and average precision (steps)."""
        ranked = weights[self.order]
        above = np.cumsum(ranked)
        true = np.cumsum(ranked * self.ranked_labels)
        if len(self.last_of_tie) < len(ranked):
            above, true = above[self.last_of_tie], true[self.last_of_tie]
        false = above - true
        gained = np.diff(true, prepend=0.0)
        # Each positive beats the negatives below it, and half of those it ties with.
        beaten = false[-1] - false + np.diff(false, prepend=0.0) / 2
        precision = np.divide(true, above, out=np.zeros_like(true), where=above > 0)
        return _dot(gained, beaten) / (true[-1] * false[-1]), _dot(gained, precision) / true[-1]


class RegressionSums:
    """Weighted regression metrics of fixed predictions; see ``weighted_metrics``."""

    def __init__(self, names: Sequence[str], labels: np.ndarray, scores: np.ndarray):
        self.names = tuple(names)
        # Moved to mean 0: sums of squares of large numbers would lose digits.
        centred = labels - labels.mean() if len(labels) else labels
        error = scores - labels
        self.sums = np.stack([np.ones_like(labels), centred, centred**2, error**2, np.abs(error)])
        if "spearman" in names:
            self.label_groups = np.unique(labels, return_inverse=True)[1]
            self.score_groups = np.unique(scores, return_inverse=True)[1]

    def __call__(self, weights: np.ndarray) -> dict[str, float]:
        total, first, second, squared, absolute = self.sums @ weights
        if total <= 0:
            return dict.fromkeys(self.names, NAN)
        values = {"rmse": np.sqrt(squared / total), "mae": absolute / total}
        if "r2" in self.names:
            drawn = self.sums[1][weights > 0]
            varied = drawn.min() < drawn.max()
            values["r2"] = 1 - squared / (second - first**2 / total) if varied else NAN
        if "spearman" in self.names:
            values["spearman"] = self._spearman(weights, total)
        return {name: float(values[name]) for name in self.names}

    def _spearman(self, weights: np.ndarray, total: float) -> float:
        """Pearson correlation of the mid-ranks in the repeated data."""
        x = _mid_ranks(self.label_groups, weights) - total / 2
        y = _mid_ranks(self.score_groups, weights) - total / 2
        scale = np.sqrt(_dot(weights, x**2) * _dot(weights, y**2))
        return float(_dot(weights, x * y) / scale) if scale > 0 else NAN


def _mid_ranks(groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank minus one half of each example, ties sharing the middle; groups are sorted ties."""
    size = np.bincount(groups, weights)
    return (np.cumsum(size) - size / 2)[groups]


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """Inner product without BLAS, whose threads cost more than they save on shared cores."""
    return float(np.sum(a * b))
