"""Metrics of one set of predictions, by scikit-learn in float64."""

from __future__ import annotations

import numpy as np

CLASSIFICATION = ("auroc", "ap", "f1", "accuracy", "brier", "ece")
REGRESSION = ("rmse", "mae", "r2", "spearman")


def known(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores in float64 where the label is known; both [N]."""
    labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    keep = ~np.isnan(labels)
    return labels[keep], scores[keep]


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float
) -> dict[str, float]:
    """AUROC, AP, F1, accuracy, Brier score and expected calibration error.

    Args:
      labels: [N] 0 or 1, NaN where unknown.
      probabilities: [N] of class 1.
      threshold: decision threshold of F1 and accuracy.

    Returns:
      Metric name -> value; all NaN where no label is known, and AUROC and AP NaN where
      only one class occurs.
    """
    from sklearn import metrics

    y, p = known(labels, probabilities)
    if not len(y):
        return dict.fromkeys(CLASSIFICATION, float("nan"))
    both = 0 < y.sum() < len(y)
    decided = p >= threshold
    return {
        "auroc": float(metrics.roc_auc_score(y, p)) if both else float("nan"),
        "ap": float(metrics.average_precision_score(y, p)) if both else float("nan"),
        "f1": float(metrics.f1_score(y, decided, zero_division=0)),
        "accuracy": float(metrics.accuracy_score(y, decided)),
        "brier": float(np.mean((p - y) ** 2)),
        "ece": expected_calibration_error(y, p),
    }


def expected_calibration_error(
    labels: np.ndarray,
    probabilities: np.ndarray,
    weight: np.ndarray | None = None,
    bins: int = 15,
) -> float:
    """Mean |observed rate - mean probability| over equally wide bins, by bin weight.

    Guo et al., "On calibration of modern neural networks" (ICML 2017), eq. 3.
    """
    weight = np.ones(len(labels)) if weight is None else weight
    place = np.clip((probabilities * bins).astype(int), 0, bins - 1)
    gap = np.bincount(place, weight * (labels - probabilities), bins)
    return float(np.abs(gap).sum() / max(weight.sum(), 1e-12))


def regression_metrics(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """RMSE, MAE, R2 and Spearman's rank correlation; unknown labels are left out."""
    from scipy.stats import spearmanr
    from sklearn import metrics

    y, p = known(labels, predictions)
    if not len(y):
        return dict.fromkeys(REGRESSION, float("nan"))
    varied = len(y) > 1 and np.ptp(y) > 0
    return {
        "rmse": float(metrics.root_mean_squared_error(y, p)),
        "mae": float(metrics.mean_absolute_error(y, p)),
        "r2": float(metrics.r2_score(y, p)) if varied else float("nan"),
        "spearman": float(spearmanr(y, p).statistic) if varied and np.ptp(p) > 0 else float("nan"),
    }


def best_threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Threshold with the highest F1; chosen on source validation only.

    F1 and not accuracy: where positives are rare, the most accurate threshold predicts no
    positive at all. The threshold lies half way between two neighbouring scores.
    """
    y, p = known(labels, probabilities)
    if not 0 < y.sum() < len(y):
        return 0.5
    order = np.argsort(-p, kind="stable")
    y, p = y[order], p[order]
    true_positives, chosen = np.cumsum(y), np.arange(1, len(y) + 1)
    f1 = 2 * true_positives / (chosen + y.sum())
    last_of_tie = np.append(p[1:] < p[:-1], True)
    best = int(np.argmax(np.where(last_of_tie, f1, -1)))
    return float(p[best] if best + 1 == len(p) else (p[best] + p[best + 1]) / 2)
