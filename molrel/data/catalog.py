"""The data sets that molrel knows by name: finding, verifying and loading them."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from molrel.data.entries import ENTRIES
from molrel.data.entry import Entry
from molrel.data.types import Dataset
from molrel.errors import InputError


def names() -> tuple[str, ...]:
    """Every address that ``load`` takes."""
    return tuple(
        address
        for entry in ENTRIES.values()
        for address in ([f"{entry.name}/{d}" for d in entry.domains] or [entry.name])
    )


def is_named(address: str) -> bool:
    """Whether the catalogue has a set, or a domain of one, of this name."""
    return address in ENTRIES or address in names()


def describe(name: str) -> Entry:
    """The catalogue's entry of a set, by its name or the address of one of its domains.

    Raises:
      InputError: unknown name or domain; the message names the nearest.
    """
    entry = ENTRIES.get(name.partition("/")[0])
    if entry is not None and (name == entry.name or name in names()):
        return entry
    known = [*names(), *ENTRIES]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    raise InputError(
        f"no data set {name!r}",
        remedy=(f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names())}")
        + ". A CSV file is read by its path",
    )


def load(address: str, *, max_atoms: int = 100) -> Dataset:
    """Loads a data set by its address; sets of positives only come without negatives.

    What does not come with molrel is read from the folder that MOLREL_DATA names; the sha256
    of its files must be the catalogue's.

    Args:
      address: one of ``names()``, such as "mixtures/hydrocarbons" or "ddinter2".
      max_atoms: molecules with more heavy atoms are set aside.

    Raises:
      InputError: unknown address, a domain that is missing from it, or files that are
        missing or not those of the catalogue.
    """
    entry = describe(address)
    if entry.domains and address == entry.name:
        raise InputError(
            f"{address!r} consists of domains",
            remedy="Choose " + " or ".join(f"{entry.name}/{d}" for d in entry.domains),
        )
    folder, domain = Path(), address.partition("/")[2]
    if entry.files:
        folder = _folder_of(entry, entry.needed(domain))
    return entry.reader(folder, domain, max_atoms)


def data_folder() -> Path | None:
    """The folder that MOLREL_DATA names."""
    named_folder = os.environ.get("MOLREL_DATA")
    return Path(named_folder) if named_folder else None


def missing_files(needed: Iterable[str], folder: Path | None) -> list[str]:
    """The files that a folder lacks: all without a folder. What is in them is not looked at."""
    return [path for path in needed if folder is None or not (folder / path).is_file()]


def _folder_of(entry: Entry, needed: Mapping[str, str]) -> Path:
    """The data folder, in which every file is that of the catalogue."""
    folder = data_folder()
    missing = missing_files(needed, folder)
    if folder is None or missing:
        where = f"{folder}, which MOLREL_DATA names, lacks" if folder else "no folder has"
        raise InputError(
            f"{where} the files of {entry.name}: {', '.join(missing)}",
            remedy=f"Set MOLREL_DATA to a folder that has them. Sources: {entry.citation}",
        )
    for path, expected in needed.items():
        _verify(folder / path, expected)
    return folder


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path, expected: str) -> None:
    found = _sha256(path)
    if found != expected:
        raise InputError(
            f"sha256 is {found[:12]}..., expected {expected[:12]}...: not the catalogue's file",
            path=path,
            remedy="Delete it and get it again",
        )
