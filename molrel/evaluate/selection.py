"""What the parameters of a run are selected by: metrics of the source's validation part."""

from __future__ import annotations

import numpy as np

from molrel.evaluate.metrics import classification_metrics, mean_metrics, regression_metrics


def selection_metrics(
    labels: np.ndarray, scores: np.ndarray, kind: str, *, unit: np.ndarray | float = 1.0
) -> dict[str, float]:
    """Metrics of the source validation set; ``selection`` is larger for better models.

    Args:
      labels: [N, T], NaN where unknown.
      scores: [N] or [N, T]; [N, C] of a multiclass task.
      kind: of the task.
      unit: [T], what the labels of a regression are measured in: the selection is kept in
        float32, where an RMSE of 1e-46 or 1e39 would be 0 or infinite.

    Returns:
      Metrics, each the mean over the targets in which it is defined.
    """
    if kind == "multiclass":
        known = ~np.isnan(labels[:, 0])
        accuracy = float(np.mean(scores.argmax(axis=1)[known] == labels[known, 0]))
        return {"selection": accuracy, "accuracy": accuracy}
    columns = zip(labels.T, scores.reshape(labels.shape).T, strict=True)
    if kind == "regression":
        metrics = mean_metrics([regression_metrics(y, s) for y, s in columns])
        selection = -metrics["rmse"] / float(np.mean(unit))
        return {"selection": selection, "rmse": metrics["rmse"], "r2": metrics["r2"]}
    metrics = mean_metrics([classification_metrics(y, s, 0.5) for y, s in columns])
    # Labels of one class leave no AUROC: then the better calibrated model is selected.
    selection = -metrics["brier"] if np.isnan(metrics["auroc"]) else metrics["auroc"]
    return {"selection": selection, "auroc": metrics["auroc"], "ap": metrics["ap"]}
