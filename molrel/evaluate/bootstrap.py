"""Bootstrap intervals that are clustered by molecule.

Pairs that share a molecule are not independent, so molecules are resampled and not pairs: the
pigeonhole bootstrap (Owen, "The pigeonhole bootstrap", Ann. Appl. Stat. 1:386-411, 2007).
Molecules are drawn with replacement, and the weight of an example is the product of the
multiplicities of its molecules. A molecule is the same molecule on either side. One that
is present in every example (such as the only solvent) is kept fixed; the interval then describes
new partners of that molecule.

What to know when reading the intervals: noise of single pairs is counted about three times
(Owen's theorem), so they are wider than needed where molecules hardly matter; seeds
are resampled too, but the variance between few seeds is underestimated by (S - 1) / S; and
examples with k molecules keep a positive weight in only 0.63^k of the cases, which makes
replicates erratic for bags of many molecules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from molrel.evaluate.metrics import (
    CLASSIFICATION,
    REGRESSION,
    binary,
    classification_metrics,
    known,
    mean_of_defined,
    regression_metrics,
)
from molrel.evaluate.weighted import Weighted, weighted_metrics

NAN = float("nan")
LEVELS = (2.5, 97.5)

Thresholds = float | Sequence[float]


class Interval(NamedTuple):
    """A value with its 95 % percentile interval.

    Attributes:
      mean: the value on all data, averaged over seeds (not the mean of the replicates).
      low, high: 2.5 % and 97.5 % percentiles of the replicates; NaN if none was defined.
      skipped: replicates left out because the metric is not defined there (the drawn
        molecules leave a single class, or no example).
    """

    mean: float
    low: float
    high: float
    skipped: int = 0


def intervals(
    metrics: Sequence[str],
    labels: np.ndarray,
    scores: np.ndarray,
    clusters: np.ndarray,
    *,
    replicates: int = 200,
    seed: int = 0,
    thresholds: Thresholds = 0.5,
) -> dict[str, Interval]:
    """Metrics averaged over seeds, each with an interval over molecules and seeds.

    All metrics share the resampled molecules and the sorted scores. With several targets a
    metric is its mean over those in which it is defined, as in MoleculeNet's mean ROC-AUC.

    Args:
      metrics: all out of ``metrics.CLASSIFICATION`` or all out of ``metrics.REGRESSION``.
      labels: [N] or [N, T], NaN where unknown (left out).
      scores: [S, N] or [S, N, T] (or [N]), one row a seed of the method.
      clusters: int [N, C] (or [N]), molecules of each example; -1 where it has fewer.
      replicates: bootstrap replicates.
      seed: of the resampling; the same for the same labels gives the same molecules.
      thresholds: decision threshold, one for all or one a seed.

    Returns:
      Metric -> interval.

    Raises:
      RunError: a score is not finite.
      ValueError: shapes do not fit, a metric is unknown, or an example has no molecule.
    """
    _check_names(metrics)
    data = _Data(labels, clusters, is_class=metrics[0] not in REGRESSION)
    method = _Method(metrics, data, scores, thresholds)
    values = np.full((replicates, len(metrics)), NAN)
    for r, (weights, rng) in enumerate(data.replicates(replicates, seed)):
        values[r] = method.replicate(weights, method.draw_seeds(rng))
    return {
        name: _interval(value, column)
        for name, value, column in zip(metrics, method.values(), values.T, strict=True)
    }


def clustered_interval(
    metric: str,
    labels: np.ndarray,
    scores: np.ndarray,
    clusters: np.ndarray,
    *,
    replicates: int = 200,
    seed: int = 0,
    threshold: Thresholds = 0.5,
) -> Interval:
    """One metric with its interval; see ``intervals``."""
    return intervals(
        [metric],
        labels,
        scores,
        clusters,
        replicates=replicates,
        seed=seed,
        thresholds=threshold,
    )[metric]


def paired_difference(
    metric: str,
    labels: np.ndarray,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    clusters: np.ndarray,
    *,
    replicates: int = 200,
    seed: int = 0,
    thresholds: tuple[Thresholds, Thresholds] = (0.5, 0.5),
    pair_seeds: bool = False,
) -> Interval:
    """metric(a) - metric(b) on the same examples and the same resampled molecules.

    Args:
      metric, labels, clusters, replicates, seed: see ``intervals``.
      scores_a, scores_b: [S, N] and [S', N], or [S, N, T] and [S', N, T].
      thresholds: of a and of b.
      pair_seeds: seed s of a and seed s of b are drawn together. Right where they share initial
        parameters and batches, as the points of a sweep do; equal numbers alone make no pair.

    Returns:
      The difference with its interval; a replicate counts only if both are defined.

    Raises:
      RunError, ValueError: see ``intervals``.
    """
    _check_names([metric])
    data = _Data(labels, clusters, is_class=metric not in REGRESSION)
    a = _Method([metric], data, scores_a, thresholds[0])
    b = _Method([metric], data, scores_b, thresholds[1])
    if pair_seeds and len(a.seeds) != len(b.seeds):
        raise ValueError(f"{len(a.seeds)} and {len(b.seeds)} seeds make no pairs")
    values = np.full(replicates, NAN)
    for r, (weights, rng) in enumerate(data.replicates(replicates, seed)):
        times = a.draw_seeds(rng)
        other = times if pair_seeds else b.draw_seeds(rng)
        values[r] = a.replicate(weights, times)[0] - b.replicate(weights, other)[0]
    return _interval(a.values()[0] - b.values()[0], values)


class _Data:
    """Labels and molecules of the labelled examples; draws the weights of replicates."""

    def __init__(self, labels: np.ndarray, clusters: np.ndarray, *, is_class: bool):
        labels = np.asarray(labels, np.float64)
        clusters = np.asarray(clusters)
        if labels.ndim not in (1, 2) or len(clusters) != len(labels):
            raise ValueError(f"labels {labels.shape} and clusters {clusters.shape} do not fit")
        labels = labels.reshape(len(labels), -1)
        if is_class:
            binary(labels[~np.isnan(labels)])
        self.keep = np.asarray((~np.isnan(labels)).any(axis=1))
        self.labels = labels[self.keep]
        clusters = clusters.reshape(len(labels), -1)[self.keep]
        if (clusters < 0).all(axis=1).any():
            raise ValueError("an example has no molecule")
        molecules, index = np.unique(clusters, return_inverse=True)
        present = molecules >= 0
        self.n_molecules = int(present.sum())
        index = index.reshape(clusters.shape) - int((~present).sum())
        self.columns = _distinct(np.where(clusters < 0, self.n_molecules, index), self.n_molecules)
        # A molecule of every example weighs all of them alike, and drawn no times leaves nothing.
        count = np.bincount(np.concatenate(self.columns), minlength=self.n_molecules + 1)
        self.in_all = count == len(self.labels)

    def replicates(self, count: int, seed: int) -> Iterator[tuple[np.ndarray, np.random.Generator]]:
        """Weights float64 [n] of each replicate, and the generator to draw seeds with."""
        n = self.n_molecules
        for r in range(count if n else 0):
            rng = np.random.default_rng([seed, r])
            times = np.append(np.bincount(rng.integers(0, n, n), minlength=n), 1)
            times = np.where(self.in_all, 1.0, times)
            weights = times[self.columns[0]]
            for column in self.columns[1:]:
                weights *= times[column]
            yield weights, rng


def _distinct(index: np.ndarray, blank: int) -> list[np.ndarray]:
    """Columns of int index [n, C], a molecule that repeats within its row made blank."""
    index = np.sort(index, axis=1)
    index[:, 1:][index[:, 1:] == index[:, :-1]] = blank
    return [np.ascontiguousarray(column) for column in index.T]


class _Method:
    """One method's scores on the data, ready for replicates.

    Attributes:
      targets: for each target the labelled rows of the data, and its labels and scores [S, n]
        there.
      seeds: for each seed the weighted metrics of each target.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        data: _Data,
        scores: np.ndarray,
        thresholds: Thresholds,
    ):
        scores = np.atleast_2d(np.asarray(scores, np.float64))
        shape = len(data.keep), data.labels.shape[1]
        if scores.shape[1:] not in (shape, shape[:1]) or scores[0].size != np.prod(shape):
            raise ValueError(f"scores {scores.shape} must be [seeds, {', '.join(map(str, shape))}]")
        scores = scores.reshape(len(scores), *shape)[:, data.keep]
        self.metrics, self.thresholds = (
            metrics,
            np.broadcast_to(np.asarray(thresholds, np.float64), len(scores)),
        )
        self.targets = []
        for t, labels in enumerate(data.labels.T):
            rows = np.flatnonzero(~np.isnan(labels))
            self.targets.append((rows, labels[rows], scores[:, rows, t]))
        self.seeds: list[list[Weighted]] = []
        for i, threshold in enumerate(self.thresholds):
            self.seeds.append([])
            for _, labels, values in self.targets:
                known(labels, values[i])
                self.seeds[-1].append(
                    weighted_metrics(metrics, labels, values[i], float(threshold))
                )

    def values(self) -> np.ndarray:
        """Metrics [k] on all data, averaged over seeds."""
        rows = []
        for i, threshold in enumerate(self.thresholds):
            each = []
            for _, labels, values in self.targets:
                if self.metrics[0] in REGRESSION:
                    found = regression_metrics(labels, values[i])
                else:
                    found = classification_metrics(labels, values[i], float(threshold))
                each.append([found[name] for name in self.metrics])
            rows.append(mean_of_defined(each))
        return np.mean(rows, axis=0)

    def draw_seeds(self, rng: np.random.Generator) -> np.ndarray:
        """int [S], how often each seed is drawn, with replacement."""
        n = len(self.seeds)
        return np.bincount(rng.integers(0, n, n), minlength=n)

    def replicate(self, weights: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Metrics [k] under the weights, averaged over seeds that are drawn so many times."""
        total = np.zeros(len(self.metrics))
        for seed in np.flatnonzero(times):
            each = [
                [*metrics(weights[rows]).values()]
                for metrics, (rows, _, _) in zip(self.seeds[seed], self.targets, strict=True)
            ]
            total += times[seed] * mean_of_defined(each)
        return total / len(self.seeds)


def _check_names(metrics: Sequence[str]) -> None:
    if not metrics or not (set(metrics) <= set(CLASSIFICATION) or set(metrics) <= set(REGRESSION)):
        raise ValueError(f"metrics must be out of {CLASSIFICATION} or out of {REGRESSION}")


def _interval(value: float, replicates: np.ndarray) -> Interval:
    defined = replicates[~np.isnan(replicates)]
    skipped = len(replicates) - len(defined)
    if not len(defined) or np.isnan(value):
        return Interval(float(value), NAN, NAN, skipped)
    low, high = np.percentile(defined, LEVELS)
    return Interval(float(value), float(low), float(high), skipped)
