"""One experiment from config to report: prepare, train, score, judge, write."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from molrel.baselines import fit_baselines
from molrel.config import Experiment
from molrel.config_json import own_file, to_json
from molrel.data.catalog import describe
from molrel.data.read import write_rejected
from molrel.data.types import Dataset, Examples
from molrel.errors import InputError, writing
from molrel.files import only_one, write_whole
from molrel.memory import enable_compilation_cache, peak_memory_mb
from molrel.prepare import prepare
from molrel.problem import Problem, Scorer, as_run, check_sides, make_problem
from molrel.reporting import print_summary, report_run
from molrel.run_folder import read_predictions, save_best, seal_predictions
from molrel.run_record import claim, write_record
from molrel.sources import is_file


def run(
    config: Experiment,
    folder: Path | str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    compare: Sequence[Path | str] = (),
    cache: Path | None = None,
    config_file: Path | None = None,
    source: Dataset | None = None,
    target: Dataset | None = None,
) -> list[dict[str, Any]]:
    """Trains all seeds of an experiment and writes its run folder.

    On several hosts (after ``jax.distributed.initialize()``) every process calls it alike; the
    devices of all share each step, and the first process alone writes.

    Args:
      config: the experiment.
      folder: run folder; made if missing.
      resume: continue from the newest checkpoint in it.
      overwrite: remove the run that it holds, if any, and begin again.
      compare: other run folders whose scores are put beside this run's.
      cache: folder of the feature cache.
      config_file: that the config came from, kept in the folder for the reader; by default that
        in which its method is defined.
      source, target: data in memory (``from_frame``), in place of the config's. The folder does
        not hold them: what reads the training data again, such as ``evaluate --data``, cannot.

    Returns:
      The rows of the report; none on other processes than the first.

    Raises:
      InputError: the folder holds something else or a run that is not continued, another
        process is writing to it, or the input is wrong.
      RunError: a loss is not finite, or the disk is full.
    """
    started = time.perf_counter()
    enable_compilation_cache()
    config = as_run(config, source, target)
    to_json(config)  # what could not be read again is not trained
    if jax.process_index() > 0:
        prepared = prepare(
            config, needs=config.method.needs, cache=cache, source=source, target=target
        )
        problem = make_problem(config, prepared)
        problem.fit(Scorer(problem), seeds=config.seeds, folder=None, resume=resume)
        return []
    config_file = config_file or own_file(config)
    columns = _columns(config) if source is None else config.data.smiles_columns
    check_sides(config, len(columns))
    compare = [Path(other) for other in compare]
    for other in compare:
        read_predictions(other)
    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder):
        begun = claim(config, folder, resume=resume, overwrite=overwrite)
        prepared = prepare(
            config, needs=config.method.needs, cache=cache, source=source, target=target
        )
        if begun is not None and begun.get("data_digest") not in (None, prepared.digest):
            raise InputError(
                "the run there was begun with other data: a file has changed since",
                path=folder,
                remedy="Restore the file, or choose another --out",
            )
        text = None if config_file is None else config_file.read_bytes()
        record = write_record(config, prepared, folder, columns=columns, begun=begun, text=text)
        write_rejected(folder / "rejected.csv", prepared.rejected)
        if len(prepared.contradictions):
            write_whole(folder / "contradictions.csv", prepared.contradictions.to_csv(index=False))
        print_summary(config, prepared)
        problem = make_problem(config, prepared)
        parts, scores, cost = _train_and_score(problem, record, folder, resume)
        baselines = fit_baselines(config, prepared, parts)
        cost |= {"total_seconds": time.perf_counter() - started, "peak_memory_mb": peak_memory_mb()}
        rows = report_run(config, prepared, parts, scores, baselines, cost, folder, compare)
        seal_predictions(record, folder)
        return rows


def _columns(config: Experiment) -> tuple[str, ...]:
    """SMILES columns of the source's file; of a set of the catalogue those that a file to be
    scored has by default, one a side."""
    if is_file(config.data.source):
        return config.data.smiles_columns
    sides = describe(config.data.source).columns
    return ("smiles",) if len(sides) == 1 else config.data.smiles_columns


def _train_and_score(
    problem: Problem, record: dict[str, Any], folder: Path, resume: bool
) -> tuple[dict[str, Examples], dict[str, np.ndarray], dict[str, float]]:
    """(part -> examples, part -> scores [S, N] of the selected parameters, cost)."""
    score, prepared = Scorer(problem), problem.prepared
    final, cost = problem.fit(score, seeds=problem.config.seeds, folder=folder, resume=resume)
    best = jax.device_get({"params": final.best_params, "state": final.best_state})
    save_best(best, record, folder)
    parts = {"source-valid": prepared.source["valid"], "source-test": prepared.source["test"]}
    if prepared.target is not None:
        parts["target"] = prepared.target
    parts = {name: examples for name, examples in parts.items() if len(examples)}
    scores = {
        name: score(best["params"], best["state"], examples) for name, examples in parts.items()
    }
    return parts, scores, cost
