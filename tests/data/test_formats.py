# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""Files in the formats that users have: what is read, what is said, and what is refused."""

import bz2
import gzip
import importlib.util
import io
import lzma
import pickle
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rdkit import Chem

from molrel.data.formats import Table, read_frame, read_table
from molrel.data.read import read_csv
from molrel.data.types import Task
from molrel.errors import InputError

TEXT = "smiles,label\nCCO,1\nCCN,0\n"
CELLS = [["CCO", "1"], ["CCN", "0"]]


def write(tmp_path, content, name="in.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table(tmp_path, content, columns=("smiles", "label"), name="in.csv") -> Table:
    return read_table(write(tmp_path, content, name), columns)


def error_of(tmp_path, content, columns=("smiles", "label"), name="in.csv") -> InputError:
    with pytest.raises(InputError) as caught:
        table(tmp_path, content, columns, name)
    assert "\n" not in str(caught.value) and name in str(caught.value)
    return caught.value


def zipped(members: dict[str, bytes]) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return kept.getvalue()


# ---- separated values ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "separator, word", [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")]
)
@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.txt", "in"])
def test_the_separator_is_the_one_that_finds_the_columns(tmp_path, separator, word, name):
    t = table(tmp_path, TEXT.replace(",", separator), name=name)
    assert t.frame.to_numpy().tolist() == CELLS
    assert t.separator == separator and any(word in note for note in t.notes)


def test_commas_need_no_word(tmp_path):
    assert table(tmp_path, TEXT).notes == ()


def test_quoted_header_and_cells_between_semicolons(tmp_path):
    content = '"ChEMBL ID";"Smiles";"Standard Value"\n"CHEMBL1";"CCO";"12.5"\n"CHEMBL2";"CCN";"3"\n'
    t = table(tmp_path, content, ("Smiles", "Standard Value"))
    assert t.frame.to_numpy().tolist() == [["CHEMBL1", "CCO", "12.5"], ["CHEMBL2", "CCN", "3"]]
    assert "Did you mean 'Smiles'?" in str(error_of(tmp_path, content, ("smiles",)))


@pytest.mark.parametrize(
    "above, n",
    [
        ("# exported by tool\n", 1),
        ('# a "quoted; word\n#\n\n', 2),
        ("\n  # smiles, label and more\n", 1),
        ("Export of 3 May\n\n", 1),
        ("sep=,\n", 1),
    ],
)
def test_lines_above_the_header_are_left_out_and_counted(tmp_path, above, n):
    t = table(tmp_path, above + TEXT)
    assert t.frame.to_numpy().tolist() == CELLS
    first = above.count("\n") + 2
    assert t.frame.index.tolist() == [first, first + 1]
    assert t.notes == (f"{n} line{'s' * (n > 1)} above the header left out.",)


def test_the_header_itself_may_begin_with_a_hash(tmp_path):
    assert table(tmp_path, "#smiles\tlabel\nCCO\t1\nCCN\t0\n").frame.to_numpy().tolist() == CELLS
    t = table(tmp_path, "# made by x\n# smiles,label\nCCO,1\nCCN,0\n")
    assert t.frame.to_numpy().tolist() == CELLS and t.frame.index.tolist() == [3, 4]


def test_empty_cells_behind_the_last_column_are_left_out(tmp_path):
    t = table(tmp_path, "smiles,label\nCCO,1,,\nCCN,0,\nC,1\n")
    assert t.frame.to_numpy().tolist() == [*CELLS, ["C", "1"]] and not t.errors
    assert t.notes == ("Empty cells behind the last column left out of 2 rows.",)
    t = table(tmp_path, "smiles,label,,\nCCO,1\nCCN,0,,,\n")
    assert t.frame.iloc[:, :2].to_numpy().tolist() == CELLS and not t.errors


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_text_with_a_byte_order_mark(tmp_path, encoding):
    t = table(tmp_path, "smiles,label,µ\nCCO,1,ä\nCCN,0,\n".encode(encoding))
    assert t.frame.to_numpy().tolist() == [["CCO", "1", "ä"], ["CCN", "0", ""]]
    assert ("UTF" in "".join(t.notes)) == (encoding != "utf-8-sig")


def test_header_cells_with_blanks_and_marks(tmp_path):
    t = table(tmp_path, '\ufeff\ufeff" smiles ",\xa0label\nCCO,1\nCCN,0\n')
    assert list(t.frame) == ["smiles", "label"] and t.frame.to_numpy().tolist() == CELLS


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_nul_bytes_and_line_ends(tmp_path, end):
    t = table(tmp_path, TEXT.replace("\n", end).replace("CCN", "C\0N"))
    assert t.frame.to_numpy().tolist() == [["CCO", "1"], ["C\0N", "0"]]


MALFORMED = {
    "too long": ("id,smiles,label\n1,C,1\n2,C,C,1\n3,CC,0\n", ["2", "C", "C"], "4 cells where"),
    "too short": ("id,smiles,label\n1,C,1\n2,C\n3,CC,0\n", ["2", "C", ""], "2 cells where"),
    "unclosed quote": (
        'id,smiles,label\n1,C,1\n2,"C,1\n3,CC,0\n',
        ["2", '"C', "1"],
        "quotation mark is not closed",
    ),
    "unclosed quote before a quoted cell": (
        'id,smiles,label\n1,C,1\n2,"C,1\n3,"CC",0\n',
        ["2", '"C', "1"],
        "quotation mark is not closed",
    ),
    "unclosed quote that swallows a row": (
        'id,smiles,label\n1,C,1\n2,"C,1\n3,CC,0\n"',
        ["2", '"C', "1"],
        "quotation mark is not closed",
    ),
    "text behind a quote": (
        'id,smiles,label\n1,C,1\n2,"C"x,1\n3,CC,0\n',
        ["2", '"C"x', "1"],
        "text follows",
    ),
    "huge cell": (
        f"id,smiles,label\n1,C,1\n2,{'C' * 140_000},1\n3,CC,0\n",
        ["2", "C" * 140_000, "1"],
        "more than 131,072 characters",
    ),
    "CXSMILES without quotation marks": (
        "id,smiles,label\n1,C,1\n2,C[C@@H](O)N |&1:1,4,r|,1\n3,CC,0\n",
        ["2", "C[C@@H](O)N |&1:1", "4"],
        "CXSMILES extension (|...|) may hold commas",
    ),
}


@pytest.mark.parametrize("content, cells, words", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_row_is_the_error_of_that_row_alone(tmp_path, content, cells, words):
    t = table(tmp_path, content, ("smiles", "label"))
    good = [["1", "C", "1"], ["3", "CC", "0"]]
    kept = t.frame.loc[[n for n in t.frame.index if n not in t.errors]]
    assert kept.iloc[:2].to_numpy().tolist() == good
    assert t.frame.loc[3].tolist() == cells and words in t.errors[3]
    assert list(t.frame.index) == sorted(t.frame.index)
    with pytest.raises(InputError, match="row 3"):
        read_frame(tmp_path / "in.csv", ["smiles"])


def test_malformed_rows_are_set_aside_in_training(tmp_path):
    content, _, words = MALFORMED["CXSMILES without quotation marks"]
    d = read_csv(
        write(tmp_path, content), smiles_columns=("smiles",), label_columns=("label",), task=Task()
    )
    assert d.rows.tolist() == [2, 4] and d.examples.labels.ravel().tolist() == [1, 0]
    assert [(r.row, r.value) for r in d.rejected] == [(3, "2,C[C@@H](O)N |&1:1,4")]
    assert words in d.rejected[0].reason


def test_a_cxsmiles_cell_says_what_to_do(tmp_path):
    content = 'smiles,label\nC,1\n"C[C@@H](O)N |&1:1,4,r|",1\n'
    d = read_csv(
        write(tmp_path, content), smiles_columns=("smiles",), label_columns=("label",), task=Task()
    )
    (rejected,) = d.rejected
    assert rejected.row == 3 and "write 'C[C@@H](O)N'" in rejected.reason


# ---- packing ---------------------------------------------------------------------------------

PACK = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda data: zipped({"folder/": b"", "folder/in.csv": data, "__MACOSX/in.csv": b"x"}),
}


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("named", [True, False])
def test_packed_files_are_told_by_their_bytes(tmp_path, kind, named):
    name = f"in.csv.{kind}" if named else "in.csv"
    t = table(tmp_path, PACK[kind](TEXT.encode()), name=name)
    assert t.frame.to_numpy().tolist() == CELLS
    assert ("zip archive" in "".join(t.notes)) == (kind == "zip")


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("cut", [1, 9, 40])
def test_damaged_packing_is_named(tmp_path, kind, cut):
    packed = PACK[kind](TEXT.encode() * 50)
    error = error_of(tmp_path, packed[: len(packed) - cut], name=f"in.csv.{kind}")
    assert error.remedy and ("damaged" in str(error) or "cannot be read" in str(error))


@pytest.mark.parametrize("kind", PACK)
def test_what_unpacks_beyond_the_limit_is_refused_before_it_is_unpacked(
    tmp_path, kind, monkeypatch
):
    import tracemalloc

    packed = PACK[kind](b"smiles,label\n" + b"CCO,1\n" * 3_000_000)
    path = write(tmp_path, packed, f"in.csv.{kind}")
    monkeypatch.setenv("MOLREL_MAX_BYTES", "100000")
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read_table(path, ["smiles"])
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()
    assert f"{len(packed):,}" in str(caught.value) and "100,000" in str(caught.value)
    assert "MOLREL_MAX_BYTES" in caught.value.remedy


def test_the_limit_holds_for_plain_files_and_must_be_a_number(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLREL_MAX_BYTES", "20")
    assert "larger than 20 bytes" in str(error_of(tmp_path, TEXT))
    monkeypatch.setenv("MOLREL_MAX_BYTES", "2 GiB")
    with pytest.raises(InputError, match="'2 GiB'"):
        table(tmp_path, TEXT)


def test_a_zip_archive_holds_one_file(tmp_path):
    error = error_of(tmp_path, zipped({"a.csv": b"x", "b.csv": b"y"}), name="in.zip")
    assert "holds 2 files: a.csv, b.csv" in str(error)
    assert "holds 0 files" in str(error_of(tmp_path, zipped({}), name="in.zip"))


# ---- what a file is that is no table ---------------------------------------------------------


def tarred() -> bytes:
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode="w") as archive:
        about = tarfile.TarInfo("in.csv")
        about.size = len(TEXT)
        archive.addfile(about, io.BytesIO(TEXT.encode()))
    return kept.getvalue()


NO_TABLE = {
    "PDF": b"%PDF-1.7\n%\xe2\xe3\n",
    "pickle": pickle.dumps(pd.DataFrame({"smiles": ["C"]})),
    "old Excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100,
    "zstd": b"\x28\xb5\x2f\xfd\x04\x00",
    "HDF5": b"\x89HDF\r\n\x1a\n",
    "NumPy": b"\x93NUMPY\x01\x00",
    "SQLite": b"SQLite format 3\0",
    "picture": b"\x89PNG\r\n\x1a\n",
    "web page": b"\n<!DOCTYPE html><html>",
    "JSON": b'[{"smiles": "C"}]',
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
    "tar": gzip.compress(tarred()),
    "archive": gzip.compress(zipped({"a": b"b"})),
}


@pytest.mark.parametrize("word, content", NO_TABLE.items(), ids=NO_TABLE.keys())
def test_a_file_that_is_no_table_is_named_for_what_it_is(tmp_path, word, content):
    error = error_of(tmp_path, content, name="in.csv")
    assert word.lower() in error.problem.lower() and error.remedy


def test_a_mistyped_path_names_files_like_it(tmp_path):
    write(tmp_path, TEXT, "pairs.tsv")
    with pytest.raises(InputError, match="no such file. Did you mean 'pairs.tsv'"):
        read_table(tmp_path / "pair.tsv", ["smiles"])
    with pytest.raises(InputError, match="no such file. Files there: pairs.tsv"):
        read_table(tmp_path / "zzz", ["smiles"])
    with pytest.raises(InputError, match="There is no folder"):
        read_table(tmp_path / "none" / "pairs.tsv", ["smiles"])


def test_a_dash_reads_standard_input():
    code = (
        "from molrel.data.formats import read_table;"
        "t = read_table('-', ['smiles']);"
        "print(t.frame.to_numpy().tolist())"
    )
    for data in (TEXT.encode(), gzip.compress(TEXT.encode())):
        done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True)
        assert done.stdout.decode().strip() == str(CELLS), done.stderr.decode()
    done = subprocess.run([sys.executable, "-c", code], input=b"", capture_output=True)
    assert b"InputError: standard input: the file is empty" in done.stderr


# ---- chemists' formats -----------------------------------------------------------------------


def sd_file() -> str:
    kept = io.StringIO()
    with Chem.SDWriter(kept) as writer:
        for smiles, name, value in (("CCO", "first", "1"), ("c1ccccc1", "", "0")):
            molecule = Chem.MolFromSmiles(smiles)
            molecule.SetProp("_Name", name)
            molecule.SetProp("label", value)
            molecule.SetProp("note", "two\nlines" if name else "")
            writer.write(molecule)
    return kept.getvalue()


@pytest.mark.parametrize("pack", [str.encode, lambda t: gzip.compress(t.encode())])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_sd_files_give_structures_names_and_properties(tmp_path, pack, end):
    t = table(tmp_path, pack(sd_file().replace("\n", end)), name="in.sdf.gz")
    assert list(t.frame) == ["smiles", "name", "label", "note"]
    assert t.frame.to_numpy().tolist() == [
        ["CCO", "first", "1", "two\nlines"],
        ["c1ccccc1", "", "0", ""],
    ]
    assert t.frame.index.tolist() == [1, 2] and "SD file" in t.notes[0]


def test_a_bad_structure_is_the_error_of_its_record(tmp_path):
    first, second, _ = sd_file().split("$$$$\n")
    bad = first.replace("  3  2  0", "  9  2  0", 1)
    assert bad != first
    t = table(tmp_path, "$$$$\n".join([second, bad, second, ""]), name="in.sdf")
    assert t.frame["smiles"].tolist() == ["c1ccccc1", "", "c1ccccc1"]
    assert t.frame["label"].tolist() == ["0", "1", "0"]
    assert list(t.errors) == [2] and "structure cannot be read" in t.errors[2]


def test_smiles_files_have_no_header(tmp_path):
    content = "CCO ethanol\nCCN\tethyl amine\n\nC\nCC |^1:0| radical\n"
    t = table(tmp_path, content, ("mol",), name="in.smi")
    assert list(t.frame) == ["mol", "name"]
    assert t.frame.to_numpy().tolist() == [
        ["CCO", "ethanol"],
        ["CCN", "ethyl amine"],
        ["C", ""],
        ["CC |^1:0|", "radical"],
    ]
    assert t.frame.index.tolist() == [1, 2, 4, 5] and "SMILES file" in t.notes[0]
    headed = table(tmp_path, "smiles\tlabel\nCCO\t1\nCCN\t0\n", name="in.smi")
    assert headed.frame.to_numpy().tolist() == CELLS


# ---- formats that need another package -------------------------------------------------------


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


MINIMAL_XLSX = {
    "[Content_Types].xml": b"<Types/>",
    "xl/workbook.xml": b"<workbook/>",
    "xl/worksheets/sheet1.xml": b"<worksheet/>",
}


@pytest.mark.skipif(installed("openpyxl"), reason="openpyxl is installed")
def test_excel_without_its_package_says_what_to_install(tmp_path):
    error = error_of(tmp_path, zipped(MINIMAL_XLSX), name="in.xlsx")
    assert "Excel file" in error.problem and "pip install openpyxl" in error.remedy


@pytest.mark.skipif(installed("pyarrow"), reason="pyarrow is installed")
def test_parquet_without_its_package_says_what_to_install(tmp_path):
    error = error_of(tmp_path, b"PAR1" + b"\0" * 20 + b"PAR1", name="in.parquet")
    assert "Parquet file" in error.problem and "pip install pyarrow" in error.remedy


FRAME = pd.DataFrame(
    {"smiles": ["CCO", "CCN", None], "label": [1.0, 0.0, np.nan], "x": [1.5, 2.0, 1e20]}
)
FRAME_CELLS = [["CCO", "1", "1.5"], ["CCN", "0", "2"], ["", "", "1e+20"]]


@pytest.mark.skipif(not installed("openpyxl"), reason="needs openpyxl")
def test_excel_files_give_the_first_sheet(tmp_path):
    with pd.ExcelWriter(tmp_path / "in.xlsx") as writer:
        FRAME.to_excel(writer, sheet_name="data", index=False, startrow=1)
        FRAME.to_excel(writer, sheet_name="other", index=False)
    t = read_table(tmp_path / "in.xlsx", ["smiles", "label"])
    assert t.frame.to_numpy().tolist()[:2] == FRAME_CELLS[:2]
    assert t.frame.index.tolist() == [3, 4, 5] and "'data', one of 2" in t.notes[0]
    error = error_of(tmp_path, zipped(MINIMAL_XLSX), name="damaged.xlsx")
    assert "Excel file that cannot be read" in str(error)


@pytest.mark.skipif(not installed("pyarrow"), reason="needs pyarrow")
def test_parquet_files(tmp_path, monkeypatch):
    FRAME.to_parquet(tmp_path / "in.parquet")
    t = read_table(tmp_path / "in.parquet", ["smiles", "label"])
    assert t.frame.to_numpy().tolist() == FRAME_CELLS and t.frame.index.tolist() == [2, 3, 4]
    content = (tmp_path / "in.parquet").read_bytes()
    assert "damaged" in str(error_of(tmp_path, content[:-20] + b"\0" * 20, name="x.parquet"))
    pd.DataFrame({"smiles": np.arange(200_000).astype(str)}).to_parquet(tmp_path / "big.parquet")
    monkeypatch.setenv("MOLREL_MAX_BYTES", str((tmp_path / "big.parquet").stat().st_size))
    with pytest.raises(InputError, match="unpacks to"):
        read_table(tmp_path / "big.parquet", ["smiles"])


# ---- anything --------------------------------------------------------------------------------

START = st.sampled_from(
    [
        *(b"", b"a,b\n", b"a;b\nC;C\n", b"#a\tb\n", b'a,"b"\n"C', b'a,b\nC,C\nx,"'),
        *(b"\x1f\x8b\x08\x00", b"BZh91AY&SY", b"\xfd7zXZ\x00", b"PK\x03\x04", b"PAR1"),
        *(b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\n\n\n  0  0  0 V2000\n", b"M  END\n$$$$\n"),
        *(gzip.compress(b"a,b\nC,C\n")[:-4], zipped({"x.csv": b"a,b\nC,C\n"})[:-30]),
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.tuples(START, st.binary(max_size=60)).map(b"".join),
        st.tuples(START, st.text('aCb,;"\n\r\t|# 1', max_size=60).map(str.encode)).map(b"".join),
    ),
    st.sampled_from(["in.csv", "in.smi", "in.sdf", "in.zip"]),
)
@example(b'a,b\n"' + b'"\n' * 2000 + b"C,C\n", "in.csv")
@example(b"a,b\nC,C\n" + b'x,"\ny""\n' * 500, "in.csv")
def test_any_bytes_give_rows_in_order_or_an_input_error(tmp_path, content, name):
    path = write(tmp_path, content, name)
    for columns in (["a", "b"], ["a"]):
        try:
            t = read_table(path, columns)
        except InputError as error:
            assert str(error) and "\n" not in str(error)
        else:
            assert all(isinstance(cell, str) for cell in t.frame.to_numpy().ravel())
            assert t.frame.index.is_monotonic_increasing and t.frame.index.is_unique
            assert len(t.errors) < len(t.frame) and set(t.errors) <= set(t.frame.index)
