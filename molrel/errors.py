"""The two kinds of failure a user can meet, each printed as one line without a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """The user's input is wrong; the command line exits with code 2.

    Attributes:
      problem: what is wrong, in one sentence without a final full stop.
      path: the file at fault, if any.
      row: 1-based row of the file, counting the header as row 1.
      column: name of the column at fault.
      remedy: what to do about it.
    """

    exit_code = 2

    def __init__(
        self,
        problem: str,
        *,
        path: str | Path | None = None,
        row: int | None = None,
        column: str | None = None,
        remedy: str | None = None,
    ):
        self.problem, self.path, self.row = problem, path, row
        self.column, self.remedy = column, remedy
        where = [str(path)] if path is not None else []
        where += [f"row {row}"] if row is not None else []
        where += [f"column {column!r}"] if column is not None else []
        text = (f"{', '.join(where)}: " if where else "") + problem
        super().__init__(text + (f". {remedy}" if remedy else ""))


class NotDefined(InputError):
    """What is asked for does not exist for the task, as classes of a regression do not."""


class RunError(RuntimeError):
    """The run itself failed (non-finite loss, full disk); the command line exits with code 1."""

    exit_code = 1


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turns an OSError inside, such as a full disk, into a RunError that names the path."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from error
