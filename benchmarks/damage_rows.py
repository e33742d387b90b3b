"""Mutated SMILES and CSV files, of which every row must come back in its place."""

from __future__ import annotations

import contextlib
import csv
import io
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from damage_run import MORE, SOURCE, TARGET, Counts, whole_run, write_rows

from molrel.errors import InputError

BATCH = 1000
KNOWN = 50
TOLERANCE = 1e-5


PIECES = ["[CH128]", "[OH200]", "[#6H999]", "[CH4+200]", "[65536C]", "%99", "@@", "->", ">>", "*"]
PIECES += ["[nH]", "[2H]", "[Uuo]", "(" * 50, "C" * 300, "1" * 20, "\u00e9", "\u200b", "\x00"]
PIECES += [
    ".",
    "$",
    "~",
    ":1]",
    "|",
    ";",
    '"',
    "\n",
    "\t",
    " ",
    "#",
    "=",
    "/",
    "\\",
    "[",
    "]",
    "{}",
]


def mutated(smiles: str, rng: random.Random) -> str:
    """A SMILES with one to four random edits."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        i, j = sorted(rng.choices(range(len(smiles) + 1), k=2))
        edit = rng.randrange(6)
        if edit == 0:
            smiles = smiles[:i] + smiles[j:]
        elif edit == 1:
            smiles = smiles[:j] + smiles[i:j] + smiles[j:]
        elif edit == 2:
            smiles = smiles[:i] + rng.choice(PIECES) + smiles[i:]
        elif edit == 3:
            smiles = smiles[:i] + rng.choice("CNOPSFclnos123()[]=#+-@H%.") + smiles[i + 1 :]
        elif edit == 4:
            smiles = smiles[:i] + rng.choice(MORE)[j:]
        else:
            smiles = smiles[:i] + smiles[i:j][::-1] + smiles[j:]
    return smiles[:2000]


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """A file with one to six random edits."""
    text = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        i = rng.randrange(len(text) + 1)
        edit = rng.randrange(5)
        if edit == 0 and i < len(text):
            text[i] ^= 1 << rng.randrange(8)
        elif edit == 1:
            text[i:i] = rng.choice(
                [b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b";"]
            )
        elif edit == 2:
            del text[i : i + rng.randint(1, 20)]
        elif edit == 3:
            j = rng.randrange(len(text) + 1)
            text[i:i] = text[j : j + rng.randint(1, 40)]
        else:
            text[i : i + 8] = bytes(len(text[i : i + 8]))
    return bytes(text)


def scored(run: Path, source: Path) -> pd.DataFrame:
    """``predict`` on a file; every cell as text."""
    from molrel.inference import predict_csv

    output = source.with_suffix(".scored.csv")
    predict_csv(run, source, output, ("a", "b"))
    found = pd.read_csv(output, dtype=str, keep_default_na=False)
    output.unlink()
    return found


def bad_rows(found: pd.DataFrame) -> int:
    """Rows without a finite score that have no error, or with both."""
    scores = pd.to_numeric(found["score"], errors="coerce").to_numpy()
    return int(np.sum(np.isfinite(scores) != (found["error"] == "").to_numpy()))


def changed(found: pd.DataFrame, reference: pd.DataFrame) -> list[str]:
    """Pairs of the reference whose score is another here."""
    alone = reference.drop_duplicates(["a", "b"])
    both = found.merge(alone, on=["a", "b"], suffixes=("", "_alone"))
    here, there = (
        pd.to_numeric(both[c], errors="coerce").to_numpy() for c in ("score", "score_alone")
    )
    same = np.isclose(here, there, rtol=0, atol=TOLERANCE, equal_nan=True)
    return [f"{a},{b}" for a, b in both.loc[~same, ["a", "b"]].to_numpy()]


def row_trial(work: Path, run: Path, trial: int, seed: int, known: pd.DataFrame) -> tuple:
    """One file of mutated SMILES among known pairs, and one with mutated bytes."""
    rng = random.Random(f"{seed} rows {trial}")
    counts, findings = Counter(), []
    folder = work / "rows"
    folder.mkdir(exist_ok=True)

    def attempt(name: str, path: Path, judge: Callable[[pd.DataFrame], dict[str, Any]]) -> None:
        kept = work / "kept" / f"{trial}_{name}.csv"
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                wrong = {k: v for k, v in judge(scored(run, path)).items() if v}
        except InputError as error:
            counts["files refused"] += 1
            wrong = {"several lines": str(error)} if "\n" in str(error) else {}
        except Exception as error:
            wrong = {"tracebacks": f"{type(error).__name__}: {error}"[:500]}
        if wrong:
            kept.parent.mkdir(exist_ok=True)
            shutil.copy(path, kept)
            counts.update(wrong.keys())
            findings.append({"what": wrong, "file": str(kept)})

    # ---- SMILES: known pairs in random places
    pool = SOURCE + TARGET + MORE
    rows = [
        (f"m{i}", mutated(rng.choice(pool), rng), rng.choice(pool)) for i in range(BATCH - KNOWN)
    ]
    rows += list(known[["id", "a", "b"]].sample(KNOWN, random_state=trial, replace=True).values)
    rng.shuffle(rows)
    path = folder / f"{trial}.csv"
    write_rows(path, rows)
    counts["rows"] += len(rows)

    def judge(found: pd.DataFrame) -> dict[str, Any]:
        good = found.loc[(found["error"] == "") & found["id"].str.startswith("m")]
        counts["rows scored"] += int(np.sum(found["error"] == ""))
        few = good.sample(min(10, len(good)), random_state=trial)
        write_rows(path.with_suffix(".alone.csv"), list(few[["id", "a", "b"]].values))
        alone = scored(run, path.with_suffix(".alone.csv"))
        return {
            "rows lost or moved": found["id"].tolist() != [row[0] for row in rows],
            "rows without score or error": bad_rows(found),
            "scores changed": changed(found, known) + changed(found, alone),
        }

    attempt("smiles", path, judge)

    # ---- bytes of a CSV file
    write_rows(path, list(known[["id", "a", "b"]].head(30).values))
    path.write_bytes(mutated_bytes(path.read_bytes(), rng))
    counts["files of mutated bytes"] += 1

    def judge_bytes(found: pd.DataFrame) -> dict[str, Any]:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
        # A line of separators alone is a row, of empty cells; an empty line is none.
        records = [r for r in csv.reader(io.StringIO(text, newline="")) if len(r) > 1 or any(r)]
        return {
            "rows lost or moved": len(found) != len(records) - 1,
            "rows without score or error": bad_rows(found),
            "scores changed": changed(found, known),
        }

    attempt("bytes", path, judge_bytes)
    for left in folder.glob(f"{trial}.*"):
        left.unlink()
    return counts, findings


def rows(work: Path, counts: Counts, n: int, seed: int) -> None:
    """About n rows."""
    run, _ = whole_run(work)
    known = scored(run, work / "known.csv")
    for trial in counts.begin("rows", range(-(-n // BATCH))):
        counts.add("rows", trial, *row_trial(work, run, trial, seed, known))
