"""From a config to everything a run learns from: data sets, splits, features, table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from molrel.chem.cache import featurise_all
from molrel.chem.features import FeatureConfig, MoleculeFeatures, count_flags
from molrel.chem.scaffolds import murcko_scaffold
from molrel.config import DataConfig, Experiment
from molrel.data import catalog
from molrel.data.batches import concatenate
from molrel.data.duplicates import settle_duplicates
from molrel.data.knowledge import DomainKnowledge, domain_knowledge
from molrel.data.negatives import Strategy, sample_negatives_by_stratum
from molrel.data.overlap import divide_shared_pairs, overlap
from molrel.data.read import read_csv
from molrel.data.scaffold_splits import (
    balanced_scaffold_split,
    deterministic_scaffold_split,
    published_split,
    random_scaffold_split,
)
from molrel.data.splits import (
    Split,
    cold_split,
    column_split,
    random_split,
    scaffold_split,
    strata,
)
from molrel.data.table import MoleculeTable, build_table
from molrel.data.types import Dataset, Examples, Rejection, Task, join
from molrel.errors import InputError
from molrel.methods.method import Need


@dataclass(frozen=True)
class Prepared:
    """What a run learns from and is judged on.

    Attributes:
      task: what is predicted.
      molecules: canonical SMILES by id, of both domains.
      features: by id.
      source: "train", "valid", "test" -> labelled examples (labels in the task's units).
      source_all: every source example, also those left to the target.
      target: examples with the labels that only the report reads, or None.
      seen: bool [M], molecules that occur in the source's training examples.
      marks: part of the source -> kind -> bool [n], examples that are also scored apart.
      rows: part of the source -> int64 [n], row of the file of each example.
      knowledge: label-free statistics of both domains, None without a target.
      table: the molecules on the device.
      label_mean, label_scale: float64 [T], of the training labels (0 and 1 for classes).
      rejected: rows that were set aside.
      overlap: between the domains, for the report.
      notes: sentences that a report must print.
      flags: how many molecules are salts, metals, ...
      digest: see ``Divided.digest``.
    """

    task: Task
    molecules: tuple[str, ...]
    features: list[MoleculeFeatures]
    source: dict[str, Examples]
    source_all: Examples
    target: Examples | None
    seen: np.ndarray
    marks: dict[str, dict[str, np.ndarray]]
    rows: dict[str, np.ndarray]
    knowledge: DomainKnowledge | None
    table: MoleculeTable
    label_mean: np.ndarray
    label_scale: np.ndarray
    rejected: tuple[Rejection, ...]
    overlap: dict | None
    notes: tuple[str, ...]
    flags: dict[str, int]
    digest: str

    def training_source(self) -> Examples:
        """Training examples with standardised labels, float32."""
        train = self.source["train"]
        standard = (train.labels.astype(np.float64) - self.label_mean) / self.label_scale
        return train.replace(labels=standard.astype(np.float32))  # pyright: ignore

    def strata(self, examples: Examples) -> np.ndarray:
        """``name_strata`` by what was trained on."""
        return name_strata(examples, self.seen, lambda: [f.scaffold for f in self.features])


def name_strata(
    examples: Examples, seen: np.ndarray, scaffolds: Callable[[], Sequence[str]]
) -> np.ndarray:
    """Stratum [N] of each example.

    Of relations by how many sides were trained on (``splits.strata``); of single molecules by
    whether a training molecule has the scaffold.

    Args:
      examples: N examples.
      seen: bool [M], molecules that were trained on.
      scaffolds: gives the scaffolds of the M molecules, without chirality.
    """
    if len(examples.sides) > 1:
        return strata(examples, seen)
    names = np.array(scaffolds(), str)
    return np.char.add(strata(examples, np.isin(names, names[seen])), " scaffold")


def load_dataset(
    address: str,
    data: DataConfig,
    *,
    max_atoms: int = 100,
    unlabelled: bool = False,
    seen: Collection[str] | None = (),
    like: Task | None = None,
) -> Dataset:
    """Loads a catalogue address or a file; draws negatives where there are none.

    Args:
      address: in the catalogue, or path of a file (``data.formats``).
      data: columns of files, and how negatives are drawn.
      max_atoms: larger molecules are set aside.
      unlabelled: whether a file may lack label columns; their labels are then NaN.
      seen: canonical SMILES of the source; negatives are as many as positives in each of
        the strata that they make. None draws none.
      like: task of the source, whose classes the words of a file's labels are.

    Raises:
      InputError: unknown address, unreadable file, or molecules without examples.
    """
    if is_file(address):
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
    if catalog.is_named(address):
        return False
    path = Path(address)
    like_a_path = path.suffix or path.is_absolute() or address.startswith((".", "~"))
    return bool(like_a_path) or path.is_file() or address == "-"


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


def load_domains(data: DataConfig, *, max_atoms: int) -> tuple[Dataset, Dataset | None]:
    """Source and target over one molecule list; the target's are None without a target."""
    source = load_dataset(data.source, data, max_atoms=max_atoms, seen=None)
    if lacks_negatives(source):
        source = with_negatives_by_part(source, data)
    if data.target is None:
        return source, None
    target = load_dataset(
        data.target,
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
      target: without the pairs that are left to the source; None where there is none.
      parts: "train", "valid", "test" -> source examples.
      marks, rows: the same parts -> ``Dataset.marks`` and ``rows`` of their examples.
      overlap: between the domains; None without a target.
      notes: sentences that a report must print.
    """

    source: Dataset
    source_all: Examples
    target: Dataset | None
    parts: dict[str, Examples]
    marks: dict[str, dict[str, np.ndarray]]
    rows: dict[str, np.ndarray]
    overlap: dict | None
    notes: tuple[str, ...]

    def digest(self) -> str:
        """sha256 of what is trained on and scored, in hexadecimal digits."""
        found = hashlib.sha256("\n".join(self.source.molecules).encode())
        target = [] if self.target is None else [self.target.examples]
        for examples in (*self.parts.values(), *target):
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


def divide(data: DataConfig, *, max_atoms: int) -> Divided:
    """Loads both domains and splits the source, always in the same way for a config.

    Raises:
      InputError: see ``load_domains``; too few labelled source examples, or of one class.
    """
    source, target = load_domains(data, max_atoms=max_atoms)
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
    datasets = [source] if target is None else [source, target]
    notes = [f"{d.name}: {d.note}" for d in datasets if d.note]
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
    return Divided(source, source_all, target, parts, marks, rows, shared, tuple(notes))


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


def prepare(
    config: Experiment, *, needs: Collection[Need] = ("pictures",), cache: Path | None = None
) -> Prepared:
    """Loads, splits, featurises; no target label is used for anything but ``target``.

    Args:
      config: the experiment.
      needs: parts of the table that only some methods read (``config.method.needs``).
      cache: folder of the feature cache; None takes the default.
    """
    divided = divide(config.data, max_atoms=config.features.max_atoms)
    source, target = divided.source, divided.target
    features = featurise_all(source.molecules, config.features, cache=cache)
    knowledge = None
    if target is not None:
        knowledge = domain_knowledge(
            features,
            source.examples.molecules(),
            target.examples.molecules(),
            min_carriers=config.data.min_carriers,
        )
    mean, scale = label_scale(divided.parts["train"], source.task)
    seen = divided.seen()
    return Prepared(
        task=source.task,
        molecules=source.molecules,
        features=features,
        source=divided.parts,
        source_all=divided.source_all,
        target=None if target is None else target.examples,
        seen=seen,
        marks=divided.marks,
        rows=divided.rows,
        knowledge=knowledge,
        table=molecule_table(features, config.features, knowledge, needs, seen),
        label_mean=mean,
        label_scale=scale,
        rejected=source.rejected + (() if target is None else target.rejected),
        overlap=divided.overlap,
        notes=divided.notes,
        flags=count_flags(features),
        digest=divided.digest(),
    )


def molecule_table(
    features: Sequence[MoleculeFeatures],
    config: FeatureConfig,
    knowledge: DomainKnowledge | None,
    needs: Collection[Need],
    trained: np.ndarray | None = None,
) -> MoleculeTable:
    """The table in the types and groups of the knowledge (raw types, no groups without).

    ``trained``, bool [M], tells the training molecules, whose scaffolds are numbered; without
    it none is.
    """
    scaffolds = None
    if "scaffolds" in needs:
        scaffolds = training_scaffolds(features, trained)
    return build_table(
        features,
        config,
        type_map=np.arange(72) if knowledge is None else knowledge.discrepancy.type_map,
        groups=np.zeros(0, int) if knowledge is None else knowledge.groups,
        pictures="pictures" in needs,
        fingerprints="fingerprints" in needs,
        scaffolds=scaffolds,
    )


def training_scaffolds(
    features: Sequence[MoleculeFeatures], trained: np.ndarray | None
) -> np.ndarray:
    """int [M], number of each molecule's scaffold (with chirality), -1 if no training molecule
    has it; the most frequent scaffold is 0."""
    found = np.full(len(features), -1)
    if trained is None:
        return found
    names = np.array([murcko_scaffold(f.smiles, chirality=True) for f in features], dtype=object)
    known, counts = np.unique(names[trained], return_counts=True)
    number = {name: i for i, name in enumerate(known[np.argsort(-counts, kind="stable")])}
    return np.array([number.get(name, -1) for name in names])


def label_scale(train: Examples, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, float64 [T], of the training labels; (0, 1) for classes.

    In float64: of labels near 1e-30 the squares are 0 in float32, of labels near 1e20 infinite.
    """
    n_targets = train.labels.shape[1]
    if task.kind != "regression":
        return np.zeros(n_targets), np.ones(n_targets)
    mean, scale = np.zeros(n_targets), np.ones(n_targets)
    for t, column in enumerate(train.labels.T.astype(np.float64)):
        known = column[~np.isnan(column)]
        if len(known):
            mean[t] = known.mean()
        if len(known) and known.min() < known.max():
            scale[t] = known.std()
    return mean, scale
