"""The data sets that molrel knows by name: finding, verifying, loading and fetching them."""

from __future__ import annotations

import difflib
import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from molrel.data.entries import ENTRIES
from molrel.data.entry import Entry
from molrel.data.types import Dataset
from molrel.errors import InputError
from molrel.machine import user_cache


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


def load(address: str, *, data_folder: Path | None = None, max_atoms: int = 100) -> Dataset:
    """Loads a data set by its address; sets of positives only come without negatives.

    Files are looked for in ``data_folder`` alone if it is given, otherwise in the folder
    that MOLREL_DATA names, in the cache folder of ``fetch``, and in ``shared/data`` beside
    the repository. Their sha256 must be the catalogue's.

    Args:
      address: one of ``names()``, such as "mixtures/hydrocarbons" or "ddinter2".
      data_folder: see above.
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
        needed = entry.needed(domain)
        folder = _locate(entry, needed, data_folder)
        for path, expected in needed.items():
            _verify(folder / path, expected)
    return entry.reader(folder, domain, max_atoms)


def fetch(name: str, folder: Path | None = None) -> Path:
    """Downloads the files of a set that are not there yet, and verifies them.

    A file appears under its name only once it is complete and its sha256 is right.

    Args:
      name: of the set.
      folder: data folder to put it in; the default is the cache folder, where ``load``
        looks.

    Returns:
      The data folder.

    Raises:
      InputError: the set needs no download or has no address, the download fails, or what
        comes is not the catalogue's file.
    """
    entry = describe(name)
    if not entry.files:
        raise InputError(f"{entry.name} needs no download: it comes with molrel's packages")
    folder = cache_folder() if folder is None else Path(folder)
    if folder is None:
        raise InputError(
            "this user has no home folder to put data in", remedy="Name one with --folder"
        )
    if not entry.address:
        raise InputError(
            f"{entry.name} was put together from several sources and has no address of its own",
            remedy=f"Put {', '.join(entry.files)} into a folder and name it in MOLREL_DATA. "
            f"Sources: {entry.citation}",
        )
    for path, expected in entry.files.items():
        if not (folder / path).is_file():
            _download(f"{entry.address.rstrip('/')}/{path}", folder / path, expected)
        _verify(folder / path, expected)
    return folder


def cache_folder() -> Path | None:
    """Where ``fetch`` puts data: $XDG_CACHE_HOME/molrel/data, or ~/.cache/molrel/data.

    None without a home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    folder = Path(base) / "molrel" if base else user_cache()
    return None if folder is None else folder / "data"


def data_folders() -> list[Path]:
    """Folders that ``load`` looks in, in that order."""
    repository = Path(__file__).resolve().parents[2]
    named_folder, cached = os.environ.get("MOLREL_DATA"), cache_folder()
    return [
        *([Path(named_folder)] if named_folder else []),
        *([cached] if cached else []),
        repository.parent / "shared" / "data",
    ]


def find(needed: Iterable[str], folders: Iterable[Path]) -> Path | None:
    """The first folder that has all of the files; what is in them is not looked at."""
    for folder in folders:
        if all((folder / path).is_file() for path in needed):
            return folder
    return None


def _locate(entry: Entry, needed: Iterable[str], data_folder: Path | None) -> Path:
    folders = data_folders() if data_folder is None else [Path(data_folder)]
    folder = find(needed, folders)
    if folder is not None:
        return folder
    sources = "gets them" if entry.address else "names their sources"
    raise InputError(
        f"the files of {entry.name} ({', '.join(needed)}) are not in "
        + " or ".join(str(folder) for folder in folders),
        remedy=f"`molrel data fetch {entry.name}` {sources}; MOLREL_DATA names their folder",
    )


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


def _download(address: str, path: Path, expected: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own beside the goal, so that the last step is a rename.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as folder:
        partial = Path(folder) / path.name
        try:
            with urllib.request.urlopen(address, timeout=60) as answer, open(partial, "wb") as out:
                while block := answer.read(1 << 20):
                    out.write(block)
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise InputError(
                f"cannot download {address}: {error}",
                remedy="Check the network, or set MOLREL_DATA to a folder that has the file",
            ) from error
        _verify(partial, expected)
        partial.replace(path)
