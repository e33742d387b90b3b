"""Reading CSV files of molecules: one clear error for a broken file, and a list of the rows
that were set aside for a bad molecule."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from molrel.chem.smiles import MoleculeError, canonical_smiles
from molrel.data.types import Bag, Dataset, Examples, Rejection, Task
from molrel.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
BLANK = ([], [""])  # cells of a line that holds nothing, or blanks
MISSING_LABELS = ("", "nan", "na", "n/a", "null", "none")


def read_csv(
    path: str | Path,
    *,
    smiles_columns: Sequence[str],
    label_columns: Sequence[str] = (),
    task: Task,
    max_atoms: int = 100,
) -> Dataset:
    """Reads a CSV file (UTF-8, optionally gzipped) of molecules and labels.

    A row with a molecule that is missing, unreadable or too large is set aside in
    ``rejected``. A label cell that is empty (or nan, na, n/a, null, none) is missing: NaN.
    A label of the wrong kind is an error, because it means a wrong column.

    Args:
      path: the file.
      smiles_columns: one column a side; each cell holds one molecule.
      label_columns: one column a target; without any, all labels are NaN.
      task: kind, units and symmetry; targets are named after ``label_columns``.
      max_atoms: molecules with more heavy atoms are set aside.

    Raises:
      InputError: no such file, not UTF-8, no header, no rows, a column missing or twice, a
        row of the wrong length, a label of the wrong kind, or no usable row.
    """
    if label_columns:
        fitting = len(task.units) == len(label_columns)
        units = task.units if fitting else ("",) * len(label_columns)
        task = replace(task, targets=tuple(label_columns), units=units)
    frame = read_frame(path, [*smiles_columns, *label_columns])
    labels = np.full((len(frame), len(task.targets)), np.nan, np.float32)
    for i, column in enumerate(label_columns):
        labels[:, i] = _labels(pd.Series(frame[column]), task, path)
    return assemble(
        str(path),
        task,
        frame[list(smiles_columns)].to_numpy(object),
        labels,
        rows=frame.index.to_numpy(np.int64),
        columns=smiles_columns,
        path=path,
        max_atoms=max_atoms,
    )


def read_frame(path: str | Path, columns: Sequence[str]) -> pd.DataFrame:
    """All cells of a CSV file as text without surrounding blanks ("" where empty).

    The index is the 1-based row of the file (the header is row 1, and a quoted line break
    does not start a row); blank lines are left out.

    Args:
      path: a .csv or .csv.gz file in UTF-8, with or without byte order mark.
      columns: names that must stand in the header, once each.

    Raises:
      InputError: see ``read_csv``.
    """
    header, rows, records = _records(_decode(_read_bytes(path), path), path)
    _check_header(header, columns, path)
    return pd.DataFrame(records, index=pd.Index(rows), columns=header, dtype=object)


def _read_bytes(path: str | Path) -> bytes:
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot read the file: {reason}", path=path) from error
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"the gzip file is damaged: {error}", path=path, remedy="Get or pack it again"
        ) from error


def _decode(content: bytes, path: str | Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # error.start counts from behind a byte order mark.
        start = error.start + len(content) - len(error.object)
        raise InputError(
            f"byte {start} (0x{content[start]:02x}) is not UTF-8",
            path=path,
            row=content.count(b"\n", 0, start) + 1,
            remedy="Save the file as UTF-8",
        ) from error


def _records(text: str, path: str | Path) -> tuple[list[str], list[int], list[list[str]]]:
    """Header, row numbers and cells; every record has as many cells as the header."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[int] = []
    records: list[list[str]] = []
    row = 0
    try:
        for row, cells in enumerate(reader, 1):
            rows.append(row)
            records.append([cell.strip() for cell in cells])
    except csv.Error as error:
        raise InputError(
            f"not a CSV file: {error}",
            path=path,
            row=row + 1,
            remedy="Check the quotation marks",
        ) from error
    while records and records[-1] in BLANK:
        records.pop()
        rows.pop()
    if not any(any(r) for r in records):
        raise InputError("the file is empty", path=path, remedy="Give a header and rows")
    while records[0] in BLANK:
        records.pop(0)
        rows.pop(0)
    header = records[0]
    # In a file of one column a blank line is an empty cell.
    body = [
        (r, c or [""])
        for r, c in zip(rows[1:], records[1:], strict=True)
        if c not in BLANK or len(header) == 1
    ]
    wrong = [(r, len(c)) for r, c in body if len(c) != len(header)]
    if wrong:
        raise InputError(
            f"{wrong[0][1]} cells where the header has {len(header)}"
            + (f" ({len(wrong)} such rows)" if len(wrong) > 1 else ""),
            path=path,
            row=wrong[0][0],
            remedy="Put cells that contain a comma in quotation marks",
        )
    if not body:
        raise InputError("the file has a header but no rows", path=path)
    return header, [r for r, _ in body], [c for _, c in body]


def _check_header(header: Sequence[str], columns: Iterable[str], path: str | Path) -> None:
    columns = list(dict.fromkeys(columns))
    missing = [c for c in columns if c not in header]
    if missing:
        others = {name.lower(): name for name in header if name not in columns}
        near = difflib.get_close_matches(missing[0].lower(), others, n=1, cutoff=0.5)
        remedy = f"Did you mean {others[near[0]]!r}?" if near else "Name the columns to read"
        if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
            remedy = "The file seems to be separated by something else than commas"
        raise InputError(
            f"no column {', '.join(map(repr, missing))}; found "
            + ", ".join(repr(c[:40]) for c in header[:20])
            + (f" and {len(header) - 20} more" if len(header) > 20 else ""),
            path=path,
            row=1,
            column=missing[0],
            remedy=remedy,
        )
    for column in columns:
        if list(header).count(column) > 1:
            raise InputError(
                f"the header names it {list(header).count(column)} times",
                path=path,
                row=1,
                column=column,
                remedy="Rename all but one",
            )


def _labels(cells: pd.Series, task: Task, path: str | Path) -> np.ndarray:
    """float32 [N], NaN where the cell is empty."""
    missing = np.asarray(cells.str.lower().isin(MISSING_LABELS))
    numbers = np.asarray(pd.to_numeric(cells, errors="coerce"), np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        values = numbers.astype(np.float32)
        if task.kind in ("binary", "multilabel"):
            good, wanted = np.isin(numbers, (0, 1)), "0 or 1"
        elif task.kind == "multiclass":
            # Above 2^24 float32 no longer tells neighbouring classes apart.
            good = (numbers >= 0) & (numbers == np.floor(numbers)) & (numbers < 2**24)
            wanted = "a class number 0, 1, 2, ..."
        else:
            good, wanted = np.isfinite(values), "a finite number"
    wrong = np.flatnonzero(~good & ~missing)
    if len(wrong):
        more = f" ({len(wrong)} such rows)" if len(wrong) > 1 else ""
        raise InputError(
            f"label {str(cells.iloc[wrong[0]])[:40]!r} is not {wanted}{more}",
            path=path,
            row=int(cells.index[wrong[0]]),
            column=str(cells.name),
            remedy="Is this the label column? Leave unknown labels empty"
            + ("; for measured values set data.kind to regression" * (task.kind == "binary")),
        )
    return np.where(missing, np.float32(np.nan), values)


@dataclass(frozen=True)
class ParsedColumn:
    """Molecules behind text cells, each different text parsed once.

    Attributes:
      molecules: canonical SMILES of the M unique molecules, in order of first appearance.
      ids: int32, of the shape of the cells, index into ``molecules``; -1 where unusable.
      reasons: why the text of an unusable cell is unusable.
    """

    molecules: tuple[str, ...]
    ids: np.ndarray
    reasons: dict[str, str]


def parse_cells(cells: np.ndarray, max_atoms: int = 100) -> ParsedColumn:
    """Parses an array of SMILES text (object, any shape)."""
    codes, texts = pd.factorize(cells.ravel())
    known: dict[str, int] = {}
    reasons: dict[str, str] = {}
    of_text = np.full(len(texts), -1, np.int32)
    for i, text in enumerate(texts):
        try:
            if not text:
                raise MoleculeError("the cell is empty")
            of_text[i] = known.setdefault(canonical_smiles(text, max_atoms), len(known))
        except MoleculeError as error:
            reasons[text] = str(error)
    return ParsedColumn(tuple(known), of_text[codes].reshape(cells.shape), reasons)


def unusable(
    parsed: ParsedColumn,
    cells: np.ndarray,
    *,
    rows: np.ndarray,
    columns: Sequence[str],
    path: str | Path,
) -> tuple[Rejection, ...]:
    """One rejection, of the first bad cell, for each row with an unusable cell (object [N, S])."""
    bad = parsed.ids < 0
    first = bad.argmax(axis=1)
    return tuple(
        Rejection(str(path), int(rows[n]), columns[int(first[n])], cell, parsed.reasons[cell])
        for n in np.flatnonzero(bad.any(axis=1))
        for cell in [cells[n, first[n]]]
    )


def assemble(
    name: str,
    task: Task,
    cells: np.ndarray,
    labels: np.ndarray,
    *,
    rows: np.ndarray,
    columns: Sequence[str],
    path: str | Path,
    max_atoms: int = 100,
    note: str = "",
) -> Dataset:
    """Builds a data set of one molecule a side, setting unusable rows aside.

    Args:
      name: of the data set.
      task: what is predicted.
      cells: object [N, S], SMILES text.
      labels: float32 [N, T].
      rows: int64 [N], row numbers for messages.
      columns: S names for messages.
      path: file for messages.
      max_atoms: larger molecules are set aside.
      note: of the data set.

    Raises:
      InputError: no row is usable.
    """
    parsed = parse_cells(cells, max_atoms)
    bad = parsed.ids < 0
    rejected = unusable(parsed, cells, rows=rows, columns=columns, path=path)
    if len(rejected) == len(cells):
        where = rejected[0]
        raise InputError(
            f"none of the {len(cells)} rows can be used; the first: {where.reason}",
            path=path,
            row=where.row,
            column=where.column,
            remedy="Check that this column holds SMILES",
        )
    # Rejected rows may have mentioned molecules that no example is left for.
    used = parsed.ids[~bad.any(axis=1)]
    present = np.unique(used)
    ids = np.searchsorted(present, used)
    good = ~bad.any(axis=1)
    return Dataset(
        name=name,
        task=task,
        molecules=tuple(parsed.molecules[m] for m in present),
        examples=Examples(
            sides=tuple(Bag.singles(ids[:, s]) for s in range(cells.shape[1])),
            labels=labels[good],
            domain=np.zeros(len(used), np.int32),
            weight=np.ones(len(used), np.float32),
        ),
        rows=rows[good],
        rejected=rejected,
        note=note,
    )


def write_rejected(path: str | Path, rejections: Iterable[Rejection]) -> None:
    """Writes the rows that were set aside as CSV: path, row, column, value, reason."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "row", "column", "value", "reason"])
        writer.writerows([r.path, r.row, r.column, r.value, r.reason] for r in rejections)
