"""Both domains over one molecule list, the source divided into its parts; no features yet."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from molrel.config import DataConfig
from molrel.data.duplicates import contradictions
from molrel.data.overlap import divide_shared_pairs, overlap
from molrel.data.splits import few_by_molecule
from molrel.data.types import Dataset, Examples, Rejection, Task, join
from molrel.errors import InputError
from molrel.sources import (
    is_file,
    lacks_negatives,
    load_dataset,
    split_source,
    with_negatives_by_part,
)


def load_domains(
    data: DataConfig,
    *,
    max_atoms: int,
    source: Dataset | None = None,
    target: Dataset | None = None,
) -> tuple[Dataset, Dataset | None]:
    """Source and target over one molecule list; the target's are None without a target.

    ``source`` and ``target`` are data in memory, in place of the config's.
    """
    source = load_dataset(source or data.source, data, max_atoms=max_atoms, seen=None)
    if lacks_negatives(source):
        source = with_negatives_by_part(source, data)
    chosen = target or data.target
    if chosen is None:
        return source, None
    target = load_dataset(
        chosen,
        data,
        max_atoms=max_atoms,
        unlabelled=True,
        seen=source.molecules,
        like=source.task,
    )
    if not len(target.examples):
        raise InputError("the target has no molecules", path=data.target)
    if target.task.kind != source.task.kind or len(target.examples.sides) != len(
        source.examples.sides
    ):
        raise InputError(
            f"source {data.source!r} is {source.task.kind} and target {data.target!r} "
            f"{target.task.kind}, or they differ in the number of sides",
            remedy="Choose two sets of the same task",
        )
    return join(source, target)


@dataclass(frozen=True)
class Divided:
    """Both domains over one molecule list, with the source divided.

    Attributes:
      source: without the pairs that are left to the target (``divide_shared_pairs``).
      source_all: every source example.
      target: without the pairs that are left to the source and without ``labelled``; None where
        there is none.
      labelled: target examples whose labels are trained on, of domain 2.
      parts: "train", "valid", "test" -> source examples.
      marks, rows: the same parts -> ``Dataset.marks`` and ``rows`` of their examples.
      overlap: between the domains; None without a target.
      notes: sentences that a report must print.
      contradictions: rows of the user's own files with the same molecules and other labels
        (``duplicates.contradictions``), with the ``path`` of each.
    """

    source: Dataset
    source_all: Examples
    target: Dataset | None
    labelled: Examples | None
    parts: dict[str, Examples]
    marks: dict[str, dict[str, np.ndarray]]
    rows: dict[str, np.ndarray]
    overlap: dict | None
    notes: tuple[str, ...]
    contradictions: pd.DataFrame

    def digest(self) -> str:
        """sha256 of what is trained on and scored, in hexadecimal digits."""
        found = hashlib.sha256("\n".join(self.source.molecules).encode())
        target = [] if self.target is None else [self.target.examples]
        few = [] if self.labelled is None else [self.labelled]
        for examples in (*self.parts.values(), *target, *few):
            arrays = [a for side in examples.sides for a in (side.ids, side.offsets)]
            # In float32 where that loses nothing, as labels have always been kept.
            short = examples.labels.astype(np.float32)
            exact = np.array_equal(short, examples.labels, equal_nan=True)
            for array in (*arrays, short if exact else examples.labels):
                found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def seen(self) -> np.ndarray:
        """bool [M], molecules that occur in the training examples."""
        seen = np.zeros(len(self.source.molecules), bool)
        seen[self.parts["train"].molecules()] = True
        return seen


def divide(data: DataConfig, *, max_atoms: int, **memory: Dataset | None) -> Divided:
    """Loads both domains and splits the source, always in the same way for a config.

    ``memory`` are the data sets of ``load_domains`` that are there already.

    Raises:
      InputError: see ``load_domains``; too few labelled source examples, or of one class.
    """
    source, target = load_domains(data, max_atoms=max_atoms, **memory)
    found = [
        contradictions(d).assign(path=d.name)
        for d in (source, target)
        if d is not None and is_file(d.name)
    ]
    source_all, shared, left_out = source.examples, None, (0, 0)
    if target is not None:
        shared = overlap(source, target)
        # Where the target has no labels nothing can leak: every row is trained on and scored.
        if not np.isnan(target.examples.labels).all():
            source, target, left_out = divide_shared_pairs(source, target, seed=data.split_seed)
        if not len(target.examples):
            raise InputError(
                f"each of its {left_out[1]} examples is a pair of molecules that the source holds "
                "too and that is left to the source, by lot",
                path=data.target,
                remedy="Add other pairs, or choose another data.split_seed",
            )
    split = split_source(source, data)
    divided = {name: source.take(getattr(split, name)) for name in ("train", "valid", "test")}
    parts = {name: part.examples for name, part in divided.items()}
    marks = {name: dict(part.marks) for name, part in divided.items()}
    rows = {name: part.rows for name, part in divided.items()}
    if not len(parts["train"]) or not len(parts["valid"]):
        raise InputError(
            f"{len(source.examples)} source examples are too few to train and validate on"
            + (f" ({left_out[0]} more are left to the target)" if left_out[0] else ""),
            path=data.source,
            remedy="Add rows, or raise data.valid_fraction",
        )
    check_labels(parts, source.task, data)
    labelled = None
    if target is not None and data.target_labels:
        target, labelled = _few_labels(target, parts["train"], data)
    datasets = [source] if target is None else [source, target]
    notes = [f"{d.name}: {d.note}" for d in datasets if d.note]
    if len(source.examples.sides) == 2:
        meaning = "plays no role (symmetric)" if source.task.symmetric else "matters (roles)"
        notes.append(f"The order of the two molecules of a pair {meaning}.")
    if labelled is not None:
        notes.append(
            f"{len(labelled):,} labelled target examples joined the training; scored examples that "
            "hold one of their new molecules are the stratum 'labelled'."
        )
    if any(left_out):
        notes.append(
            f"Of the pairs of molecules that both domains hold, half belong to each, by lot: "
            f"{left_out[0]:,} source and {left_out[1]:,} target examples were left out."
        )
    if split.dropped and data.split == "column":
        notes.append(
            f"{split.dropped} source examples without a value in {data.split_column!r} were left "
            "out."
        )
    elif split.dropped:
        notes.append(
            f"{split.dropped} source pairs that join two parts of the split were left out."
        )
    against = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    return Divided(
        source, source_all, target, labelled, parts, marks, rows, shared, tuple(notes), against
    )


def _few_labels(target: Dataset, train: Examples, data: DataConfig) -> tuple[Dataset, Examples]:
    """(the target without the examples whose labels are trained on, those examples).

    Raises:
      InputError: it has fewer labels, or nothing would be left to score.
    """
    known = int((~np.isnan(target.examples.labels).all(axis=1)).sum())
    if known <= data.target_labels:
        raise InputError(
            f"it has {known:,} labelled examples, and data.target_labels takes "
            f"{data.target_labels:,} of them, which leaves none to score",
            path=data.target,
            remedy="Lower data.target_labels",
        )
    seen = np.zeros(len(target.molecules), bool)
    seen[train.molecules()] = True
    index = few_by_molecule(target.examples, seen, data.target_labels, data.split_seed)
    rest = np.setdiff1d(np.arange(len(target.examples)), index)
    few = target.examples.take(index)
    return target.take(rest), few.replace(domain=np.full(len(few), 2, np.int32))


def check_labels(parts: dict[str, Examples], task: Task, data: DataConfig) -> None:
    """Raises InputError where the source's labels leave nothing to learn or to select by."""
    if data.balance and task.kind != "binary":
        raise InputError(
            f"data.balance re-draws negatives, of which a {task.kind} task has none",
            path=data.source,
            remedy="Set data.balance to False",
        )
    for name in ("train", "valid"):
        known = parts[name].labels[~np.isnan(parts[name].labels)]
        if not len(known):
            raise InputError(
                f"the source's {name} part has no labelled example",
                path=data.source,
                remedy="Fill in labels, or raise data.valid_fraction",
            )
        columns = parts[name].labels.T
        empty = [str(t) for t, c in zip(task.targets, columns) if np.isnan(c).all()]
        if name == "train" and empty:
            raise InputError(
                f"no label of {', '.join(empty[:5])} is in the training part",
                path=data.source,
                remedy="Leave the column out of --label-columns, or fill in labels",
            )
        if name == "train" and all(len(np.unique(c[~np.isnan(c)])) < 2 for c in columns):
            label = f"{known[0]:.6g}"
            if task.classes and len(columns) == 1:
                label = repr(task.classes[int(known[0])])
            raise InputError(
                f"every label that could be trained on is {label}"
                if len(columns) == 1
                else "no label column has two different labels that could be trained on",
                path=data.source,
                remedy="Add examples of the other class"
                if task.kind != "regression"
                else "Add examples with other labels",
            )


def without_molecules(
    examples: Examples, molecules: Sequence[str], failures: Collection[str]
) -> np.ndarray:
    """Indices of the examples that hold none of the molecules (SMILES) that have failed."""
    failed = np.array([smiles in failures for smiles in molecules], bool)
    keep = np.ones(len(examples), bool)
    for side in examples.sides:
        keep[np.repeat(np.arange(len(side)), side.sizes)[failed[side.ids]]] = False
    return np.flatnonzero(keep)


def _without(divided: Divided, failures: Mapping[str, str], data: DataConfig) -> Divided:
    """The division without the molecules that cannot be featurised, and their examples.

    Raises:
      InputError: nothing is left to train on or to select by.
    """
    molecules = divided.source.molecules
    kept = [m for m, smiles in enumerate(molecules) if smiles not in failures]
    place = np.full(len(molecules), -1)
    place[kept] = np.arange(len(kept))
    names = tuple(molecules[m] for m in kept)

    def left(examples: Examples) -> tuple[Examples, np.ndarray]:
        index = without_molecules(examples, molecules, failures)
        return examples.take(index).relabel(place), index

    def cleaned(dataset: Dataset) -> Dataset:
        examples, index = left(dataset.examples)
        gone = np.setdiff1d(np.arange(len(dataset.examples)), index)
        rejected = [
            Rejection(dataset.name, int(dataset.rows[n]), "", smiles, failures[smiles])
            for n in gone[dataset.rows[gone] >= 0]
            for smiles in _molecules_of(dataset, n)
            if smiles in failures
        ]
        return replace(
            dataset.take(index),
            molecules=names,
            examples=examples,
            rejected=(*dataset.rejected, *rejected),
        )

    parts = {name: left(examples) for name, examples in divided.parts.items()}
    for name in ("train", "valid"):
        if not len(parts[name][0]):
            raise InputError(
                f"no molecule of the source's {name} part can be used; the first: "
                f"{next(iter(failures.values()))}",
                path=data.source,
            )
    return replace(
        divided,
        source=cleaned(divided.source),
        source_all=left(divided.source_all)[0],
        target=None if divided.target is None else cleaned(divided.target),
        labelled=None if divided.labelled is None else left(divided.labelled)[0],
        parts={name: examples for name, (examples, _) in parts.items()},
        marks={
            name: {kind: mark[parts[name][1]] for kind, mark in marks.items()}
            for name, marks in divided.marks.items()
        },
        rows={name: rows[parts[name][1]] for name, rows in divided.rows.items()},
    )


def _molecules_of(dataset: Dataset, n: int) -> list[str]:
    """SMILES of one example."""
    sides = dataset.examples.sides
    return [dataset.molecules[m] for s in sides for m in s.ids[s.offsets[n] : s.offsets[n + 1]]]
