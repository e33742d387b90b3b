"""From predictions to the rows of a report, and what a run leaves: CSV, JSON and Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molrel.data.types import Task
from molrel.errors import RunError
from molrel.evaluate.bootstrap import Thresholds
from molrel.evaluate.compare import Scored, metrics_of
from molrel.evaluate.markdown import SPLITS, markdown_table, report_markdown
from molrel.files import write_whole

__all__ = [
    "evaluate_predictions",
    "markdown_table",
    "molecule_ids",
    "seed_scores",
    "write_predictions",
    "write_report",
]


def score_columns(frame: pd.DataFrame) -> list[str]:
    """The columns score_0, score_1, ... of a predictions frame, in the order of the seeds."""
    names = [c for c in frame.columns if c.startswith("score_") and c[6:].isdigit()]
    return sorted(names, key=lambda name: int(name[6:]))


def seed_scores(frame: pd.DataFrame) -> np.ndarray:
    """float64 [S, N], the scores of every seed in a predictions frame."""
    return frame[score_columns(frame)].to_numpy(np.float64).T


def molecule_ids(frame: pd.DataFrame) -> np.ndarray:
    """int64 [N, C], the columns molecule_a and (for pairs) molecule_b of a frame."""
    return frame[[c for c in ("molecule_a", "molecule_b") if c in frame]].to_numpy(np.int64)


def scored_of(frame: pd.DataFrame, thresholds: Thresholds = 0.5) -> Scored:
    """The examples of a predictions frame.

    Of one with the columns ``target`` and ``example``, which has a row for each label of an
    example, labels are [N, T] and scores [S, N, T], NaN and 0 where there is no row.
    """
    if "target" not in frame:
        labels = frame["label"].to_numpy(np.float64)
        return Scored(labels, seed_scores(frame), molecule_ids(frame), thresholds=thresholds)
    examples, first, n = np.unique(frame["example"], return_index=True, return_inverse=True)
    names, t = np.unique(np.asarray(frame["target"], str), return_inverse=True)
    labels = np.full((len(examples), len(names)), np.nan)
    labels[n, t] = frame["label"]
    found = seed_scores(frame)
    scores = np.zeros((len(found), *labels.shape))
    scores[:, n, t] = found
    return Scored(labels, scores, molecule_ids(frame)[first], thresholds=thresholds)


def evaluate_predictions(
    frame: pd.DataFrame,
    *,
    method: str,
    setting: str,
    task: Task,
    thresholds: Thresholds = 0.5,
    replicates: int = 200,
) -> list[dict[str, Any]]:
    """Rows of the report for every split and stratum of one method's predictions.

    Args:
      frame: one row an example, with the columns ``molecule_a``, ``molecule_b`` (int ids; the
        latter not for one-sided data), ``label`` (NaN where unknown), ``split``
        ("source-valid", "source-test" or "target"), ``stratum`` and one ``score_i`` a seed. Of
        several targets one row a label, with ``target`` and ``example`` (``scored_of``).
      method, setting: names that the rows carry.
      task: regression or classification metrics.
      thresholds: decision threshold, one for all seeds or one each.
      replicates: of the bootstrap.

    Returns:
      Dicts with the keys method, setting, split, stratum, metric, mean, low, high, n_seeds,
      n_examples (with a label), prevalence (mean label; None for regression) and skipped
      (replicates in which the metric was not defined). Stratum "all" comes first. Of several
      targets each metric is the mean over those in which it is defined; F1 and accuracy, which
      need a threshold for each, are left out; of several classes the accuracy is that of the most
      probable one.

    Raises:
      RunError: a score is not finite.
    """
    check_scores(frame, method)
    regression = task.kind == "regression"
    metrics = metrics_of(task.kind)
    if "target" in frame and not regression:
        metrics = ("auroc", "ap", "brier")
    rows: list[dict[str, Any]] = []
    for split in SPLITS:
        part = frame.loc[frame["split"] == split].dropna(subset=["label"])
        found: dict[str, Any] = {}
        for stratum in ["all", *sorted(set(part["stratum"]))] if len(part) else []:
            chosen = part if stratum == "all" else part.loc[part["stratum"] == stratum]
            scored = scored_of(chosen, thresholds)
            # A stratum that holds every example is not resampled twice.
            if stratum == "all" or len(chosen) < len(part):
                found = scored.judge(metrics, replicates=replicates)
                if task.kind == "multiclass":
                    right = scored.most_probable()
                    found |= right.judge(["accuracy"], replicates=replicates)
            common = {
                "n_seeds": len(score_columns(frame)),
                "n_examples": len(scored),
                "prevalence": None if regression else float(chosen["label"].mean()),
            }
            for metric, interval in found.items():
                rows.append(
                    {
                        "method": method,
                        "setting": setting,
                        "split": split,
                        "stratum": stratum,
                        "metric": metric,
                        "mean": interval.mean,
                        "low": interval.low,
                        "high": interval.high,
                        **common,
                        "skipped": interval.skipped,
                    }
                )
    return rows


def check_scores(frame: pd.DataFrame, method: str) -> None:
    """Raises RunError, naming the first row and seed whose score is not finite."""
    finite = np.isfinite(seed_scores(frame)).T
    if finite.all():
        return
    row, seed = (int(i) for i in np.argwhere(~finite)[0])
    column = score_columns(frame)[seed]
    names = ("split", "smiles_a", "smiles_b", "molecule_a", "molecule_b")
    about = ", ".join(f"{n} {frame[n].iloc[row]}" for n in names if n in frame)
    raise RunError(
        f"{method}: {column} of row {row} is {frame[column].iloc[row]} ({about}); "
        f"{int((~finite).any(axis=1).sum())} of {len(frame)} rows have a score that is not finite"
    )


def _shortest(x: float | np.floating) -> str:
    """The fewest digits that determine a number."""
    return repr(float(x)).removesuffix(".0")


def write_predictions(path: Path, frame: pd.DataFrame) -> None:
    """Writes a predictions frame as CSV, whole or not at all; numbers are read back exactly.

    Raises:
      RunError: a score is not finite, or the file cannot be written.
    """
    check_scores(frame, path.name)
    write_whole(path, frame.to_csv(index=False, float_format=_shortest))


def write_report(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    *,
    title: str,
    notes: Sequence[str],
    overlap: dict[str, Any] | None,
    discrepancy: Sequence[dict[str, Any]] | None,
    rejected: dict[str, int],
    cost: dict[str, float],
) -> None:
    """Writes report.json (for machines) and report.md (for people), each whole or not at all.

    Args:
      folder: of the run.
      rows: of ``evaluate_predictions``, the main method first; rows whose metric ends in
        " difference" are paired differences, "a minus b".
      title: first line of the report.
      notes: sentences to print (how labels arose, what is not comparable).
      overlap: counts of what the domains share, possibly nested.
      discrepancy: rows of the discrepancy table, all with the same keys.
      rejected: reason -> number of rows of the input set aside.
      cost: seconds, compile_seconds, peak_memory_mb, n_parameters, ...

    Raises:
      RunError: a file cannot be written.
    """
    values = {
        "title": title,
        "rows": list(rows),
        "overlap": overlap,
        "discrepancy": list(discrepancy) if discrepancy else None,
        "rejected": rejected,
        "cost": cost,
        "notes": list(notes),
    }
    text = report_markdown(
        rows,
        title=title,
        notes=notes,
        overlap=overlap,
        discrepancy=discrepancy,
        rejected=rejected,
        cost=cost,
    )
    write_whole(
        folder / "report.json", json.dumps(_plain(values), indent=1, allow_nan=False) + "\n"
    )
    write_whole(folder / "report.md", text)


def _plain(value: Any) -> Any:
    """The value for JSON: not-a-number and infinity become null, NumPy's types Python's."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
