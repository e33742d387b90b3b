"""The curves of a run: losses, validation, and the target's ROC or parity plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from molrel.data.types import Task
from molrel.evaluate.report import seed_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_run(
    path: Path, log: Sequence[dict[str, Any]], target: dict[str, pd.DataFrame], task: Task
) -> None:
    """Draws three panels into a PNG.

    Args:
      path: of the PNG.
      log: rows of metrics.jsonl: step, seed, terms, validation.
      target: method name -> predictions frame of the target (may be empty).
      task: decides between ROC curves and parity.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    _losses(left, log)
    _validation(middle, log)
    shown = {
        name: frame[frame["label"].notna()]
        for name, frame in target.items()
        if frame["label"].notna().any() and not name.startswith("floor")
    }
    if task.kind == "regression":
        _parity(right, shown)
    else:
        _roc(right, shown)
    figure.savefig(path, dpi=110)


def _band(axes: Axes, steps: Sequence[int], values: np.ndarray, label: str) -> None:
    """Mean line over seeds [S, T] with the band between the smallest and the largest."""
    (line,) = axes.plot(steps, values.mean(axis=0), label=label, marker=".", linewidth=1.5)
    axes.fill_between(
        steps, values.min(axis=0), values.max(axis=0), alpha=0.15, color=line.get_color()
    )


def _series(log: Sequence[dict[str, Any]], part: str, name: str) -> tuple[list[int], np.ndarray]:
    """(steps, [S, T]) of one named value of every logged row."""
    table = pd.DataFrame(
        [(row["step"], row["seed"], row[part].get(name)) for row in log],
        columns=["step", "seed", "value"],
    )
    wide = table.pivot(index="seed", columns="step", values="value").astype(float)
    return [int(s) for s in wide.columns], wide.to_numpy()


def _losses(axes: Axes, log: Sequence[dict[str, Any]]) -> None:
    names = [n for n in log[0]["terms"] if n not in ("gradient_norm",)] if log else []
    for name in names:
        _band(axes, *_series(log, "terms", name), name.replace("_", " "))
    axes.set(title="terms of the loss and monitors", xlabel="step", ylabel="value")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.legend(fontsize=7, ncols=2)


def _validation(axes: Axes, log: Sequence[dict[str, Any]]) -> None:
    names = [n for n in log[0]["validation"] if n != "selection"] if log else []
    for name in names:
        _band(axes, *_series(log, "validation", name), name.upper())
    axes.set(title="source validation (model selection)", xlabel="step", ylabel="metric")
    axes.legend(fontsize=8)


def _roc(axes: Axes, target: dict[str, pd.DataFrame]) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    for name, frame in target.items():
        labels, scores = frame["label"].to_numpy(), seed_scores(frame)
        if not 0 < labels.sum() < len(labels):
            continue
        grid = np.linspace(0, 1, 201)
        curves = []
        for each in scores:
            x, y, _ = roc_curve(labels, each)
            curves.append(np.interp(grid, x, y))
        area = np.mean([roc_auc_score(labels, s) for s in scores])
        (line,) = axes.plot(grid, np.mean(curves, axis=0), label=f"{name} ({area:.3f})")
        axes.fill_between(
            grid, np.min(curves, 0), np.max(curves, 0), alpha=0.15, color=line.get_color()
        )
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="no skill (0.500)")
    axes.set(
        title="target: ROC, mean and range over seeds",
        xlabel="false positive rate",
        ylabel="true positive rate",
        aspect="equal",
    )
    axes.legend(fontsize=8, loc="lower right")


def _parity(axes: Axes, target: dict[str, pd.DataFrame]) -> None:
    for name, frame in target.items():
        shown = frame.sample(min(len(frame), 3000), random_state=0)
        axes.scatter(shown["label"], seed_scores(shown).mean(0), s=4, alpha=0.4, label=name)
    limits = axes.get_xlim()
    axes.plot(limits, limits, linestyle=":", color="grey")
    axes.set(title="target: parity", xlabel="measured", ylabel="predicted, mean over seeds")
    axes.legend(fontsize=8)
