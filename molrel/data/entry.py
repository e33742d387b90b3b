"""What the catalogue knows of one data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from molrel.data.types import Dataset, Task

Reader = Callable[[Path, str, int], Dataset]


@dataclass(frozen=True)
class Entry:
    """One data set of the catalogue.

    Attributes:
      name: what it is loaded by.
      domains: parts that are loaded as ``name/domain``; empty if it is one whole.
      task: what is predicted; without targets where the file alone names them.
      columns: what the sides of an example are.
      licence: of the data.
      citation: where it comes from.
      packages: that its files come with, of the extra ``demo``.
      files: path within a data folder -> sha256; empty for sets that come with a package.
      file_a_domain: whether each domain has a file of its own, called after it, and needs none
        of the others.
      reader: (data folder, domain, max_atoms) -> data set.
      note: what to know before using it.
    """

    name: str
    domains: tuple[str, ...]
    task: Task
    columns: tuple[str, ...]
    licence: str
    citation: str
    reader: Reader
    packages: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    file_a_domain: bool = False
    note: str = ""

    def needed(self, domain: str = "") -> dict[str, str]:
        """The files that a domain is read from; all of them without one."""
        own = self.file_a_domain and domain
        return {
            path: digest
            for path, digest in self.files.items()
            if not own or Path(path).name.partition(".")[0] == domain
        }
