"""A user's file of any known format -> a table of text cells with row numbers.

What the cells mean, molecules or labels, is no matter of this module.
"""

from __future__ import annotations

import codecs
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from molrel.chem.molfile import smiles_of_block
from molrel.chem.smiles import MoleculeError
from molrel.data.delimited import Rows, check_header, check_rows, fit, read_delimited
from molrel.data.unpack import PACKED, ZIP, max_bytes, read_content, shown
from molrel.errors import InputError

SMILES_SUFFIXES = (".smi", ".smiles", ".ism")
SUFFIXES = (
    *(".csv", ".tsv", ".txt", ".tab", ".sdf", ".sd", ".mol", ".parquet", ".pq", ".xlsx"),
    *SMILES_SUFFIXES,
    *PACKED,
)
"""Of names that mean a file even where there is none of that name."""

# UTF-32 first: its mark of little-endian text begins like that of UTF-16.
_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Attributes:
      frame: text without surrounding blanks, "" where empty; the index is the row number.
      errors: row number -> what is wrong with a malformed row, which keeps its place and the
        cells that fit under the header.
      notes: sentences that say what was assumed in reading.
      separator: between the cells; "" where the format has none.
    """

    frame: pd.DataFrame
    errors: Mapping[int, str]
    notes: tuple[str, ...] = ()
    separator: str = ","


def read_table(path: str | Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """Reads a table in the format that its content is in.

    - Separated values (commas, semicolons, tabs or vertical bars; UTF-8, or UTF-16 with its
      mark), see ``delimited``. Rows are numbered from 1, which is the header where nothing
      stands above it; a quoted line break does not start a row, blank lines are left out.
    - SD files (``.sdf``): column ``smiles`` made of the structures, ``name``, and the
      properties. A row is a record, from 1.
    - SMILES files (``.smi``): no header, a SMILES and a name a line; the first column has the
      name that is asked for where only one is. A row is a line.
    - Excel files (``.xlsx``, the first sheet; needs openpyxl) and Parquet files (needs
      pyarrow), whose first record is row 2, as below a header.

    Any of them may be packed with gzip, bzip2, xz or zip.

    Args:
      path: the file; "-" reads standard input.
      columns: names that the header must hold, once each.
      optional: names that it may hold, at most once each.

    Raises:
      InputError: the file cannot be read (see ``unpack``), is empty, lacks a column, or has no
        well-formed row.
    """
    name = shown(path)
    content = read_content(path)
    notes = list(content.notes)
    if content.data.startswith(ZIP):
        rows = _excel(content.data, name)
    elif content.data.startswith(b"PAR1"):
        rows = _parquet(content.data, name)
    else:
        text, encoding = _decode(content.data, name)
        notes += [encoding] if encoding else []
        rows = _text_rows(text, content.name, columns, name)
    check_header(rows, columns, optional, name)
    check_rows(rows, name)
    frame = pd.DataFrame(
        rows.records, index=pd.Index(rows.numbers), columns=rows.header, dtype=object
    )
    return Table(frame, rows.errors, (*notes, *rows.notes), rows.separator)


def read_frame(path: str | Path, columns: Sequence[str]) -> pd.DataFrame:
    """``read_table(path, columns).frame`` of a file in which every row is well formed.

    Raises:
      InputError: as ``read_table``; also a malformed row.
    """
    table = read_table(path, columns)
    if table.errors:
        row, problem = next(iter(table.errors.items()))
        more = f" ({len(table.errors)} such rows)" if len(table.errors) > 1 else ""
        raise InputError(problem + more, path=shown(path), row=row)
    return table.frame


def _decode(content: bytes, path: str) -> tuple[str, str]:
    """(text, note on its encoding)."""
    for mark, encoding in _ENCODINGS:
        if content.startswith(mark):
            try:
                return content.decode(encoding), f"Its text is {encoding.upper()}."
            except UnicodeDecodeError as error:
                raise InputError(
                    f"begins like {encoding.upper()} text but is none: {error.reason}",
                    path=path,
                    remedy="Save the file as UTF-8",
                ) from error
    if len(content) > 1 and 0 in content[:2] and content[:200].count(0) * 3 >= len(content[:200]):
        raise InputError(
            "seems to be UTF-16 text without a byte order mark, or no text",
            path=path,
            remedy="Save the file as UTF-8",
        )
    try:
        # Files that were joined may begin with several marks.
        return content.decode("utf-8-sig").lstrip("\ufeff"), ""
    except UnicodeDecodeError as error:
        # error.start counts from behind a byte order mark.
        start = error.start + len(content) - len(error.object)
        raise InputError(
            f"byte {start} (0x{content[start]:02x}) is not UTF-8",
            path=path,
            row=content.count(b"\n", 0, start) + 1,
            remedy="Save the file as UTF-8",
        ) from error


def _text_rows(text: str, name: str, columns: Sequence[str], path: str) -> Rows:
    first = text[:4096].splitlines()
    if len(first) > 3 and first[3].rstrip().endswith(("V2000", "V3000")):
        return _sd_rows(text)
    if Path(name).suffix.lower() in SMILES_SUFFIXES:
        header = first[0].replace(",", " ").split() if first else []
        if len(columns) == 1 and columns[0] not in header:
            return _smiles_rows(text, columns[0])
    return read_delimited(text, columns, path)


def _smiles_rows(text: str, column: str) -> Rows:
    """Lines of SMILES, white space, name; a CXSMILES extension stays with the SMILES."""
    lines = text.splitlines()
    numbers, records = [], []
    for number, line in enumerate(lines, 1):
        smiles, _, name = line.strip().partition("\t" if "\t" in line.strip() else " ")
        if number == 1 and smiles.lower() in ("smiles", "canonical_smiles"):
            continue
        name = name.strip()
        if name.startswith("|") and "|" in name[1:]:
            extension, _, name = name[1:].partition("|")
            smiles = f"{smiles} |{extension}|"
        if smiles and not smiles.startswith("#"):
            numbers.append(number)
            records.append([smiles.strip(), name.strip()])
    note = f"Read as a SMILES file: {column!r} is what begins each line, 'name' the rest of it."
    return Rows([column, "name"], numbers, records, {}, (note,), "")


def _sd_rows(text: str) -> Rows:
    """Records of an SD file: smiles, name and every property that some record has."""
    blocks = text.replace("\r\n", "\n").replace("\r", "\n").split("\n$$$$")
    records: list[dict[str, str]] = []
    errors: dict[int, str] = {}
    for block in blocks:
        if not block.strip():
            continue
        lines = block.removeprefix("\n").split("\n") if records else block.split("\n")
        end = next((i for i, line in enumerate(lines) if line.startswith("M  END")), len(lines))
        record = {"smiles": "", "name": lines[0].strip()}
        try:
            record["smiles"] = smiles_of_block("\n".join(lines[: end + 1]) + "\n")
        except MoleculeError as error:
            errors[len(records) + 1] = str(error)
        records.append(record | _properties(lines[end + 1 :]))
    header = list(dict.fromkeys(name for record in records for name in record))
    cells = [[record.get(name, "") for name in header] for record in records]
    note = "Read as an SD file: 'smiles' is made of the structures, a row is a record."
    return Rows(header, list(range(1, len(cells) + 1)), cells, errors, (note,), "")


def _properties(lines: Sequence[str]) -> dict[str, str]:
    """Data items of an SD record: a line ``> <NAME>``, then lines up to a blank one."""
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if line.startswith(">") and "<" in line and ">" in line[line.index("<") :]:
            name = line[line.index("<") + 1 : line.rindex(">")].strip()
            # The structure and the title keep their columns.
            name = f"{name} (property)" if name in ("smiles", "name") else name
            found[name] = ""
        elif not line.strip():
            name = ""
        elif name:
            found[name] = f"{found[name]}\n{line.strip()}".strip()
    return found


def _excel(content: bytes, path: str) -> Rows:
    try:
        with pd.ExcelFile(io.BytesIO(content), engine="openpyxl") as book:
            sheets = [str(name) for name in book.sheet_names]
            sheet = book.parse(header=None, na_filter=False, dtype=object)
    except ImportError as error:
        raise InputError(
            "is an Excel file, and openpyxl, which reads such files, is not installed",
            path=path,
            remedy="Run `pip install openpyxl`, or save the sheet as CSV",
        ) from error
    except Exception as error:  # openpyxl raises many kinds for a damaged file
        raise InputError(
            f"is an Excel file that cannot be read ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:100]})",
            path=path,
            remedy="Save the sheet as CSV",
        ) from error
    among = f", one of {len(sheets)}" if len(sheets) > 1 else ""
    note = f"Read from the sheet {sheets[0]!r}{among}."
    lines = [[_text(value) for value in row] for row in pd.DataFrame(sheet).to_numpy(object)]
    start = next((i for i, line in enumerate(lines) if any(line)), None)
    if start is None:
        raise InputError("the file is empty", path=path, remedy="Give a header and rows")
    header = lines[start]
    while not header[-1]:
        header = header[:-1]
    numbered = [(n, line) for n, line in enumerate(lines[start + 1 :], start + 2) if any(line)]
    fitted = [(n, *fit(line, header, "")) for n, line in numbered]
    return Rows(
        header,
        [n for n, _, _ in fitted],
        [cells for _, cells, _ in fitted],
        {n: problem for n, _, problem in fitted if problem},
        (note,),
        "",
        start + 1,
    )


def _parquet(content: bytes, path: str) -> Rows:
    try:
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            "is a Parquet file, and pyarrow, which reads such files, is not installed",
            path=path,
            remedy="Run `pip install pyarrow`, or save the table as CSV",
        ) from error
    try:
        about = parquet.read_metadata(io.BytesIO(content))
        size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        limit = max_bytes()
        if size > limit:
            raise InputError(
                f"the Parquet file unpacks to {size:,} bytes, and at most {limit:,} are read",
                path=path,
                remedy="Divide the table",
            )
        frame = parquet.read_table(io.BytesIO(content)).to_pandas(ignore_metadata=True)
    except InputError:
        raise
    except Exception as error:  # pyarrow raises many kinds for a damaged file
        raise InputError(
            f"the Parquet file is damaged: {' '.join(str(error).split())[:200]}",
            path=path,
            remedy="Save the table again, or as CSV",
        ) from error
    records = [[_text(value) for value in row] for row in frame.to_numpy(object)]
    numbers = list(range(2, len(records) + 2))
    header = [str(column).strip() for column in frame.columns]
    return Rows(header, numbers, records, {}, ("Read as a Parquet file.",), "")


def _text(value: object) -> str:
    """A cell of a typed table as text; whole numbers without a point."""
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < 1e15
        return "" if math.isnan(value) else str(int(value) if whole else value)
    return str(value).strip()
