"""Text of separated values -> header and rows; a malformed row is that row's error.

``formats`` knows which files are of this kind.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from molrel.errors import InputError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
TITLE_LINES = 20
"""So many lines are searched for the header."""


class Rows(NamedTuple):
    """A header and what stands below it.

    Attributes:
      header: names of the columns.
      numbers: row number of each record (an unquoted line, or lines joined by a quoted line
        break, count as one row; the first row of the file is 1).
      records: cells, as many as the header has, without surrounding blanks.
      errors: row number -> what is wrong with a malformed row, of which ``records`` has the
        cells that fit under the header.
      notes: sentences that say what was assumed.
      separator: between the cells.
      header_row: row number of the header.
    """

    header: list[str]
    numbers: list[int]
    records: list[list[str]]
    errors: dict[int, str]
    notes: tuple[str, ...] = ()
    separator: str = ","
    header_row: int = 1


class _Header(NamedTuple):
    cells: list[str]
    line: int  # it begins at
    body: int  # first line below it, and below all comments
    separator: str
    extra: int  # lines that it takes beyond the first


def read_delimited(text: str, columns: Sequence[str], path: str) -> Rows:
    """Reads comma-, semicolon-, tab- or bar-separated values.

    The separator is the one that makes the header hold the wanted columns. Lines above the
    header that begin with # are comments (the header itself may begin with #), and a line
    ``sep=;`` is left out.

    Args:
      text: of the file.
      columns: names that the header must hold.
      path: for messages.

    Raises:
      InputError: empty, or an unreadable header. A header without the columns is returned:
        ``check_header`` says what is missing.
    """
    lines = list(io.StringIO(text, newline=""))
    header = _find_header(lines, columns, path)
    numbers, records, errors, cut = [], [], {}, 0
    # In a file of one column a blank line is an empty cell.
    blank = () if len(header.cells) == 1 else ([], [""])
    found = list(_records(lines, header.body, header.separator, len(header.cells)))
    while found and found[-1][0] in ([], [""]):
        found.pop()
    for number, (cells, problem) in enumerate(found, header.body + 1 - header.extra):
        if cells in blank and not problem:
            continue
        fitting, misfit = fit(cells or [""], header.cells, header.separator)
        cut += not (problem or misfit) and len(cells) > len(header.cells)
        numbers.append(number)
        records.append(fitting)
        if problem or misfit:
            errors[number] = problem or misfit
    notes = []
    if header.separator != ",":
        notes.append(f"Its columns are separated by {SEPARATORS[header.separator]}.")
    above = sum(bool(line.strip()) for line in lines[: header.line])
    if above:
        notes.append(f"{above} line{'s' * (above > 1)} above the header left out.")
    if cut:
        notes.append(f"Empty cells behind the last column left out of {cut:,} rows.")
    return Rows(
        header.cells,
        numbers,
        records,
        errors,
        tuple(notes),
        header.separator,
        header.line + 1,
    )


def check_rows(rows: Rows, path: str) -> None:
    """Raises InputError unless there is a well-formed row."""
    if not rows.records:
        raise InputError("the file has a header but no rows", path=path)
    if len(rows.errors) == len(rows.records):
        first = rows.numbers[0]
        more = f" ({len(rows.errors):,} such rows, which are all)" if len(rows.errors) > 1 else ""
        remedy = "Check the quotation marks" if "quotation" in rows.errors[first] else None
        if "header has" in rows.errors[first]:
            remedy = "Give the header one name for each column"
        raise InputError(rows.errors[first] + more, path=path, row=first, remedy=remedy)


def fit(cells: Sequence[str], header: Sequence[str], separator: str) -> tuple[list[str], str]:
    """(as many cells as the header has, what is wrong with them or "").

    Empty cells behind the last column, and none under header cells without a name, are right.
    """
    n, width = len(cells), len(header)
    wrong = any(cells[width:]) if n > width else any(header[n:])
    fitting = [*cells[:width], *[""] * (width - n)]
    if not wrong:
        return fitting, ""
    problem = f"{n} cells where the header has {width}"
    if n > width and separator == "," and sum(c.count("|") for c in cells) >= 2:
        problem += (
            "; a CXSMILES extension (|...|) may hold commas: delete it, or put the cell in "
            "quotation marks"
        )
    elif n > width:
        named = SEPARATORS.get(separator, "separators")[:-1]
        problem += f"; put a cell that contains a {named} in quotation marks"
    return fitting, problem


def _find_header(lines: list[str], columns: Sequence[str], path: str) -> _Header:
    """The line that names the columns: the first that is no comment, else a comment above it,
    else one of those below it (a table may have a title). If none does, the first."""
    start = 0
    while start < len(lines) and not lines[start].strip("\ufeff \r\n\t,;|\f\v\xa0"):
        start += 1
    if start < len(lines) and lines[start].strip().lower() in ("sep=,", "sep=;", "sep=", "sep=|"):
        start += 1
    first = start
    while first < len(lines) and _is_comment(lines[first]):
        first += 1
    if first == len(lines):  # a header that begins with #, and nothing below it
        first = start
    if first == len(lines):
        raise InputError("the file is empty", path=path, remedy="Give a header and rows")
    below = range(first + 1, min(first + TITLE_LINES, len(lines)))
    for i in (first, *range(first - 1, start - 1, -1), *below):
        for separator in SEPARATORS:
            reading = _header_at(lines, i, separator)
            if reading is None:
                continue
            if columns and set(columns) <= set(reading.cells):
                return reading._replace(body=max(first, reading.body))
            bare = [reading.cells[0].lstrip("#").strip(), *reading.cells[1:]]
            if columns and _is_comment(lines[i]) and set(columns) <= set(bare):
                return reading._replace(body=max(first, reading.body), cells=bare)
    attempts = [_header_at(lines, first, separator) for separator in SEPARATORS]
    readings = [reading for reading in attempts if reading is not None]
    if None in attempts and all(len(reading.cells) == 1 for reading in readings):
        raise InputError(
            "the header has a quotation mark that is not closed, or text behind a closing one",
            path=path,
            row=first + 1,
            remedy="Check the quotation marks",
        )
    # Of the separators that do not help, the one that divides most; commas where that is equal.
    return max(readings, key=lambda r: (len(set(columns) & set(r.cells)), len(r.cells)))


def _header_at(lines: list[str], i: int, separator: str) -> _Header | None:
    """The record that begins at line i, read as a header; None if malformed."""
    cells, n_lines = _one_record(lines, i, separator)
    return None if not cells else _Header(cells, i, i + n_lines, separator, n_lines - 1)


def _is_comment(line: str) -> bool:
    return line.lstrip("\ufeff \t").startswith("#") or not line.strip()


def _one_record(lines: list[str], i: int, separator: str) -> tuple[list[str] | None, int]:
    """(cells of the record that begins at line i, lines that it takes); None if malformed."""
    reader = csv.reader(
        map(lines.__getitem__, range(i, len(lines))), delimiter=separator, strict=True
    )
    try:
        cells = next(reader, [])
    except csv.Error:
        return None, 1
    return [cell.strip("\ufeff").strip() for cell in cells], reader.line_num


def _records(
    lines: list[str], start: int, separator: str, width: int
) -> Iterator[tuple[list[str], str]]:
    """(cells, what is wrong or "") of each record.

    Where the reader fails, only the line that the record began on is lost: reading goes on
    at the next one, so that a quotation mark that is never closed costs one row.
    """
    while start < len(lines):
        reader = csv.reader(
            map(lines.__getitem__, range(start, len(lines))), delimiter=separator, strict=True
        )
        here = start
        try:
            for cells in reader:
                end = start + reader.line_num
                if end > here + 1 and len(cells) != width:
                    following, _ = _one_record(lines, here + 1, separator)
                    if following is not None and len(following) == width:
                        raise csv.Error("unexpected end of data")  # the mark swallowed a row
                yield [cell.strip() for cell in cells], ""
                here = end
            return
        except csv.Error as error:
            spans = start + reader.line_num > here + 1
            yield [c.strip() for c in lines[here].split(separator)], _reason(str(error), spans)
            start = here + 1


def _reason(error: str, spans: bool) -> str:
    """What is wrong with a row that the csv module refuses."""
    if spans or "end of data" in error:
        return "a quotation mark is not closed"
    if "limit" in error:
        return f"a cell has more than {csv.field_size_limit():,} characters"
    if "expected after" in error:
        return "text follows a closing quotation mark; write a quotation mark inside a cell as two"
    return f"not a row of a CSV file ({error})"


def check_header(rows: Rows, columns: Sequence[str], optional: Sequence[str], path: str) -> None:
    """Raises InputError unless the header has each of the columns once, and the optional ones
    at most once."""
    header = rows.header
    columns = list(dict.fromkeys(columns))
    missing = [c for c in columns if c not in header]
    if missing:
        others = {name.lower(): name for name in header if name not in columns}
        near = difflib.get_close_matches(missing[0].lower(), others, n=1, cutoff=0.5)
        remedy = f"Did you mean {others[near[0]]!r}?" if near else "Name the columns to read"
        if len(header) == 1 and set(columns) <= set(header[0].split()):
            remedy = "The columns seem to be separated by blanks; separate them by commas or tabs"
        elif len(header) == 1 and set(columns) <= set(header[0].replace(":", " ").split()):
            remedy = "The columns seem to be separated by colons; separate them by commas or tabs"
        raise InputError(
            f"no column {', '.join(map(repr, missing))}; found "
            + ", ".join(repr(c[:40]) for c in header[:20])
            + (f" and {len(header) - 20} more" if len(header) > 20 else ""),
            path=path,
            row=rows.header_row,
            column=missing[0],
            remedy=remedy,
        )
    for column in (*columns, *optional):
        if header.count(column) > 1:
            raise InputError(
                f"the header names it {header.count(column)} times",
                path=path,
                row=rows.header_row,
                column=column,
                remedy="Rename all but one",
            )
