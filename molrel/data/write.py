"""A table -> the bytes of a file in the format and packing that its name asks for."""

from __future__ import annotations

import importlib.util
import io
from pathlib import PurePath

import pandas as pd

from molrel.errors import InputError
from molrel.files import PACKERS, packed

SEPARATORS = {"": ",", ".csv": ",", ".txt": ",", ".tsv": "\t", ".tab": "\t"}
TYPED = {".parquet": "pyarrow", ".pq": "pyarrow", ".xlsx": "openpyxl"}
"""Suffix -> the package that writes such files."""


def format_of(name: str) -> str:
    """Suffix of a table's file without that of its packing.

    Raises:
      InputError: tables are not written in that format, or the package for it is missing.
    """
    path = PurePath(name)
    suffix = path.suffix.lower()
    if suffix in PACKERS:
        suffix = PurePath(path.stem).suffix.lower()
    if suffix in SEPARATORS or name == "-" or not suffix[1:].isalpha():
        return suffix if suffix in SEPARATORS else ""
    if suffix not in TYPED:
        raise InputError(
            f"a table of scores cannot be written as {suffix}",
            path=name,
            remedy=f"Name one of {', '.join(s for s in (*SEPARATORS, *TYPED) if s)}, which may "
            f"end in {', '.join(PACKERS)}",
        )
    if importlib.util.find_spec(TYPED[suffix]) is None:
        raise InputError(
            f"{TYPED[suffix]}, which writes such files, is not installed",
            path=name,
            remedy=f"Run `pip install {TYPED[suffix]}`, or name a .csv file",
        )
    return suffix


def encode_table(frame: pd.DataFrame, name: str) -> bytes:
    """The file's content.

    Numbers of separated values have as many digits as tell them apart.

    Raises:
      InputError: as ``format_of``.
    """
    suffix = format_of(name)
    if suffix in SEPARATORS:
        text = frame.to_csv(index=False, sep=SEPARATORS[suffix], lineterminator="\r\n")
        return packed(text.encode(), name)
    out = io.BytesIO()
    if suffix == ".xlsx":
        frame.to_excel(out, index=False)
    else:
        frame.to_parquet(out, index=False)
    return packed(out.getvalue(), name)
