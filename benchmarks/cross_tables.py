"""From cells to the tables and the figure of the cross-domain benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cells import best_trial, jobs, seeds_of
from cross_settings import PRESETS, SETTINGS, SHARED, TARGET_DEGREE, Preset, entrants
from store import made_of, read_cells, short_hash, write_frame, write_json

from molrel.data.types import one_against_others
from molrel.evaluate.compare import Scored, main_metric
from molrel.evaluate.markdown import cell, markdown_table, number
from molrel.evaluate.metrics import best_threshold
from molrel.evaluate.ranks import rank_methods, save_ranks

CLASSIFICATION = ("auroc", "ap", "f1", "accuracy")
REGRESSION = ("rmse", "mae", "r2", "spearman")
MAIN = ("auroc", "rmse")
Cells = Sequence[Mapping[str, Any]]
# Raised by hand when a change of the code changes rows that are made of the same cells.
VERSION = 2
FULL = "DisTrans"
LEARNED = ("classical", "source-only", "adaptation", "DisTrans")


def scored(about: Mapping[str, Any], cells: Cells, part: str) -> Scored:
    """The scores of one method on one part of a setting; several classes one against the others."""
    values = about["parts"][part]
    labels = np.array(values["labels"], np.float64)
    scores = np.array([cell["scores"][part] for cell in cells], np.float64)
    if about["kind"] == "multiclass":
        labels = one_against_others(labels, about["n_classes"]).T.astype(np.float64)
        if scores.ndim == 2:  # a floor of constant scores
            scores = np.broadcast_to(scores[..., None], (*scores.shape, about["n_classes"]))
    return Scored(labels, scores, np.array(values["clusters"]), np.array(values["strata"]))


def judged(about: Mapping[str, Any], cells: Cells, part: str) -> Scored:
    """``scored``; of a multiclass task every pair and class is one yes/no question."""
    found = scored(about, cells, part)
    return found.pooled() if about["kind"] == "multiclass" else found


def method_rows(
    about: Mapping[str, Any], cells: Cells, reference: Cells, replicates: int
) -> list[dict[str, Any]]:
    """Rows of one method in one setting: every stratum and metric, and the difference."""
    kind, reads_target = about["kind"], cells[0]["family"] == "ceiling"
    reads_target |= cells[0]["method"] == TARGET_DEGREE
    examples, target = scored(about, cells, "target"), judged(about, cells, "target")
    metrics: Sequence[str] = REGRESSION if kind == "regression" else CLASSIFICATION
    if kind == "binary":
        valid = scored(about, cells, "source-valid")
        cuts = [best_threshold(valid.labels, s) for s in valid.scores]
        target = replace(target, thresholds=cuts)
    if kind == "multiclass":
        metrics = ("auroc", "ap")
    rows, strata = [], sorted(set(examples.strata))
    for stratum in ["all", *(strata if len(strata) > 1 else [])]:
        chosen = metrics if stratum == "all" else metrics[: 1 if kind == "regression" else 2]
        if reads_target:  # its scores of the source, and so the threshold, mean nothing
            chosen = [name for name in chosen if name not in ("f1", "accuracy")]
        data = target.stratum(stratum)
        found = data.judge(chosen, replicates=replicates)
        if kind == "multiclass" and stratum == "all" and not reads_target:
            found |= examples.most_probable().judge(["accuracy"], replicates=replicates)
        rows += [
            {"split": "target", "stratum": stratum, "metric": name, **value._asdict()}
            | {"n_examples": len(examples.stratum(stratum)), "n_seeds": len(data.scores)}
            | {"prevalence": float(data.labels.mean()) if kind == "binary" else None}
            for name, value in found.items()
        ]
    main = main_metric(kind)
    inside = judged(about, cells, "source-test")
    if len(inside) and not reads_target:
        value = inside.judge([main], replicates=max(20, replicates // 4))[main]
        rows.append({"split": "source-test", "stratum": "all", "metric": main, **value._asdict()})
    if reference and reference[0]["method"] != cells[0]["method"]:
        value = target.minus(judged(about, reference, "target"), main, replicates=replicates)
        rows.append(
            {"split": "target", "stratum": "all", "metric": f"{main} - {SHARED}", **value._asdict()}
        )
    return rows


def cached_rows(path: Path, about, cells, reference, replicates: int) -> list[dict[str, Any]]:
    """``method_rows``, kept in a file beside the cells."""
    if not path.is_file():
        write_json(path, {"rows": method_rows(about, cells, reference, replicates)})
    return json.loads(path.read_text())["rows"]


def difference(
    folder: Path, about, paths: Sequence[Mapping[int, Path]], replicates: int
) -> dict[str, Any]:
    """Paired difference of the main metric between two methods, kept in a file."""
    names = [p for each in paths for p in each.values()]
    path = folder / f"difference-{_hash(names, replicates)}.json"
    if not path.is_file():
        ours, other = (judged(about, read_cells(p), "target") for p in paths)
        value = ours.minus(other, main_metric(about["kind"]), replicates=replicates)
        write_json(path, value._asdict())
    return json.loads(path.read_text())


def _hash(paths: Sequence[Path], *more: Any) -> str:
    present = [p.name for p in paths if p.is_file()]
    return short_hash([VERSION, present, *more])


def setting_rows(
    folder: Path, preset: Preset, name: str, methods: Sequence[str], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Rows of one setting: every method that has cells."""
    path = folder / name / f"setting-{preset.evaluated}.json"
    if not path.is_file():
        return []
    about = json.loads(path.read_text())
    setting, found = SETTINGS[name], {}
    for job in jobs(preset, setting, methods, seeds, folder):
        found[job.name] = job
    reference = found.get(SHARED)
    replicates = preset.replicates // (5 if about["kind"] == "multiclass" else 1)
    rows: list[dict[str, Any]] = []
    main_values: dict[str, float] = {}
    sign = -1 if about["kind"] == "regression" else 1
    for job in found.values():
        cells = read_cells(job.paths)
        if not cells:
            continue
        base = read_cells(reference.paths) if reference else []
        names = [*job.paths.values(), *(reference.paths.values() if reference else ())]
        cache = folder / name / f"rows-{_hash(names, replicates, job.name)}.json"
        common = {
            "strategy": setting.strategy,
            "setting": name,
            "source": setting.data.source,
            "target": setting.data.target,
            "method": job.name,
            "family": job.entrant.family,
        }
        cost = {k: cells[-1].get(k) for k in ("seconds_per_step", "n_parameters", "peak_memory_mb")}
        rate = next(iter(_chosen(cells[0]).values()), None)
        for row in cached_rows(cache, about, cells, base, replicates):
            rows.append(common | row | cost | {"tuned": rate})
            whole = row["split"] == "target" and row["stratum"] == "all"
            if whole and row["metric"] in MAIN:
                main_values[job.name] = sign * row["mean"]
    rows += _against_others(folder / name, about, found, main_values, rows, replicates)
    return rows


def _chosen(cell: Mapping[str, Any]) -> dict[str, float]:
    """The tuned option that source validation chose."""
    trials = cell.get("trials")
    return trials[best_trial(trials)]["options"] if trials else {}


def _against_others(folder, about, found, values, rows, replicates) -> list[dict[str, Any]]:
    """Each adaptation method (and DisTrans) minus the best other method that reads no target
    label; each control minus the full DisTrans."""
    learned = {n: v for n, v in values.items() if found[n].entrant.family in LEARNED}
    pairs = []
    for name in values:
        others = [n for n in learned if n != name]
        if found[name].entrant.family in ("adaptation", "DisTrans") and others:
            pairs.append((name, max(others, key=learned.__getitem__), "best other"))
        if found[name].entrant.family == "control" and FULL in values:
            pairs.append((name, FULL, FULL))
    main, extra = main_metric(about["kind"]), []
    for name, other, title in pairs:
        value = difference(folder, about, [found[name].paths, found[other].paths], replicates)
        common = next(r for r in rows if r["method"] == name)
        extra.append(
            {k: common[k] for k in ("strategy", "setting", "source", "target", "method", "family")}
            | {"split": "target", "stratum": "all", "metric": f"{main} - {title}", **value}
            | {"against": other}
        )
    return extra


def write_tables(
    folder: Path,
    preset_name: str,
    settings: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    add: bool,
) -> None:
    """Writes ``out``.csv from the cells that are there, ``out``.md and .png from that file.

    Args:
      folder: of the cells.
      preset_name, settings, methods, seeds: which cells.
      out: where to, without an ending.
      add: keep the other settings of the file that is there.
    """
    preset = PRESETS[preset_name]
    # JAX has threads, which a forked process would not have.
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        done = list(
            pool.map(
                setting_rows,
                [folder] * len(settings),
                [preset] * len(settings),
                settings,
                [list(methods)] * len(settings),
                [list(seeds)] * len(settings),
            )
        )
    rows = [row for each in done for row in each]
    if not rows:
        print("no cell is there yet")
        return
    table = out.with_suffix(".csv")
    frame = write_frame(rows, table, "setting", list(SETTINGS), preset_name, add=add)
    known = entrants(preset.width, preset.depth)
    panels = rank_panels(frame, list(known))
    present = [m for m in known if m in set(frame["method"])]
    whole = main_rows(frame)
    made = made_of(
        "cross_domain",
        whole,
        "setting",
        known,
        preset_name,
        seeds,
        lambda m: seeds_of(known[m], seeds),
    )
    text = markdown(frame, present, panels, preset, made)
    if panels:
        drawn = {title: (n, ranks, len(over)) for title, (n, ranks, over) in panels.items()}
        save_ranks(out.with_suffix(".png"), drawn)
    out.with_suffix(".md").write_text(text)
    print(text)


def main_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The main metric on the whole target: one row a method and setting."""
    whole = (frame["split"] == "target") & (frame["stratum"] == "all")
    return frame.loc[whole & frame["metric"].isin(MAIN)]


def rank_panels(frame: pd.DataFrame, order: Sequence[str]) -> dict[str, Any]:
    """Title -> (methods, ranks, settings): of all learned methods and of the adaptation methods
    over every setting, and of the latter over the classifications alone, where some are defined
    that a regression does not have."""
    main = main_rows(frame)
    values = main.assign(value=np.where(main["metric"] == "rmse", -1, 1) * main["mean"])
    wide = values.pivot_table(index="setting", columns="method", values="value", sort=False)
    family = main.drop_duplicates("method").set_index("method")["family"]
    classes = [s for s in wide.index if SETTINGS[s].strategy != "regression"]
    learned = [m for m in order if m in wide and family[m] in LEARNED]
    adapting = [m for m in learned if family[m] in ("adaptation", "DisTrans") or m == SHARED]
    panels = {}
    for title, names, settings in (
        ("methods that read no target label", learned, list(wide.index)),
        ("adaptation on one shared encoder", adapting, list(wide.index)),
        ("adaptation on one shared encoder, classification", adapting, classes),
    ):
        values = wide.loc[settings]
        names = [m for m in names if values[m].notna().all()]
        if len(names) >= 2 and len(settings) >= 2:
            panels[title] = names, rank_methods(values[names].to_numpy()), settings
    return panels


def markdown(
    frame: pd.DataFrame,
    order: Sequence[str],
    panels: Mapping[str, Any],
    preset: Preset,
    made: str,
) -> str:
    """The tables as Markdown, beginning with what they are made of."""
    parts = [
        "# Cross-domain benchmark\n",
        f"{made} Gaps: not computed, or not defined for the task.\n",
        "Target domain; mean over seeds with 95 % intervals over molecules and seeds. No target "
        "label is read by training or selection, but for the ceiling and the target-degree "
        f"prior. Networks of width {preset.width}, depth {preset.depth}, pictures of "
        f"{preset.picture_size} px, {preset.train.steps} steps. DisTrans is a reconstruction "
        "from the paper's abstract; figures published elsewhere are not comparable. Intervals "
        f"rest on {preset.replicates} replicates (a fifth of that for many classes) and are not "
        "corrected for the number of comparisons; the best other method is the one with the "
        "best target figure, which favours it.\n",
    ]
    for strategy in dict.fromkeys(frame["strategy"]):
        part = frame[frame["strategy"] == strategy]
        parts.append(f"## {strategy}\n")
        parts.append(_wide(part, order))
    parts.append(f"## Better and worse than {SHARED}\n")
    parts.append(_record(frame, order))
    for title, (names, ranks, settings) in panels.items():
        parts.append(f"## Mean ranks: {title}\n")
        parts.append(
            f"Over {len(settings)} settings ({', '.join(settings)}) the methods that all of them "
            f"have. Friedman p = {ranks.p_value:.2g}; two mean ranks that differ by less than "
            f"{ranks.critical_difference:.2f} are not told apart (Nemenyi, 5 %). Both take the "
            "settings for independent, which those that share a data set are not.\n"
        )
        best = np.argsort(ranks.mean, kind="stable")
        parts.append(
            markdown_table(
                [{"method": names[i], "mean rank": f"{ranks.mean[i]:.2f}"} for i in best]
            )
        )
    parts.append("## What was learned in the source\n")
    parts.append(_in_domain(frame))
    parts.append("## Each setting\n")
    for setting in dict.fromkeys(frame["setting"]):
        parts.append(_setting_section(frame[frame["setting"] == setting], order))
    parts.append("## Cost\n")
    parts.append(_cost(frame, order))
    return "\n".join(parts)


def _wide(part: pd.DataFrame, order: Sequence[str]) -> str:
    """Methods x settings, the main metric, marked where it differs from the reference's."""
    settings = list(dict.fromkeys(part["setting"]))
    rows = []
    for method in order:
        row = {"method": method}
        for setting in settings:
            here = part[
                (part["setting"] == setting)
                & (part["method"] == method)
                & (part["split"] == "target")
                & (part["stratum"] == "all")
            ].set_index("metric")
            main = next((m for m in MAIN if m in here.index), None)
            if main is None:
                row[setting] = ""
                continue
            text = number(here.loc[main, "mean"])
            name = f"{main} - {SHARED}"
            if name in here.index:
                text += {1: " ▲", -1: " ▽", 0: ""}[_verdict(here.loc[name], main)]
            row[setting] = text
        rows.append(row)
    regression = "rmse" in set(part["metric"])
    what = "RMSE (smaller is better)" if regression else "AUROC"
    return (
        f"{what}; ▲ and ▽: better and worse than *{SHARED}* by more than the paired 95 % "
        "interval.\n\n" + markdown_table(rows)
    )


def _verdict(row: pd.Series, main: str) -> int:
    """1 where a paired difference is better by more than its interval, -1 where worse."""
    sign = -1 if main == "rmse" else 1
    return sign * int(row["low"] > 0) - sign * int(row["high"] < 0)


def _record(frame: pd.DataFrame, order: Sequence[str]) -> str:
    """In how many settings each method is better or worse than the reference."""
    rows = []
    for method in order:
        mine = frame[(frame["method"] == method) & frame["metric"].str.endswith(f"- {SHARED}")]
        if mine.empty:
            continue
        verdicts = [_verdict(row, row["metric"].split(" ")[0]) for _, row in mine.iterrows()]
        pronounced = [v for v, s in zip(verdicts, mine["strategy"]) if s == "pronounced shift"]
        rows.append(
            {
                "method": method,
                "settings": len(verdicts),
                "better": verdicts.count(1),
                "not told apart": verdicts.count(0),
                "worse": verdicts.count(-1),
                "better under pronounced shift": f"{pronounced.count(1)} of {len(pronounced)}",
            }
        )
    return (
        f"Settings in which the paired 95 % interval of the difference to *{SHARED}* lies on "
        "one side of 0.\n\n" + markdown_table(rows)
    )


def _in_domain(frame: pd.DataFrame) -> str:
    """The main metric on the source's test part: of the reference, DisTrans and the best."""
    rows = []
    inside = frame.loc[frame["split"] == "source-test"]
    for setting in dict.fromkeys(frame["setting"]):
        here = inside.loc[inside["setting"] == setting].set_index("method")
        learned = here.loc[here["family"].isin(LEARNED)]
        if learned.empty:
            continue
        sign = -1 if "rmse" in set(here["metric"]) else 1
        best = (sign * learned["mean"]).idxmax()
        row: dict[str, Any] = {"setting": setting, "metric": learned["metric"].iloc[0]}
        for method in (SHARED, FULL, "floor: molecule means"):
            row[method] = f"{here.loc[method, 'mean']:.3f}" if method in here.index else ""
        rows.append(row | {"best": f"{best}, {learned.loc[best, 'mean']:.3f}"})
    return (
        "On unseen examples of the source. Where the reference has learned little here, its "
        "target figures say little about adaptation; the mean source label of an example's "
        "molecules looks at no structure.\n\n" + markdown_table(rows)
    )


def _setting_section(part: pd.DataFrame, order: Sequence[str]) -> str:
    first = part.iloc[0]
    target = part.loc[part["split"] == "target"]
    strata = [s for s in dict.fromkeys(target["stratum"]) if s != "all"]
    regression = "rmse" in set(part["metric"])
    metrics, main = (REGRESSION, "rmse") if regression else (CLASSIFICATION, "auroc")
    rows = []
    for method in order:
        mine = target[target["method"] == method]
        if mine.empty:
            continue
        whole = mine[mine["stratum"] == "all"].set_index("metric")
        row = {"method": method}
        for metric in metrics:
            if metric in set(target["metric"]):
                row[metric] = _interval(whole, metric)
        row[f"minus {SHARED}"] = _interval(whole, f"{main} - {SHARED}", sign=True)
        row["minus best other"] = _interval(whole, f"{main} - best other", sign=True)
        if "control" in set(part["family"]):
            row[f"minus {FULL}"] = _interval(whole, f"{main} - {FULL}", sign=True)
        for stratum in strata:
            there = mine[mine["stratum"] == stratum].set_index("metric")
            row[stratum] = _interval(there, main)
        inside = part[(part["method"] == method) & (part["split"] == "source-test")]
        row["in-domain"] = f"{inside['mean'].iloc[0]:.3f}" if len(inside) else ""
        rows.append(row)
    sized = target.dropna(subset=["n_examples"]) if "n_examples" in target else target
    sizes = sized.drop_duplicates("stratum")
    text = "; ".join(
        f"{r.stratum}: {int(r.n_examples):,} examples"
        + ("" if pd.isna(r.prevalence) else f", prevalence {r.prevalence:.3f}")
        for r in sizes.itertuples()
    )
    return f"### {first['source']} -> {first['target']}\n\n{text}\n\n{markdown_table(rows)}"


def _interval(rows: pd.DataFrame, metric: str, *, sign: bool = False) -> str:
    if metric not in rows.index:
        return ""
    return cell(rows.loc[metric].to_dict(), sign=sign)


def _cost(frame: pd.DataFrame, order: Sequence[str]) -> str:
    rows = []
    for method in order:
        mine = frame.loc[frame["method"] == method].drop_duplicates("setting")
        if mine["n_parameters"].isna().all():
            continue
        middle = mine[["n_parameters", "peak_memory_mb"]].median()
        rows.append(
            {
                "method": method,
                "parameters": f"{middle.iloc[0]:,.0f}",
                "peak memory, MB": f"{middle.iloc[1]:,.0f}",
            }
        )
    if not rows:
        return "Nothing was trained.\n"
    return (
        "Medians over settings; the memory is that of the whole process. Cells are computed side "
        "by side, so their times say little: `python benchmarks/cost.py` measures a step of every "
        "method in turn ([cost.md](cost.md)).\n\n" + markdown_table(rows)
    )
