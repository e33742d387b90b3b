"""The curves of a run: terms of the loss, validation, and how the target is predicted."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from molrel.data.types import Task
from molrel.evaluate.floors import PREFIX
from molrel.evaluate.report import scored_of, seed_scores
from molrel.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

GREY = "#777777"
COLUMNS = 6
MAX_POINTS = 4000
GRID = np.linspace(0, 1, 401)

Log = Sequence[Mapping[str, Any]]
Curve = Callable[[np.ndarray, np.ndarray], np.ndarray]


def plot_run(
    path: Path,
    log: Log,
    target: Mapping[str, pd.DataFrame],
    task: Task,
    title: str = "Target",
) -> None:
    """Draws curves.png: every term of the loss, source validation, and the target.

    Lines are means over seeds, bands reach from the lowest to the highest seed.

    Args:
      path: of the PNG; replaced in one step.
      log: rows of metrics.jsonl: step, seed, terms, and validation where there was one.
      target: method name -> its predictions on the target (or on another test set), with
        the columns label and score_0, ...; the main method first. Names of floors start
        with ``floors.PREFIX``. May be empty.
      task: parity plots for regression, otherwise ROC and precision-recall curves or, of
        several label columns, the area under these for each.
      title: of the panels of the predictions.

    Raises:
      RunError: the file cannot be written.
    """
    # Without a home folder it would say that it keeps its fonts elsewhere.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The objective first, then what it is made of and the monitors.
    terms = sorted(_names(log, "terms"), key=lambda name: name not in ("total", "supervised"))
    n_rows = math.ceil(len(terms) / COLUMNS)
    figure = Figure(figsize=(16, 2.1 * n_rows + 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    # A method that is fitted whole has no terms.
    heights = [2.1 * n_rows, 5.2] if n_rows else [5.2]
    *above, below = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    n_seeds = len({row["seed"] for row in log})
    over = f"mean and range of {n_seeds} seeds" if n_seeds > 1 else "one seed"
    for panels in above:
        panels.suptitle(f"Training: terms of the loss and monitors, by step ({over})", fontsize=12)
        _terms(panels, log, terms, n_rows)
    first, *others = below.subplots(1, 3)
    _validation(first, log)
    known = {n: f.dropna(subset=["label"]) for n, f in target.items()}
    known = {n: f for n, f in known.items() if len(f)}
    if task.kind == "regression":
        _parity_panels(others, known, task.units[0] if task.units else "", title)
    elif any("target" in frame for frame in known.values()):
        _by_target(others[0], known, "auroc", f"{title}: AUROC of each label column")
        _by_target(others[1], known, "ap", f"{title}: average precision of each label column")
    else:
        _roc(others[0], known, title)
        _precision_recall(others[1], known, title)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    write_whole(path, picture.getvalue())


def _names(log: Log, part: str) -> list[str]:
    """Names of the values in one part of the log, in order of appearance."""
    return list(dict.fromkeys(name for row in log for name in row.get(part) or {}))


def _series(log: Log, part: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [T] and values [S, T] of one logged value; NaN where a seed has none."""
    table = pd.DataFrame(
        [
            (row["step"], row["seed"], row[part][name])
            for row in log
            if (row.get(part) or {}).get(name) is not None
        ],
        columns=["step", "seed", "value"],
    )
    wide = table.pivot_table(index="seed", columns="step", values="value", aggfunc="last")
    return wide.columns.to_numpy(int), wide.to_numpy(float)


def _band(axes: Axes, x: np.ndarray, values: np.ndarray, **style: Any) -> None:
    """The mean of values [S, T] over seeds, and their range; a marker where T is 1."""
    table = pd.DataFrame(values)  # its mean, min and max leave out NaN, without warnings
    marker = "o" if len(x) == 1 else ""
    (line,) = axes.plot(x, table.mean(), marker=marker, markersize=4, **style)
    if len(values) > 1:
        axes.fill_between(x, table.min(), table.max(), alpha=0.18, color=line.get_color(), lw=0)


def _terms(figure: SubFigure, log: Log, names: Sequence[str], n_rows: int) -> None:
    """One small panel for each term, since their scales have nothing in common."""
    panels = figure.subplots(n_rows, COLUMNS, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        steps, values = _series(log, "terms", name)
        _band(axes, steps, values, linewidth=1.4)
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.tick_params(labelsize=8)
        axes.locator_params(nbins=5)
        axes.grid(alpha=0.25)
        if np.nanmin(values) > 0 and np.nanmax(values) > 50 * np.nanmin(values):
            axes.set_yscale("log")
    for axes in panels[len(names) :]:
        axes.set_axis_off()


def _validation(axes: Axes, log: Log) -> None:
    names = [n for n in _names(log, "validation") if n != "selection"]
    for name in names:
        _band(axes, *_series(log, "validation", name), label=name.upper(), linewidth=1.6)
    axes.set(title="Source validation (selects the model)", xlabel="step", ylabel="metric")
    axes.grid(alpha=0.25)
    _legend(axes, bool(names), "no validation was logged")


def _legend(axes: Axes, any_lines: bool, otherwise: str, **style: Any) -> None:
    """A legend, or a sentence on why the panel is empty."""
    if any_lines:
        axes.legend(fontsize=8.5, **style)
    else:
        axes.text(0.5, 0.5, otherwise, ha="center", va="center", transform=axes.transAxes)


def roc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """True positive rate [401] at equally spaced false positive rates from 0 to 1."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(labels, scores)
    return np.interp(GRID, false, true)


def precision_recall(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Precision [401] at equally spaced recalls from 0 to 1.

    It is a step function: linear interpolation between thresholds would be too optimistic
    (Davis and Goadrich, ICML 2006). At recall 0 it is that of the highest score.
    """
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(labels, scores)
    precision, recall = precision[-2::-1], recall[-2::-1]  # ascending, without (0, 1)
    return precision[np.minimum(np.searchsorted(recall, GRID - 1e-12), len(recall) - 1)]


def _curves(
    axes: Axes, target: Mapping[str, pd.DataFrame], curve: Curve, metric: str, name: str
) -> bool:
    """One line a method that tells examples apart; False if there was none to draw."""
    from molrel.evaluate.metrics import classification_metrics

    drawn = False
    for method, frame in target.items():
        labels, scores = frame["label"].to_numpy(float), seed_scores(frame)
        if not 0 < labels.sum() < len(labels) or np.ptp(scores) == 0:
            continue
        mean = np.mean([classification_metrics(labels, s, 0.5)[metric] for s in scores])
        floor = method.startswith(PREFIX)
        style = {"linestyle": "--", "color": GREY} if floor else {"linewidth": 1.8}
        values = np.array([curve(labels, s) for s in scores])
        _band(axes, GRID, values, label=f"{method}: {name} {mean:.3f}", **style)
        drawn = True
    return drawn


def _roc(axes: Axes, target: Mapping[str, pd.DataFrame], title: str) -> None:
    drawn = _curves(axes, target, roc, "auroc", "AUROC")
    if drawn:
        axes.plot([0, 1], [0, 1], linestyle=":", color=GREY, label="floor: no skill: AUROC 0.500")
    axes.set(
        title=f"{title}: ROC",
        xlabel="false positive rate",
        ylabel="true positive rate",
        xlim=(0, 1),
        ylim=(0, 1.01),
    )
    axes.grid(alpha=0.25)
    _legend(axes, drawn, "no labelled examples of two classes", loc="lower right")


def _precision_recall(axes: Axes, target: Mapping[str, pd.DataFrame], title: str) -> None:
    drawn = _curves(axes, target, precision_recall, "ap", "AP")
    if drawn:
        rate = float(next(iter(target.values()))["label"].to_numpy(float).mean())
        axes.axhline(rate, linestyle=":", color=GREY, label=f"floor: prevalence: AP {rate:.3f}")
    axes.set(
        title=f"{title}: precision and recall",
        xlabel="recall",
        ylabel="precision",
        xlim=(0, 1),
        ylim=(0, 1.01),
    )
    axes.grid(alpha=0.25)
    _legend(axes, drawn, "no labelled examples of two classes", loc="best")


def _by_target(axes: Axes, target: Mapping[str, pd.DataFrame], metric: str, title: str) -> None:
    """One point a label column and method, columns ordered by how many labels are positive."""
    from molrel.evaluate.metrics import classification_metrics

    first = next(iter(target.values()))
    names = np.unique(np.asarray(first["target"], str))  # in the order of ``scored_of``
    rates = np.nanmean(scored_of(first).labels, axis=0)
    known = [t for t in np.argsort(rates) if 0 < rates[t] < 1]
    for method, frame in target.items():
        if method.startswith(PREFIX):
            continue
        scored = scored_of(frame)
        labels, scores = scored.labels, scored.scores
        values = [
            np.mean([classification_metrics(labels[:, t], s, 0.5)[metric] for s in scores[..., t]])
            for t in known
        ]
        axes.plot(values, marker="o", markersize=4, linewidth=0.6, label=method)
    floor = [0.5 if metric == "auroc" else rates[t] for t in known]
    axes.plot(floor, linestyle=":", color=GREY, label="floor: no skill")
    if len(known) <= 30:
        labelled = [str(names[t])[:24] for t in known]
        axes.set_xticks(range(len(known)), labelled, rotation=90, fontsize=7)
    axes.set(title=title, xlabel="label column, by share of positives", ylim=(0, 1.01))
    axes.grid(alpha=0.25)
    _legend(axes, bool(known), "no label column of two classes")


def _parity_panels(
    panels: Sequence[Axes], target: Mapping[str, pd.DataFrame], unit: str, title: str
) -> None:
    """Predicted against true values of the first two methods that are not floors."""
    methods = [name for name in target if not name.startswith(PREFIX)][: len(panels)]
    shown = [target[m] for m in methods]
    every = [f["label"].to_numpy(float) for f in shown] + [seed_scores(f).mean(0) for f in shown]
    limits = (min(map(np.min, every)), max(map(np.max, every))) if shown else (0.0, 1.0)
    for i, axes in enumerate(panels):
        if i < len(methods):
            _parity(axes, f"{title}: {methods[i]}", shown[i], unit, limits)
        elif i == 0:
            _legend(axes, False, "no labelled examples")
        else:
            axes.set_axis_off()


def _parity(
    axes: Axes, title: str, frame: pd.DataFrame, unit: str, limits: tuple[float, float]
) -> None:
    from molrel.evaluate.metrics import regression_metrics

    labels, scores = frame["label"].to_numpy(float), seed_scores(frame)
    found = [regression_metrics(labels, s) for s in scores]
    rmse, r2 = (np.mean([f[name] for f in found]) for name in ("rmse", "r2"))
    some = np.random.default_rng(0).permutation(len(labels))[:MAX_POINTS]
    axes.scatter(labels[some], scores.mean(0)[some], s=6, alpha=0.3, linewidths=0)
    axes.plot(limits, limits, linestyle=":", color=GREY, label="perfect")
    axes.axhline(
        float(labels.mean()), linestyle="--", color=GREY, label="floor: mean of the labels"
    )
    suffix = f" [{unit}]" if unit else ""
    axes.set(
        title=f"{title}\nRMSE {rmse:.3f}, R² {r2:.3f}",
        xlabel=f"label{suffix}",
        ylabel=f"prediction{suffix}, mean of seeds",
    )
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8.5, loc="upper left")
