"""What ``molrel data`` prints: the catalogue, overlap and discrepancy of domains."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from molrel.chem.cache import featurise_all
from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig
from molrel.data import catalog
from molrel.data.discrepancy import discrepancy_rows
from molrel.data.overlap import overlap
from molrel.data.types import Dataset, join
from molrel.evaluate.markdown import markdown_table
from molrel.prepare import load_dataset
from molrel.reporting import substructures


def list_sets() -> None:
    """One line a data set."""
    for name in catalog.names():
        entry = catalog.describe(name)
        print(f"{name:28} {entry.task.kind:10} {entry.licence}")


def info(address: str) -> None:
    """Everything the catalogue knows of a set, and the size of what loads."""
    name = address.split("/")[0]
    entry = catalog.describe(name)
    for field in ("name", "domains", "licence", "citation", "address", "note"):
        print(f"{field}: {getattr(entry, field)}")
    addresses = [address] if "/" in address else [f"{name}/{d}" for d in entry.domains] or [name]
    for each in addresses:
        dataset = catalog.load(each)
        labels = dataset.examples.labels
        columns = f" of {labels.shape[1]} columns" if labels.shape[1] > 1 else ""
        print(
            f"{each}: {len(dataset.examples):,} examples of {len(dataset.examples.molecules()):,} "
            f"molecules, {len(dataset.rejected)} rejected (of those, molecules of more than 100 "
            f"atoms fit a larger features.max_atoms), mean label{columns} {np.nanmean(labels):.3f}"
        )


def fetch(name: str, folder: Path | None) -> None:
    """Downloads a set."""
    print(catalog.fetch(name, folder))


def print_overlap(source: str, target: str, smiles_columns: tuple[str, ...]) -> None:
    """What two domains share."""
    for name, value in overlap(*_load(source, target, smiles_columns)).items():
        print(f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}")


def print_discrepancy(source: str, target: str, smiles_columns: tuple[str, ...]) -> None:
    """Jensen-Shannon divergence of substructures against its permutation null."""
    first, second = _load(source, target, smiles_columns)
    features = featurise_all(first.molecules, FeatureConfig())
    rows = discrepancy_rows(
        f"{source} vs {target}",
        substructures(features),
        first.examples.molecules(),
        second.examples.molecules(),
    )
    print(markdown_table(rows))


def _load(source: str, target: str, smiles_columns: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    """Two domains over one molecule list; CSV files need no label."""
    data = DataConfig(smiles_columns=smiles_columns, label_column="")
    first, second = (load_dataset(address, data, unlabelled=True) for address in (source, target))
    return join(first, second)
