# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""The catalogue: addresses, looking for files, checksums."""

import dataclasses
import hashlib

import pytest

from molrel.data import catalog, named
from molrel.errors import InputError


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A catalogue with one more entry, and the folder of its files."""
    folder = tmp_path / "data"
    (folder / "ddi/tiny").mkdir(parents=True)
    contents = {
        "ddi/tiny/drugs.csv.gz": b"drug_id,smiles\nA,C\nB,CO\n",
        "ddi/tiny/pairs.csv.gz": b"drug_a,drug_b,label\nA,B,1\n",
    }
    for path, content in contents.items():
        (folder / path).write_bytes(content)
    entry = dataclasses.replace(
        catalog.ENTRIES["zhangddi"],
        name="tiny",
        files={p: hashlib.sha256(c).hexdigest() for p, c in contents.items()},
        reader=lambda data, domain, n: named.read_zhangddi(data / "ddi/tiny", n),
    )
    monkeypatch.setitem(catalog.ENTRIES, "tiny", entry)
    monkeypatch.delenv("MOLREL_DATA", raising=False)
    return folder


def test_every_entry_says_what_it_is():
    for name, entry in catalog.ENTRIES.items():
        assert name == entry.name and catalog.describe(name) is entry
        assert entry.licence and entry.citation and entry.columns and entry.note
        assert all(len(digest) == 64 for digest in entry.files.values())
    expected = "mixtures/hydrocarbons henry/water opioid_cliffs/mu ddinter2 ddinter2_atc/L herbiv"
    assert {*expected.split()} < set(catalog.names()) and "mixtures" not in catalog.names()


@pytest.mark.parametrize(
    "address, words",
    [
        ("mixture/hydrocarbons", "Did you mean mixtures/hydrocarbons"),
        ("mixtures/alkanes", "no data set 'mixtures/alkanes'"),
        ("zhangddi/train", "Did you mean zhangddi"),
        ("?", "Known: mixtures/hydrocarbons"),
        ("mixtures", "mixtures/hydrocarbons or mixtures/heteroatoms"),
        ("", "no data set ''"),
    ],
)
def test_unknown_addresses(address, words):
    with pytest.raises(InputError) as caught:
        catalog.load(address)
    assert words in str(caught.value)


def test_built_in_sets_load_under_their_address():
    d = catalog.load("mixtures/heteroatoms")
    assert d.name == "mixtures/heteroatoms" and d.task is catalog.describe("mixtures").task


def test_files_are_read_from_the_named_folder_alone(tiny, tmp_path, monkeypatch):
    # Neither the present folder, nor one beside the package, nor a cache is looked into.
    monkeypatch.chdir(tiny)
    with pytest.raises(InputError, match="no folder has the files of tiny: ddi/tiny/drugs") as none:
        catalog.load("tiny")
    assert "Set MOLREL_DATA" in str(none.value)
    monkeypatch.setenv("MOLREL_DATA", str(tiny))
    assert len(catalog.load("tiny").examples) == 1
    (tiny / "ddi/tiny/pairs.csv.gz").unlink()
    with pytest.raises(InputError, match=r"lacks the files of tiny: ddi/tiny/pairs\.csv") as lacks:
        catalog.load("tiny")
    assert str(tiny) in str(lacks.value)


def test_a_file_that_is_not_the_catalogues_is_refused(tiny, monkeypatch):
    monkeypatch.setenv("MOLREL_DATA", str(tiny))
    (tiny / "ddi/tiny/pairs.csv.gz").write_bytes(b"changed")
    with pytest.raises(InputError, match="sha256") as caught:
        catalog.load("tiny")
    assert str(tiny) in str(caught.value.path)
