"""Rows of a user's file -> a data set, and a list of the rows that were set aside."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molrel.data.cells import ParsedColumn, parse_cells
from molrel.data.formats import Table, read_table
from molrel.data.labels import Labels, Qualifiers, read_labels
from molrel.data.types import Bag, Dataset, Examples, Kind, Rejection, Task
from molrel.data.unpack import shown
from molrel.errors import InputError
from molrel.files import write_whole


def read_csv(
    path: str | Path,
    *,
    smiles_columns: Sequence[str],
    label_columns: Sequence[str] = (),
    task: Task,
    max_atoms: int = 100,
    unlabelled: bool = False,
    positive: str | None = None,
    qualifiers: Qualifiers = "set_aside",
    like: Task | None = None,
    split_column: str | None = None,
) -> Dataset:
    """Reads a file of molecules and labels: separated values, or see ``formats.read_table``.

    A row that is malformed, or has a molecule that is missing, unreadable or too large, or a
    label that is none (``labels.read_labels``), is set aside in ``rejected``. What was assumed
    in reading is said in ``note``.

    Args:
      path: the file.
      smiles_columns: one column a side; each cell holds one molecule.
      label_columns: one column a target; without any, all labels are NaN.
      task: kind, units and symmetry; targets are named after ``label_columns``.
      max_atoms: molecules with more heavy atoms are set aside.
      unlabelled: whether label columns may be missing; their labels are then NaN.
      positive, qualifiers, like: see ``labels.read_labels``.
      split_column: column of the parts, kept as text in ``Dataset.parts``.

    Raises:
      InputError: the file cannot be read, a column is missing or twice, most labels of a
        column are none, or no row is usable.
    """
    wanted = [*smiles_columns, *([] if unlabelled else label_columns)]
    wanted += [split_column] if split_column is not None else []
    return read_rows(
        read_table(path, wanted, label_columns),
        path,
        smiles_columns=smiles_columns,
        label_columns=label_columns,
        task=task,
        max_atoms=max_atoms,
        positive=positive,
        qualifiers=qualifiers,
        like=like,
        split_column=split_column,
    )


def from_frame(
    frame: pd.DataFrame,
    *,
    smiles: str | Sequence[str],
    labels: str | Sequence[str] = (),
    kind: Kind = "binary",
    symmetric: bool = True,
    name: str = "frame",
    max_atoms: int = 100,
    positive: str | None = None,
    like: Task | None = None,
) -> Dataset:
    """A data set from a DataFrame.

    Args:
      frame: one row an example; of its index nothing is read.
      smiles: columns of the molecules, one a side; a single name for single molecules.
      labels: columns of the labels; none for data to be adapted to or predicted.
      kind: of the labels: binary, multiclass, multilabel or regression.
      symmetric: whether the order of two molecules means nothing.
      name: of the data set, in messages and reports.
      max_atoms: molecules with more heavy atoms are set aside.
      positive: of binary labels in words, the one that is 1.
      like: task whose classes the words of the labels are.

    Returns:
      The data set; rows that cannot be used are in ``rejected``, numbered from 1.

    Raises:
      InputError: a column is missing, most labels are none, or no row is usable.
    """
    columns = [smiles] if isinstance(smiles, str) else list(smiles)
    targets = [labels] if isinstance(labels, str) else list(labels)
    return read_rows(
        frame_table(frame, [*columns, *targets], name),
        name,
        smiles_columns=columns,
        label_columns=targets,
        task=Task(kind, targets=tuple(map(str, targets)) or ("label",), symmetric=symmetric),
        max_atoms=max_atoms,
        positive=positive,
        like=like,
    )


def frame_table(frame: pd.DataFrame, columns: Sequence[str], name: str) -> Table:
    """Columns of a DataFrame as the rows of a file, numbered from 1.

    Raises:
      InputError: a column is missing, or there twice.
    """
    for column in columns:
        if list(frame.columns).count(column) != 1:
            raise InputError(
                "no such column, or more than one",
                path=name,
                column=str(column),
                remedy=f"Columns: {[str(c) for c in frame.columns][:20]}",
            )
    chosen = pd.DataFrame(frame[list(columns)])
    text = chosen.astype(object).where(chosen.notna(), "").map(_as_text)
    return Table(text.set_index(pd.RangeIndex(1, len(text) + 1)), {})


def _as_text(cell: Any) -> str:
    """A cell as a file would hold it: True as 1, and every digit of a number."""
    return str(int(cell)) if isinstance(cell, (bool, np.bool_)) else str(cell).strip()


def read_rows(
    table: Table,
    path: str | Path,
    *,
    smiles_columns: Sequence[str],
    label_columns: Sequence[str],
    task: Task,
    max_atoms: int,
    positive: str | None = None,
    qualifiers: Qualifiers = "set_aside",
    like: Task | None = None,
    split_column: str | None = None,
) -> Dataset:
    """The rows of a table as a data set; see ``read_csv``."""
    if label_columns:
        fitting = len(task.units) == len(label_columns)
        units = task.units if fitting else ("",) * len(label_columns)
        task = replace(task, targets=tuple(label_columns), units=units)
    frame, notes = table.frame, list(table.notes)
    labels = Labels(np.full((len(frame), len(task.targets)), np.nan), {}, task, ())
    if label_columns:
        well_formed = ~frame.index.isin(list(table.errors))
        labels = _labels(table, well_formed, label_columns, task, path, positive, qualifiers, like)
        notes += labels.notes
        absent = [c for c in label_columns if c not in frame]
        if absent:
            named = ", ".join(map(repr, absent))
            notes.append(f"Has no column {named}: scored, but not evaluated.")
    dataset = assemble(
        shown(path),
        labels.task,
        frame[list(smiles_columns)].to_numpy(object),
        labels.values,
        rows=frame.index.to_numpy(np.int64),
        columns=smiles_columns,
        path=path,
        max_atoms=max_atoms,
        note=" ".join(notes),
        aside=_aside(table, labels),
    )
    if split_column is None:
        return dataset
    return replace(dataset, parts=frame.loc[dataset.rows, split_column].to_numpy(object))


def _labels(
    table: Table,
    well_formed: np.ndarray,
    columns: Sequence[str],
    task: Task,
    path: str | Path,
    positive: str | None,
    qualifiers: Qualifiers,
    like: Task | None,
) -> Labels:
    """Labels of all rows; a malformed row has none."""
    found = read_labels(
        table.frame.loc[well_formed],
        columns,
        task,
        path=shown(path),
        separator=table.separator,
        positive=positive,
        qualifiers=qualifiers,
        like=like,
    )
    values = np.full((len(table.frame), len(columns)), np.nan)
    values[well_formed] = found.values
    place = np.flatnonzero(well_formed)
    return replace(found, values=values, aside={int(place[n]): v for n, v in found.aside.items()})


def _aside(table: Table, labels: Labels) -> dict[int, tuple[str, str, str]]:
    """Position -> (column, value, reason) of the rows that are no example, whatever their
    molecules are."""
    numbers = table.frame.index
    malformed = {
        n: ("", ",".join(table.frame.iloc[n])[:200], table.errors[number])
        for n, number in enumerate(numbers)
        if number in table.errors
    }
    return {n: (c, v, f"label {why}") for n, (c, v, why) in labels.aside.items()} | malformed


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
        Rejection(shown(path), int(rows[n]), columns[int(first[n])], cell, parsed.reasons[cell])
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
    aside: Mapping[int, tuple[str, str, str]] | None = None,
) -> Dataset:
    """Builds a data set of one molecule a side, setting unusable rows aside.

    Args:
      name: of the data set.
      task: what is predicted.
      cells: object [N, S], SMILES text.
      labels: float [N, T].
      rows: int64 [N], row numbers for messages.
      columns: S names for messages.
      path: file for messages.
      max_atoms: larger molecules are set aside.
      note: of the data set.
      aside: position -> (column, value, reason), rows that are set aside anyway.

    Raises:
      InputError: no row is usable.
    """
    parsed = parse_cells(cells, max_atoms)
    # The reason that was known before the molecules were read is the row's reason.
    known = {
        int(rows[n]): Rejection(shown(path), int(rows[n]), *why) for n, why in (aside or {}).items()
    }
    others = unusable(parsed, cells, rows=rows, columns=columns, path=path)
    by_row = {r.row: r for r in others} | known
    rejected = tuple(by_row[row] for row in sorted(by_row))
    good = (parsed.ids >= 0).all(axis=1) & ~np.isin(rows, list(known))
    if not good.any():
        where = rejected[0]
        raise InputError(
            f"none of the {len(cells)} rows can be used; the first: {where.reason}",
            path=shown(path),
            row=where.row,
            column=where.column or None,
            remedy=None if where.row in known else "Check that this column holds SMILES",
        )
    # Rejected rows may have mentioned molecules that no example is left for.
    used = parsed.ids[good]
    present = np.unique(used)
    ids = np.searchsorted(present, used)
    return Dataset(
        name=name,
        task=task,
        columns=tuple(columns),
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
    """Writes the rows that were set aside as CSV: path, row, column, value, reason.

    Raises:
      RunError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "row", "column", "value", "reason"])
    writer.writerows([r.path, r.row, r.column, r.value, r.reason] for r in rejections)
    write_whole(Path(path), text.getvalue())
