"""What ``molrel data`` prints: the catalogue, overlap and discrepancy of domains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from molrel.chem.cache import featurise_all
from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig
from molrel.data import catalog
from molrel.data.discrepancy import discrepancy_table
from molrel.data.overlap import overlap
from molrel.prepare import load_domains


def list_sets() -> None:
    """One line a data set."""
    for name in catalog.names():
        entry = catalog.describe(name)
        print(
            f"{name:12} {entry.task.kind:10} {', '.join(entry.domains) or '-':28} {entry.licence}"
        )


def info(address: str) -> None:
    """Everything the catalogue knows of a set, and the size of what loads."""
    name = address.split("/")[0]
    entry = catalog.describe(name)
    for field in ("name", "domains", "licence", "citation", "address", "note"):
        print(f"{field}: {getattr(entry, field)}")
    addresses = [address] if "/" in address else [f"{name}/{d}" for d in entry.domains] or [name]
    for each in addresses:
        dataset = catalog.load(each)
        labels = dataset.examples.labels[:, 0]
        print(
            f"{each}: {len(dataset.examples):,} examples of {len(dataset.examples.molecules()):,} "
            f"molecules, {len(dataset.rejected)} rejected, mean label {np.nanmean(labels):.3f}"
        )


def fetch(name: str, folder: Path | None) -> None:
    """Downloads a set."""
    for path in catalog.fetch(name, folder):
        print(path)


def print_overlap(source: str, target: str) -> None:
    """What two domains share."""
    pair = load_domains(DataConfig(source=source, target=target), max_atoms=100)
    assert pair[1] is not None
    for name, value in overlap(pair[0], pair[1]).items():
        print(f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}")


def print_discrepancy(source: str, target: str) -> None:
    """Jensen-Shannon divergence of substructures against its permutation null."""
    first, second = load_domains(DataConfig(source=source, target=target), max_atoms=100)
    assert second is not None
    features = featurise_all(first.molecules, FeatureConfig())
    rows = discrepancy_table(
        f"{source} vs {target}",
        [f.fragment_type for f in features],
        [f.fragment_bonds for f in features],
        [np.unique(f.group_atoms[:, 0]) for f in features],
        first.examples.molecules(),
        second.examples.molecules(),
    )
    print_table(rows)


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Rows as a Markdown table."""
    print("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
    for row in rows:
        cells = [f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()]
        print("| " + " | ".join(cells) + " |")
