"""Cells of a benchmark: keys, files, and the processes that compute what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

DIGITS = 5


def changed(config: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, sections included.

    So a field that is added later, and whose default changes nothing, leaves cells valid; a
    default that is changed needs a new version number in their keys.
    """
    default, found = type(config)(), {}
    for field in fields(config):
        value, usual = getattr(config, field.name), getattr(default, field.name)
        if is_dataclass(value):
            section = changed(value)
            if section or type(value) is not type(usual):
                found[field.name] = section
        elif value != usual:
            found[field.name] = value
    return found


def cell_path(folder: Path, setting: str, name: str, seed: int, key: str) -> Path:
    """Where a cell is kept."""
    plain = "".join(c if c.isalnum() else "_" for c in name)
    return folder / setting / f"{plain}-{seed}-{key}.json"


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(values))
    temporary.replace(path)


def rounded(scores: np.ndarray) -> list:
    """Scores as JSON keeps them: five significant digits."""
    scores = np.asarray(scores, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.where(scores == 0, 0, np.floor(np.log10(np.abs(scores))))
    scale = 10.0 ** (DIGITS - 1 - power)
    return (np.round(scores * scale) / scale).tolist()


def base_parser(description: str, presets: Iterable[str], what: str, out: Path) -> ArgumentParser:
    """The flags that every benchmark of cells has; ``--WHATs`` names its settings or sets."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--preset", choices=list(presets), default="cpu")
    parser.add_argument(f"--{what}s", nargs="+", metavar="NAME")
    parser.add_argument("--methods", nargs="+", metavar="NAME")
    parser.add_argument("--seeds", type=int, help="how many; the preset's by default")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 is one a CPU core")
    parser.add_argument("--cells", type=Path, default=Path("runs") / out.name)
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--table-only", action="store_true", help="compute no cell")
    parser.add_argument("--worker", nargs=2, help=SUPPRESS)
    return parser


def check_names(
    parser: ArgumentParser, given: Iterable[str] | None, known: Iterable[str], what: str
) -> None:
    """Ends the program with a message if a name is unknown."""
    known = list(known)
    unknown = sorted(set(given or ()) - set(known))
    if unknown:
        parser.error(f"no {what} is called {unknown[0]!r}; there are: {', '.join(known)}")


def run_missing(
    missing: Callable[[], Mapping[str, int]], n_workers: int, arguments: Sequence[str]
) -> list[str]:
    """One process a setting, as many at once as there are cores; returns what failed.

    Args:
      missing: gives setting -> number of cells that are not there yet.
      n_workers: processes at once; 0 is one a CPU core.
      arguments: of this script; a worker gets ``--worker SETTING CORE`` on top.
    """
    cores, cpu = sorted(os.sched_getaffinity(0)), on_cpu()
    n_workers = n_workers or (len(cores) if cpu else 1)
    pinned = cpu and n_workers > 1
    started, before = time.perf_counter(), missing()
    todo = sum(before.values())
    print(f"{todo} cells to compute in {sum(n > 0 for n in before.values())} settings", flush=True)
    waiting = sorted((s for s, n in before.items() if n), key=lambda s: -before[s])
    running: dict[str, tuple[subprocess.Popen, int]] = {}
    free = (cores * n_workers)[:n_workers] if pinned else [-1] * n_workers
    failed: list[str] = []
    last = 0.0
    while waiting or running:
        while waiting and free:
            name, core = waiting.pop(0), free.pop(0)
            command = [sys.executable, sys.argv[0], *arguments, "--worker", name, str(core)]
            running[name] = subprocess.Popen(command), core
        time.sleep(0.5)
        for name, (process, core) in list(running.items()):
            if process.poll() is None:
                continue
            free.append(core)
            del running[name]
            if process.returncode:
                failed.append(name)
        if time.perf_counter() - last > 60:
            last = time.perf_counter()
            left = sum(missing().values())
            tell(todo - left, left, last - started)
    if failed:
        print(f"These settings failed and are incomplete: {', '.join(failed)}", file=sys.stderr)
    return failed


def stay_on(core: int) -> None:
    """Keeps this process on one core; before the first computation, so that XLA sees one."""
    if core >= 0:
        os.sched_setaffinity(0, {core})


def tell(done: int, left: int, seconds: float) -> None:
    """Progress, and how long the rest will take at this pace."""
    rest = f"about {left * seconds / done / 60:.0f} min left" if done else "no estimate yet"
    print(f"[{seconds / 60:.0f} min] {done} cells done, {left} left, {rest}", flush=True)


def on_cpu() -> bool:
    """Whether there is no accelerator; asked in a process whose memory of it is given back."""
    command = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return found.stdout.strip() == "cpu"
