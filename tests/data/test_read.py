# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""CSV files as users have them: right, wrong, and arbitrary bytes."""

import csv
import gzip
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from molrel.data.formats import read_frame
from molrel.data.read import read_csv, write_rejected
from molrel.data.types import Dataset, Task
from molrel.errors import InputError

PAIR = {"smiles_columns": ("a", "b"), "label_columns": ("y",), "task": Task()}


def read(tmp_path, content, name="pairs.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_csv(path, **{**PAIR, **options})


def error_of(tmp_path, content, **options) -> InputError:
    with pytest.raises(InputError) as caught:
        read(tmp_path, content, **options)
    assert caught.value.path is not None
    assert "\n" not in str(caught.value)
    return caught.value


def test_reads_pairs_by_column_name_and_shares_molecules(tmp_path):
    d = read(tmp_path, "y,extra,b,a\n1,x,CCO,OCC\n0,y,c1ccccc1,C1=CC=CC=C1\n,z,CCO,C\n")
    assert d.molecules == ("CCO", "c1ccccc1", "C")
    assert [side.ids.tolist() for side in d.examples.sides] == [[0, 1, 2], [0, 1, 0]]
    assert d.examples.labels[:2].ravel().tolist() == [1, 0]
    assert math.isnan(d.examples.labels[2, 0])
    assert d.rows.tolist() == [2, 3, 4]
    assert d.task.targets == ("y",)
    assert d.rejected == ()


@pytest.mark.parametrize("pack", [lambda b: b, gzip.compress])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_packing_byte_order_mark_and_line_ends_do_not_matter(tmp_path, pack, mark, end):
    text = end.join(["a,b,y", "C,CC,1", "", ' CC ,"C",0', ""])
    d = read(tmp_path, pack(mark + text.encode()), name="pairs.csv.gz")
    assert d.molecules == ("C", "CC")
    assert d.rows.tolist() == [2, 4]


def test_one_column_and_several_labels(tmp_path):
    d = read(
        tmp_path,
        "s,u,v\nC,1.5,\nCC,-2e3,4\n",
        smiles_columns=("s",),
        label_columns=("u", "v"),
        task=Task("regression", ("?",), ("K",), symmetric=False),
    )
    assert len(d.examples.sides) == 1
    np.testing.assert_array_equal(d.examples.labels, [[1.5, np.nan], [-2000, 4]])
    assert d.task.targets == ("u", "v") and d.task.units == ("", "")
    unlabelled = read(tmp_path, "s\nC\n\nCC\n", smiles_columns=("s",), label_columns=())
    assert np.isnan(unlabelled.examples.labels).all() and unlabelled.examples.labels.shape == (2, 1)
    assert [(r.row, r.reason) for r in unlabelled.rejected] == [(3, "the cell is empty")]


def test_bad_molecules_are_set_aside_with_row_column_and_reason(tmp_path):
    d = read(
        tmp_path,
        f"a,b,y\nC,CC,1\nnonsense,CC,0\nC,,1\nC,{'C' * 101},1\n,,\nCC,N,0\n",
    )
    assert d.rows.tolist() == [2, 7]
    assert d.molecules == ("C", "CC", "N")
    assert [(r.row, r.column, r.value[:8]) for r in d.rejected] == [
        (3, "a", "nonsense"),
        (4, "b", ""),
        (5, "b", "CCCCCCCC"),
        (6, "a", ""),
    ]
    assert "100" in d.rejected[2].reason
    assert all(r.path.endswith("pairs.csv") and r.reason for r in d.rejected)


def test_molecules_only_in_rejected_rows_are_left_out(tmp_path):
    d = read(tmp_path, "a,b,y\nO,nonsense,1\nC,CC,0\n")
    assert d.molecules == ("C", "CC")


def test_rejections_are_written_as_csv(tmp_path):
    d = read(tmp_path, 'a,b,y\nC,CC,1\n"x,""y\nz",CC,0\n')
    write_rejected(tmp_path / "rejected.csv", d.rejected)
    with open(tmp_path / "rejected.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["path", "row", "column", "value", "reason"]
    assert rows[1][1:4] == ["3", "a", 'x,"y\nz'] and len(rows) == 2


WRONG = {
    "empty": (b"", None, None, "empty"),
    "only blanks": (b"\n \n\n", None, None, "empty"),
    "header only": (b"a,b,y\n", None, None, "no rows"),
    "header and blank lines": (b"a,b,y\n\n\n", None, None, "no rows"),
    "missing column": (b"a,B,y\nC,C,1\n", 1, "b", "'a', 'B', 'y'"),
    "nearest column": (b"smiles_a,bb,y\nC,C,1\n", 1, "a", "no column 'a', 'b'"),
    "blanks for separators": (b"a b y\nC C 1\n", 1, "a", "separated by blanks"),
    "duplicate header": (b"a,b,a,y\nC,C,C,1\n", 1, "a", "2 times"),
    "all ragged": (b"a,b,y\nC,C\nC,C\n", 2, None, "2 such rows, which are all"),
    "all longer": (b"a,b,y\n1,C,C,1\n", 2, None, "4 cells where the header has 3"),
    "unclosed quote": (b'a,b,y\n"C,C,1\n', 2, None, "quotation mark is not closed"),
    "unclosed quote in the header": (b'a,"b,y\nC,C,1\n', 1, None, "header has a quotation mark"),
    "not UTF-8": (b"a,b,y\nC,C,1\nC,\xff,1\n", 3, None, "byte 14 (0xff)"),
    "not UTF-8 behind a mark": (b"\xef\xbb\xbfa,b,y\nC,\xff,1\n", 2, None, "byte 11 (0xff)"),
    "UTF-16 without mark": ("a,b,y\nC,C,1\n".encode("utf-16-le"), None, None, "UTF-16"),
    "half of UTF-16": ("a,b,y\nC,C,1\n".encode("utf-16")[:-1], None, None, "UTF-16 text but"),
    "label 2": (b"a,b,y\nC,C,1\nC,C,2\nC,C,yes\n", 3, "y", "2 such rows"),
    "label text": (b"a,b,y\nC,C,high\n", 2, "y", "'high' is not 0 or 1"),
    "no usable row": (b"a,b,y\nC,?,1\n,C,1\n", 2, "b", "none of the 2 rows"),
    "damaged gzip": (gzip.compress(b"a,b,y\nC,C,1\n")[:-9], None, None, "gzip"),
    "gzip magic only": (b"\x1f\x8b", None, None, "gzip"),
}


@pytest.mark.parametrize("content, row, column, words", WRONG.values(), ids=WRONG.keys())
def test_wrong_files_give_one_clear_error(tmp_path, content, row, column, words):
    error = error_of(tmp_path, content)
    assert (error.row, error.column) == (row, column)
    assert words in str(error)
    assert error.remedy or "no rows" in error.problem


def test_nearest_column_is_suggested(tmp_path):
    error = error_of(tmp_path, "smiles_a,smiles_B\nC,C\n", smiles_columns=("smiles_a", "smiles_b"))
    assert "Did you mean 'smiles_B'?" in str(error)


@pytest.mark.parametrize("label", ["inf", "-1e400", "1e39", "x", "1_0", "0x10", "True", "1+2"])
def test_regression_labels_must_be_finite_numbers(tmp_path, label):
    error = error_of(tmp_path, f"a,b,y\nC,C,{label}\n", task=Task("regression"))
    assert (error.row, error.column) == (2, "y")
    d = read(tmp_path, f"a,b,y\nC,C,1\nC,C,{label}\nC,C,3\n", task=Task("regression"))
    assert d.examples.labels.ravel().tolist() == [1, 3] and d.rows.tolist() == [2, 4]
    assert [(r.row, r.column, r.value) for r in d.rejected] == [(3, "y", label)]
    assert "1 row was set aside" in d.note and "row 3" in d.note


@pytest.mark.parametrize("label, good", [("3", True), ("2.0", True), ("-1", False), ("1.5", False)])
def test_class_labels_are_whole_numbers(tmp_path, label, good):
    content = f"a,b,y\nC,C,{label}\n"
    if good:
        d = read(tmp_path, content, task=Task("multiclass"))
        assert d.task.classes == (str(int(float(label))),) and d.examples.labels[0, 0] == 0
    else:
        assert error_of(tmp_path, content, task=Task("multiclass")).row == 2


@pytest.mark.parametrize(
    "cell",
    ["", "  ", "nan", "NaN", "NA", "n/a", "NULL", "None", "-", ".", "?", "unknown", "#N/A", "<NA>"],
)
def test_missing_labels_are_nan(tmp_path, cell):
    assert np.isnan(read(tmp_path, f"a,b,y\nC,C,{cell}\n").examples.labels).all()


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path, "nul\0.csv"):
        with pytest.raises(InputError, match="cannot read"):
            read_csv(path, **PAIR)


def test_frame_keeps_every_column_and_row_numbers(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text('a,b,,\n"C",N,x,\n\nO,"P\nP",,y\n')
    frame = read_frame(path, ["a", "b"])
    assert frame.to_numpy().tolist() == [["C", "N", "x", ""], ["O", "P\nP", "", "y"]]
    assert frame.index.tolist() == [2, 4]


def test_rows_of_empty_cells_are_rows_and_blank_lines_are_none(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("  \na,b\nC,N\n   \n,\nO,P\n,\n\n \n")
    frame = read_frame(path, ["a", "b"])
    assert frame.to_numpy().tolist() == [["C", "N"], ["", ""], ["O", "P"], ["", ""]]
    assert frame.index.tolist() == [3, 5, 6, 7]


def test_each_text_is_parsed_once(tmp_path, monkeypatch):
    import molrel.data.cells as module

    calls = []
    real = module.canonical_smiles
    monkeypatch.setattr(module, "canonical_smiles", lambda s, n: calls.append(s) or real(s, n))
    read(tmp_path, "a,b,y\n" + "C,CC,1\nCC,C,0\nx,C,0\nx,C,1\n" * 50)
    assert sorted(calls) == ["C", "CC", "x"]


LINES = st.lists(
    st.lists(
        st.sampled_from(
            ["C", "CC", "c1ccccc1", "", "0", "1", "nan", '"', "\0", "é", "\x1f", "[Na+].[Cl-]"]
        ),
        min_size=0,
        max_size=4,
    ).map(",".join),
    max_size=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.binary(max_size=80),
        st.binary(max_size=40).map(lambda b: b"a,b,y\n" + b),
        st.binary(max_size=40).map(lambda b: b"\x1f\x8b" + b),
        LINES.map(lambda rows: "\n".join(["a,b,y", *rows]).encode()),
        st.text(max_size=40).map(lambda t: ("a,b,y\nC,C,1\n" + t).encode("utf-8", "replace")),
    )
)
@example(b"a,b,y\n" + b"C" * 200_000)
@example(b'a,b,y\n"\x00",C,1')
@example(b"a,b,y\nC,\xe2\x80\xa8,1")
def test_any_bytes_give_a_data_set_or_an_input_error(tmp_path, content):
    path = tmp_path / "fuzz.csv"
    path.write_bytes(content)
    for kind in ("binary", "regression"):
        try:
            d = read_csv(path, **{**PAIR, "task": Task(kind)})
        except InputError as error:
            assert str(error)
        else:
            assert isinstance(d, Dataset) and len(d.examples) == len(d.rows) > 0
            assert d.examples.molecules().max() < len(d.molecules)
