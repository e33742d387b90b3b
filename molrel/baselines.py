"""What stands beside every method in a report: the floors and the fingerprint forest."""

from __future__ import annotations

import numpy as np

from molrel.config import Experiment
from molrel.data.splits import bag_ids, role_ids
from molrel.data.types import Examples, Task, by_target, concatenate, one_against_others
from molrel.evaluate.floors import floor_scores
from molrel.methods.estimators import bag_fingerprints, fit_classical
from molrel.prepare import Prepared


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
