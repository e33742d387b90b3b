"""Predictions to rows of a report, and the report as JSON and Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molrel.data.types import Task
from molrel.errors import RunError
from molrel.evaluate.bootstrap import intervals
from molrel.evaluate.metrics import CLASSIFICATION, REGRESSION

SPLITS = ("target", "source-test", "source-valid")


def seed_scores(frame: pd.DataFrame) -> np.ndarray:
    """float64 [S, N], the columns score_0, score_1, ... of a predictions frame."""
    names = [c for c in frame.columns if c.startswith("score_")]
    return frame[names].to_numpy(np.float64).T


def molecule_ids(frame: pd.DataFrame) -> np.ndarray:
    """int [N, C], the columns molecule_a, molecule_b of a predictions frame."""
    return frame[[c for c in ("molecule_a", "molecule_b") if c in frame]].to_numpy(np.int64)


def evaluate_predictions(
    frame: pd.DataFrame,
    *,
    method: str,
    setting: str,
    task: Task,
    thresholds: Sequence[float],
    replicates: int = 200,
) -> list[dict[str, Any]]:
    """Rows of the report for every split and stratum of one method's predictions.

    Args:
      frame: columns molecule_a (and _b), label, split, stratum, score_0 ...
      method, setting: names for the rows.
      task: classification or regression metrics.
      thresholds: decision threshold of each seed.
      replicates: of the bootstrap.

    Raises:
      RunError: a score is not finite.
    """
    finite = np.isfinite(seed_scores(frame)).all(axis=0)
    if not finite.all():
        raise RunError(f"{method}: the score of row {int(np.argmin(finite))} is not finite")
    metrics = REGRESSION if task.kind == "regression" else CLASSIFICATION
    rows = []
    for split in (s for s in SPLITS if (frame["split"] == s).any()):
        part = frame[(frame["split"] == split) & frame["label"].notna()]
        strata = sorted(part["stratum"].unique())
        for stratum in ["all", *strata] if len(strata) > 1 else ["all"]:
            chosen = part if stratum == "all" else part[part["stratum"] == stratum]
            if not len(chosen):
                continue
            found = intervals(
                metrics,
                chosen["label"].to_numpy(),
                seed_scores(chosen),
                molecule_ids(chosen),
                replicates=replicates,
                thresholds=thresholds,
            )
            rows += [
                {
                    "method": method,
                    "setting": setting,
                    "split": split,
                    "stratum": stratum,
                    "metric": metric,
                    "mean": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                    "n_seeds": len(thresholds),
                    "n_examples": len(chosen),
                    "prevalence": float(chosen["label"].mean()),
                }
                for metric, interval in found.items()
            ]
    return rows


def write_predictions(path: Path, frame: pd.DataFrame) -> None:
    """Writes predictions.csv whole or not at all, six significant digits."""
    temporary = path.with_name(path.name + ".tmp")
    frame.to_csv(temporary, index=False, float_format="%.6g")
    temporary.replace(path)


def markdown_table(rows: Iterable[dict[str, Any]]) -> str:
    """A Markdown table of dicts with the same keys."""
    rows = list(rows)
    if not rows:
        return "(none)\n"
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    for row in rows:
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any]) -> str:
    if math.isnan(row["mean"]):
        return "n/a"
    return f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def metrics_table(rows: Sequence[dict[str, Any]], split: str, stratum: str) -> list[dict[str, Any]]:
    """One line a method, one column a metric, for one split and stratum."""
    chosen = [r for r in rows if r["split"] == split and r["stratum"] == stratum]
    plain = [r for r in chosen if not r["metric"].endswith("difference")]
    names = list(dict.fromkeys(r["metric"] for r in plain))
    table = []
    for method in dict.fromkeys(r["method"] for r in plain):
        cells = {r["metric"]: _cell(r) for r in plain if r["method"] == method}
        table.append({"method": method, **{n: cells.get(n, "") for n in names}})
    return table


def report_markdown(
    rows: Sequence[dict[str, Any]],
    *,
    title: str,
    notes: Sequence[str],
    overlap: dict | None,
    discrepancy: Sequence[dict[str, Any]] | None,
    rejected: dict[str, int],
    cost: dict[str, float],
) -> str:
    """The report as Markdown; see ``write_report``."""
    out = [f"# {title}\n"]
    for split in (s for s in SPLITS if any(r["split"] == s for r in rows)):
        of_split = [r for r in rows if r["split"] == split]
        for stratum in dict.fromkeys(r["stratum"] for r in of_split):
            first = next(r for r in of_split if r["stratum"] == stratum)
            out.append(
                f"## {split}, {stratum}\n\n{first['n_examples']:,} examples, mean label "
                f"{first['prevalence']:.3f}. Mean over seeds with 95 % interval, bootstrap "
                "clustered by molecule.\n"
            )
            out.append(markdown_table(metrics_table(rows, split, stratum)))
    paired = [r for r in rows if r["metric"].endswith("difference")]
    if paired:
        lines = [
            {"comparison": r["method"], "metric": r["metric"], "difference": _cell(r)}
            for r in paired
        ]
        out += ["## Paired differences on the target\n", markdown_table(lines)]
    if discrepancy:
        out += [
            "## Substructure discrepancy (Jensen-Shannon, bits) against its permutation null\n",
            markdown_table(discrepancy),
        ]
    if overlap:
        out += [
            "## Overlap of the domains\n",
            markdown_table({"what": k, "count": v} for k, v in overlap.items()),
        ]
    out += ["## Rejected rows\n", markdown_table({"reason": k, "rows": v} for k, v in rejected.items())]
    out += ["## Cost\n", markdown_table({"what": k, "value": v} for k, v in cost.items())]
    out += ["## Notes\n", *(f"- {note}" for note in notes), ""]
    return "\n".join(part for part in out if part != "")


def write_report(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    *,
    title: str,
    notes: Sequence[str],
    overlap: dict | None,
    discrepancy: Sequence[dict[str, Any]] | None,
    rejected: dict[str, int],
    cost: dict[str, float],
) -> None:
    """Writes report.json (for machines) and report.md (for people), each atomically.

    Args:
      folder: of the run.
      rows: of ``evaluate_predictions`` and paired differences.
      title, notes: text of the report.
      overlap: what the domains share; discrepancy: its table.
      rejected: reason -> number of rows set aside.
      cost: seconds, memory, parameters.
    """
    values = {
        "rows": list(rows),
        "overlap": overlap,
        "discrepancy": list(discrepancy) if discrepancy else None,
        "rejected": rejected,
        "cost": cost,
        "notes": list(notes),
    }
    text = json.dumps(_plain(values), indent=1, allow_nan=False) + "\n"
    markdown = report_markdown(
        rows,
        title=title,
        notes=notes,
        overlap=overlap,
        discrepancy=discrepancy,
        rejected=rejected,
        cost=cost,
    )
    for name, content in (("report.json", text), ("report.md", markdown)):
        temporary = folder / f"{name}.tmp"
        temporary.write_text(content)
        temporary.replace(folder / name)


def _plain(value: Any) -> Any:
    """JSON without NaN: not-a-number becomes null, NumPy scalars become numbers."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
