"""One experiment from config to report: prepare, train, score, judge, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from molrel.config import Experiment, check, with_options
from molrel.config_json import own_file, to_json
from molrel.data.batches import Sampler, concatenate
from molrel.data.catalog import describe
from molrel.data.read import write_rejected
from molrel.data.splits import bag_ids, role_ids
from molrel.data.types import Examples, Task
from molrel.errors import InputError, writing
from molrel.evaluate.floors import floor_scores
from molrel.evaluate.metrics import classification_metrics, mean_metrics, regression_metrics
from molrel.files import only_one, write_whole
from molrel.memory import enable_compilation_cache, peak_memory_mb
from molrel.methods.classical import bag_fingerprints, by_target, fit_classical
from molrel.methods.method import Method
from molrel.prepare import Prepared, prepare
from molrel.reporting import one_against_others, report_run
from molrel.run_folder import (
    claim,
    read_predictions,
    save_best,
    seal_predictions,
    write_record,
)
from molrel.sources import is_file, with_full_paths
from molrel.train.loop import Validate, count_devices, make_optimiser, train
from molrel.train.predict import make_predictor, to_scores
from molrel.train.step import Vary, compile_step, unstack


def make_method(config: Experiment, prepared: Prepared) -> Method:
    """The config's method for the prepared task.

    Raises:
      InputError: the method takes examples of another number of sides.
    """
    check_sides(config, len(prepared.source_all.sides))
    return config.method.build(
        prepared.knowledge,
        kind=prepared.task.kind,
        n_outputs=prepared.task.n_outputs,
        symmetric=prepared.task.symmetric,
    )


def check_sides(config: Experiment, n_sides: int) -> None:
    """Raises InputError if the method cannot take examples of so many sides."""
    takes = config.method.takes_sides
    if n_sides not in takes:
        raise InputError(
            f"{type(config.method).__name__} takes examples of {' or '.join(map(str, takes))} "
            f"molecules, and these are of {n_sides}",
            path=config.data.source,
            remedy="For single molecules take the preset property_gin or topexpert",
        )


def vary(config: Experiment, prepared: Prepared) -> Vary:
    """Method and optimiser of the config with some fields replaced by arrays."""

    def build(options: dict[str, jax.Array]):
        changed = with_options(config, options)
        return make_method(changed, prepared), make_optimiser(
            changed.optimiser, changed.train.steps
        )

    return build


def make_sampler(config: Experiment, prepared: Prepared, method: Method) -> Sampler:
    """Draws the examples of a step: source with labels, target where the method reads it."""
    return Sampler(
        prepared.training_source(),
        prepared.target if method.target else None,
        n_source=config.train.source_examples,
        n_target=config.train.target_examples,
        balance=config.data.balance,
        whole_epochs=config.train.epochs > 0,
    )


Scorer = Callable[[Any, Any, Examples], np.ndarray]


def make_scorer(method: Method, prepared: Prepared) -> Scorer:
    """(params, state, examples) -> ``to_scores`` of the examples.

    [N]; [N, C] of C classes, [N, T] of several targets.
    """
    predict = make_predictor(method, prepared.table, symmetric=prepared.task.symmetric)

    def score(params: Any, state: Any, examples: Examples) -> np.ndarray:
        return to_scores(
            predict(params, state, examples),
            prepared.task.kind,
            prepared.label_mean,
            prepared.label_scale,
        )

    return score


def make_validate(config: Experiment, prepared: Prepared, score: Scorer) -> Validate:
    """(params, state) -> ``selection_metrics`` of the source's validation part."""
    valid = prepared.source["valid"]
    valid = valid.take(subset(valid, config.train.valid_examples))

    def validate(params: Any, state: Any) -> dict[str, float]:
        scores = score(params, state, valid)
        return selection_metrics(
            valid.labels, scores, prepared.task.kind, unit=prepared.label_scale
        )

    return validate


class Fitted(NamedTuple):
    """What a run in memory ended with.

    Attributes:
      best, last: (params, state) with the best source validation, and of the last step.
      selection: that validation (``selection_metrics``).
    """

    best: tuple[Any, Any]
    last: tuple[Any, Any]
    selection: float


def make_fit(config: Experiment, prepared: Prepared, *, varied: bool = True):
    """Training in memory, by one program however often it is called.

    Args:
      config, prepared: of the experiment.
      varied: whether options are given (``with_options``), as arrays of the program.

    Raises:
      InputError: by ``fit``, for options that the program cannot tell: they switch on the
        target that the config's own method does not read.

    Returns:
      (fit, score): ``fit(seeds, options)`` trains a run for each seed with its options and
      gives (what each ended with, the cost of ``train``); ``score`` is ``make_scorer``'s.
    """
    method = make_method(config, prepared)
    sampler = make_sampler(config, prepared, method)
    config = replace(config, train=config.train.in_steps(sampler.epoch_size(0)))
    program = compile_step(
        method,
        make_optimiser(config.optimiser, config.train.steps),
        steps=config.train.steps,
        n_devices=count_devices(config.train.devices),
        mode=config.train.seeds_mode,
        vary=vary(config, prepared) if varied else None,
    )
    score = make_scorer(method, prepared)
    validate = make_validate(config, prepared, score)

    def fit(seeds: Sequence[int], options: Sequence[Mapping[str, float]] = ()):
        for each in options:
            _check_varied(config, method, each, prepared)
        final, cost = train(
            method,
            prepared.table,
            sampler,
            validate,
            seeds=seeds,
            config=config.train,
            optimiser_config=config.optimiser,
            folder=None,
            molecules=prepared.molecules,
            options=[dict(each) for each in options],
            program=program,
        )
        best = jax.device_get((final.best_params, final.best_state))
        last = jax.device_get((final.train.params, final.train.state))
        values = np.asarray(final.best_value)
        found = [
            Fitted(unstack(best, i), unstack(last, i), float(values[i])) for i in range(len(seeds))
        ]
        return found, cost

    return fit, score


def _check_varied(
    config: Experiment, method: Method, options: Mapping[str, float], prepared: Prepared
) -> None:
    """Raises InputError if options need examples of the target that no step has."""
    varied = make_method(with_options(config, options), prepared)
    if varied.target and not method.target:
        raise InputError(
            f"with {dict(options)} the method reads the target, and the program was built for a "
            "config whose method does not: its batches hold no target example",
            remedy="Build it from a config whose adaptation terms have their largest weights",
        )


def run(
    config: Experiment,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    compare: Sequence[Path] = (),
    cache: Path | None = None,
    config_file: Path | None = None,
) -> list[dict[str, Any]]:
    """Trains all seeds of an experiment and writes its run folder.

    Args:
      config: the experiment.
      folder: run folder; made if missing.
      resume: continue from the newest checkpoint in it.
      overwrite: remove the run that it holds, if any, and begin again.
      compare: other run folders whose scores are put beside this run's.
      cache: folder of the feature cache.
      config_file: that the config came from, kept in the folder for the reader; by default that
        in which its method is defined.

    Returns:
      The rows of the report.

    Raises:
      InputError: the folder holds something else or a run that is not continued, another
        process is writing to it, or the input is wrong.
      RunError: a loss is not finite, or the disk is full.
    """
    started = time.perf_counter()
    enable_compilation_cache()
    check(config)
    if config.data.target is None and config.method.adapts:
        print("No target domain: the adaptation terms are switched off.")
        config = replace(config, method=config.method.source_only())
    config = replace(config, data=with_full_paths(config.data))
    to_json(config)  # what could not be read again is not trained
    config_file = config_file or own_file(config)
    columns = _columns(config)
    check_sides(config, len(columns))
    for other in compare:
        read_predictions(other)
    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder):
        begun = claim(config, folder, resume=resume, overwrite=overwrite)
        prepared = prepare(config, needs=config.method.needs, cache=cache)
        if begun is not None and begun.get("data_digest") not in (None, prepared.digest):
            raise InputError(
                "the run there was begun with other data: a file has changed since",
                path=folder,
                remedy="Restore the file, or choose another --out",
            )
        text = None if config_file is None else config_file.read_text("utf-8")
        record = write_record(config, prepared, folder, columns=columns, begun=begun, text=text)
        write_rejected(folder / "rejected.csv", prepared.rejected)
        if len(prepared.contradictions):
            text = prepared.contradictions.to_csv(index=False)
            write_whole(folder / "contradictions.csv", text)
        print_summary(config, prepared)
        method = make_method(config, prepared)
        parts, scores, cost = _train_and_score(config, prepared, method, record, folder, resume)
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
    config: Experiment,
    prepared: Prepared,
    method: Method,
    record: dict[str, Any],
    folder: Path,
    resume: bool,
) -> tuple[dict[str, Examples], dict[str, np.ndarray], dict[str, float]]:
    """(part -> examples, part -> scores [S, N] of the selected parameters, cost)."""
    score = make_scorer(method, prepared)
    sampler = make_sampler(config, prepared, method)
    final, cost = train(
        method,
        prepared.table,
        sampler,
        make_validate(config, prepared, score),
        seeds=config.seeds,
        config=config.train.in_steps(sampler.epoch_size(0)),
        optimiser_config=config.optimiser,
        folder=folder,
        molecules=prepared.molecules,
        resume=resume,
    )
    best = jax.device_get({"params": final.best_params, "state": final.best_state})
    save_best(best, record, folder)
    parts = {"source-valid": prepared.source["valid"], "source-test": prepared.source["test"]}
    if prepared.target is not None:
        parts["target"] = prepared.target
    parts = {name: examples for name, examples in parts.items() if len(examples)}
    scores = {
        name: np.stack([score(*_seed(best, i), examples) for i in range(len(config.seeds))])
        for name, examples in parts.items()
    }
    return parts, scores, cost


def selection_metrics(
    labels: np.ndarray, scores: np.ndarray, kind: str, *, unit: np.ndarray | float = 1.0
) -> dict[str, float]:
    """Metrics of the source validation set; ``selection`` is larger for better models.

    Args:
      labels: [N, T], NaN where unknown.
      scores: [N] or [N, T]; [N, C] of a multiclass task.
      kind: of the task.
      unit: [T], what the labels of a regression are measured in: the selection is kept in
        float32, where an RMSE of 1e-46 or 1e39 would be 0 or infinite.

    Returns:
      Metrics, each the mean over the targets in which it is defined.
    """
    if kind == "multiclass":
        known = ~np.isnan(labels[:, 0])
        accuracy = float(np.mean(scores.argmax(axis=1)[known] == labels[known, 0]))
        return {"selection": accuracy, "accuracy": accuracy}
    columns = zip(labels.T, scores.reshape(labels.shape).T, strict=True)
    if kind == "regression":
        metrics = mean_metrics([regression_metrics(y, s) for y, s in columns])
        selection = -metrics["rmse"] / float(np.mean(unit))
        return {"selection": selection, "rmse": metrics["rmse"], "r2": metrics["r2"]}
    metrics = mean_metrics([classification_metrics(y, s, 0.5) for y, s in columns])
    # Labels of one class leave no AUROC: then the better calibrated model is selected.
    selection = -metrics["brier"] if np.isnan(metrics["auroc"]) else metrics["auroc"]
    return {"selection": selection, "auroc": metrics["auroc"], "ap": metrics["ap"]}


def subset(examples: Examples, count: int) -> np.ndarray:
    """Indices, in order, of a fixed random subset of at most ``count`` examples."""
    return np.sort(np.random.default_rng(0).permutation(len(examples))[:count])


def fit_baselines(
    config: Experiment, prepared: Prepared, parts: dict[str, Examples]
) -> dict[str, dict[str, np.ndarray]]:
    """Scores [1, N] of each baseline on each part: the floors and the random forest."""
    found = floors_of_parts(prepared, parts)
    out = {floor: {n: s[None] for n, s in each.items()} for floor, each in found.items()}
    if config.train.baselines:
        sides, fingerprints = side_fingerprints(prepared, parts)
        scores = fit_classical(
            "forest",
            fingerprints,
            sides["train"],
            prepared.source["train"].labels,
            [sides[name] for name in parts],
            kind=prepared.task.kind,
            symmetric=prepared.task.symmetric,
            seed=0,
        )
        if prepared.task.kind == "multiclass":
            scores = [_all_classes(each, prepared.task.n_classes) for each in scores]
        out["morgan + random forest"] = {n: s[None] for n, s in zip(parts, scores, strict=True)}
    return out


def _all_classes(scores: np.ndarray, n_classes: int) -> np.ndarray:
    """Probabilities [N, C] of all classes from those of a learner, which knows none above the
    last class that it was taught; [N] from one that was taught a single class."""
    if scores.ndim == 1:
        return np.stack([scores == c for c in range(n_classes)], axis=1).astype(np.float64)
    return np.pad(scores, ((0, 0), (0, n_classes - scores.shape[1])))


def side_fingerprints(
    prepared: Prepared, parts: dict[str, Examples]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(sides int [N, S] of the training part ("train") and of each part, counts that they
    index): those of the molecules, or of the different bags where a side holds several."""
    named = {"train": prepared.source["train"], **parts}
    ids, bags = bag_ids(concatenate(list(named.values())))
    fingerprints = np.stack([f.fingerprint for f in prepared.features])
    ends = np.cumsum([len(e) for e in named.values()])[:-1]
    sides = dict(zip(named, np.split(ids, ends), strict=True))
    return sides, bag_fingerprints(fingerprints, bags)


def floors_of_parts(
    prepared: Prepared, parts: dict[str, Examples]
) -> dict[str, dict[str, np.ndarray]]:
    """Floor -> part -> its scores (``floors``)."""
    out: dict[str, dict[str, np.ndarray]] = {}
    for name, examples in parts.items():
        # What is known of a target pair is all of the source; of a source pair, its training part.
        reference = prepared.source_all if name == "target" else prepared.source["train"]
        found = floors(reference, examples, prepared.task)
        for floor, scores in found.items():
            out.setdefault(floor, {})[name] = scores
    return out


def floors(reference: Examples, examples: Examples, task: Task) -> dict[str, np.ndarray]:
    """Scores [N] of each floor for examples, from the labels of the reference examples.

    Of a multiclass task with C classes [N, C]: each class against the others. Of T targets [N, T].
    """
    ids = role_ids(concatenate([reference, examples]), task.symmetric)
    known, asked = np.split(ids, [len(reference)])
    columns = reference.labels.T
    if task.kind == "multiclass":
        columns = one_against_others(reference.labels[:, 0], task.n_outputs)
    regression = task.kind == "regression"
    each = [floor_scores(known, labels, asked, regression=regression) for labels in columns]
    return {name: by_target([scores[name] for scores in each]) for name in each[0]}


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


def _seed(best: dict[str, Any], index: int) -> tuple[Any, Any]:
    return unstack(best["params"], index), unstack(best["state"], index)
