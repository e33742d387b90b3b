"""The same molecules more than once in a data set, with the same label or with others."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from molrel.data.overlap import label_extremes
from molrel.data.splits import relation_ids
from molrel.data.types import Dataset, Rejection
from molrel.errors import InputError

Duplicates = Literal["keep", "drop", "mean", "error"]


def same_relation(dataset: Dataset) -> np.ndarray:
    """int64 [N], the same number for examples of the same molecules: in either order where the
    task is symmetric, else on the same sides."""
    return relation_ids(dataset.examples, symmetric=dataset.task.symmetric)[0]


def contradictory(dataset: Dataset, relation: np.ndarray) -> np.ndarray:
    """bool [N], examples whose relation has two different labels; a missing one is none."""
    n = int(relation.max(initial=-1)) + 1
    found = np.zeros(n, bool)
    for labels in dataset.examples.labels.T:
        low, high = label_extremes(relation, labels, n)
        found |= low < high
    return found[relation]


def contradictions(dataset: Dataset) -> pd.DataFrame:
    """The examples that have the same molecules and different labels, relation by relation.

    Returns:
      Columns ``relation`` (a number from 1), ``row`` of the file, ``smiles`` or ``smiles_a``,
      ``smiles_b``, ... (canonical; a bag joined with dots), and one column a target. Examples
      without a row, such as drawn negatives, are left out.
    """
    dataset = dataset.take(dataset.rows >= 0)
    relation = same_relation(dataset)
    chosen = np.flatnonzero(contradictory(dataset, relation))
    chosen = chosen[np.argsort(relation[chosen], kind="stable")]
    _, number = np.unique(relation[chosen], return_inverse=True)
    columns: dict[str, object] = {"relation": number + 1, "row": dataset.rows[chosen]}
    sides = dataset.examples.sides
    for s, side in enumerate(sides):
        bags = [side.ids[side.offsets[n] : side.offsets[n + 1]] for n in chosen]
        name = "smiles" if len(sides) == 1 else f"smiles_{chr(ord('a') + s)}"
        columns[name] = [".".join(dataset.molecules[m] for m in bag) for bag in bags]
    for t, target in enumerate(dataset.task.targets):
        columns[target] = dataset.examples.labels[chosen, t]
    return pd.DataFrame(columns)


def settle_duplicates(dataset: Dataset, how: Duplicates) -> Dataset:
    """Deals with contradictory examples, and says in ``note`` what there is of repeated ones.

    Args:
      dataset: as it was read.
      how: "keep" leaves all; "drop" sets all examples of a contradictory relation aside; "mean"
        makes one example of each repeated relation, with the mean label of measured values
        and the most frequent one of classes (of as frequent ones the first in the file);
        "error" refuses a contradiction.

    Raises:
      InputError: a contradiction, with "error"; "drop" leaves nothing.
    """
    relation = same_relation(dataset)
    against = contradictory(dataset, relation)
    repeated = np.bincount(relation)[relation] > 1
    n_groups, n_rows = len(np.unique(relation[against])), int(against.sum())
    what = "pairs" if len(dataset.examples.sides) > 1 else "molecules"
    notes = [dataset.note] if dataset.note else []
    if n_rows:
        done = {
            "keep": "they are kept",
            "drop": "they were set aside",
            "mean": "each became one example",
        }
        first = _first_two(relation, against, dataset)
        problem = (
            f"{n_groups:,} {what} occur more than once with different labels, in {n_rows:,} rows "
            f"(the first: rows {first[0]} and {first[1]})"
        )
        if how == "error":
            raise InputError(
                problem,
                path=dataset.name,
                row=first[1],
                remedy="Correct them, or set data.duplicates to keep, drop or mean",
            )
        notes.append(f"{problem}; {done[how]}.")
        notes += _order_matters(dataset, relation, against)
    same = len(np.unique(relation[repeated & ~against]))
    if same:
        n_same = int((repeated & ~against).sum())
        notes.append(f"{same:,} {what} occur more than once with one label, in {n_same:,} rows.")
    dataset = replace(dataset, note=" ".join(notes))
    if how == "drop" and n_rows:
        return _without(dataset, against, relation)
    if how == "mean" and repeated.any():
        return _merged(dataset, relation)
    return dataset


def _first_two(relation: np.ndarray, against: np.ndarray, dataset: Dataset) -> list[int]:
    """Rows of the first example of a contradictory relation, and of the next with another
    label."""
    group = np.flatnonzero(relation == relation[against.argmax()])
    for labels in dataset.examples.labels[group].T:
        known = np.flatnonzero(~np.isnan(labels))
        others = known[labels[known] != labels[known[:1]]]
        if len(others):
            return [int(dataset.rows[group[known[0]]]), int(dataset.rows[group[others[0]]])]
    raise AssertionError("no contradiction")


def _order_matters(dataset: Dataset, relation: np.ndarray, against: np.ndarray) -> list[str]:
    """A sentence where (a, b) and (b, a) have different labels in a symmetric task."""
    if not dataset.task.symmetric or len(dataset.examples.sides) == 1:
        return []
    ordered = replace(dataset, task=replace(dataset.task, symmetric=False))
    still = contradictory(ordered, same_relation(ordered))
    n = len(np.unique(relation[against])) - len(np.unique(relation[still]))
    if not n:
        return []
    return [
        f"{n:,} pairs have another label in the other order, and the task is symmetric: if the "
        "order of the molecules means something, set data.symmetric to False."
    ]


def _without(dataset: Dataset, against: np.ndarray, relation: np.ndarray) -> Dataset:
    """The data set with the contradictory examples set aside."""
    if against.all():
        raise InputError(
            "every example contradicts another", path=dataset.name, remedy="Keep or mend them"
        )
    labels, column = dataset.examples.labels, ", ".join(dataset.task.targets)
    first: dict[int, int] = {}
    for n in np.flatnonzero(against):
        first.setdefault(int(relation[n]), int(dataset.rows[n]))
    rejected = [
        Rejection(
            dataset.name,
            int(dataset.rows[n]),
            column,
            ", ".join(f"{x:g}" for x in labels[n]),
            f"other rows with the same molecules have another label (see row "
            f"{first[int(relation[n])]})",
        )
        for n in np.flatnonzero(against)
    ]
    kept = dataset.take(~against)
    everything = sorted([*dataset.rejected, *rejected], key=lambda r: r.row)
    return replace(kept, rejected=tuple(everything))


def _merged(dataset: Dataset, relation: np.ndarray) -> Dataset:
    """One example a relation, in the place of its first."""
    _, first, group = np.unique(relation, return_index=True, return_inverse=True)
    labels = np.full((len(first), dataset.examples.labels.shape[1]), np.nan)
    for t, column in enumerate(dataset.examples.labels.T):
        known = np.flatnonzero(~np.isnan(column))
        if dataset.task.kind == "regression":
            total = np.bincount(group[known], column[known], len(first))
            with np.errstate(invalid="ignore"):
                labels[:, t] = total / np.bincount(group[known], minlength=len(first))
            continue
        votes: dict[int, Counter[float]] = {}
        for n in known:
            votes.setdefault(int(group[n]), Counter())[column[n]] += 1
        for g, counted in votes.items():
            labels[g, t] = counted.most_common(1)[0][0]  # in order of appearance where equal
    order = np.argsort(first)
    kept = dataset.take(first[order])
    return replace(kept, examples=kept.examples.replace(labels=labels[order]))  # pyright: ignore[reportAttributeAccessIssue]
