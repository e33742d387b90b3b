"""A run of a few steps over two small CSV files, made through the command line."""

from __future__ import annotations

import itertools
from pathlib import Path

from molrel.cli import main

ROOT = Path(__file__).parents[1]
HYDROCARBONS = ["CCCCCC", "c1ccccc1", "CC1CCCCC1", "C=CCC", "CC(C)CC", "C1CCCC1", "CCC#C", "CCCC"]
HETERO = ["CCO", "CC(=O)O", "Oc1ccccc1", "CCN", "CCS", "ClCCCl", "c1ccncc1", "CC(C)=O"]
BAD_ROWS = ["CCO,,1", "not smiles,CC,0", f"{'C' * 101},CC,1"]


def pairs(molecules: list[str], repeats: int = 1) -> list[str]:
    """Labelled rows "a,b,y", about half of them positive."""
    chosen = list(itertools.combinations_with_replacement(molecules, 2)) * repeats
    return [f"{a},{b},{(len(a) + len(b)) % 2}" for a, b in chosen]


def write_pairs(path: Path, rows: list[str], header: str = "a,b,y") -> Path:
    """A CSV file."""
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def train_flags(folder: Path, out: str = "run") -> list[str]:
    """Arguments of ``molrel`` for a run in ``folder`` over its source.csv and target.csv."""
    return [
        "train",
        str(ROOT / "configs" / "test.py"),
        *("--out", str(folder / out)),
        *("--data", str(folder / "source.csv")),
        *("--target", str(folder / "target.csv")),
        *("--smiles-columns", "a", "b"),
        *("--label-column", "y"),
        *("--seeds", "0", "1"),
        *("--optimiser.learning-rate", "3e-3"),
        *("--train.steps", "6"),
        *("--train.evaluate-every", "2"),
        *("--train.replicates", "5"),
        *("--method.branches", "graph"),
        *("--data.min-carriers", "1"),
    ]


def write_domains(folder: Path) -> Path:
    """source.csv, with rows that must be set aside, and target.csv."""
    write_pairs(folder / "source.csv", pairs(HYDROCARBONS, 2) + BAD_ROWS)
    write_pairs(folder / "target.csv", pairs(HETERO + HYDROCARBONS[:3]))
    return folder


def train_tiny(folder: Path) -> Path:
    """Trains in ``folder``; returns the run folder."""
    assert main(train_flags(write_domains(folder))) == 0
    return folder / "run"
