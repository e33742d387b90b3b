"""What a run leaves: predictions, the table with floors and intervals, the curves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molrel.chem.features import MoleculeFeatures
from molrel.config import DataConfig, Experiment
from molrel.data.discrepancy import discrepancy_rows
from molrel.data.splits import bag_ids
from molrel.data.types import Examples, Task, one_against_others
from molrel.errors import InputError
from molrel.evaluate.compare import main_metric
from molrel.evaluate.markdown import number
from molrel.evaluate.metrics import best_threshold
from molrel.evaluate.plots import plot_run
from molrel.evaluate.report import (
    evaluate_predictions,
    scored_of,
    seed_scores,
    write_predictions,
    write_report,
)
from molrel.prepare import Prepared
from molrel.run_folder import read_predictions
from molrel.run_record import PREDICTIONS
from molrel.train.metrics_log import MetricsLog

TRANSDUCTIVE = "Adaptation sees the target's pairs without labels; the same pairs are scored."
SELECTION = "Thresholds and model selection come from source validation."


def report_run(
    config: Experiment,
    prepared: Prepared,
    parts: dict[str, Examples],
    scores: dict[str, np.ndarray],
    baselines: dict[str, dict[str, np.ndarray]],
    cost: dict[str, float],
    folder: Path,
    compare: Sequence[Path] = (),
) -> list[dict[str, Any]]:
    """Writes predictions.csv, report.md, report.json and curves.png; prints the headline.

    Args:
      config, prepared: of the run.
      parts: part name ("source-valid", "source-test", "target") -> examples.
      scores: part name -> [S, N] scores of each seed.
      baselines: baseline name -> part name -> [1, N] scores.
      cost: seconds, memory, parameters.
      folder: run folder.
      compare: finished run folders to put beside this one.

    Returns:
      The rows of the report.
    """
    setting = setting_of(config.data)
    frame = predictions_frame(prepared, parts, scores)
    write_predictions(folder / "predictions.csv", frame)
    frames = {config.name: frame}
    for other in compare:
        name = other.name if other.name not in frames else str(other)
        frames[name] = comparable_predictions(other, frame)
    for name, by_part in baselines.items():
        frames[name] = predictions_frame(prepared, parts, by_part)
    rows: list[dict[str, Any]] = []
    for name, each in frames.items():
        rows += evaluate_predictions(
            each,
            method=name,
            setting=setting,
            task=prepared.task,
            thresholds=thresholds(each, prepared.task),
            replicates=config.train.replicates,
        )
    rows += differences(frames, config.name, setting, prepared.task, config.train.replicates)
    knowledge = prepared.knowledge
    discrepancy = None
    if knowledge is not None and prepared.target is not None:
        discrepancy = discrepancy_rows(
            setting,
            substructures(prepared.features),
            prepared.source_all.molecules(),
            prepared.target.molecules(),
        )
    reasons = pd.Series(
        [r.reason.partition(";")[0] for r in prepared.rejected], dtype=object
    ).value_counts()
    write_report(
        folder,
        rows,
        title=f"{config.name}: {setting}",
        notes=[*prepared.notes, *notes_of(config)],
        overlap=prepared.overlap,
        discrepancy=discrepancy,
        rejected={str(k): int(v) for k, v in reasons.items()},
        cost=cost,
    )
    judged = "target" if "target" in parts else "source-test"
    plot_run(
        folder / "curves.png",
        MetricsLog(folder / "metrics.jsonl", config.seeds).rows(),
        {name: f.loc[f["split"] == judged] for name, f in frames.items()},
        prepared.task,
        title="Target" if judged == "target" else "Test",
    )
    print_headline(rows, cost, folder)
    if config.method.adapts and prepared.target is not None:
        for name in list(frames)[1 : 1 + len(compare)]:
            print(worth_of_adapting(rows, config, prepared.target, name))
    return rows


def setting_of(data: DataConfig) -> str:
    """What is learned from, and the target where there is one; files as seen from here."""
    return " -> ".join(_shown(a) for a in (data.source, data.target) if a is not None)


def _shown(address: str) -> str:
    """An address for reading: the path of a file below the present folder without that folder."""
    if not os.path.isabs(address):
        return address
    near = os.path.relpath(address)
    return address if near.startswith(os.pardir) else near


def notes_of(config: Experiment) -> list[str]:
    """What a report must say of how its figures came about."""
    data = config.data
    seed = "" if data.split == "deterministic_scaffold" else f", seed {data.split_seed}"
    shares = f"valid {data.valid_fraction:g}, test {data.test_fraction:g}"
    if data.split == "published":
        shares = f"valid {data.valid_fraction:g} of the training part"
    notes = [
        f"Split of {_shown(data.source)}: {data.split.replace('_', ' ')} ({shares}{seed}).",
        SELECTION,
    ]
    if config.method.adapts and data.target is not None:
        notes.append(TRANSDUCTIVE)
    return [*notes, *config.method.notes]


def substructures(features: Sequence[MoleculeFeatures]) -> dict[str, list[np.ndarray]]:
    """Kinds of substructure that each molecule has, by name of the description."""
    return {
        "functional groups": [np.unique(f.group_atoms[:, 0]) for f in features],
        "fragment types": [np.unique(f.fragment_type) for f in features],
    }


def predictions_frame(
    prepared: Prepared, parts: dict[str, Examples], scores: dict[str, np.ndarray]
) -> pd.DataFrame:
    """``part_frame`` of every part that has scores, in the columns of ``predictions.csv``."""
    frames = []
    smiles = np.array(prepared.molecules, dtype=object)
    for name, examples in parts.items():
        if name not in scores:
            continue
        strata = prepared.strata(examples)
        frame = part_frame(examples, smiles, prepared.task, scores[name], name, strata)
        found = seed_scores(frame)
        frames.append(frame.assign(mean=found.mean(0), spread=found.std(0)))
    return pd.concat(frames, ignore_index=True)


def part_frame(
    examples: Examples,
    smiles: np.ndarray,
    task: Task,
    scores: np.ndarray,
    split: str,
    strata: np.ndarray,
) -> pd.DataFrame:
    """One row an example of a part: molecules, label, split, domain, stratum, scores.

    With several targets: one row per known label, with the columns ``target`` and ``example``
    (number within the part); an example without any label has a row for each target. Several
    classes are such targets, each against the others.

    Args:
      examples: N of the part.
      smiles: object [M], by molecule id.
      task: of the examples.
      scores: [S, N] of each seed, or [S, N, T] of each target or class.
      split: name of the part.
      strata: str [N].
    """
    columns: dict[str, Any] = {}
    ids, names = side_ids(examples, smiles)
    for letter, column, text in zip("ab", ids.T, names.T):
        columns[f"molecule_{letter}"] = column
        columns[f"smiles_{letter}"] = text
    domain = np.where(examples.domain == 0, "source", "target")
    columns |= {"label": np.nan, "split": split, "domain": domain, "stratum": strata}
    frame = pd.DataFrame(columns)
    labels = examples.labels
    if task.kind == "multiclass":
        labels = one_against_others(labels[:, 0], task.n_classes).T
    if len(task.outputs) > 1:
        known = ~np.isnan(labels)
        n, t = np.nonzero(known | ~known.any(axis=1, keepdims=True))
        labels, scores = labels[n, t], scores[:, n, t]
        targets = np.array(task.outputs, dtype=object)
        frame = frame.iloc[n].assign(example=n, target=targets[t])
    return frame.assign(label=labels.reshape(-1), **{f"score_{i}": s for i, s in enumerate(scores)})


def side_ids(examples: Examples, smiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What stands on each side: (numbers int64 [N, S], SMILES [N, S]).

    Molecules have their ids; bags of several molecules have numbers above all ids, the same
    for equal bags, and the SMILES of their molecules joined by dots.
    """
    if all((side.sizes == 1).all() for side in examples.sides):
        ids = np.stack([side.ids for side in examples.sides], axis=1).astype(np.int64)
        return ids, smiles[ids]
    numbers, bags = bag_ids(examples)
    names = np.array([".".join(smiles[bag]) for bag in bags], dtype=object)
    return numbers + len(smiles), names[numbers]


def thresholds(frame: pd.DataFrame, task: Task) -> list[float]:
    """Decision threshold of each seed, from the source validation set alone."""
    valid = frame.loc[frame["split"] == "source-valid"]
    if task.kind == "regression" or valid.empty or "target" in frame:
        return [0.5] * len(seed_scores(frame))
    return [best_threshold(valid["label"].to_numpy(), s) for s in seed_scores(valid)]


def differences(
    frames: dict[str, pd.DataFrame], ours: str, setting: str, task: Task, replicates: int
) -> list[dict[str, Any]]:
    """Paired difference of the main metric, ours minus each other method.

    On the target, or on the source's test part where there is no target.
    """
    metric = main_metric(task.kind)
    split = "target" if "target" in set(frames[ours]["split"]) else "source-test"
    target = {n: f.loc[(f["split"] == split) & f["label"].notna()] for n, f in frames.items()}
    mine = target[ours]
    scored = scored_of(mine)
    rows = []
    for name, other in target.items():
        if name == ours or not len(other):
            continue
        interval = scored.minus(scored_of(other), metric, replicates=replicates)
        rows.append(
            {
                "method": f"{ours} minus {name}",
                "setting": setting,
                "split": split,
                "stratum": "all",
                "metric": f"{metric} difference",
                "mean": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "n_seeds": len(seed_scores(mine)),
                "n_examples": len(mine),
                "prevalence": None if task.kind == "regression" else float(mine["label"].mean()),
            }
        )
    return rows


def comparable_predictions(folder: Path, ours: pd.DataFrame) -> pd.DataFrame:
    """Predictions of another run, refused unless they are of the same examples."""
    other = read_predictions(folder)
    keys = [c for c in ("smiles_a", "smiles_b", "split", "target") if c in ours]
    if len(other) != len(ours) or not (other[keys].to_numpy() == ours[keys].to_numpy()).all():
        raise InputError(
            "the run to compare with scored other examples",
            path=folder / PREDICTIONS,
            remedy="Train it on the same data, split and seeds of negatives",
        )
    return other


def print_headline(rows: list[dict[str, Any]], cost: dict[str, float], folder: Path) -> None:
    """The main metrics on the target (or the source test set without one)."""
    split = "target" if any(r["split"] == "target" for r in rows) else "source-test"
    main = ("auroc", "ap", "rmse", "r2", "auroc difference", "rmse difference")
    print(f"\n{split}, all strata (95 % interval, clustered by molecule)")
    for row in rows:
        if row["split"] == split and row["stratum"] == "all" and row["metric"] in main:
            print(
                f"  {row['method']:48} {row['metric']:16} {number(row['mean']):>7}  "
                f"[{number(row['low'])}, {number(row['high'])}]"
            )
    print(
        f"{cost['total_seconds']:.0f} s ({cost['compile_seconds']:.0f} s compiling), peak memory "
        f"{cost['peak_memory_mb']:.0f} MB; report: {folder / 'report.md'}"
    )


def worth_of_adapting(
    rows: Sequence[dict[str, Any]], config: Experiment, target: Examples, other: str
) -> str:
    """Two sentences: what a run adapted to, and by how much it beats another run there.

    Args:
      rows: of the report.
      config: of the run.
      target: its target's examples.
      other: name of the run that it is compared with.
    """
    first = (
        f"{config.name} was adapted to {_shown(config.data.target or '')}: {len(target):,} "
        f"examples of {len(target.molecules()):,} molecules, without labels."
    )
    named = f"{config.name} minus {other}"
    found = [r for r in rows if r["method"] == named and r["split"] == "target"]
    row = next(r for r in found if r["stratum"] == "all" and r["metric"].endswith("difference"))
    verdict = "which may be chance"
    if not row["low"] <= 0 <= row["high"]:
        better = (row["mean"] < 0) == row["metric"].startswith("rmse")
        verdict = f"which is {'better' if better else 'worse'} than chance explains"
    metric = row["metric"].removesuffix(" difference").upper()
    return (
        f"{first} There it differs from {other} by {number(row['mean'])} {metric} "
        f"[{number(row['low'])}, {number(row['high'])}], {verdict}."
    )


def print_summary(config: Experiment, prepared: Prepared) -> None:
    """What will be trained, in a few lines."""
    sizes = ", ".join(f"{name} {len(e):,}" for name, e in prepared.source.items())
    print(f"{config.name}: {len(prepared.molecules):,} molecules; source {sizes}")
    if prepared.target is not None:
        unique, counts = np.unique(prepared.strata(prepared.target), return_counts=True)
        strata = ", ".join(f"{u} {c:,}" for u, c in zip(unique, counts))
        print(f"target {len(prepared.target):,} ({strata}); labels hidden from training")
    if prepared.knowledge is not None:
        d = prepared.knowledge.discrepancy
        print(
            f"substructure discrepancy {d.value:.3f} (null mean {d.null_mean:.3f}, max "
            f"{d.null_max:.3f}), adjusted {d.adjusted:.3f}; "
            f"{len(prepared.knowledge.groups)} functional groups aligned"
        )
    flags = ", ".join(f"{k} {v}" for k, v in prepared.flags.items() if v)
    print(f"rejected rows {len(prepared.rejected)}; special molecules: {flags or 'none'}")
    for note in prepared.notes:
        print(f"note: {note}")
