# pyright: reportArgumentType=false, reportCallIssue=false
"""What a run makes of a user's own files, up to the division of the source."""

from dataclasses import replace

import numpy as np
import pytest

from molrel.cli import main
from molrel.config import DataConfig, Experiment
from molrel.data.formats import SUFFIXES
from molrel.data.types import Task
from molrel.errors import InputError
from molrel.experiment import run
from molrel.prepare import divide
from molrel.sources import is_file, load_dataset

ONE = DataConfig(target=None, smiles_columns=("smiles",), label_column="y")


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


PARTS = (
    "smiles,y,part\nC,1,train\nCC,0,Training\nCCC,1,VAL\nCO,0,dev\nCN,1,Test\nCS,0,\nCF,1,train\n"
)


def test_a_split_column_divides_the_source(tmp_path):
    source = write(tmp_path / "in.csv", PARTS)
    data = replace(ONE, source=source, split="column", split_column="part")
    divided = divide(data, max_atoms=100)
    rows = {name: found.tolist() for name, found in divided.rows.items()}
    assert rows == {"train": [2, 3, 8], "valid": [4, 5], "test": [6]}
    assert "1 source examples without a value in 'part' were left out." in divided.notes


@pytest.mark.parametrize(
    "old, new, row, words",
    [
        ("VAL", "holdout", 4, "'holdout' names no part"),
        ("VAL", "", None, "no usable row is of the part valid"),
        (",part", ",other", 1, "no column 'part'"),
    ],
)
def test_a_wrong_split_column_is_an_error(tmp_path, old, new, row, words):
    text = PARTS.replace(old, new).replace("dev", "" if row is None else "dev")
    source = write(tmp_path / "in.csv", text)
    with pytest.raises(InputError, match=words) as caught:
        divide(replace(ONE, source=source, split="column", split_column="part"), max_atoms=100)
    assert caught.value.row == row and caught.value.column == "part"


def test_split_column_needs_a_file_with_both_classes(tmp_path):
    with pytest.raises(InputError, match="catalogue has no split column"):
        divide(DataConfig(target=None, split="column"), max_atoms=100)
    pairs = write(tmp_path / "in.csv", "a,b,y,split\nC,CC,1,train\nC,O,1,valid\n")
    data = DataConfig(pairs, None, ("a", "b"), "y", split="column")
    with pytest.raises(InputError, match="positives only"):
        divide(data, max_atoms=100)


def test_several_label_columns_are_a_multilabel_task(tmp_path):
    source = write(tmp_path / "in.csv", "smiles,u,v\nCCO,0,1\nCCN,,0\nc1ccccc1,1,\n")
    found = load_dataset(source, replace(ONE, label_columns=("u", "v")))
    assert found.task == Task("multilabel", ("u", "v"), ("", ""))
    np.testing.assert_array_equal(found.examples.labels, [[0, 1], [np.nan, 0], [1, np.nan]])
    values = load_dataset(source, replace(ONE, label_columns=("u", "v"), kind="regression"))
    assert values.task.kind == "regression"
    with pytest.raises(InputError, match="one label column"):
        load_dataset(source, replace(ONE, label_columns=("u", "v"), kind="multiclass"))


def test_classes_of_the_source_number_those_of_the_target(tmp_path):
    rows = "".join(f"{'C' * n},{'abc'[n % 3]}\n" for n in range(1, 31))
    source = write(tmp_path / "source.csv", "smiles,y\n" + rows)
    target = write(tmp_path / "target.csv", "smiles,y\nO,c\nOO,b\nOCO,zzz\n")
    divided = divide(replace(ONE, source=source, target=target, kind="multiclass"), max_atoms=100)
    assert divided.source.task.classes == divided.target.task.classes == ("a", "b", "c")
    assert divided.target.examples.labels.ravel().tolist() == [2, 1]
    assert any("numbered from 0: a, b, c" in note for note in divided.notes)


def test_what_was_assumed_is_among_the_notes(tmp_path):
    rows = "".join(f"{'C' * n};{'active' if n % 2 else 'inactive'}\n" for n in range(1, 31))
    source = write(tmp_path / "in.csv", "# of 3 May\nsmiles;y\n" + rows + "C;inactive\n")
    (note,) = divide(replace(ONE, source=source), max_atoms=100).notes
    for words in ("semicolons", "above the header", "'active' is read as 1", "rows 3 and 33"):
        assert words in note


@pytest.mark.parametrize("kind, label", [("binary", "1"), ("regression", "5"), ("multiclass", "x")])
def test_one_label_throughout_is_nothing_to_learn(tmp_path, kind, label):
    source = write(
        tmp_path / "in.csv", "smiles,y\n" + "".join(f"{'C' * n},{label}\n" for n in range(1, 31))
    )
    with pytest.raises(InputError, match=f"every label that could be trained on is '?{label}'?"):
        divide(replace(ONE, source=source, kind=kind), max_atoms=100)


def test_overlap_and_discrepancy_read_no_labels(tmp_path, capsys):
    source = write(tmp_path / "a.tsv", "smiles_a\tsmiles_b\tlabel\nC\tCC\t5.1\nC\tO\t6.2\n")
    target = write(tmp_path / "b.csv", "smiles_a;smiles_b\nC;CC\nN;O\n")
    assert main(["data", "overlap", source, target]) == 0
    out = capsys.readouterr().out
    assert "pairs_shared: 1" in out and "pairs_source: 2" in out
    assert main(["data", "discrepancy", source, target]) == 0


def test_a_run_of_classes_is_refused_before_it_begins(tmp_path):
    source = write(tmp_path / "in.csv", "smiles_a,smiles_b,y\nC,CC,low\nC,O,high\n")
    config = Experiment(data=DataConfig(source, None, label_column="y", kind="multiclass"))
    with pytest.raises(InputError, match="more than two classes"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mistyped_file_is_no_name_of_the_catalogue(tmp_path, suffix):
    address = str(tmp_path / f"pairs{suffix.upper()}")
    assert is_file(address)
    with pytest.raises(InputError, match="no such file"):
        load_dataset(address, ONE)
