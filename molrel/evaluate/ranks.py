"""Ranks of methods over settings: Friedman's test, Nemenyi's critical difference, its plot.

After Demsar, "Statistical comparisons of classifiers over multiple data sets" (JMLR 7:1-30,
2006).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from molrel.files import write_output


class Ranks(NamedTuple):
    """Mean ranks of K methods over N settings.

    Attributes:
      mean: float64 [K], 1 is best.
      p_value: of Friedman's test that all methods are alike; NaN with fewer than three
        methods or two settings.
      critical_difference: two methods whose mean ranks differ by less are not told apart at
        level alpha (Nemenyi); NaN likewise.
    """

    mean: np.ndarray
    p_value: float
    critical_difference: float


def rank_methods(values: np.ndarray, *, alpha: float = 0.05) -> Ranks:
    """Ranks methods within each setting and averages the ranks.

    Args:
      values: float [N, K], larger is better; ties share the mean rank.
      alpha: level of the critical difference.

    Raises:
      ValueError: a value is not finite.
    """
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a method without a value in every setting cannot be ranked")
    n, k = values.shape
    ranks = scipy.stats.rankdata(-values, axis=1)
    if k < 3 or n < 2:
        return Ranks(ranks.mean(axis=0), float("nan"), float("nan"))
    alike = bool((ranks == ranks[:, :1]).all())
    p_value = 1.0 if alike else float(scipy.stats.friedmanchisquare(*values.T).pvalue)
    quantile = scipy.stats.studentized_range.ppf(1 - alpha, k, np.inf) / np.sqrt(2)
    return Ranks(ranks.mean(axis=0), p_value, float(quantile * np.sqrt(k * (k + 1) / (6 * n))))


def cliques(mean: np.ndarray, critical_difference: float) -> list[tuple[int, int]]:
    """Largest groups of methods that are not told apart: (first, last) places in rank order."""
    order = np.sort(mean)
    groups: list[tuple[int, int]] = []
    for i in range(len(order)):
        j = int(np.searchsorted(order, order[i] + critical_difference, side="right")) - 1
        if j > i and (not groups or j > groups[-1][1]):
            groups.append((i, j))
    return groups


def plot_ranks(axes: Axes, names: list[str], ranks: Ranks, n_settings: int) -> None:
    """Draws the critical-difference diagram: a dot a method, bars join what is not told apart."""
    order = np.argsort(ranks.mean, kind="stable")
    mean = ranks.mean[order]
    places = np.arange(len(order))
    axes.hlines(places, 1, mean, color="0.85", zorder=1)
    axes.plot(mean, places, "o", color="C0", zorder=3)
    axes.set_yticks(places, [f"{names[i]}  {ranks.mean[i]:.2f}" for i in order])
    axes.set_ylim(len(order) - 0.5, -1.5)
    if np.isfinite(ranks.critical_difference):
        low = mean[0]
        axes.plot([low, low + ranks.critical_difference], [-1, -1], "k|-", lw=1.5)
        axes.annotate(
            f"critical difference {ranks.critical_difference:.2f}",
            (low + ranks.critical_difference, -1),
            xytext=(6, -3),
            textcoords="offset points",
            fontsize=8,
        )
        for n, (i, j) in enumerate(cliques(mean, ranks.critical_difference)):
            x = mean.max() + 0.25 * (n + 1)
            axes.plot([x, x], [i, j], color="C3", lw=2.5, solid_capstyle="butt")
    axes.set_xlabel(
        f"mean rank over {n_settings} settings (1 is best); Friedman p = {ranks.p_value:.2g}"
    )
    axes.spines[["top", "right"]].set_visible(False)


def save_ranks(path: Path, panels: dict[str, tuple[list[str], Ranks, int]]) -> None:
    """One critical-difference diagram a panel, side by side, as PNG."""
    rows = max(len(names) for names, _, _ in panels.values())
    figure = Figure(figsize=(7.5 * len(panels), 1.2 + 0.27 * rows), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, (names, ranks, n)) in zip(axes, panels.items(), strict=True):
        plot_ranks(axis, names, ranks, n)
        axis.set_title(title, fontsize=10)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    write_output(path, picture.getvalue())
