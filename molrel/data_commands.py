"""What ``molrel data`` prints: the catalogue, overlap and discrepancy of domains.

What takes seconds to import is imported by the commands that need it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.util import find_spec

import tyro

from molrel.data import catalog
from molrel.data.entry import Entry
from molrel.data.types import Dataset, join
from molrel.errors import InputError
from molrel.machine import set_workers


@dataclass(frozen=True)
class List:
    """Lists the data sets of the catalogue."""


@dataclass(frozen=True)
class Info:
    """Prints what is known of a data set, and whether its files are there."""

    name: tyro.conf.Positional[str]
    """Name, or name/domain."""
    count: bool = False
    """Also verify its files, load it and print its size."""


@dataclass(frozen=True)
class Overlap:
    """Counts molecules and pairs that two domains share."""

    source: tyro.conf.Positional[str]
    """Address or CSV file."""
    target: tyro.conf.Positional[str]
    """Address or CSV file."""
    smiles_columns: tuple[str, ...] = ("smiles_a", "smiles_b")
    """Columns of CSV files that hold the molecules."""


@dataclass(frozen=True)
class Discrepancy:
    """Compares the substructures of two domains against a permutation null."""

    source: tyro.conf.Positional[str]
    """Address or CSV file."""
    target: tyro.conf.Positional[str]
    """Address or CSV file."""
    smiles_columns: tuple[str, ...] = ("smiles_a", "smiles_b")
    """Columns of CSV files that hold the molecules."""
    workers: int | None = None
    """Processes that compute features; default: one a usable core."""


COMMANDS = {
    "list": List,
    "info": Info,
    "overlap": Overlap,
    "discrepancy": Discrepancy,
}


def run(arguments: list[str]) -> int:
    """``molrel data list|info|overlap|discrepancy``."""
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print("usage: molrel data COMMAND ...\n")
        for command, flags in COMMANDS.items():
            print(f"  {command:{width}}  {flags.__doc__}")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        raise InputError(
            f"molrel data needs one of {', '.join(COMMANDS)}",
            remedy=f"Did you mean {near[0]}?" if near else None,
        )
    match tyro.cli(COMMANDS[name], args=arguments[1:], prog=f"molrel data {name}"):
        case List():
            list_sets()
        case Info(address, count):
            info(address, count=count)
        case Overlap(source, target, columns):
            print_overlap(source, target, columns)
        case Discrepancy(source, target, columns, workers):
            set_workers(workers)
            print_discrepancy(source, target, columns)
    return 0


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
    needed, folder = entry.needed(domain), catalog.data_folder()
    if missing := catalog.missing_files(needed, folder):
        return f"not found; put them into a folder and name it in MOLREL_DATA: {', '.join(missing)}"
    return f"in {folder}: {', '.join(needed)}"


def _size(dataset: Dataset) -> str:
    import numpy as np

    labels = dataset.examples.labels
    columns = f" of {labels.shape[1]} columns" if labels.shape[1] > 1 else ""
    return (
        f"{len(dataset.examples):,} examples of {len(dataset.examples.molecules()):,} "
        f"molecules, {len(dataset.rejected)} rejected (of those, molecules of more than 100 "
        f"atoms fit a larger features.max_atoms), mean label{columns} {np.nanmean(labels):.3f}"
    )


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
