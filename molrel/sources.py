"""From addresses to data sets: which file or set is meant, its negatives, its division."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from molrel.chem.scaffolds import murcko_scaffold
from molrel.config import DataConfig
from molrel.data import catalog
from molrel.data.duplicates import settle_duplicates
from molrel.data.negatives import Strategy, sample_negatives_by_stratum
from molrel.data.read import read_csv
from molrel.data.scaffold_splits import (
    balanced_scaffold_split,
    deterministic_scaffold_split,
    published_split,
    random_scaffold_split,
)
from molrel.data.splits import Split, cold_split, column_split, random_split, scaffold_split
from molrel.data.types import Dataset, Examples, Task, concatenate
from molrel.errors import InputError


def load_dataset(
    address: str | Dataset,
    data: DataConfig,
    *,
    max_atoms: int = 100,
    unlabelled: bool = False,
    seen: Collection[str] | None = (),
    like: Task | None = None,
) -> Dataset:
    """Loads a catalogue address or a file; draws negatives where there are none.

    Args:
      address: in the catalogue, or path of a file (``data.formats``); or the data themselves.
      data: columns of files, and how negatives are drawn.
      max_atoms: larger molecules are set aside.
      unlabelled: whether a file may lack label columns; their labels are then NaN.
      seen: canonical SMILES of the source; negatives are as many as positives in each of
        the strata that they make. None draws none.
      like: task of the source, whose classes the words of a file's labels are.

    Raises:
      InputError: unknown address, unreadable file, or molecules without examples.
    """
    if isinstance(address, Dataset):
        dataset = settle_duplicates(address, data.duplicates)
    elif address.startswith(MEMORY):
        raise InputError(
            "was data in memory, which a run folder does not hold",
            path=address,
            remedy="Train from a file, or give the data once more",
        )
    elif is_file(address):
        dataset = read_file(address, data, max_atoms=max_atoms, unlabelled=unlabelled, like=like)
    else:
        dataset = catalog.load(address, max_atoms=max_atoms)
        if Path(address).is_file():
            note = f"Taken from the catalogue; the file of that name here is ./{address}."
            dataset = replace(dataset, note=f"{dataset.note} {note}".strip())
        if data.duplicates != "keep":
            dataset = settle_duplicates(dataset, data.duplicates)
    if seen is not None and lacks_negatives(dataset):
        dataset = with_negatives(dataset, seen, strategy=data.negatives, seed=data.split_seed)
    return dataset


def read_file(
    path: str, data: DataConfig, *, max_atoms: int, unlabelled: bool, like: Task | None
) -> Dataset:
    """A user's own file, with its duplicates settled."""
    kind = data.kind
    if len(data.targets) > 1 and kind != "regression":
        if kind == "multiclass":
            raise InputError(
                f"a multiclass task has one label column, and these are {list(data.targets)}",
                path=path,
                remedy="Name one, or set data.kind to binary or regression",
            )
        kind = "multilabel"
    dataset = read_csv(
        path,
        smiles_columns=data.smiles_columns,
        label_columns=data.targets,
        task=Task(kind, targets=data.targets or ("label",), symmetric=data.symmetric),
        max_atoms=max_atoms,
        unlabelled=unlabelled,
        positive=data.positive,
        qualifiers=data.qualifiers,
        like=like,
        split_column=data.split_column if data.split == "column" and not unlabelled else None,
    )
    return settle_duplicates(dataset, data.duplicates)


def is_file(address: str) -> bool:
    """Whether an address is that of a file and not one of the catalogue.

    A name of the catalogue is one, whatever lies in the present folder; ``./zhangddi`` is a
    file. What has a suffix or begins like a path is a file, whether it is there or not.
    """
    if catalog.is_named(address) or address.startswith(MEMORY):
        return False
    path = Path(address)
    like_a_path = path.suffix or path.is_absolute() or address.startswith((".", "~"))
    return bool(like_a_path) or path.is_file() or address == "-"


MEMORY = "memory:"


def in_memory(data: DataConfig, source: Dataset, target: Dataset | None) -> DataConfig:
    """The data section of a run whose data are no files: what they are is told by themselves."""
    kind = "binary" if source.task.kind == "multilabel" else source.task.kind
    names = [f"side_{letter}" for letter, _ in zip("abcdefgh", source.examples.sides)]
    return replace(
        data,
        source=MEMORY + source.name,
        target=None if target is None else MEMORY + target.name,
        smiles_columns=source.columns or tuple(names),
        kind=kind,
        symmetric=source.task.symmetric,
    )


def with_full_paths(data: DataConfig) -> DataConfig:
    """The same data, wherever it is read from: files have absolute paths.

    Raises:
      InputError: the data are standard input, which is gone once it is read.
    """

    def full(address: str | None) -> str | None:
        if address == "-":
            raise InputError("a run reads its data again", path="-", remedy="Give it a file")
        return os.path.abspath(address) if address is not None and is_file(address) else address

    return replace(data, source=full(data.source), target=full(data.target))


def lacks_negatives(dataset: Dataset) -> bool:
    """Whether pairs with binary labels are all positive."""
    labels = dataset.examples.labels
    binary = dataset.task.kind == "binary" and len(dataset.examples.sides) == 2
    return binary and len(labels) > 0 and bool((labels == 1).all())


def with_negatives(
    dataset: Dataset, seen: Collection[str], *, strategy: Strategy, seed: int
) -> Dataset:
    """Adds as many negatives as there are positives, drawn over all molecules of the set.

    Each molecule keeps the side that it occurs on where sides are roles (``sides_are_roles``).

    Raises:
      InputError: there is no pair to be drawn.
    """
    known = set(seen)
    flags = np.array([smiles in known for smiles in dataset.molecules])
    drawn = _draw(dataset, np.arange(len(dataset.examples)), flags, [], strategy, seed)
    within = " within each stratum" if known else ""
    return _joined(dataset, drawn, f"{strategy}, 1:1{within}")


def with_negatives_by_part(dataset: Dataset, data: DataConfig) -> Dataset:
    """Divides a source that lists positives only, and draws the negatives of each part.

    Each part's negatives match how often the molecules occur in *its* positives. Matched over
    the whole set they would tell the test labels: of the pairs of a molecule half are positive,
    so one that is mostly positive in training is mostly negative in the test part.

    Returns:
      The data set with negatives, and ``parts``.

    Raises:
      InputError: there is no pair to be drawn, or the set cannot be divided (``split_source``).
    """
    split = split_source(dataset, data)
    parts = np.full(len(dataset.examples), "", object)
    trained = np.zeros(len(dataset.molecules), bool)
    drawn, names = [], []
    for name in ("train", "valid", "test"):
        index = getattr(split, name)
        parts[index] = name
        drawn.append(_draw(dataset, index, trained, drawn, data.negatives, data.split_seed))
        names.append(np.full(len(drawn[-1]), name, object))
        if name == "train":
            trained[dataset.examples.take(index).molecules()] = True
    joined = _joined(dataset, np.concatenate(drawn), f"{data.negatives}, 1:1 in each part")
    return replace(joined, parts=np.concatenate([parts, *names]))


def _draw(
    dataset: Dataset,
    index: np.ndarray,
    seen: np.ndarray,
    others: Sequence[np.ndarray],
    strategy: Strategy,
    seed: int,
) -> np.ndarray:
    """Negatives int32 [n, 2] for the positives of an index, none of them among ``others``."""
    positives = np.stack([side.ids for side in dataset.examples.sides], axis=1)
    mine = positives[index]
    roles = sides_are_roles(dataset)
    return sample_negatives_by_stratum(
        mine,
        (np.unique(mine[:, 0]), np.unique(mine[:, 1])) if roles else np.unique(mine),
        seen,
        strategy=strategy,
        seed=seed,
        known=np.concatenate([positives, *others]),
    )


def _joined(dataset: Dataset, drawn: np.ndarray, how: str) -> Dataset:
    """The data set with the drawn negatives behind its examples, and a note on them."""
    if not len(drawn):
        raise InputError(
            "has positive examples only, and there is no other pair of its molecules to be drawn "
            "as a negative",
            path=dataset.name,
            remedy="Add negative examples, or more molecules",
        )
    negatives = Examples.pairs(drawn, np.zeros(len(drawn)))
    note = f"Negatives are drawn ({how}); no pair is proven not to interact."
    if sides_are_roles(dataset):
        note += " Each molecule keeps its side in them."
        if dataset.task.symmetric:
            note += (
                " The two columns have hardly a molecule in common: if they are roles, such as "
                "drug and solvent, say so with data.no-symmetric."
            )
    return replace(
        dataset,
        examples=concatenate([dataset.examples, negatives]),
        rows=np.concatenate([dataset.rows, np.full(len(drawn), -1)]),
        note=f"{dataset.note} {note}".strip(),
    )


def sides_are_roles(dataset: Dataset) -> bool:
    """Whether a molecule belongs to the side of a pair that it stands on.

    So in ordered tasks, and where the two columns hold different molecules: fewer than a tenth
    of the smaller column's stand in the other too. Pairs that are listed in any order, or each
    with the smaller name first, have most molecules in both columns.
    """
    first, second = (np.unique(side.ids) for side in dataset.examples.sides)
    fewest = min(len(first), len(second))
    return not dataset.task.symmetric or len(np.intersect1d(first, second)) < 0.1 * fewest


def split_source(source: Dataset, data: DataConfig) -> Split:
    """Divides the source's examples as the config says."""
    fractions = (
        1 - data.valid_fraction - data.test_fraction,
        data.valid_fraction,
        data.test_fraction,
    )
    seed = data.split_seed
    if source.parts is not None:
        return column_split(source.parts, source.rows, data.split_column, data.source)
    if data.split == "column":
        raise InputError(
            "a set of the catalogue has no split column",
            path=data.source,
            remedy="Choose another data.split",
        )
    if data.split == "random":
        return random_split(source.examples, fractions, seed)
    if data.split == "cold":
        return cold_split(source.examples, fractions, seed)
    if data.split == "scaffold":
        scaffolds = [murcko_scaffold(s) for s in source.molecules]
        return scaffold_split(source.examples, scaffolds, fractions, seed)
    if data.split == "published":
        if source.published is None:
            raise InputError(
                "its authors do not divide it", path=data.source, remedy="Choose another data.split"
            )
        return published_split(source.published, data.valid_fraction, seed)
    if len(source.examples.sides) != 1 or (source.examples.sides[0].sizes != 1).any():
        raise InputError(
            f"the split {data.split!r} is one of single molecules, and these are relations",
            path=data.source,
            remedy="Choose random, cold or scaffold",
        )
    chirality = data.split != "balanced_scaffold"
    names = [murcko_scaffold(s, chirality=chirality) for s in source.molecules]
    scaffolds = [names[m] for m in source.examples.sides[0].ids]
    if data.split == "deterministic_scaffold":
        return deterministic_scaffold_split(scaffolds, fractions)
    if data.split == "random_scaffold":
        return random_scaffold_split(scaffolds, fractions, seed)
    return balanced_scaffold_split(scaffolds, fractions, seed)
