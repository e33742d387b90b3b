# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""The catalogue: addresses, looking for files, checksums, downloads."""

import dataclasses
import hashlib

import pytest

from molrel.data import catalog, named
from molrel.errors import InputError


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A catalogue with one more entry whose files lie behind a file:// address."""
    origin = tmp_path / "origin"
    (origin / "ddi/tiny").mkdir(parents=True)
    contents = {
        "ddi/tiny/drugs.csv.gz": b"drug_id,smiles\nA,C\nB,CO\n",
        "ddi/tiny/pairs.csv.gz": b"drug_a,drug_b,label\nA,B,1\n",
    }
    for path, content in contents.items():
        (origin / path).write_bytes(content)
    entry = dataclasses.replace(
        catalog.ENTRIES["zhangddi"],
        name="tiny",
        address=origin.as_uri(),
        files={p: hashlib.sha256(c).hexdigest() for p, c in contents.items()},
        reader=lambda data, domain, n: named.read_zhangddi(data / "ddi/tiny", n),
    )
    monkeypatch.setitem(catalog.ENTRIES, "tiny", entry)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MOLREL_DATA", raising=False)
    return origin


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


def test_missing_files_say_how_to_get_them(tmp_path):
    with pytest.raises(InputError) as caught:
        catalog.load("ddinter2", data_folder=tmp_path)
    assert "MOLREL_DATA" in str(caught.value) and "molrel data fetch ddinter2" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_fetch_then_load(tiny, tmp_path):
    with pytest.raises(InputError, match="molrel data fetch tiny"):
        catalog.load("tiny")
    folder = catalog.fetch("tiny")
    assert folder == tmp_path / "cache/molrel/data"
    assert len(catalog.load("tiny").examples) == 1
    # Nothing but the files is left, and a second time nothing is downloaded.
    assert sorted(p.name for p in (folder / "ddi/tiny").iterdir()) == [
        "drugs.csv.gz",
        "pairs.csv.gz",
    ]
    (tiny / "ddi/tiny/pairs.csv.gz").unlink()
    assert catalog.fetch("tiny") == folder


def test_the_named_folder_is_looked_in_first(tiny, tmp_path, monkeypatch):
    catalog.fetch("tiny")
    other = catalog.fetch("tiny", tmp_path / "mine")
    (other / "ddi/tiny/pairs.csv.gz").write_bytes(b"changed")
    monkeypatch.setenv("MOLREL_DATA", str(other))
    with pytest.raises(InputError, match="sha256") as caught:
        catalog.load("tiny")
    assert str(other) in str(caught.value.path)


def test_a_wrong_download_leaves_nothing(tiny, tmp_path):
    (tiny / "ddi/tiny/drugs.csv.gz").write_bytes(b"something else")
    with pytest.raises(InputError, match="sha256"):
        catalog.fetch("tiny")
    assert not list((tmp_path / "cache/molrel/data/ddi/tiny").iterdir())


def test_a_failed_download_is_one_clear_error(tiny, tmp_path):
    (tiny / "ddi/tiny/pairs.csv.gz").unlink()
    with pytest.raises(InputError, match="cannot download file://"):
        catalog.fetch("tiny")


def test_sets_without_an_address_explain_themselves():
    with pytest.raises(InputError, match="MOLREL_DATA"):
        catalog.fetch("zhangddi")
    with pytest.raises(InputError, match="needs no download"):
        catalog.fetch("mixtures/hydrocarbons")
