"""Judging scores, of one method and of one against another: for runs, sweeps and benchmarks alike.

What is judged are arrays; where they come from (a run's predictions, cells of a benchmark, a sweep)
does not matter here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from molrel.evaluate.bootstrap import Interval, Thresholds, intervals, paired_difference
from molrel.evaluate.metrics import CLASSIFICATION, REGRESSION


@dataclass(frozen=True)
class Scored:
    """Examples with the scores that one method gives them.

    Attributes:
      labels: float64 [N], or [N, T] of several targets or classes; NaN where unknown.
      scores: float64 [S, N] or [S, N, T], of S seeds.
      clusters: int64 [N, C], molecules of each example.
      strata: str [N], or None where there are none.
      thresholds: of F1 and accuracy, one for all seeds or one each.
    """

    labels: np.ndarray
    scores: np.ndarray
    clusters: np.ndarray
    strata: np.ndarray | None = None
    thresholds: Thresholds = 0.5

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Scored:
        """The examples that are chosen by bool [N] or by number."""
        return replace(
            self,
            labels=self.labels[rows],
            scores=self.scores[:, rows],
            clusters=self.clusters[rows],
            strata=None if self.strata is None else self.strata[rows],
        )

    def stratum(self, name: str) -> Scored:
        """The examples of a stratum; "all" are all."""
        if name == "all":
            return self
        assert self.strata is not None
        return self.take(self.strata == name)

    def judge(self, metrics: Sequence[str], *, replicates: int = 200) -> dict[str, Interval]:
        """Metrics with their intervals over molecules and seeds (``bootstrap.intervals``)."""
        return intervals(
            metrics,
            self.labels,
            self.scores,
            self.clusters,
            replicates=replicates,
            thresholds=self.thresholds,
        )

    def spread(self, metric: str) -> float:
        """Standard deviation of a metric over the seeds; NaN of a single one."""
        cuts = np.broadcast_to(np.asarray(self.thresholds, float), len(self.scores))
        each = [
            replace(self, scores=s[None], thresholds=float(cut)).judge([metric], replicates=0)
            for s, cut in zip(self.scores, cuts, strict=True)
        ]
        return float(np.std([e[metric].mean for e in each], ddof=1)) if len(each) > 1 else np.nan

    def minus(
        self, other: Scored, metric: str, *, replicates: int = 200, pair_seeds: bool = False
    ) -> Interval:
        """The paired difference to another method on the same examples
        (``bootstrap.paired_difference``)."""
        return paired_difference(
            metric,
            self.labels,
            self.scores,
            other.scores,
            self.clusters,
            replicates=replicates,
            thresholds=(self.thresholds, other.thresholds),
            pair_seeds=pair_seeds,
        )

    def most_probable(self) -> Scored:
        """For the accuracy of several classes, of which each is a target here: 1 where the most
        probable class is the label, and 0 elsewhere, with 1 as every label."""
        right = self.scores.argmax(axis=2) == self.labels.argmax(axis=1)
        return replace(
            self, labels=np.ones(len(self)), scores=right.astype(np.float64), thresholds=0.5
        )

    def pooled(self) -> Scored:
        """Every pair of an example and a target (or class) as one yes/no question: the micro
        average."""
        n_targets = self.scores.shape[2]
        return replace(
            self,
            labels=self.labels.reshape(-1),
            scores=self.scores.reshape(len(self.scores), -1),
            clusters=np.repeat(self.clusters, n_targets, axis=0),
            strata=None if self.strata is None else np.repeat(self.strata, n_targets),
        )


def metrics_of(kind: str) -> tuple[str, ...]:
    """The metrics of a task that need no choice."""
    return REGRESSION if kind == "regression" else CLASSIFICATION


def main_metric(kind: str) -> str:
    """What a table shows by default: RMSE of a regression, else AUROC."""
    return "rmse" if kind == "regression" else "auroc"
