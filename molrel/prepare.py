"""From a config to everything a run learns from: data sets, splits, features, table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from molrel.chem.cache import featurise_each
from molrel.chem.features import FeatureConfig, MoleculeFeatures, count_flags
from molrel.chem.scaffolds import murcko_scaffold
from molrel.config import Experiment
from molrel.data.knowledge import DomainKnowledge, domain_knowledge
from molrel.data.splits import strata
from molrel.data.table import MoleculeTable, build_table
from molrel.data.types import Dataset, Examples, Rejection, Task
from molrel.divide import _without, divide
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
      labelled: the few target examples whose labels are trained on, or None.
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
      contradictions: see ``Divided``.
    """

    task: Task
    molecules: tuple[str, ...]
    features: list[MoleculeFeatures]
    source: dict[str, Examples]
    source_all: Examples
    target: Examples | None
    labelled: Examples | None
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
    contradictions: pd.DataFrame

    def training_source(self) -> Examples:
        """Training examples with standardised labels, float32."""
        return self._standardised(self.source["train"])

    def training_labelled(self) -> Examples | None:
        """``labelled`` with labels on the scale of the source's."""
        return None if self.labelled is None else self._standardised(self.labelled)

    def _standardised(self, examples: Examples) -> Examples:
        standard = (examples.labels.astype(np.float64) - self.label_mean) / self.label_scale
        return examples.replace(labels=standard.astype(np.float32))

    def strata(self, examples: Examples) -> np.ndarray:
        """``name_strata`` by what was trained on."""
        scaffolds = lambda: [f.scaffold for f in self.features]  # noqa: E731
        return name_strata(examples, self.seen, scaffolds, self.labelled)


def name_strata(
    examples: Examples,
    seen: np.ndarray,
    scaffolds: Callable[[], Sequence[str]],
    labelled: Examples | None = None,
) -> np.ndarray:
    """Stratum [N] of each example.

    Of relations by how many sides were trained on (``splits.strata``); of single molecules by
    whether a training molecule has the scaffold. Target examples that hold a molecule of which
    only labels of the target are known are ``labelled``.

    Args:
      examples: N examples.
      seen: bool [M], molecules that were trained on.
      scaffolds: gives the scaffolds of the M molecules, without chirality.
      labelled: the few target examples whose labels were trained on.
    """
    if len(examples.sides) > 1:
        found = strata(examples, seen)
    else:
        names = np.array(scaffolds(), str)
        found = np.char.add(strata(examples, np.isin(names, names[seen])), " scaffold")
    if labelled is None:
        return found
    of_labels = np.zeros(len(seen), bool)
    of_labels[labelled.molecules()] = True
    held = [
        np.logical_or.reduceat(of_labels[s.ids] & ~seen[s.ids], s.offsets[:-1])
        for s in examples.sides
    ]
    touched = np.logical_or.reduce(held) & (examples.domain == 1)
    return np.where(touched, "labelled", found)


def prepare(
    config: Experiment,
    *,
    needs: Collection[Need] = ("pictures",),
    cache: Path | None = None,
    source: Dataset | None = None,
    target: Dataset | None = None,
) -> Prepared:
    """Loads, splits, featurises; no target label is used for anything but ``target``.

    Args:
      config: the experiment.
      needs: parts of the table that only some methods read (``config.method.needs``).
      cache: folder of the feature cache; None takes the default.
      source, target: data in memory, in place of the config's.
    """
    divided = divide(config.data, max_atoms=config.features.max_atoms, source=source, target=target)
    # Of the division, which does not know what can be featurised.
    digest = divided.digest()
    settings = config.features.drawn_for(needs)
    found, failures = featurise_each(divided.source.molecules, settings, cache=cache)
    if failures:
        divided = _without(divided, failures, config.data)
    source, target = divided.source, divided.target
    features = [found[smiles] for smiles in source.molecules]
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
        labelled=divided.labelled,
        seen=seen,
        marks=divided.marks,
        rows=divided.rows,
        knowledge=knowledge,
        table=molecule_table(features, settings, knowledge, needs, seen),
        label_mean=mean,
        label_scale=scale,
        rejected=source.rejected + (() if target is None else target.rejected),
        overlap=divided.overlap,
        notes=divided.notes,
        flags=count_flags(features),
        digest=digest,
        contradictions=divided.contradictions,
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
