"""Bytes of a user's file: read within a limit, unpacked, and named for what they are.

What the bytes say is no matter of this module: ``formats`` makes tables of them.
"""

from __future__ import annotations

import bz2
import difflib
import gzip
import io
import lzma
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from molrel.errors import InputError
from molrel.files import PACKERS

MAX_BYTES = 2**30
"""Largest size that is read, packed or unpacked; ``LIMIT_VARIABLE`` sets another."""
LIMIT_VARIABLE = "MOLREL_MAX_BYTES"
CHUNK = 2**20

PACKED = tuple(PACKERS)
ZIP = b"PK\x03\x04"
_BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")

# (first bytes, what such a file is, what to do about it)
_SIGNATURES = (
    (rb"%PDF-", "a PDF document", "Export its table as CSV"),
    (rb"\xd0\xcf\x11\xe0", "an old Excel or Word file", "Save it as .csv or .xlsx"),
    (rb"\x80[\x02-\x05]", "a Python pickle, which is never read", "Save it with DataFrame.to_csv"),
    (rb"\x28\xb5\x2f\xfd", "packed with zstd", "Unpack it"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it"),
    (rb"Rar!", "a RAR archive", "Unpack it"),
    (rb"\x1f\x9d", "packed with compress", "Unpack it"),
    (rb"PK\x03\x04", "a zip archive within an archive", "Unpack it"),
    (rb"\x89HDF", "an HDF5 file", "Save its table as CSV"),
    (rb"\x93NUMPY", "a NumPy array", "Save it as CSV"),
    (rb"SQLite format 3", "an SQLite database", "Export its table as CSV"),
    (rb"ARROW1\0\0", "an Arrow (Feather) file", "Save it as .parquet or .csv"),
    (rb"Obj\x01", "an Avro file", "Save it as .parquet or .csv"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8", "a picture", "Name the file of the table"),
    (rb"\x7fELF|MZ\x90", "a program", "Name the file of the table"),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file", "Run `git lfs pull`"),
    (rb"(?i)\s*<(!doctype html|html)", "a web page", "Download the file itself"),
    (rb"(?i)\s*<\?xml", "an XML document", "Save its table as CSV"),
    (rb"\s*(\{\s*\"|\[\s*[\[{])", "a JSON document", "Save its table as CSV"),
)


class Content(NamedTuple):
    """What a file holds.

    Attributes:
      data: its bytes, unpacked.
      name: file name without the suffix of packing; that of the member of a zip archive.
      notes: sentences that say how it was unpacked, where that is not plain.
    """

    data: bytes
    name: str
    notes: tuple[str, ...] = ()


def shown(path: str | Path) -> str:
    """A path as messages name it."""
    return "standard input" if str(path) == "-" else str(path)


def max_bytes() -> int:
    """The limit on the size of a file, packed and unpacked.

    Raises:
      InputError: the environment variable is no number.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    if not text:
        return MAX_BYTES
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < 1:
        raise InputError(f"{LIMIT_VARIABLE} is {text!r}", remedy="Give a number of bytes")
    return int(text)


def read_content(path: str | Path) -> Content:
    """Reads a file, or standard input for "-", and unpacks gzip, bzip2, xz or zip.

    Packing is told by the first bytes, not by the name. A zip archive must hold one file; an
    Excel file, which is a zip archive too, stays as it is.

    Raises:
      InputError: there is no such file, it cannot be read, is damaged, is larger than
        ``max_bytes()`` when unpacked, or is none that can hold a table.
    """
    limit = max_bytes()
    packed = _read(path, limit)
    content = _unpack(packed, path, limit)
    if content.data is not packed or not packed.startswith(ZIP):  # which is an Excel file
        _refuse_others(content.data, path)
    return content


def _read(path: str | Path, limit: int) -> bytes:
    try:
        if str(path) == "-":
            return _within(sys.stdin.buffer, limit, path, "it")
        with open(path, "rb") as file:
            return _within(file, limit, path, "it")
    except FileNotFoundError as error:
        raise InputError(
            "cannot read the file: no such file", path=path, remedy=_nearby(Path(path))
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, InputError):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot read the file: {reason}", path=shown(path)) from error


def _nearby(path: Path) -> str | None:
    """Names of files like a missing one, or of the first few in its folder."""
    try:
        names = sorted(p.name for p in path.parent.iterdir() if p.is_file())
    except OSError:
        return f"There is no folder {str(path.parent)!r}"
    near = difflib.get_close_matches(path.name, names, 3, 0.6)
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    tables = [name for name in names if not name.startswith(".")][:5]
    return f"Files there: {', '.join(tables)}" if tables else None


@runtime_checkable
class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _within(stream: _Stream, limit: int, path: str | Path, what: str) -> bytes:
    """All bytes of a stream, read in pieces and refused as soon as they exceed the limit."""
    kept = io.BytesIO()
    while piece := stream.read(CHUNK):
        if kept.tell() + len(piece) > limit:
            raise InputError(
                f"{what} is larger than {limit:,} bytes, the most that is read",
                path=shown(path),
                remedy=f"Divide the table, or set {LIMIT_VARIABLE} to a larger number of bytes",
            )
        kept.write(piece)
    return kept.getvalue()


def _unpack(packed: bytes, path: str | Path, limit: int) -> Content:
    name = Path(path).name
    plain = name.removesuffix(Path(name).suffix) if Path(name).suffix.lower() in PACKED else name
    source = io.BytesIO(packed)
    if packed.startswith(b"\x1f\x8b"):
        kind, opened = "gzip", lambda: gzip.GzipFile(fileobj=source)
    elif _BZIP2.match(packed):
        kind, opened = "bzip2", lambda: bz2.BZ2File(source)
    elif packed.startswith(b"\xfd7zXZ\x00"):
        kind, opened = "xz", lambda: lzma.LZMAFile(source)
    elif packed.startswith((ZIP, b"PK\x05\x06")):  # the second is one without members
        return _unzip(packed, path, limit)
    else:
        return Content(packed, plain)
    try:
        with opened() as stream:
            what = f"the {kind} file has {len(packed):,} bytes, and what it holds"
            return Content(_within(stream, limit, path, what), plain)
    except InputError:
        raise
    except Exception as error:  # the unpackers raise many kinds
        raise InputError(
            f"the {kind} file is damaged: {_one_line(error)}",
            path=shown(path),
            remedy="Get or pack it again",
        ) from error


def _unzip(packed: bytes, path: str | Path, limit: int) -> Content:
    """The one member of a zip archive, or an Excel file as it is."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            members = [
                m
                for m in archive.infolist()
                if not m.is_dir() and not m.filename.startswith("__MACOSX/")
            ]
            names = [m.filename for m in members]
            if "xl/workbook.xml" in names:
                size = sum(m.file_size for m in members)
                if size > limit:
                    raise InputError(
                        f"the Excel file unpacks to {size:,} bytes, and at most {limit:,} are read",
                        path=shown(path),
                        remedy="Save it as CSV",
                    )
                return Content(packed, Path(path).name)
            if len(members) != 1:
                listed = ", ".join(n[:60] for n in names[:5]) + (", ..." if len(names) > 5 else "")
                raise InputError(
                    f"the zip archive holds {len(names)} files{': ' * bool(names)}{listed}",
                    path=shown(path),
                    remedy="Unpack it and name one file",
                )
            with archive.open(members[0]) as stream:
                what = f"the zip archive has {len(packed):,} bytes, and what it holds"
                data = _within(stream, limit, path, what)
            name = Path(names[0]).name
            return Content(data, name, (f"Read {name!r} out of the zip archive.",))
    except InputError:
        raise
    except Exception as error:  # so do the readers of archives; RuntimeError: a password
        raise InputError(
            f"the zip archive cannot be read: {_one_line(error)}",
            path=shown(path),
            remedy="Unpack it yourself",
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _refuse_others(data: bytes, path: str | Path) -> None:
    """Raises InputError for what is known to be no table, and says what it is."""
    for signature, what, remedy in _SIGNATURES:
        if re.match(signature, data):
            raise InputError(f"is {what}", path=shown(path), remedy=remedy)
    if data[257:262] == b"ustar":
        raise InputError("is a tar archive", path=shown(path), remedy="Unpack it and name one file")
