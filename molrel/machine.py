"""What the machine offers: a place for caches, cores; and one line where it offers less."""

from __future__ import annotations

import functools
import math
import os
import sys
from pathlib import Path

NO_HOME = (
    "this user has no home folder, so nothing is kept for the next run; MOLREL_CACHE can name "
    "a folder for that"
)


@functools.cache
def say_once(text: str) -> None:
    """Prints a line on standard error, the first time that this process has it to say."""
    print(f"molrel: {text}", file=sys.stderr, flush=True)


def user_cache() -> Path | None:
    """``~/.cache/molrel``; None for a user who has no home folder."""
    try:
        return Path.home() / ".cache" / "molrel"
    except RuntimeError:  # neither HOME nor an entry in the list of users
        return None


def usable_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has.

    A batch system or ``taskset`` limits them by the process's affinity, a container by the CPU
    quota of its control group.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, math.ceil(min(cpu_quota(), cores))))


def cpu_quota(
    groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> float:
    """Least number of cores that a control group above this process allows; inf without any.

    Both versions of Linux's control groups are read, ``man 7 cgroups``; other systems have
    none.

    Args:
      groups: the list of this process's groups.
      root: where the file systems of control groups are mounted.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return math.inf
    quotas = [math.inf]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "cpu" if controllers else root
        # Inside a container the path may be that outside of it; the root is always its own.
        group = base / path.strip("/")
        for folder in [group, *group.parents]:
            if folder.is_relative_to(base):
                quotas.append(_quota_of(folder))
    return min(quotas)


def _quota_of(group: Path) -> float:
    """The quota of one group, in cores."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = (
                (group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError):  # no such file, or the word "max"
        return math.inf


def worker_count(workers: int | None = None) -> int:
    """Processes to share work: ``workers``, else ``$MOLREL_WORKERS``, else the usable cores.

    Raises:
      InputError: it is no whole number above 0.
    """
    # Imported here, since this module is imported before a Ctrl-C has someone to catch it.
    from molrel.errors import InputError

    if workers is None:
        chosen = os.environ.get("MOLREL_WORKERS", "").strip()
        if not chosen:
            return usable_cores()
        if not (chosen.isascii() and chosen.isdecimal() and int(chosen) >= 1):
            raise InputError(f"MOLREL_WORKERS is {chosen!r}; it must be a whole number, at least 1")
        return int(chosen)
    if workers < 1:
        raise InputError(f"workers is {workers}; it must be at least 1")
    return workers


def set_workers(workers: int | None) -> None:
    """Makes ``worker_count`` give this number from now on; None leaves it as it is.

    Raises:
      InputError: it is below 1.
    """
    if workers is not None:
        os.environ["MOLREL_WORKERS"] = str(worker_count(workers))
