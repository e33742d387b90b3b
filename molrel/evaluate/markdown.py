"""The report as Markdown: what a chemist reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

Row = Mapping[str, Any]

SPLITS = ("target", "source-test", "source-valid")
HEADINGS = {
    "target": "Target domain",
    "source-test": "Source domain, test set",
    "source-valid": "Source domain, validation set",
}
METRICS = {
    "auroc": "AUROC",
    "ap": "average precision",
    "f1": "F1",
    "accuracy": "accuracy",
    "brier": "Brier score",
    "ece": "calibration error",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "spearman": "Spearman",
}
MAIN = ("auroc", "ap", "rmse", "r2", "spearman")
STRATA = {
    "seen-seen": "both molecules trained on",
    "seen-new": "one molecule trained on",
    "new-new": "neither molecule trained on",
    "seen scaffold": "a training molecule has the scaffold",
    "new scaffold": "no training molecule has the scaffold",
}
INTERVALS = (
    "Each value is the mean over seeds; brackets hold its 95 % interval, from a bootstrap that "
    "resamples molecules (pairs that share one are not independent) and seeds."
)
THRESHOLD = (
    "F1 and accuracy use the threshold with the highest F1 on source validation data. Lower is "
    "better for Brier score and calibration error. Floors look at no structure: beating them is "
    "the least a model must do."
)


def report_markdown(
    rows: Sequence[Row],
    *,
    title: str,
    notes: Sequence[str],
    overlap: Mapping[str, Any] | None,
    discrepancy: Sequence[Row] | None,
    rejected: Mapping[str, int],
    cost: Mapping[str, float],
) -> str:
    """The whole report; arguments as for ``report.write_report``."""
    plain = [r for r in rows if not r["metric"].endswith("difference")]
    paired = [r for r in rows if r["metric"].endswith("difference")]
    regression = any(r["metric"] == "rmse" for r in plain)
    out = [f"# {title}", INTERVALS if regression else f"{INTERVALS} {THRESHOLD}"]
    for setting in dict.fromkeys(r["setting"] for r in rows):
        if len({r["setting"] for r in rows}) > 1:
            out.append(f"# Setting: {setting}")
        for split in SPLITS:
            out += _split([r for r in plain if r["setting"] == setting and r["split"] == split])
        out += _differences([r for r in paired if r["setting"] == setting])
    if discrepancy:
        out += [
            "## How far the domains lie apart",
            "Jensen–Shannon divergence (bits) of the molecules' substructures. Random "
            "re-partitions of the same molecules give the null; a value below its maximum is "
            "no evidence of a difference.",
            markdown_table(discrepancy),
        ]
    if overlap:
        listed = "Of the examples that the sets list; negatives that were drawn are not counted."
        out += ["## What the domains share", listed, markdown_table(_flat(overlap, "count"))]
    out.append("## Rejected rows")
    total = sum(rejected.values())
    out.append(
        f"{total:,} rows were set aside; each is listed in rejected.csv."
        if total
        else "No row was set aside."
    )
    if total:
        out.append(markdown_table([{"reason": k, "rows": v} for k, v in rejected.items()]))
    out += ["## Cost", markdown_table(_flat(cost, "value"))]
    if notes:
        out += ["## Notes", "\n".join(f"- {note}" for note in dict.fromkeys(notes))]
    return "\n\n".join(part.rstrip("\n") for part in out) + "\n"


def _split(rows: Sequence[Row]) -> list[str]:
    """Heading, table of all examples and table of the strata of one split."""
    if not rows:
        return []
    whole = [r for r in rows if r["stratum"] == "all"]
    first = whole[0]
    out = [f"## {HEADINGS[first['split']]}", _size(first), metrics_table(whole)]
    strata = list(dict.fromkeys(r["stratum"] for r in rows if r["stratum"] != "all"))
    if len(strata) == 1:
        out.append(f"All examples belong to one stratum: {_stratum(strata[0])}.")
    elif strata:
        out += ["### By what was trained on", _strata_table(rows, strata)]
    return out + _skipped(rows)


def _size(row: Row) -> str:
    seeds = f"{row['n_examples']:,} labelled examples"
    if row["prevalence"] is None:
        return seeds + "."
    return f"{seeds}, prevalence {row['prevalence']:.3f} (share of positives)."


def _stratum(name: str) -> str:
    return f"{name} ({STRATA[name]})" if name in STRATA else name


def metrics_table(rows: Sequence[Row]) -> str:
    """One line a method and one column a metric, for the rows of one split and stratum."""
    table = []
    for method in dict.fromkeys(r["method"] for r in rows):
        mine = [r for r in rows if r["method"] == method]
        cells = {METRICS.get(r["metric"], r["metric"]): cell(r) for r in mine}
        table.append({"method": method, **cells, "seeds": mine[0]["n_seeds"]})
    return markdown_table(table)


def _strata_table(rows: Sequence[Row], strata: Sequence[str]) -> str:
    table = []
    for stratum in strata:
        here = [r for r in rows if r["stratum"] == stratum]
        for method in dict.fromkeys(r["method"] for r in here):
            mine = [r for r in here if r["method"] == method]
            line = {"stratum": _stratum(stratum), "examples": f"{mine[0]['n_examples']:,}"}
            if mine[0]["prevalence"] is not None:
                line["prevalence"] = f"{mine[0]['prevalence']:.3f}"
            line["method"] = method
            table.append(
                line | {METRICS[r["metric"]]: cell(r) for r in mine if r["metric"] in MAIN}
            )
    return markdown_table(table)


def _skipped(rows: Sequence[Row]) -> list[str]:
    """A warning where intervals rest on fewer replicates than were drawn."""
    strata = dict.fromkeys(r["stratum"] for r in rows if r.get("skipped", 0))
    if not strata:
        return []
    return [
        f"In {', '.join(strata)} some bootstrap replicates held a single class and were left "
        "out: too few molecules carry the rarer label for these intervals to be trusted."
    ]


def _differences(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    lines = []
    for row in rows:
        name = row["metric"].removesuffix(" difference")
        apart = row["low"] > 0 or row["high"] < 0
        lines.append(
            {
                "comparison": row["method"],
                "metric": METRICS.get(name, name),
                "difference": cell(row, sign=True),
                "interval excludes 0": "yes" if apart else "no",
            }
        )
    about = "Both methods on the same resampled molecules, hence narrower than two intervals."
    where = HEADINGS[rows[0]["split"]]
    return [f"## Paired differences: {where[0].lower()}{where[1:]}", about, markdown_table(lines)]


def cell(row: Row, *, sign: bool = False) -> str:
    """A value with its interval; "undefined" for a metric that the labels do not define."""
    value, low, high = (math.nan if row[k] is None else row[k] for k in ("mean", "low", "high"))
    if math.isnan(value):
        return "undefined"
    style = partial(number, sign=sign)
    return style(value) + ("" if math.isnan(low) else f" [{style(low)}, {style(high)}]")


def number(value: float, *, sign: bool = False) -> str:
    """Three decimals, or one from 100 on; three digits where that would say nothing."""
    plus = "+" if sign else ""
    if value and not 1e-6 <= abs(value) < 1e7:
        return f"{value:{plus}.3g}"
    return f"{value:{plus}.{3 if abs(value) < 100 else 1}f}"


def _flat(values: Mapping[str, Any], name: str, prefix: str = "") -> list[dict[str, Any]]:
    """Rows of a two-column table from nested counts; what is None is left out."""
    rows: list[dict[str, Any]] = []
    for key, value in values.items():
        label = prefix + str(key).replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, name, f"{label}, ")
        elif value is not None:
            rows.append({"quantity": label, name: value})
    return rows


def markdown_table(rows: Iterable[Row]) -> str:
    """A Markdown table of dicts; columns are all their keys, in order of appearance."""
    rows = list(rows)
    if not rows:
        return "(none)\n"
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(map(_text, columns)) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_text(row.get(c, "")) for c in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    """A cell: four significant digits, thousands separated, no bar that would end the cell."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).replace("|", "\\|").replace("\n", " ")
    if math.isfinite(value) and abs(value) < 1e15 and value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"
