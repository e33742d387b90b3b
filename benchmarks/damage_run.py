"""What the three parts of ``damage.py`` share: the counts that are kept, and the tiny run."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ["CCCCCC", "c1ccccc1", "CC1CCCCC1", "C=CCC", "CC(C)CC", "C1CCCC1", "CCC#C", "CCCC"]
TARGET = ["CCO", "CC(=O)O", "Oc1ccccc1", "CCN", "CCS", "ClCCCl", "c1ccncc1", "CC(C)=O"]
# Longer ones, so that mutations meet charges, stereo, isotopes, aromatic rings and salts.
MORE = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "C[C@H](N)C(=O)O",
    "F/C=C/F",
    "[NH4+].[Cl-]",
    "[13CH4]",
    "O=[N+]([O-])c1ccc(Cl)cc1",
    "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)[O-].[Na+]",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O",
]


class Counts:
    """Counts of each part and the numbers of the trials that are done, kept on disk."""

    def __init__(self, work: Path):
        self.path, self.findings = work / "counts.json", work / "findings.jsonl"
        self.lock = threading.Lock()
        self.values: dict[str, Any] = {}
        if self.path.exists():
            self.values = json.loads(self.path.read_text())

    def part(self, name: str) -> dict[str, Any]:
        return self.values.setdefault(name, {"done": [], "begun": [], "counts": {}})

    def begin(self, name: str, trials: Iterable[int]) -> Iterator[int]:
        """The trials that are not done; one that was begun and ended this process counts as
        a death, and is not tried again."""
        part = self.part(name)
        for trial in trials:
            if trial in part["done"]:
                continue
            if trial in part["begun"]:
                self.add(name, trial, {"ended the process": 1}, [{"trial": trial}])
                continue
            with self.lock:
                part["begun"].append(trial)
                self._write()
            yield trial

    def add(self, name: str, trial: int, counts: dict[str, int], findings: list[dict]) -> None:
        """Counts of a trial that is done, and what went wrong in it."""
        with self.lock:
            part = self.part(name)
            part["counts"] = dict(Counter(part["counts"]) + Counter(counts))
            part["done"].append(trial)
            with self.findings.open("a") as file:
                for finding in findings:
                    file.write(json.dumps({"part": name, "trial": trial} | finding) + "\n")
            self._write()

    def forget(self, name: str) -> None:
        """Trials that were begun and not done may begin again."""
        part = self.part(name)
        part["begun"] = list(part["done"])

    def _write(self) -> None:
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.values))
        temporary.replace(self.path)


def write_data(work: Path) -> None:
    """source.csv and target.csv of the tiny run, and the pairs that damaged folders score."""
    for name, molecules in (("source", SOURCE), ("target", TARGET + SOURCE[:3])):
        pairs = list(itertools.combinations_with_replacement(molecules, 2))
        lines = [f"{a},{b},{(len(a) + len(b)) % 2}" for a, b in pairs * 2]
        (work / f"{name}.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    pairs = itertools.islice(itertools.combinations(TARGET + MORE, 2), 0, None, 5)
    write_rows(work / "known.csv", [(f"k{i}", a, b) for i, (a, b) in enumerate(pairs)])


def write_rows(path: Path, rows: list[tuple[str, str, str]]) -> None:
    """A CSV file with the columns id, a, b."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "a", "b"), *rows])


def train_arguments(work: Path, out: Path) -> list[str]:
    """Arguments of ``molrel`` for the tiny run."""
    return [
        "train",
        str(ROOT / "configs" / "test.py"),
        *("--out", str(out)),
        *("--data", str(work / "source.csv")),
        *("--target", str(work / "target.csv")),
        *("--smiles-columns", "a", "b"),
        *("--label-column", "y"),
        *("--seeds", "0", "1"),
        *("--train.steps", "6"),
        *("--train.evaluate-every", "2"),
        *("--train.replicates", "5"),
        *("--method.branches", "graph"),
        *("--data.min-carriers", "1"),
        "--resume",
    ]


def start(work: Path, out: Path) -> subprocess.Popen:
    """The tiny run as a process in a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "molrel", *train_arguments(work, out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def whole_run(work: Path) -> tuple[Path, float]:
    """The finished run that nothing interrupted, and the seconds that it took."""
    out, seconds = work / "whole", work / "whole_seconds"
    if not seconds.exists():
        for folder in (work / "warm", out):  # the first one fills the compilation cache
            shutil.rmtree(folder, ignore_errors=True)
            started = time.perf_counter()
            process = start(work, folder)
            _, stderr = process.communicate()
            if process.returncode:
                sys.exit(f"the tiny run fails: {stderr}")
            spent = time.perf_counter() - started
        seconds.write_text(str(spent))
    return out, float(seconds.read_text())


def contents(run: Path) -> dict[str, Any]:
    """What two runs must agree in."""
    from molrel.runs import load_run
    from molrel.train.checkpoint import digest

    return {
        "predictions.csv": (run / "predictions.csv").read_bytes(),
        "metrics.jsonl": (run / "metrics.jsonl").read_bytes(),
        "report.json": json.loads((run / "report.json").read_text())["rows"],
        "best": digest(load_run(run).best),
    }
