"""The values every data set is made of: bags of molecules, examples, tasks, data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

Kind = Literal["binary", "multiclass", "multilabel", "regression"]


@dataclass(frozen=True, eq=False)
class Bag:
    """One side of N examples, each side being a bag (multiset) of molecules.

    Attributes:
      ids: int32 [K], indices into the data set's molecules, grouped by example.
      offsets: int32 [N + 1], example n holds ``ids[offsets[n]:offsets[n + 1]]``.
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def singles(cls, ids: np.ndarray) -> Bag:
        """A side that is exactly one molecule in every example; ids is [N]."""
        ids = np.asarray(ids, np.int32)
        return cls(ids, np.arange(len(ids) + 1, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> np.ndarray:
        """int32 [N], number of molecules in each example's bag."""
        return np.diff(self.offsets)

    def take(self, index: np.ndarray) -> Bag:
        """The bags of the examples in index (int [n] or bool [N]), in that order."""
        starts, ends = self.offsets[:-1][index], self.offsets[1:][index]
        sizes = ends - starts
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
        return Bag(self.ids[np.repeat(starts, sizes) + within], offsets)

    def dense(self, width: int | None = None) -> np.ndarray:
        """int32 [N, width]: ids padded with -1; width defaults to the largest bag."""
        sizes = self.sizes
        width = max(1, int(sizes.max(initial=1))) if width is None else width
        out = np.full((len(self), width), -1, np.int32)
        rows = np.repeat(np.arange(len(self)), sizes)
        out[rows, np.arange(len(self.ids)) - np.repeat(self.offsets[:-1], sizes)] = self.ids
        return out


@dataclass(frozen=True, eq=False)
class Examples:
    """N labelled (or unlabelled) relations between molecules, on the host.

    Attributes:
      sides: one Bag a side, each of length N (two for a pair, one for a property).
      labels: float [N, T], NaN where missing; float64 of a user's file, for measured values may
        differ by less than float32 can tell. Batches hold float32.
      domain: int32 [N], 0 = source, 1 = target, 2 = target and one of the few whose labels are
        trained on.
      weight: float32 [N], importance of the example in supervised losses.
    """

    sides: tuple[Bag, ...]
    labels: np.ndarray
    domain: np.ndarray
    weight: np.ndarray

    @classmethod
    def pairs(cls, pairs: np.ndarray, labels: ArrayLike, domain: int = 0) -> Examples:
        """Examples of two single molecules; pairs is int [N, 2], labels [N] or [N, T]."""
        labels = np.asarray(labels, np.float64)
        labels = labels if labels.ndim == 2 else labels[:, None]
        return cls(
            sides=(Bag.singles(pairs[:, 0]), Bag.singles(pairs[:, 1])),
            labels=labels,
            domain=np.full(len(pairs), domain, np.int32),
            weight=np.ones(len(pairs), np.float32),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> Examples:
        """The examples in index (int [n] or bool [N]), in that order."""
        return Examples(
            tuple(side.take(index) for side in self.sides),
            self.labels[index],
            self.domain[index],
            self.weight[index],
        )

    def replace(self, **changes: Any) -> Examples:
        """The same examples with some fields changed."""
        return replace(self, **changes)

    def relabel(self, mapping: np.ndarray) -> Examples:
        """The same examples with molecule id i replaced by ``mapping[i]`` (int [M])."""
        mapping = np.asarray(mapping, np.int32)
        return self.replace(sides=tuple(Bag(mapping[s.ids], s.offsets) for s in self.sides))

    def compact(self) -> tuple[Examples, np.ndarray]:
        """The same examples over only the molecules that they hold.

        Returns:
          (examples with ids 0, 1, ..., ``molecules()``: the id that each had).
        """
        present = self.molecules()
        position = np.zeros(int(present.max(initial=-1)) + 1, np.int32)
        position[present] = np.arange(len(present))
        return self.relabel(position), present

    def molecules(self) -> np.ndarray:
        """int32, sorted unique molecule ids that occur on any side."""
        return np.unique(np.concatenate([s.ids for s in self.sides]))


def concatenate(parts: Sequence[Examples]) -> Examples:
    """Examples of several parts, one after the other."""
    sides = []
    for bags in zip(*(p.sides for p in parts)):
        lengths = np.concatenate([b.sizes for b in bags])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        sides.append(type(bags[0])(np.concatenate([b.ids for b in bags]), offsets))
    return Examples(
        tuple(sides),
        np.concatenate([p.labels for p in parts]),
        np.concatenate([p.domain for p in parts]),
        np.concatenate([p.weight for p in parts]),
    )


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Attributes:
      kind: type of the labels.
      targets: name of each of the T label columns.
      units: unit of each target; "" where it has none.
      symmetric: whether f(a, b) = f(b, a) must hold.
      n_classes: of a multiclass task, whose one label column numbers them from 0.
      classes: names of the classes by number (of 0 and 1 in a binary task), where the labels
        are words; else empty.
    """

    kind: Kind = "binary"
    targets: tuple[str, ...] = ("label",)
    units: tuple[str, ...] = ("",)
    symmetric: bool = True
    n_classes: int = 2
    classes: tuple[str, ...] = ()

    @property
    def n_outputs(self) -> int:
        """Logits that a model gives for an example."""
        return self.n_classes if self.kind == "multiclass" else len(self.targets)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What each score of an example is of: the targets, or the classes of the one target."""
        if self.kind != "multiclass":
            return self.targets
        return self.classes or tuple(map(str, range(self.n_classes)))


@dataclass(frozen=True)
class Rejection:
    """A row that was set aside: file, 1-based row (header is row 1), column, value, reason."""

    path: str
    row: int
    column: str
    value: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """One domain's examples with the molecules that they index.

    Attributes:
      name: address it was loaded by, such as ``mixtures/hydrocarbons``.
      task: what is predicted.
      molecules: canonical SMILES of the M unique molecules.
      examples: N relations; ids index ``molecules``.
      rows: int64 [N], 1-based row of the file that each example came from.
      rejected: rows that were set aside, with reasons.
      note: one or two sentences a report must print beside the name (how labels arose).
      published: int8 [N], the part (``splits.TRAIN`` or ``TEST``) that the authors of the set
        put each example in; None where they divide nothing.
      marks: name -> bool [N], kinds of examples that are also scored apart.
      parts: object [N], what a user's own column says of the part of each example; None
        where no such column is read.
      columns: names of the SMILES columns it was read from, one a side.
    """

    name: str
    task: Task
    molecules: tuple[str, ...]
    examples: Examples
    rows: np.ndarray
    rejected: tuple[Rejection, ...] = ()
    note: str = ""
    published: np.ndarray | None = None
    marks: Mapping[str, np.ndarray] = field(default_factory=dict)
    parts: np.ndarray | None = None
    columns: tuple[str, ...] = ()

    def take(self, index: np.ndarray) -> Dataset:
        """The data set restricted to the examples in index; molecules stay as they are."""
        return replace(
            self,
            examples=self.examples.take(index),
            rows=self.rows[index],
            published=None if self.published is None else self.published[index],
            marks={name: mark[index] for name, mark in self.marks.items()},
            parts=None if self.parts is None else self.parts[index],
        )


def join(source: Dataset, target: Dataset) -> tuple[Dataset, Dataset]:
    """Gives two data sets one common molecule list (source's molecules first).

    Source examples get domain 0, target examples domain 1.
    """
    ids = {smiles: i for i, smiles in enumerate(source.molecules)}
    for smiles in target.molecules:
        ids.setdefault(smiles, len(ids))
    molecules = tuple(ids)
    mapping = np.array([ids[s] for s in target.molecules], np.int32)
    moved = target.examples.relabel(mapping)

    def as_domain(examples: Examples, domain: int) -> Examples:
        return examples.replace(domain=np.full(len(examples), domain, np.int32))

    return (
        replace(source, molecules=molecules, examples=as_domain(source.examples, 0)),
        replace(target, molecules=molecules, examples=as_domain(moved, 1)),
    )


def one_against_others(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """float32 [C, N]: 1 where the label is the class, 0 for others, NaN where unknown."""
    found = labels[None] == np.arange(n_classes)[:, None]
    return np.where(np.isnan(labels), np.nan, found).astype(np.float32)


def by_target(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Scores [m, T] from those of each target; as they are where there is one target."""
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
