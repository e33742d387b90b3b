"""Metrics of one set of predictions, by scikit-learn and SciPy in float64.

Both are imported when first needed: they cost a second, and most commands compute no metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from molrel.errors import RunError

CLASSIFICATION = ("auroc", "ap", "f1", "accuracy", "brier", "ece")
REGRESSION = ("rmse", "mae", "r2", "spearman")
ECE_BINS = 15

NAN = float("nan")


def known(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores in float64, [n], of the examples [N] whose label is known (not NaN).

    Raises:
      RunError: a score of these is not finite.
      ValueError: labels and scores differ in length.
    """
    labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must both be [N]")
    keep = ~np.isnan(labels)
    labels, scores = labels[keep], scores[keep]
    if not np.isfinite(scores).all():
        example = np.flatnonzero(keep)[int(np.argmin(np.isfinite(scores)))]
        raise RunError(f"the score of example {example} is not finite")
    return labels, scores


def binary(labels: np.ndarray) -> np.ndarray:
    """The labels, after a check that each is 0 or 1; raises ValueError otherwise."""
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels of a classification must be 0, 1 or NaN")
    return labels


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float
) -> dict[str, float]:
    """AUROC, average precision, F1, accuracy, Brier score and expected calibration error.

    Args:
      labels: [N] 0 or 1, NaN where unknown (left out).
      probabilities: [N] of class 1.
      threshold: a probability of at least this counts as positive in F1 and accuracy.

    Returns:
      ``auroc``, ``ap`` (the step-wise sum, not the trapezoidal area), ``f1``, ``accuracy``,
      ``brier``, ``ece`` (``expected_calibration_error``). AUROC, AP and F1, which compare
      two classes, are NaN where only one occurs; all are NaN where no label is known.

    Raises:
      RunError: a probability is not finite.
      ValueError: a label is not 0, 1 or NaN, or the lengths differ.
    """
    from sklearn import metrics

    y, p = known(labels, probabilities)
    if not len(y):
        return dict.fromkeys(CLASSIFICATION, NAN)
    decided = (p >= threshold).astype(np.float64)
    both = 0 < binary(y).sum() < len(y)
    return {
        "auroc": float(metrics.roc_auc_score(y, p)) if both else NAN,
        "ap": float(metrics.average_precision_score(y, p)) if both else NAN,
        "f1": float(metrics.f1_score(y, decided)) if both else NAN,
        "accuracy": float(metrics.accuracy_score(y, decided)),
        "brier": float(np.mean((p - y) ** 2)),
        "ece": expected_calibration_error(y, p),
    }


def calibration_bins(probabilities: np.ndarray) -> np.ndarray:
    """int64 [N], the one of 15 equally wide bins [k/15, (k+1)/15) of each probability."""
    return np.clip((probabilities * ECE_BINS).astype(np.int64), 0, ECE_BINS - 1)


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over examples of |observed rate - mean probability| of the example's bin.

    Guo et al., "On calibration of modern neural networks" (ICML 2017), eq. 3, with 15
    equally wide bins of the probability of class 1. Biased upwards in small samples.

    Args:
      labels: [N] 0 or 1.
      probabilities: [N] of class 1.
    """
    gap = np.bincount(calibration_bins(probabilities), labels - probabilities, ECE_BINS)
    return float(np.abs(gap).sum() / len(labels))


def regression_metrics(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """RMSE and MAE (in the label's unit), R2 and Spearman's rank correlation.

    Args:
      labels: [N], NaN where unknown (left out).
      predictions: [N], in the unit of the labels.

    Returns:
      ``rmse``, ``mae``, ``r2`` (NaN for constant labels), ``spearman`` (NaN for constant
      labels or predictions); all NaN where no label is known.

    Raises:
      RunError: a prediction is not finite.
      ValueError: the lengths differ.
    """
    from scipy.stats import spearmanr
    from sklearn import metrics

    y, p = known(labels, predictions)
    if not len(y):
        return dict.fromkeys(REGRESSION, NAN)
    varied, ranked = y.min() < y.max(), p.min() < p.max()
    return {
        "rmse": float(metrics.root_mean_squared_error(y, p)),
        "mae": float(metrics.mean_absolute_error(y, p)),
        "r2": float(metrics.r2_score(y, p)) if varied else NAN,
        "spearman": float(np.asarray(spearmanr(y, p))[0]) if varied and ranked else NAN,
    }


def mean_of_defined(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Mean [k] of each column of [T][k] over the rows in which it is not NaN; NaN if none is."""
    values = np.array(rows)
    defined = ~np.isnan(values)
    count = defined.sum(axis=0)
    total = np.where(defined, values, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(values.shape[1], NAN), where=count > 0)


def mean_metrics(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over the targets in which it is defined."""
    means = mean_of_defined([list(found.values()) for found in each])
    return dict(zip(each[0], means.tolist(), strict=True))


def best_threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The threshold with the highest F1, to be chosen on source validation data only.

    F1 and not accuracy is maximised: where positives are rare, the most accurate threshold
    predicts no positive at all. Accuracy at this threshold is therefore not the best that
    the scores allow; and scores that carry no information give "all positive", whose F1 is
    the floor to beat.

    Args:
      labels: [N] 0 or 1, NaN where unknown (left out).
      probabilities: [N] of class 1.

    Returns:
      Half way between two neighbouring scores, so that scores which vary in the last digit
      fall on the same side; the lowest score if all are best called positive; 0.5 where
      fewer than two classes occur.

    Raises:
      RunError: a probability is not finite.
    """
    y, p = known(labels, probabilities)
    if not 0 < binary(y).sum() < len(y):
        return 0.5
    order = np.argsort(-p, kind="stable")
    y, p = y[order], p[order]
    f1 = 2 * np.cumsum(y) / (np.arange(1, len(y) + 1) + y.sum())
    last_of_tie = np.append(p[1:] < p[:-1], True)
    best = int(np.argmax(np.where(last_of_tie, f1, -1)))
    if best + 1 == len(p):
        return float(p[best])
    middle = (p[best] + p[best + 1]) / 2
    return float(middle if middle > p[best + 1] else p[best])
