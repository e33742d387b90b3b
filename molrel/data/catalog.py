"""The data sets that molrel knows by name: what they are, where they lie, how they are read."""

from __future__ import annotations

import difflib
import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from molrel.data import builtin, named
from molrel.data.types import Dataset, Task
from molrel.errors import InputError

Reader = Callable[[Path, str, int], Dataset]


@dataclass(frozen=True)
class Entry:
    """One data set of the catalogue.

    Attributes:
      name: what it is loaded by.
      domains: parts that are loaded as ``name/domain``; empty if it is one whole.
      task: what is predicted.
      columns: what the sides of an example are.
      licence: of the data.
      citation: where it comes from.
      address: URL below which the files of ``files`` can be had; "" if there is none.
      files: path within a data folder -> sha256; empty for sets that come with a package.
      reader: (data folder, domain, max_atoms) -> data set.
      note: what to know before using it.
    """

    name: str
    domains: tuple[str, ...]
    task: Task
    columns: tuple[str, ...]
    licence: str
    citation: str
    reader: Reader
    address: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def _drugs(read: Callable[[Path, int], Dataset], folder: str) -> Reader:
    return lambda data, domain, max_atoms: read(data / folder, max_atoms)


ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="mixtures",
            domains=("hydrocarbons", "heteroatoms"),
            task=builtin.MIXING,
            columns=("first", "second"),
            licence="MIT (packages thermo and chemicals)",
            citation="E-PPR78: Jaubert & Mutelet, Fluid Phase Equilib. 224:285 (2004); Bell, "
            "thermo and chemicals",
            reader=lambda data, domain, max_atoms: builtin.read_mixtures(domain, max_atoms),
            note=builtin.MIXTURES_NOTE,
        ),
        Entry(
            name="henry",
            domains=("computed", "water"),
            task=builtin.HENRY,
            columns=("solute", "solvent"),
            licence="MIT (packages thermo and chemicals)",
            citation="Sander, Atmos. Chem. Phys. 15:4399 (2015); Bell, thermo and chemicals",
            reader=lambda data, domain, max_atoms: builtin.read_henry(domain, max_atoms),
            note=f"{builtin.HENRY_COMPUTED_NOTE} {builtin.HENRY_WATER_NOTE}",
        ),
        Entry(
            name="zhangddi",
            domains=(),
            task=named.INTERACTION,
            columns=("drug_a", "drug_b"),
            licence="not stated by its sources",
            citation="Zhang et al., BMC Bioinformatics 18:18 (2017); SMILES: MIRACLE, Wang et "
            "al., WWW 2021, and chemicalx (github.com/zw9977129/drug-drug-interaction, "
            "github.com/isjakewong/MIRACLE, github.com/AstraZeneca/chemicalx)",
            files={
                "ddi/zhangddi/drugs.csv.gz": (
                    "856006a4b510661ed79282ae5d90b5f3531e3b8f803fa0ad9c288d0c38e74000"
                ),
                "ddi/zhangddi/pairs.csv.gz": (
                    "592f63b5e0cbf0b839a9349b67d7fef5803ccb706843e94166fa7cb5579cf7ff"
                ),
            },
            reader=_drugs(named.read_zhangddi, "ddi/zhangddi"),
            note=named.ZHANGDDI_NOTE,
        ),
        Entry(
            name="chchminer",
            domains=(),
            task=named.INTERACTION,
            columns=("drug_a", "drug_b"),
            licence="not stated by its sources",
            citation="BioSNAP ChCh-Miner: Zitnik et al., SNAP biomedical network data sets "
            "(2018); MIRACLE, Wang et al., WWW 2021 (github.com/isjakewong/MIRACLE)",
            files={
                "ddi/chchminer/drugs.csv.gz": (
                    "c3a8d08c14342d0e285f64ecaa00c584424e73ddcf6d6331ef06ff0efff3c94a"
                ),
                "ddi/chchminer/pairs.csv.gz": (
                    "7f49ef6866bda19da35fde9373c4c82fe3dfa6f2b7c173bd57e6b55e4adb89c8"
                ),
            },
            reader=_drugs(named.read_chchminer, "ddi/chchminer"),
            note=named.CHCHMINER_NOTE,
        ),
        Entry(
            name="ddinter2",
            domains=(),
            task=named.INTERACTION,
            columns=("drug_a", "drug_b"),
            licence="CC BY-NC-SA 4.0 (DDInter); drug vocabulary CC0 (DrugBank)",
            citation="Xiong et al., Nucleic Acids Res. 50:D1200 (2022); Tian et al., Nucleic "
            "Acids Res. 53:D1356 (2025) (ddinter2.scbdd.com, "
            "github.com/hitesh19426/ddinter-main, github.com/vens8/ddinter)",
            files={
                "ddi/ddinter2/drugs.csv.gz": (
                    "5a60ad8c36b42c5d51239ac7482457ded2bdd92e694d7884dfb90ba3bab5d490"
                ),
                "ddi/ddinter2/pairs.csv.gz": (
                    "ffc21f60e23f500bd71d4081ec14df26d72ddc4049ceb8bc77bbaa5301970603"
                ),
            },
            reader=_drugs(named.read_ddinter2, "ddi/ddinter2"),
            note=named.DDINTER2_NOTE,
        ),
    )
}


def names() -> tuple[str, ...]:
    """Every address that ``load`` takes."""
    return tuple(
        address
        for entry in ENTRIES.values()
        for address in ([f"{entry.name}/{d}" for d in entry.domains] or [entry.name])
    )


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
    folder = Path()
    if entry.files:
        folder = _locate(entry, data_folder)
        for path, expected in entry.files.items():
            _verify(folder / path, expected)
    return entry.reader(folder, address.partition("/")[2], max_atoms)


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


def cache_folder() -> Path:
    """Where ``fetch`` puts data: $XDG_CACHE_HOME/molrel/data, or ~/.cache/molrel/data."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "molrel" / "data"


def data_folders() -> list[Path]:
    """Folders that ``load`` looks in, in that order."""
    repository = Path(__file__).resolve().parents[2]
    named_folder = os.environ.get("MOLREL_DATA")
    return [
        *([Path(named_folder)] if named_folder else []),
        cache_folder(),
        repository.parent / "shared" / "data",
    ]


def _locate(entry: Entry, data_folder: Path | None) -> Path:
    folders = data_folders() if data_folder is None else [Path(data_folder)]
    for folder in folders:
        if all((folder / path).is_file() for path in entry.files):
            return folder
    sources = "gets them" if entry.address else "names their sources"
    raise InputError(
        f"the files of {entry.name} ({', '.join(entry.files)}) are not in "
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
