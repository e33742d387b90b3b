"""Cells of a benchmark: keys, files, and the processes that compute what is missing."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molrel.config import DataConfig
from molrel.errors import InputError, NotDefined, RunError
from molrel.files import write_whole

DIGITS = 5


def changed(config: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, sections included.

    So a field that is added later, and whose default changes nothing, leaves cells valid; a
    default that is changed needs a new version number in their keys.
    """
    found = {}
    for field in fields(config):
        value, usual = getattr(config, field.name), field.default
        if field.default_factory is not MISSING:
            usual = field.default_factory()
        if is_dataclass(value):
            section = changed(value)
            if section or usual is not MISSING and type(value) is not type(usual):
                found[field.name] = section
        elif value != usual:
            found[field.name] = value
    return found


def catalogue_fields(data: DataConfig) -> dict[str, Any]:
    """The data section without what describes a CSV file of one's own."""
    return {k: v for k, v in asdict(data).items() if k not in ("kind", "symmetric")}


def cell_path(folder: Path, setting: str, name: str, seed: int, key: str) -> Path:
    """Where a cell is kept."""
    plain = "".join(c if c.isalnum() else "_" for c in name)
    return folder / setting / f"{plain}-{seed}-{key}.json"


class HasCells:
    """Work that leaves one file a seed; ``paths`` maps seeds to files."""

    paths: Mapping[int, Path]

    @property
    def missing(self) -> list[int]:
        """Seeds whose cell is not there yet."""
        return [seed for seed, path in self.paths.items() if not path.is_file()]


def count_missing(
    names: Iterable[str], jobs_of: Callable[[str], Iterable[HasCells]]
) -> dict[str, int]:
    """Name of a setting -> number of its cells that are not there yet."""
    return {name: sum(len(job.missing) for job in jobs_of(name)) for name in names}


def compute(name: str, setting: str, job: HasCells, run: Callable[[], None]) -> None:
    """Runs what writes the missing cells of a job, if another process has not, and prints one line.

    What is not defined for the task is written down as such; what fails is left missing, and the
    other methods go on.
    """
    if not job.missing:
        return
    started = time.perf_counter()
    try:
        run()
        outcome = f"{time.perf_counter() - started:.0f} s"
    except NotDefined as error:
        for seed in job.missing:
            write_json(job.paths[seed], {"method": name, "undefined": str(error)})
        outcome = f"not defined: {error}"
    except RunError as error:
        outcome = f"failed: {error}"
    print(f"{setting}: {name}, {outcome}", flush=True)


def read_cells(paths: Mapping[int, Path]) -> list[dict[str, Any]]:
    """The cells that are there and defined."""
    found = [json.loads(path.read_text()) for path in paths.values() if path.is_file()]
    return [cell for cell in found if "undefined" not in cell]


def short_hash(values: Any) -> str:
    """16 hex digits that JSON values determine."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(values))


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
    parser.add_argument("--out", type=Path, help="tables, without suffix")
    parser.add_argument("--table-only", action="store_true", help="compute no cell")
    parser.add_argument(
        "--add", action="store_true", help=f"keep the other {what}s of the table that is there"
    )
    parser.add_argument("--worker", nargs=2, help=SUPPRESS)
    return parser


def place(args: Namespace, out: Path) -> None:
    """Completes ``args`` by where cells and tables of its preset are.

    The table of CPU size is ``out`` itself; those of other presets have names of their own, so
    that trying the script does not replace it.
    """
    args.cells = args.cells / args.preset
    usual = out if args.preset == "cpu" else out.with_name(f"{out.name}_{args.preset}")
    args.out = args.out or usual


def check_names(
    parser: ArgumentParser, given: Iterable[str] | None, known: Iterable[str], what: str
) -> None:
    """Ends the program with a message if a name is unknown."""
    known = list(known)
    unknown = sorted(set(given or ()) - set(known))
    if unknown:
        parser.error(f"no {what} is called {unknown[0]!r}; there are: {', '.join(known)}")


def write_frame(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    column: str,
    order: Sequence[str],
    preset: str,
    *,
    add: bool,
) -> pd.DataFrame:
    """Writes rows to CSV and returns the file re-read, so that tables use the rounded values.

    Args:
      rows: of some values of ``column``.
      path: the file.
      column, order: names what a row is of, and the order of its values in the file.
      preset: of all rows.
      add: keep what the file has of other values of ``column``.

    Raises:
      InputError: the file that is added to is of another preset.
    """
    frame = pd.DataFrame(rows)
    frame.insert(0, "preset", preset)
    if add and path.is_file():
        before = pd.read_csv(path)
        others = set(before["preset"]) - {preset}
        if others:
            raise InputError(
                f"{path} is of the preset {others.pop()}, these rows are of {preset}: give another "
                "--out, or leave out --add"
            )
        before = before[~before[column].isin(frame[column])]
        frame = pd.concat([frame, before]) if len(before) else frame
    position = frame[column].map({name: i for i, name in enumerate(order)})
    frame = frame.iloc[np.argsort(position, kind="stable")]
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False, float_format="%.7g")
    return pd.read_csv(path)


def made_of(
    script: str,
    whole: pd.DataFrame,
    column: str,
    methods: Iterable[str],
    preset: str,
    seeds: Sequence[int],
    seeds_of: Callable[[str], Sequence[int]],
) -> str:
    """The command that makes a whole table, and what of it rests on fewer seeds than asked.

    Args:
      script: name of the benchmark.
      whole: one row a method and ``column``, with ``n_seeds``.
      column: "setting" or "set".
      methods: in the order of the command.
      preset, seeds: of the command.
      seeds_of: method -> those of ``seeds`` that it has cells of.
    """
    command = ["python", f"benchmarks/{script}.py", "--preset", preset, "--seeds", str(len(seeds))]
    command += [f"--{column}s", *dict.fromkeys(whole[column]), "--methods"]
    command += [name for name in methods if name in set(whole["method"])]
    fewer = [
        f"{method} in {name} ({n:.0f})"
        for method, name, n in whole[["method", column, "n_seeds"]].itertuples(index=False)
        if n < len(seeds_of(method))
    ]
    text = f"`{shlex.join(command)}`\n\n{whole['n_seeds'].sum():,.0f} cells."
    return text + (f" Fewer seeds than {len(seeds)}: {', '.join(fewer)}." if fewer else "")


def run_missing(missing: Callable[[], Mapping[str, int]], n_workers: int) -> list[str]:
    """One process a setting, as many at once as there are cores; returns what failed.

    A process is this script with its arguments and ``--worker SETTING CORE``.

    Args:
      missing: gives setting -> number of cells that are not there yet.
      n_workers: processes at once; 0 is one a CPU core.
    """
    cores, pinned = sorted(os.sched_getaffinity(0)), n_workers != 1 and on_cpu()
    n_workers = n_workers or (len(cores) if pinned else 1)
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
            command = [sys.executable, *sys.argv, "--worker", name, str(core)]
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
