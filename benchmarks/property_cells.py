"""Cells of the property benchmark: a method on a set with a seed, kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from property_settings import FLOORS, Preset, data_of, experiment
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

from molrel.config_json import to_json
from molrel.data.batches import concatenate
from molrel.data.catalog import describe
from molrel.data.scaffold_splits import split_fingerprint
from molrel.errors import NotDefined
from molrel.methods.estimators import Learner, fit_classical, fold
from molrel.prepare import Prepared, prepare
from molrel.problem import Fit
from molrel.run_record import environment  # noqa: E402
from molrel.train.step import resolve_seeds_mode

# Raised by hand when a change of the code changes figures: cells of before are then stale.
VERSION = 1
ECFP_BITS, TREES = 1024, 300
LEARNERS: Mapping[str, Learner] = {"ECFP + random forest": "forest", "ECFP + SVM": "svm"}
PARTS = ("valid", "test")


def cell_key(preset: Preset, set_name: str, method: str, seed: int) -> str:
    """Hash of everything that decides the figures of a cell."""
    decides: dict[str, Any] = {
        "version": VERSION,
        "data": describe(set_name).needed(set_name.partition("/")[2]),
        "seed": seed,
        "method": method,
    }
    if method in FLOORS:
        decides |= {"data_config": catalogue_fields(data_of(set_name))}
    else:
        config = experiment(preset, set_name, method)
        decides["experiment"] = changed(config) | {"type": type(config.method).__name__}
    return short_hash(decides)


def seeds_of(method: str, seeds: Sequence[int]) -> Sequence[int]:
    """Floors without a seed have one cell."""
    return seeds if method not in FLOORS or LEARNERS.get(method) == "forest" else seeds[:1]


@dataclass(frozen=True)
class Job(HasCells):
    """The cells of one method on one set: seed -> file."""

    set_name: str
    method: str
    paths: Mapping[int, Path]


def jobs(
    preset: Preset, set_name: str, methods: Sequence[str], seeds: Sequence[int], folder: Path
) -> list[Job]:
    """What the methods need on a set."""
    plain, found = set_name.replace("/", "_"), []
    for method in methods:
        paths = {
            seed: cell_path(folder, plain, method, seed, cell_key(preset, set_name, method, seed))
            for seed in seeds_of(method, seeds)
        }
        found.append(Job(set_name, method, paths))
    return found


def about_path(folder: Path, set_name: str) -> Path:
    """Where ``set_values`` are kept."""
    return folder / set_name.replace("/", "_") / "set.json"


def set_values(prepared: Prepared, set_name: str) -> dict[str, Any]:
    """What the tables need to know of a set."""
    task = prepared.task
    return {
        "kind": task.kind,
        "targets": task.targets,
        "units": task.units,
        "split": data_of(set_name).split,
        "fingerprint": split_fingerprint(prepared.rows["test"] - 2),
        "sizes": {name: len(part) for name, part in prepared.source.items()},
        "rejected": len(prepared.rejected),
        "parts": {
            name: {
                "labels": [
                    [None if np.isnan(y) else y for y in row] for row in part.labels.tolist()
                ],
                "strata": prepared.strata(part).tolist(),
                "clusters": part.sides[0].ids.tolist(),
                "marks": {kind: mark.tolist() for kind, mark in prepared.marks[name].items()},
            }
            for name, part in prepared.source.items()
            if name in PARTS
        },
    }


def work(preset: Preset, set_name: str, methods: Sequence[str], seeds: Sequence[int], folder: Path):
    """Computes every missing cell of a set; one line a finished method."""
    todo = [job for job in jobs(preset, set_name, methods, seeds, folder) if job.missing]
    about = about_path(folder, set_name)
    if not todo and about.is_file():
        return
    config = experiment(preset, set_name, "GIN, TopExpert")
    prepared = prepare(config, needs=config.method.needs)
    write_json(about, set_values(prepared, set_name))
    for job in todo:
        compute(job.method, set_name, job, partial(run_job, preset, prepared, job))


def run_job(preset: Preset, prepared: Prepared, job: Job) -> None:
    """Computes the missing cells of a job and writes them."""
    results = floor(prepared, job) if job.method in FLOORS else train(preset, prepared, job)
    made = environment()
    for seed, values in results.items():
        common = {"set": job.set_name, "method": job.method, "seed": seed}
        write_json(job.paths[seed], common | {"commit": made["commit"]} | values)


def floor(prepared: Prepared, job: Job) -> dict[int, dict[str, Any]]:
    """The mean label, or a classical learner on binary Morgan bits (ECFP4), each target apart.

    As in the figures that they are checked against, learners are fitted to the training part,
    and to the validation part as well where the authors of the set give a test part alone.
    """
    train, named = prepared.source["train"], dict(prepared.source)
    if data_of(job.set_name).split == "published":
        train = named["train"] = concatenate([train, named["valid"]])
    if job.method == "floor: mean label":
        mean = np.nanmean(train.labels, axis=0)
        scores = {name: np.broadcast_to(mean, prepared.source[name].labels.shape) for name in PARTS}
        return {seed: {"best": as_lists(scores)} for seed in job.missing}
    learner = LEARNERS[job.method]
    if learner == "svm" and prepared.task.kind != "regression":
        raise NotDefined("support vector regression has no classes")
    counts = np.stack([f.fingerprint for f in prepared.features])
    bits = (fold(counts, ECFP_BITS) > 0).astype(np.uint8)
    sides = {name: part.sides[0].ids[:, None] for name, part in named.items()}
    results = {}
    for seed in job.missing:
        scores = fit_classical(
            learner,
            bits,
            sides["train"],
            train.labels,
            [sides[name] for name in PARTS],
            kind=prepared.task.kind,
            seed=seed,
            n_estimators=TREES,
        )
        results[seed] = {"best": as_lists(dict(zip(PARTS, scores, strict=True)))}
    return results


def train(preset: Preset, prepared: Prepared, job: Job) -> dict[int, dict[str, Any]]:
    """Every missing seed of a network, scored at its best epoch and at the last."""
    config = experiment(preset, job.set_name, job.method)
    fit = Fit(config, prepared)
    # A batch that overflows its budget is halved for all seeds that train together; one by one,
    # which costs a CPU nothing, no seed depends on which others were missing.
    together = resolve_seeds_mode(config.train.seeds_mode) == "vmap"
    groups = [job.missing] if together else [[seed] for seed in job.missing]
    found, costs = [], []
    for group in groups:
        fitted, cost = fit(group)
        found += fitted
        costs.append(cost["seconds_per_step"] / len(group))
    results = {}
    for seed, model in zip(job.missing, found, strict=True):
        scores = {}
        for when, variables in (("best", model.best), ("last", model.last)):
            parts = {name: fit.scores(variables, prepared.source[name]) for name in PARTS}
            scores[when] = as_lists(parts)
        results[seed] = {
            **scores,
            "config": to_json(config),
            "selection": model.selection,
            "n_parameters": cost["n_parameters"],
            "seconds_per_step": float(np.median(costs)),
        }
    return results


def as_lists(scores: Mapping[str, np.ndarray]) -> dict[str, list]:
    """Part -> scores [n, T] as JSON keeps them."""
    return {name: rounded(values.reshape(len(values), -1)) for name, values in scores.items()}
