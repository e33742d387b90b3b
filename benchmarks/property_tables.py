"""From cells to the tables of the property benchmark."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from property_cells import about_path, jobs, seeds_of
from property_settings import BACKBONES, FLOORS, PRESETS, SETS, Preset, methods_of
from store import made_of, read_cells, short_hash, write_frame, write_json

from molrel.evaluate.compare import Scored, main_metric
from molrel.evaluate.markdown import cell, markdown_table

Cells = Sequence[Mapping[str, Any]]


def scored(
    about: Mapping[str, Any], cells: Cells, stratum: str = "all", when: str = "best"
) -> Scored:
    """The test part of a set, or one stratum of it; a floor has no last epoch."""
    values = about["parts"]["test"]
    scores = np.array([c.get(when, c["best"])["test"] for c in cells], np.float64)
    strata = np.array(values["strata"])
    if stratum in values["marks"]:
        strata = np.where(np.array(values["marks"][stratum], bool), stratum, "")
    labels = np.array(values["labels"], np.float64)
    return Scored(labels, scores, np.array(values["clusters"]), strata).stratum(stratum)


def reference_of(method: str) -> str | None:
    """The single head on the same encoder; None for what has none."""
    backbone, comma, _ = method.partition(", ")
    return backbone if comma else None


def method_rows(
    about: Mapping[str, Any], cells: Cells, reference: Cells, replicates: int
) -> list[dict[str, Any]]:
    """Rows of one method on one set: parts of the test set, best and last epoch, difference."""
    metric, rows = main_metric(about["kind"]), []
    metrics = [metric] if metric == "rmse" else [metric, "ap"]
    strata = ["all", *about["parts"]["test"]["marks"], "new scaffold"]
    for stratum in strata:
        for when in ("best", "last") if stratum == "all" else ("best",):
            part = scored(about, cells, stratum, when)
            if len(part) < 2:
                continue
            chosen = metrics if stratum == "all" and when == "best" else metrics[:1]
            rows += [
                {
                    "stratum": stratum,
                    "epoch": when,
                    "metric": name,
                    **value._asdict(),
                    "sd": part.spread(metric) if name == metric else math.nan,
                    "n_seeds": len(part.scores),
                    "n_examples": len(part),
                }
                for name, value in part.judge(chosen, replicates=replicates).items()
            ]
    if reference:
        value = scored(about, cells).minus(scored(about, reference), metric, replicates=replicates)
        rows.append(
            {"stratum": "all", "epoch": "best", "metric": f"{metric} - head", **value._asdict()}
        )
    return rows


def set_rows(
    folder: Path, preset: Preset, name: str, methods: Sequence[str], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Rows of one set: every method that has cells; kept in a file beside these."""
    path = about_path(folder, name)
    if not path.is_file():
        return []
    about = json.loads(path.read_text())
    wanted = jobs(
        preset, name, [*methods, *filter(None, map(reference_of, methods))], seeds, folder
    )
    found = {job.method: job for job in wanted}
    described = {k: about[k] for k in ("kind", "split", "fingerprint", "rejected")}
    described |= {"n_labels": len(about["targets"]), **about["sizes"]}
    rows = []
    for method in methods:
        cells = read_cells(found[method].paths)
        if not cells:
            continue
        single = reference_of(method)
        reference = read_cells(found[single].paths) if single else []
        files = [*found[method].paths.values(), *(found[single].paths.values() if single else ())]
        names = [p.name for p in files if p.is_file()]
        kept = path.with_name(f"rows-{short_hash([names, preset.replicates])}.json")
        if not kept.is_file():
            found_rows = method_rows(about, cells, reference, preset.replicates)
            write_json(kept, {"rows": found_rows})
        cost = {k: cells[-1].get(k) for k in ("seconds_per_step", "n_parameters")}
        rows += [
            {"set": name, "method": method, **row, **cost, **described}
            for row in json.loads(kept.read_text())["rows"]
        ]
    return rows


def write_tables(
    folder: Path,
    preset_name: str,
    sets: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    add: bool,
) -> None:
    """Writes ``out``.csv from the cells that are there and ``out``.md from that file.

    Args:
      folder: of the cells.
      preset_name, sets, methods, seeds: which cells.
      out: where to, without an ending.
      add: keep the other sets of the file that is there.
    """
    preset = PRESETS[preset_name]
    rows = [row for name in sets for row in set_rows(folder, preset, name, methods, seeds)]
    if not rows:
        print("no cell is there yet")
        return
    frame = write_frame(rows, out.with_suffix(".csv"), "set", SETS, preset_name, add=add)
    known = methods_of(*BACKBONES)
    whole = main_rows(frame)
    made = made_of(
        "property", whole, "set", known, preset_name, seeds, partial(seeds_of, seeds=seeds)
    )
    text = markdown(frame, preset, made)
    out.with_suffix(".md").write_text(text)
    print(text)


def main_rows(frame: pd.DataFrame, stratum: str = "all", epoch: str = "best") -> pd.DataFrame:
    """The main metric on a part of the test set: one row a method and set."""
    main = frame["metric"] == frame["kind"].map(main_metric)
    return frame[main & (frame["stratum"] == stratum) & (frame["epoch"] == epoch)]


def markdown(frame: pd.DataFrame, preset: Preset, made: str) -> str:
    """The tables as Markdown, beginning with what they are made of."""
    trained = frame.dropna(subset=["n_parameters"]).drop_duplicates(["set", "method"])
    networks = (
        f"Networks of width {preset.width}, depth {preset.depth}, "
        f"{preset.train.epochs} epochs of batches of {preset.train.source_examples}, not "
        "pre-trained, at the epoch with the best validation. "
    )
    parts = [
        "# Property prediction\n",
        f"{made} {networks if len(trained) else ''}Test figures, mean over seeds; "
        "brackets hold 95 % intervals over molecules and seeds. Splits: MoleculeNet "
        "deterministic scaffold, 8:1:1, with chirality; MoleculeACE its own. Figures published "
        "for other splits, sizes or pre-trained networks are not comparable.\n",
    ]
    for stratum, epoch, title in (
        ("all", "best", ""),
        ("all", "last", ", last epoch"),
        ("new scaffold", "best", ", scaffolds that no training molecule has"),
        ("cliff", "best", ", molecules with an activity cliff"),
    ):
        mine = main_rows(frame, stratum, epoch)
        if epoch == "last":
            mine = mine[mine["n_parameters"].notna()]
        for metric, name, factor in (
            ("auroc", "ROC-AUC, % (mean over label columns)", 100),
            ("rmse", "RMSE (smaller is better)", 1),
        ):
            if (mine["metric"] == metric).any():
                parts += [f"## {name}{title}\n", wide(mine[mine["metric"] == metric], factor)]
    for name in dict.fromkeys(frame["set"]):
        parts.append(_set_page(frame[frame["set"] == name], name))
    parts.append("## Cost\n\nCells are computed side by side, so their times say little.\n")
    parts.append(
        markdown_table(
            {
                "method": method,
                "ms a step, median over sets": f"{1e3 * rows['seconds_per_step'].median():.0f}",
                "parameters, median over sets": f"{rows['n_parameters'].median():,.0f}",
            }
            for method, rows in trained.groupby("method", sort=False)
        )
        if len(trained)
        else "Nothing was trained.\n"
    )
    return "\n".join(parts)


def wide(best: pd.DataFrame, factor: float) -> str:
    """Mean ± standard deviation over seeds: methods x sets, turned where sets are more.

    The mean is over the sets, for methods that have all of them.
    """
    sets, methods = (list(dict.fromkeys(best[column])) for column in ("set", "method"))
    columns = best[["set", "method", "mean", "sd"]].itertuples(index=False, name=None)
    values = {(name, method): figures for name, method, *figures in columns}

    def text(value: float) -> str:
        return "" if math.isnan(value) else f"{factor * value:.{1 if factor > 1 else 3}f}"

    def entry(name: str, method: str) -> str:
        if name == "mean":
            every = [values.get((s, method), (math.nan,))[0] for s in sets]
            return text(sum(every) / len(every))
        mean, spread = map(text, values.get((name, method), (math.nan, math.nan)))
        return mean + (f" ± {spread}" if spread else "")

    shown = [*sets, "mean"]
    if len(sets) > len(methods):
        return markdown_table({"set": s, **{m: entry(s, m) for m in methods}} for s in shown)
    return markdown_table({"method": m, **{s: entry(s, m) for s in shown}} for m in methods)


def _set_page(frame: pd.DataFrame, name: str) -> str:
    """One set in full: intervals, last epoch, strata, difference to the single head."""
    about = frame.iloc[0]
    metric, rows = main_metric(about["kind"]), []
    strata = [s for s in dict.fromkeys(frame["stratum"]) if s != "all"]
    for method in dict.fromkeys(frame["method"]):
        mine = frame[frame["method"] == method]

        def value(stratum="all", epoch="best", what=metric, sign=False, mine=mine) -> str:
            found = mine[
                (mine["stratum"] == stratum) & (mine["epoch"] == epoch) & (mine["metric"] == what)
            ]
            return cell(found.iloc[0].to_dict(), sign=sign) if len(found) else ""

        row = {"method": method, metric: value()}
        if metric == "auroc":
            row["average precision"] = value(what="ap")
        row["last epoch"] = "" if method in FLOORS else value(epoch="last")
        for stratum in strata:
            row[stratum] = value(stratum)
        row["minus single head"] = value(what=f"{metric} - head", sign=True)
        rows.append(row)
    sizes = ", ".join(f"{part} {about[part]:,}" for part in ("train", "valid", "test"))
    new = frame.loc[frame["stratum"] == "new scaffold", "n_examples"].max()
    text = (
        f"{about['split'].replace('_', ' ')} split ({about['fingerprint']}): {sizes}; "
        f"{about['rejected']} rows rejected; {about['n_labels']} label column(s); "
        f"{0 if np.isnan(new) else int(new):,} test molecules have a scaffold that no training "
        "molecule has."
    )
    return f"### {name}\n\n{text}\n\n{markdown_table(rows)}"
