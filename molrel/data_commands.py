"""What ``molrel data`` prints: the catalogue, overlap and discrepancy of domains.

What takes seconds to import is imported by the commands that need it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from molrel.data import catalog
from molrel.data.entry import Entry
from molrel.data.types import Dataset, join


def list_sets() -> None:
    """One line a data set."""
    for name in catalog.names():
        entry = catalog.describe(name)
        print(f"{name:28} {entry.task.kind:10} {entry.licence}")


def info(address: str, *, count: bool = False) -> None:
    """Everything the catalogue knows of a set, and whether its files are there.

    Args:
      address: name, or name/domain.
      count: whether to verify and load it too, and print its size.
    """
    entry = catalog.describe(address)
    domain = address.partition("/")[2]
    targets = ", ".join(entry.task.targets) or "named by its file"
    order = "order means nothing" if entry.task.symmetric else "order matters"
    sides = ", ".join(entry.columns) + (f" ({order})" if len(entry.columns) > 1 else "")
    facts = {
        "name": entry.name,
        "domains": ", ".join(entry.domains) or "none",
        "task": f"{entry.task.kind}: {targets}",
        "molecules": sides,
        "licence": entry.licence,
        "citation": entry.citation,
        "address": entry.address or "none of its own",
        "note": entry.note,
        "files": _presence(entry, domain),
    }
    for name, value in facts.items():
        print(f"{name}: {value}")
    if not count:
        return
    for each in (
        [address] if domain or not entry.domains else [f"{entry.name}/{d}" for d in entry.domains]
    ):
        print(f"{each}: {_size(catalog.load(each))}")


def _presence(entry: Entry, domain: str) -> str:
    """Where the files of a set are, or what to do to have them; their content is not read."""
    if entry.packages:
        missing = [name for name in entry.packages if find_spec(name) is None]
        come = f"come with the packages {' and '.join(entry.packages)}"
        return f'{come}, not installed: pip install "molrel[demo]"' if missing else come
    if not entry.files:
        return "come with molrel"
    needed, folders = entry.needed(domain), catalog.data_folders()
    folder = catalog.find(needed, folders)
    paths = ", ".join(needed)
    if folder is None:
        return f"not found; put them into a folder and name it in MOLREL_DATA: {paths}"
    return f"in {folder}: {paths}"


def _size(dataset: Dataset) -> str:
    import numpy as np

    labels = dataset.examples.labels
    columns = f" of {labels.shape[1]} columns" if labels.shape[1] > 1 else ""
    return (
        f"{len(dataset.examples):,} examples of {len(dataset.examples.molecules()):,} "
        f"molecules, {len(dataset.rejected)} rejected (of those, molecules of more than 100 "
        f"atoms fit a larger features.max_atoms), mean label{columns} {np.nanmean(labels):.3f}"
    )


def fetch(name: str, folder: Path | None) -> None:
    """Downloads a set."""
    print(catalog.fetch(name, folder))


def print_overlap(source: str, target: str, smiles_columns: tuple[str, ...]) -> None:
    """What two domains share."""
    from molrel.data.overlap import overlap

    for name, value in overlap(*_load(source, target, smiles_columns)).items():
        print(f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}")


def print_discrepancy(source: str, target: str, smiles_columns: tuple[str, ...]) -> None:
    """Jensen-Shannon divergence of substructures against its permutation null."""
    import numpy as np

    from molrel.chem.cache import featurise_each
    from molrel.chem.features import FeatureConfig
    from molrel.data.discrepancy import discrepancy_rows
    from molrel.evaluate.markdown import markdown_table
    from molrel.reporting import substructures

    first, second = _load(source, target, smiles_columns)
    features, failures = featurise_each(first.molecules, FeatureConfig(picture_size=0))
    for smiles, reason in failures.items():
        print(f"note: left out: {smiles} ({reason})")
    place = np.cumsum([smiles in features for smiles in first.molecules]) - 1
    usable = np.array([smiles in features for smiles in first.molecules], bool)
    ids = [d.examples.molecules() for d in (first, second)]
    rows = discrepancy_rows(
        f"{source} vs {target}",
        substructures(list(features.values())),
        *(place[each[usable[each]]] for each in ids),
    )
    print(markdown_table(rows))


def _load(source: str, target: str, smiles_columns: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    """Two domains over one molecule list; CSV files need no label."""
    from molrel.config import DataConfig
    from molrel.sources import is_file, load_dataset

    data = DataConfig(smiles_columns=smiles_columns, label_column="")
    first, second = (load_dataset(address, data, unlabelled=True) for address in (source, target))
    for dataset in (first, second):
        if is_file(dataset.name) and dataset.note:
            print(f"note: {dataset.name}: {dataset.note}")
        if dataset.rejected:
            where = dataset.rejected[0]
            print(
                f"note: {dataset.name}: {len(dataset.rejected):,} rows were set aside, the first: "
                f"row {where.row}, {where.reason}"
            )
    return join(first, second)
