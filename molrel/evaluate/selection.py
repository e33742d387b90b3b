"""What parameters, and weights of losses, are selected by without labels of the target.

The parameters of a run are selected by metrics of the source's validation part. Runs whose
losses differ may be chosen among by what is expected on the target: ``importance_weighted_risk``,
``deep_embedded_risk`` and ``soft_neighbourhood_density``. None of them reads a target label.
"""

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


def importance_weights(source: np.ndarray, target: np.ndarray, seed: int = 0) -> np.ndarray:
    """Density ratios p_target(x) / p_source(x) of source examples, float64 [N], of mean 1.

    By a logistic regression that tells the domains apart: n_source p(target | x) divided by
    n_target p(source | x) (Bickel et al., JMLR 2009), as DEV does.

    Args:
      source: features [N, D] of the source's validation examples.
      target: features [K, D] of target examples, without labels.
      seed: of the solver.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    domains = np.repeat([0, 1], [len(source), len(target)])
    model = make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=1000, random_state=seed)
    ).fit(np.concatenate([source, target]), domains)
    odds = np.exp(model.decision_function(source))
    return odds / odds.mean()


def importance_weighted_risk(losses: np.ndarray, weights: np.ndarray) -> float:
    """Risk on the target as seen from the source: the mean of weight times loss.

    Sugiyama, Krauledat & Mueller, JMLR 8:985 (2007).

    Args:
      losses: [N], of labelled source examples.
      weights: [N], ``importance_weights``.
    """
    return float(np.mean(weights * losses))


def deep_embedded_risk(losses: np.ndarray, weights: np.ndarray) -> float:
    """``importance_weighted_risk`` with the weights as a control variate: their mean is 1.

    mean(w l) + eta mean(w) - eta with eta = -cov(w l, w) / var(w): deep embedded validation of You
    et al., ICML 2019. Its variance is at most that of the plain risk.

    Args:
      losses: [N], of labelled source examples.
      weights: [N], density ratios.
    """
    weighted, spread = weights * losses, np.var(weights, ddof=1)
    eta = -np.cov(weighted, weights, ddof=1)[0, 1] / spread if spread > 0 else 0.0
    return float(weighted.mean() + eta * weights.mean() - eta)


def soft_neighbourhood_density(
    probabilities: np.ndarray, *, temperature: float = 0.05, most: int = 4000, seed: int = 0
) -> float:
    """Mean entropy of the soft neighbourhoods of target examples; larger is better.

    Each example's similarities (cosines of the classes' probabilities) to all others, through a
    softmax, are a distribution; it is broad where examples lie in dense clusters. Saito et al.,
    ICCV 2021, with their temperature.

    Args:
      probabilities: [N, C] of target examples; [N] of the positive class.
      temperature: of the softmax.
      most: number of examples that are looked at, by lot.
      seed: of the lot.

    Returns:
      Nats, at most log(N - 1).
    """
    p = np.asarray(probabilities, np.float64)
    p = np.stack([1 - p, p], axis=1) if p.ndim == 1 else p
    p = p[np.random.default_rng(seed).permutation(len(p))[:most]]
    unit = p / np.linalg.norm(p, axis=1, keepdims=True)
    logits = unit @ unit.T / temperature
    np.fill_diagonal(logits, -np.inf)
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    return float(-np.mean(np.sum(share * np.log(np.maximum(share, 1e-300)), axis=1)))
