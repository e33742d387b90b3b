"""Text cells -> labels: numbers, the two words of a binary task, classes, and what is neither.

A cell that cannot be read costs its own row or cell; a column that mostly cannot be read is
the wrong column, and an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from molrel.data.types import Task
from molrel.data.words import MISSING, choose_pair, plain
from molrel.errors import InputError

Qualifiers = Literal["set_aside", "strip"]

LARGEST = float(np.finfo(np.float32).max)
FAR = 1e3
"""Labels more than so many spreads from the median are named."""

_BOUND = re.compile(r"(?:>>|<<|>=|<=|[<>~\u2248\u2265\u2264]|ca\.?|about)\s*(?=[-+.,0-9])", re.I)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]+)?", re.I)
_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+(?:e[-+]?[0-9]+)?", re.I)


@dataclass(frozen=True)
class Labels:
    """Labels of N rows.

    Attributes:
      values: float64 [N, T], NaN where missing or unusable.
      aside: position of a row -> (column, cell, reason), rows whose only label is unusable.
      task: with the targets, and the classes that were found.
      notes: sentences that say what was assumed and what could not be used.
    """

    values: np.ndarray
    aside: dict[int, tuple[str, str, str]]
    task: Task
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Column:
    values: np.ndarray  # float64 [N]
    reasons: dict[int, str]  # position -> why the cell is unusable
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_labels(
    frame: pd.DataFrame,
    columns: Sequence[str],
    task: Task,
    *,
    path: str,
    separator: str = ",",
    positive: str | None = None,
    qualifiers: Qualifiers = "set_aside",
    like: Task | None = None,
) -> Labels:
    """Reads the label columns of a table.

    - binary, multilabel: 0 and 1, or two words of which one is the opposite of the other
      (active and inactive); of other words ``positive`` says which is 1.
    - multiclass: whole numbers or words, numbered in their order.
    - regression: finite numbers that fit float32; a decimal comma where the separator is none.
      ``>10``, ``~3`` and the like are bounds and estimates, which are no values.

    Of a single label column, a row with an unusable label is set aside; of several, the cell
    counts as missing.

    Args:
      frame: text; the index is the row number.
      columns: T names; a column that the frame does not have is missing throughout.
      task: kind of the labels.
      path: for messages.
      separator: between the cells of the file.
      positive: the word of a binary task that is 1.
      qualifiers: "strip" takes the number of ``>10``.
      like: task of the source, whose classes are taken.

    Raises:
      InputError: more than half of the labels of a column are unusable, or it is unclear which
        of two words is 1.
    """
    values = np.full((len(frame), len(columns)), np.nan)
    aside: dict[int, tuple[str, str, str]] = {}
    notes: list[str] = []
    classes: tuple[str, ...] = ()
    for t, name in enumerate(columns):
        if name not in frame:
            continue
        cells = pd.Series(frame[name])
        if task.kind == "regression":
            column = _numbers(cells, separator, qualifiers)
        elif task.kind == "multiclass":
            column = _classes(cells, path, like)
        else:
            column = _binary(cells, positive, path, like)
        _check_column(column, cells, task, path, like)
        values[:, t] = column.values
        classes = column.classes if len(columns) == 1 else ()
        notes += column.notes
        if column.reasons:
            notes.append(_count(column.reasons, cells, alone=len(columns) == 1))
        if len(columns) == 1:
            aside = {n: (name, str(cells.iloc[n]), why) for n, why in column.reasons.items()}
    n_classes = max(2, len(classes)) if task.kind == "multiclass" else task.n_classes
    return Labels(values, aside, replace(task, classes=classes, n_classes=n_classes), tuple(notes))


def _count(reasons: dict[int, str], cells: pd.Series, *, alone: bool) -> str:
    """What became of the unusable cells of a column."""
    first = min(reasons)
    what = "row was set aside" if alone else "cell counts as missing"
    if len(reasons) > 1:
        what = "rows were set aside" if alone else "cells count as missing"
    return (
        f"For the label {cells.name!r} {len(reasons):,} {what}; the first is row "
        f"{cells.index[first]}: {str(cells.iloc[first])[:40]!r} {reasons[first]}."
    )


def _check_column(
    column: _Column, cells: pd.Series, task: Task, path: str, like: Task | None
) -> None:
    """Raises InputError where more than half of the labels are unusable."""
    wrong = sorted(column.reasons)
    bounds = [n for n in wrong if _BOUND.match(str(cells.iloc[n]))]
    known = len(wrong) + int((~np.isnan(column.values)).sum())
    if wrong and len(bounds) == known:
        raise InputError(
            f"every label is a bound or an estimate, such as {str(cells.iloc[wrong[0]])[:40]!r}",
            path=path,
            row=int(cells.index[wrong[0]]),
            column=str(cells.name),
            remedy="Set data.qualifiers to strip to take the numbers",
        )
    wrong = [n for n in wrong if n not in set(bounds)] if task.kind == "regression" else wrong
    if len(wrong) * 2 <= known:
        return
    more = f" ({len(wrong):,} such rows)" if len(wrong) > 1 else ""
    remedy = "Is this the label column? Leave unknown labels empty"
    if task.kind in ("binary", "multilabel") and like is None:
        remedy += "; for measured values set data.kind to regression, for two other words say "
        remedy += "which is 1 with data.positive"
    raise InputError(
        f"label {str(cells.iloc[wrong[0]])[:40]!r} {column.reasons[wrong[0]]}{more}",
        path=path,
        row=int(cells.index[wrong[0]]),
        column=str(cells.name),
        remedy=remedy,
    )


def _numbers(cells: pd.Series, separator: str, qualifiers: Qualifiers) -> _Column:
    """Measured values."""
    text = [c.replace("\N{MINUS SIGN}", "-").removeprefix("=").strip() for c in cells]
    bare = [_BOUND.sub("", cell, count=1) for cell in text]
    notes = []
    pointed = any(_NUMBER.fullmatch(cell) and "." in cell for cell in bare)
    if separator not in (",", "") and not pointed and any(map(_COMMA.fullmatch, bare)):
        bare = [c.replace(",", ".") if _COMMA.fullmatch(c) else c for c in bare]
        notes.append(f"The comma in numbers of {cells.name!r} is read as a decimal point.")
    values, reasons, stripped = np.full(len(text), np.nan), {}, 0
    for n, (cell, number) in enumerate(zip(text, bare)):
        if cell.lower() in MISSING:
            continue
        bound = bool(_BOUND.match(cell))
        if bound and qualifiers == "set_aside":
            reasons[n] = (
                "is a bound or an estimate, not a value; data.qualifiers=strip takes its number"
            )
        elif not _NUMBER.fullmatch(number):
            hint = "; write a decimal point" if _COMMA.fullmatch(number) else ""
            reasons[n] = f"is not a finite number{hint}"
        elif abs(float(number)) > LARGEST:
            reasons[n] = f"is not a finite number of at most {LARGEST:.2g}"
        else:
            values[n] = float(number)
            stripped += bound
    if stripped:
        notes.append(
            f"{stripped:,} labels of {cells.name!r} were bounds or estimates; taken as numbers."
        )
    return _Column(values, reasons, notes=(*notes, *_far(values, cells)))


def _far(values: np.ndarray, cells: pd.Series) -> list[str]:
    """Names labels that are further than ``FAR`` spreads from the median."""
    known = values[~np.isnan(values)]
    if len(known) < 4:
        return []
    median = np.median(known)
    # Of normally distributed labels 1.349 standard deviations; where half of the labels are
    # equal, how far those lie off that differ.
    spread = float(np.subtract(*np.percentile(known, (75, 25)))) / 1.349
    if not spread and (known != median).any():
        spread = float(np.median(np.abs(known - median)[known != median]))
    far = np.flatnonzero(np.abs(values - median) > FAR * spread) if spread else []
    if not len(far):
        return []
    return [
        f"{len(far):,} label{'s' * (len(far) > 1)} of {cells.name!r} lie{'s' * (len(far) == 1)} "
        f"more than {FAR:,.0f} spreads from the median {median:.4g}; the first is "
        f"{values[far[0]]:.4g} in row {cells.index[far[0]]}. Kept: check whether this is a mistake."
    ]


def _binary(cells: pd.Series, positive: str | None, path: str, like: Task | None) -> _Column:
    """0 and 1, or the two words for them."""
    # Tables of hundreds of columns have few different cells: each is looked at once.
    codes, texts = pd.factorize(cells)
    words = [plain(text) for text in texts]
    present = np.bincount(codes, minlength=len(words))
    missing = np.array([w in MISSING and not (w == "-" and "+" in words) for w in words], bool)
    counts: dict[str, int] = {}
    for word, n, gone in zip(words, present, missing):
        if not gone:
            counts[word] = counts.get(word, 0) + int(n)
    pair = choose_pair(counts, list(texts), str(cells.name), path, positive, like)
    number = {pair[0]: 0.0, pair[1]: 1.0}
    if like is not None and not {"0", "1"} & set(pair):
        number |= {"0": 0.0, "1": 1.0}
    of_text = [math.nan if gone else number.get(w, math.nan) for w, gone in zip(words, missing)]
    values = np.array(of_text, np.float64)[codes]
    wanted = "0 or 1" if pair == ("0", "1") else f"{pair[0]} or {pair[1]}"
    unusable = np.flatnonzero(~missing[codes] & np.isnan(values))
    reasons = {int(n): f"is not {wanted}" for n in unusable}
    if pair == ("0", "1"):
        return _Column(values, reasons)
    written = dict(zip(reversed(words), reversed(texts)))  # as the first such cell has it
    classes = (str(written.get(pair[0], pair[0])), str(written.get(pair[1], pair[1])))
    note = f"Of the label {cells.name!r}, {classes[1]!r} is read as 1 and {classes[0]!r} as 0."
    return _Column(values, reasons, classes, (note,) if counts else ())


def _classes(cells: pd.Series, path: str, like: Task | None) -> _Column:
    """Classes, numbered in the order of their numbers or words."""
    missing = np.asarray(cells.str.lower().isin(MISSING), bool)
    numbers = np.asarray(pd.to_numeric(cells, errors="coerce"), np.float64)
    whole = (numbers >= 0) & (numbers == np.floor(numbers)) & (numbers < 2**53)
    numeric = (~np.isnan(numbers[~missing])).mean() > 0.5 if (~missing).any() else False
    names = pd.Series(cells.to_numpy(object))
    if numeric:  # 2.0 and 2 are the same class
        names[whole] = [str(int(x)) for x in numbers[whole]]
    usable = ~missing & (whole if numeric else True)
    wanted = "a class number 0, 1, 2, ..."
    if like is not None and like.kind == "multiclass":
        classes = like.classes or tuple(map(str, range(like.n_classes)))
        usable = ~missing & np.asarray(names.isin(classes), bool)
        wanted = "one of the classes that are trained on"
    else:
        found = set(names[usable])
        classes = tuple(sorted(found, key=int) if numeric else sorted(found))
        n = int(usable.sum())
        if len(classes) > max(20, n / 2):
            raise InputError(
                f"{len(classes):,} different labels in {n:,} rows are no classes",
                path=path,
                column=str(cells.name),
                remedy="Is this the label column?",
            )
    number = {name: float(i) for i, name in enumerate(classes)}
    values = np.array([number[c] if ok else np.nan for c, ok in zip(names, usable)], np.float64)
    reasons = {int(n): f"is not {wanted}" for n in np.flatnonzero(~missing & ~usable)}
    counted = classes == tuple(map(str, range(len(classes))))
    note = f"The classes of {cells.name!r} are numbered from 0: {', '.join(classes)}."
    return _Column(values, reasons, classes, () if counted else (note,))
