"""One cell of the cross-domain benchmark: a method in a setting with a seed, kept as JSON.

A cell's key is a hash of everything that decides its figures: the config, the trial grid, the
sha256 sums of the data files and ``VERSION``. A finished cell is never computed again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from cross_settings import (
    CLASSICAL_TRIALS,
    PRESETS,
    TARGET_DEGREE,
    TRIALS,
    Entrant,
    Preset,
    Setting,
    entrants,
    experiment,
)
from store import (
    HasCells,
    catalogue_fields,
    cell_path,
    changed,
    compute,
    rounded,
    short_hash,
    write_json,
)

from molrel.baselines import floors_of_parts, side_fingerprints
from molrel.config import with_options
from molrel.config_json import to_json
from molrel.data.catalog import describe
from molrel.data.splits import random_split, role_ids
from molrel.data.types import Examples, one_against_others
from molrel.errors import NotDefined, RunError
from molrel.evaluate.floors import molecule_means
from molrel.evaluate.selection import selection_metrics
from molrel.memory import peak_memory_mb, reset_peak_memory
from molrel.methods.estimators import TUNED, fit_classical
from molrel.prepare import Prepared, label_scale, prepare
from molrel.problem import Fit, subset
from molrel.reporting import side_ids
from molrel.run_record import environment

# Raised by hand when a change of the code changes figures: cells of before are then stale.
VERSION = 2


def data_version(setting: Setting) -> dict[str, Any]:
    """What identifies the contents of both domains: file hashes, or versions of packages."""
    found: dict[str, Any] = {}
    for address in (setting.data.source, setting.data.target or ""):
        files = describe(address.partition("/")[0]).files
        found[address] = dict(files) or {p: version(p) for p in ("thermo", "chemicals")}
    return found


def cell_key(preset: Preset, setting: Setting, entrant: Entrant, name: str, seed: int) -> str:
    """Hash of everything that decides the figures of a cell."""
    decides: dict[str, Any] = {
        "version": VERSION,
        "data": data_version(setting),
        "seed": seed,
        "evaluated": preset.evaluated,
        "ceiling": entrant.supervised_by_target,
    }
    if entrant.method is not None:
        config = experiment(preset, setting, entrant.method, entrant.examples)
        decides["experiment"] = changed(config) | {"type": type(entrant.method).__name__}
        decides["trials"] = [dict(t) for t in TRIALS]
    else:
        decides |= {"data_config": catalogue_fields(setting.data), "method": name}
        if entrant.learner is not None:
            decides["trials"] = list(CLASSICAL_TRIALS[entrant.learner])
            decides["max_examples"] = preset.classical_examples
    return short_hash(decides)


def seeds_of(entrant: Entrant, seeds: Sequence[int]) -> Sequence[int]:
    """Floors and the linear learner do not depend on a seed: they have one cell."""
    deterministic = entrant.family == "floor" or entrant.learner == "linear"
    return seeds[:1] if deterministic else seeds


@dataclass(frozen=True)
class Job(HasCells):
    """The cells of one method in one setting.

    Attributes:
      name, entrant: the method.
      paths: seed -> file of each cell.
    """

    name: str
    entrant: Entrant
    paths: Mapping[int, Path]


def jobs(
    preset: Preset, setting: Setting, names: Sequence[str], seeds: Sequence[int], folder: Path
) -> list[Job]:
    """What the methods need in a setting."""
    known = entrants(preset.width, preset.depth, preset.picture_encoder)
    found = []
    for name in names:
        entrant = known[name]
        paths = {
            seed: cell_path(
                folder, setting.name, name, seed, cell_key(preset, setting, entrant, name, seed)
            )
            for seed in seeds_of(entrant, seeds)
        }
        found.append(Job(name, entrant, paths))
    return found


@dataclass(frozen=True)
class Stage:
    """A setting made ready: everything that its methods share.

    Attributes:
      preset, setting: what it was made from.
      prepared: data, splits, features and table.
      parts: "source-valid", "source-test" and "target": the examples that are scored.
      target_index: int [n], which examples of the target these are.
      folds: int [N] of the whole target, 0 or 1; for what reads target labels.
    """

    preset: Preset
    setting: Setting
    prepared: Prepared
    parts: dict[str, Examples]
    target_index: np.ndarray
    folds: np.ndarray

    @property
    def kind(self) -> str:
        """Kind of the task."""
        return self.prepared.task.kind

    @cached_property
    def floors(self) -> dict[str, dict[str, np.ndarray]]:
        """Floor -> part -> scores, of all that read no target label."""
        return floors_of_parts(self.prepared, self.parts)


def make_stage(preset: Preset, setting: Setting, any_method: Any) -> Stage:
    """Loads, splits and featurises a setting once for all methods."""
    config = experiment(preset, setting, any_method)
    prepared = prepare(config, needs=("pictures", "fingerprints"))
    assert prepared.target is not None
    cap = preset.train.valid_examples
    index = subset(prepared.target, preset.evaluated)
    parts = {
        "source-valid": prepared.source["valid"].take(subset(prepared.source["valid"], cap)),
        "source-test": prepared.source["test"].take(subset(prepared.source["test"], cap)),
        "target": prepared.target.take(index),
    }
    half = random_split(prepared.target, (0.5, 0.0, 0.5), seed=0)
    folds = np.zeros(len(prepared.target), int)
    folds[half.test] = 1
    return Stage(preset, setting, prepared, parts, index, folds)


def stage_values(stage: Stage) -> dict[str, Any]:
    """What the tables need to know of a setting: labels, strata and molecules of its parts."""
    smiles = np.array(stage.prepared.molecules, dtype=object)
    task = stage.prepared.task
    return {
        "kind": task.kind,
        "targets": task.targets,
        "units": task.units,
        "n_classes": task.n_outputs,
        "notes": stage.prepared.notes,
        "overlap": stage.prepared.overlap,
        "n_target": len(stage.folds),
        "n_train": len(stage.prepared.source["train"]),
        "n_molecules": len(stage.prepared.molecules),
        "discrepancy": {
            name: getattr(stage.prepared.knowledge.discrepancy, name)
            for name in ("value", "null_mean", "null_max", "adjusted")
        }
        if stage.prepared.knowledge is not None
        else None,
        "parts": {
            name: {
                "labels": part.labels[:, 0].tolist(),
                "strata": stage.prepared.strata(part).tolist(),
                "clusters": side_ids(part, smiles)[0].tolist(),
            }
            for name, part in stage.parts.items()
        },
    }


# ---- what a method gives: part -> scores [n] or [n, C], trials, cost ----------------------------


def run_job(stage: Stage, job: Job) -> None:
    """Computes the missing cells of a job, all seeds together, and writes them."""
    entrant = job.entrant
    if entrant.method is not None:
        results = train_seeds(stage, job)
    elif entrant.learner is not None:
        results = fit_seeds(stage, job)
    else:
        results = {seed: (floor_of(stage, job.name), {}) for seed in job.missing}
    made = environment()
    for seed, (scores, about) in results.items():
        write_json(
            job.paths[seed],
            {
                "setting": stage.setting.name,
                "method": job.name,
                "family": entrant.family,
                "seed": seed,
                "commit": made["commit"],
                "device": made["device"],
                **about,
                "scores": {name: rounded(values) for name, values in scores.items()},
            },
        )


def floor_of(stage: Stage, name: str) -> dict[str, np.ndarray]:
    """Scores of one floor on every part."""
    if name == TARGET_DEGREE:  # which says nothing of the source
        prior = degree_prior(stage)
        blank = {n: np.zeros((len(part), *prior.shape[1:])) for n, part in stage.parts.items()}
        return blank | {"target": prior}
    if name not in stage.floors:
        raise NotDefined(f"{name!r} is no floor of a {stage.kind}")
    return stage.floors[name]


def degree_prior(stage: Stage) -> np.ndarray:
    """Scores of the evaluated target examples from the labels of the other half of the target."""
    target = stage.prepared.target
    assert target is not None
    ids = role_ids(target, stage.prepared.task.symmetric)

    def prior(labels: np.ndarray) -> np.ndarray:
        scores = np.zeros(len(target))
        for fold in (0, 1):
            known, here = stage.folds == 1 - fold, stage.folds == fold
            scores[here] = molecule_means(ids[known], labels[known], ids[here])
        return scores[stage.target_index]

    labels = target.labels[:, 0]
    if stage.kind != "multiclass":
        return prior(labels)
    classes = one_against_others(labels, stage.prepared.task.n_outputs)
    return np.stack([prior(each) for each in classes], axis=1)


def fit_seeds(stage: Stage, job: Job) -> dict[int, tuple[dict[str, np.ndarray], dict]]:
    """A classical learner: its setting by source validation, then every missing seed."""
    learner = job.entrant.learner
    assert learner is not None
    prepared, started = stage.prepared, time.perf_counter()
    sides, fingerprints = side_fingerprints(prepared, stage.parts)
    labels = prepared.source["train"].labels[:, 0]

    def fit(seed: int, options: Mapping[str, float]) -> dict[str, np.ndarray]:
        scores = fit_classical(
            learner,
            fingerprints,
            sides["train"],
            labels,
            [sides[name] for name in stage.parts],
            kind=stage.kind,
            symmetric=prepared.task.symmetric,
            seed=seed,
            setting=options[tuned],
            max_examples=stage.preset.classical_examples,
            examples_per_tree=stage.preset.classical_examples // 2,
        )
        if stage.kind == "multiclass":
            wide = prepared.task.n_outputs
            scores = [np.pad(s, ((0, 0), (0, wide - s.shape[1]))) for s in scores]
        return dict(zip(stage.parts, scores, strict=True))

    def trial(options: Mapping[str, float]) -> tuple[dict[str, np.ndarray], float]:
        scores = fit(first, options)
        labels = stage.parts["source-valid"].labels
        return scores, selection_metrics(labels, scores["source-valid"], stage.kind)["selection"]

    first, tuned = min(job.paths), TUNED[learner][0]
    grid = [{tuned: value} for value in CLASSICAL_TRIALS[learner]]
    tried, trials = try_each(stage, job, grid, trial)
    chosen = best_trial(trials)
    scores = {s: tried[chosen] if s == first else fit(s, grid[chosen]) for s in job.missing}
    about = {"trials": trials, "seconds": time.perf_counter() - started}
    return {seed: (each, about) for seed, each in scores.items()}


def train_seeds(stage: Stage, job: Job) -> dict[int, tuple[dict[str, np.ndarray], dict]]:
    """A trained method: learning rate by source validation, then every missing seed.

    All trials and seeds share one compiled program: the learning rate is an array.
    """
    method = job.entrant.method
    assert method is not None
    reset_peak_memory()
    if not job.entrant.supervised_by_target:
        return train_on(stage, job, stage.prepared, stage.parts)
    # The ceiling: each half of the target is scored by what was trained on the other.
    results: dict[int, tuple[dict[str, np.ndarray], dict]] = {}
    for fold, trials in enumerate(("trials", "trials_other_half")):
        prepared = swap_domains(stage, fold)
        found = train_on(stage, job, prepared, stage.parts, trials)
        here = stage.folds[stage.target_index] == fold
        for seed, (scores, about) in found.items():
            kept = results.setdefault(seed, ({k: v.copy() for k, v in scores.items()}, about))
            kept[0]["target"][here] = scores["target"][here]
            kept[1][trials] = about[trials]
    return results


def swap_domains(stage: Stage, fold: int) -> Prepared:
    """The labelled half of the target (not ``fold``) in place of the source."""
    target = stage.prepared.target
    assert target is not None
    half = target.take(np.flatnonzero(stage.folds != fold))
    half = half.replace(domain=np.zeros(len(half), np.int32))  # pyright: ignore
    split = random_split(half, (0.85, 0.15, 0.0), seed=1)
    train_part, valid = half.take(split.train), half.take(split.valid)
    mean, scale = label_scale(train_part, stage.prepared.task)
    source = {"train": train_part, "valid": valid, "test": valid.take(np.zeros(0, int))}
    return replace(stage.prepared, source=source, target=None, label_mean=mean, label_scale=scale)


def train_on(
    stage: Stage,
    job: Job,
    prepared: Prepared,
    parts: dict[str, Examples],
    name: str = "trials",
) -> dict[int, tuple[dict[str, np.ndarray], dict]]:
    """Trains the missing seeds and scores the parts; the cells keep the trials as ``name``."""
    entrant = job.entrant
    assert entrant.method is not None
    config = experiment(stage.preset, stage.setting, entrant.method, entrant.examples)
    grid = {name: [trial[name] for trial in TRIALS] for name in TRIALS[0]}
    fit = Fit(config, prepared, grid)
    # The first seed's trials choose for all seeds, also for those that are added later.
    first, rest = min(job.paths), [seed for seed in job.missing if seed != min(job.paths)]
    trained: dict[int, Any] = {}
    if first in job.missing:

        def trial(options: Mapping[str, float]) -> tuple[Any, float]:
            (fitted,), cost = fit([first], [options])
            return (fitted, cost), fitted.selection

        tried, trials = try_each(stage, job, TRIALS, trial)
        chosen = best_trial(trials)
        trained[first], cost = tried[chosen]
    else:
        trials = json.loads(job.paths[first].read_text())[name]
        chosen = best_trial(trials)
    if rest:
        more, cost = fit(rest, [TRIALS[chosen]] * len(rest))
        trained |= dict(zip(rest, more, strict=True))
    about = {
        "config": to_json(with_options(config, TRIALS[chosen])),
        name: trials,
        "n_parameters": cost["n_parameters"],
        "seconds_per_step": cost["seconds_per_step"] / (len(rest) or 1),
    }
    results = {}
    for seed, fitted in trained.items():
        scores = {name: fit.scores(fitted.best, part) for name, part in parts.items()}
        results[seed] = (scores, {**about, "selection": fitted.selection})
    peak = peak_memory_mb()
    return {seed: (s, a | {"peak_memory_mb": peak}) for seed, (s, a) in results.items()}


def try_each(
    stage: Stage,
    job: Job,
    grid: Sequence[Mapping[str, float]],
    fit: Callable[[Mapping[str, float]], tuple[Any, float]],
) -> tuple[list[Any], list[dict[str, Any]]]:
    """Fits with each options of a grid.

    Args:
      stage, job: named in messages.
      grid: the options.
      fit: options -> (what is fitted, its source validation).

    Returns:
      What each fit gave and the trials as cells keep them; None and a selection of None where
      it diverged.
    """
    tried, trials = [], []
    for options in grid:
        fitted = selection = None
        try:
            fitted, selection = fit(options)
        except RunError as error:
            print(f"{stage.setting.name}: {job.name}, {dict(options)}: {error}", flush=True)
        tried.append(fitted)
        trials.append({"options": dict(options), "selection": selection})
    return tried, trials


def best_trial(trials: Sequence[Mapping[str, Any]]) -> int:
    """Index of the trial with the best source validation; one that diverged has None.

    Raises:
      RunError: all have.
    """
    values = [-np.inf if t["selection"] is None else t["selection"] for t in trials]
    if np.isneginf(values).all():
        raise RunError("no trial ended with finite parameters")
    return int(np.argmax(np.nan_to_num(values, nan=-np.inf)))


def work(preset_name: str, setting: Setting, names: Sequence[str], seeds: Sequence[int], folder):
    """Computes every missing cell of a setting; one line a finished method."""
    preset = PRESETS[preset_name]
    todo = [job for job in jobs(preset, setting, names, seeds, folder) if job.missing]
    about = folder / setting.name / f"setting-{preset.evaluated}.json"
    if not todo and about.is_file():
        return
    known = entrants(preset.width, preset.depth, preset.picture_encoder)
    stage = make_stage(preset, setting, known["DisTrans"].method)
    write_json(about, stage_values(stage))
    for job in todo:
        compute(job.name, setting.name, job, partial(run_job, stage, job))
