"""Writing files whole or not at all, and keeping a folder for one process.

Nothing here follows a symbolic link inside a run folder. A file that a *user* names is another
matter: it may be a link, a pipe or a device, and is then written through.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from molrel.errors import InputError, writing

TEMPORARY = ".molrel-"
"""How the names of temporary files begin; what a killed process leaves of them is removed."""

LOCK = ".lock"

PACKERS: dict[str, Callable[[bytes, str], bytes]] = {
    ".gz": lambda content, name: gzip.compress(content, mtime=0),
    ".bz2": lambda content, name: bz2.compress(content),
    ".xz": lambda content, name: lzma.compress(content),
    ".zip": lambda content, name: _zipped(content, name),
}
"""Suffix of a compressed file -> (content, name without the suffix) -> compressed content."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Replaces a file in one step: a reader sees the old content or the new, never a part.

    A link of that name is replaced, not followed.

    Raises:
      RunError: it cannot be written, for instance because the disk is full.
    """
    with writing(path):
        _replace(path, content.encode() if isinstance(content, str) else content)


def write_output(path: Path, content: bytes) -> None:
    """Writes the file that a user has named, whole or not at all where that is possible.

    ``-`` is standard output. Pipes and devices are written to as they are. Of a link, the file
    that it points to is replaced, and the link stays.

    Raises:
      RunError: it cannot be written.
    """
    with writing(path):
        if is_standard_output(path):
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        elif path.exists() and not _replaceable(path):
            with open(path, "wb") as file:
                file.write(content)
        else:
            _replace(Path(os.path.realpath(path)), content)


def is_standard_output(path: Path) -> bool:
    """Whether a name means this process's standard output: ``-``, ``/dev/stdout`` and the like.

    It may be a file that the shell has opened. That one is not to be replaced or emptied, since
    what is printed goes on into it.
    """
    if str(path) == "-":
        return True
    if not os.path.abspath(path).startswith(("/dev/", "/proc/")):
        return False
    try:
        return os.path.samestat(os.stat(path), os.fstat(1))
    except OSError:
        return False


def check_output(path: Path) -> None:
    """Refuses an output that cannot be written, before any work is done for it.

    Raises:
      InputError: it is a folder, its folder does not exist, or neither can be written to.
    """
    if is_standard_output(path):
        return
    goal = Path(os.path.realpath(path))
    if goal.is_dir():
        raise InputError("is a folder; name a file", path=path)
    if path.exists() and os.access(path, os.W_OK):
        return
    reason = None
    if path.exists() or not os.access(goal.parent, os.W_OK | os.X_OK):
        reason = "permission denied" if goal.parent.is_dir() else "its folder does not exist"
    if reason:
        raise InputError(
            f"cannot write there: {reason}", path=path, remedy="Choose another --output"
        )


def packed(content: bytes, name: str) -> bytes:
    """The content as the suffix of a file's name asks for (``PACKERS``)."""
    stem, suffix = os.path.splitext(name)
    pack = PACKERS.get(suffix.lower())
    return content if pack is None else pack(content, stem)


def _zipped(content: bytes, name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def _replaceable(path: Path) -> bool:
    """Whether a new file can take the place of an old one: of a pipe or device it cannot."""
    folder = Path(os.path.realpath(path)).parent
    return stat.S_ISREG(path.stat().st_mode) and os.access(folder, os.W_OK | os.X_OK)


def _replace(path: Path, content: bytes) -> None:
    """Writes beside the goal, under a name that nobody else has, and renames."""
    descriptor, name = tempfile.mkstemp(".tmp", TEMPORARY, path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode(path))
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _mode(path: Path) -> int:
    """Permissions of the file that is there, or of a new one; ``mkstemp`` lets only the owner
    read."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):
            return stat.S_IMODE(found.st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def refuse_links(folder: Path) -> None:
    """Raises InputError if there is a symbolic link anywhere in a run folder.

    Writing or deleting through it would change files elsewhere. The folder itself may be one.
    """
    for root, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            path = Path(root) / name
            if path.is_symlink():
                raise InputError(
                    f"is a symbolic link, to {os.readlink(path)}; a run folder may hold none",
                    path=path,
                    remedy="Put the files themselves there, or choose another --out",
                )


def remove_temporaries(folder: Path) -> None:
    """Removes what processes that were killed have left of unfinished files and folders."""
    for path in folder.glob(f"{TEMPORARY}*"):
        remove(path)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there; a link is removed, never followed."""
    with writing(path), contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def files_digest(folder: Path) -> str:
    """sha256 of all files below a folder, with their names, in hexadecimal digits."""
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        found.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keeps a folder for this process, until the block is left or the process ends.

    The system forgets the lock of a process that ends, however it ends: the file that stays
    behind means nothing.

    Raises:
      InputError: another process has the folder.
      RunError: the folder cannot be written to.
    """
    with writing(folder):
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)
    try:
        if not _lock(descriptor):
            raise InputError(
                "another process is writing to this run folder",
                path=folder,
                remedy="Wait for it to end, or choose another --out",
            )
        yield
    finally:
        os.close(descriptor)


_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def _lock(descriptor: int) -> bool:
    """Whether this process has the lock now; also where the file system knows no locks."""
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _lock_on_windows(descriptor: int) -> bool:
    import msvcrt

    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
    except OSError:
        return False
    return True
