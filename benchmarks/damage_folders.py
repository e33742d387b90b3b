"""Damaged run folders, which must score as before or be refused in one line."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from damage_run import Counts, whole_run

from molrel.cli import main as molrel

LIMIT = 300  # seconds that one command on a damaged folder may take


VALUES = [
    None,
    True,
    -1,
    0,
    1e308,
    10**30,
    float("nan"),
    "",
    "x",
    "\u00e9" * 9,
    [],
    {},
    [[]],
    [None],
]


def edited(value: Any, rng: random.Random) -> Any:
    """A JSON value with one part of it replaced, removed, or nested deep."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = rng.choice(list(keys))
        copy = value.copy()
        if rng.random() < 0.1:
            del copy[key]
        else:
            copy[key] = edited(value[key], rng)
        return copy
    return "DEEP" if rng.random() < 0.1 else rng.choice(VALUES)


def damage(folder: Path, rng: random.Random) -> tuple[str, str]:
    """Damages one file of a run folder; (kind, file)."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    groups = {
        "best": [p for p in files if "best" in p.relative_to(folder).parts],
        "config.json": [folder / "config.json"],
        "predictions.csv": [folder / "predictions.csv"],
        "any": files,
    }
    group = rng.choices(list(groups), weights=[4, 3, 2, 1])[0]
    path = rng.choice(groups[group])
    data = bytearray(path.read_bytes())
    kinds = ["flipped bits", "cut short", "zeroed", "deleted", "swapped"]
    if path.suffix == ".json":
        kinds += ["edited JSON"] * 10
    kind = rng.choice(kinds)
    name = str(path.relative_to(folder))
    at = rng.randrange(len(data) or 1)
    if kind == "flipped bits":
        for _ in range(rng.choice([1, 1, 1, 8])):
            at = rng.randrange(len(data) or 1)
            data[at : at + 1] = bytes(b ^ (1 << rng.randrange(8)) for b in data[at : at + 1])
        path.write_bytes(data)
    elif kind == "cut short":
        path.write_bytes(data[:at])
    elif kind == "zeroed":
        data[at : at + 512] = bytes(len(data[at : at + 512]))
        path.write_bytes(data)
    elif kind == "deleted":
        path.unlink()
    elif kind == "swapped":
        other = rng.choice(groups["best" if group == "best" else "any"])
        others = other.read_bytes()
        other.write_bytes(data)
        path.write_bytes(others)
    else:
        text = json.dumps(edited(json.loads(data), rng))
        path.write_text(text.replace('"DEEP"', "[" * 100_000 + "]" * 100_000))
    return kind, name


class TookTooLong(BaseException):
    """Not an Exception, so that nothing takes it for an error of its own."""


def too_long(*_: Any) -> None:
    raise TookTooLong


def command(arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, standard output and error of ``molrel`` in this process."""
    out, error = io.StringIO(), io.StringIO()
    signal.alarm(LIMIT)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = molrel(arguments)
    except TookTooLong:
        return -1, "", f"took more than {LIMIT} seconds"
    finally:
        signal.alarm(0)
    return code, out.getvalue(), error.getvalue()


def uses(work: Path, run: Path) -> dict[str, tuple[int, str, str]]:
    """What ``predict`` and ``evaluate`` make of a run folder."""
    output = work / "folder_scored.csv"
    output.unlink(missing_ok=True)
    files = ["--input", str(work / "known.csv"), "--output", str(output)]
    code, _, error = command(["predict", str(run), *files, "--smiles-columns", "a", "b"])
    text = output.read_text() if output.exists() else ""
    return {"predict": (code, text, error), "evaluate": command(["evaluate", str(run)])}


def folder_trial(work: Path, run: Path, trial: int, seed: int, expected: dict) -> tuple:
    """One damaged copy of the finished run."""
    rng = random.Random(f"{seed} folders {trial}")
    copy = work / "folder"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    kind, name = damage(copy, rng)
    counts, findings = Counter({"folders": 1}), []
    for use, (code, out, error) in uses(work, copy).items():
        lines = error.splitlines()
        if code == 0:
            outcome = "as undamaged" if out == expected[use][1] else "silently different"
        elif code == 2 and len(lines) == 1 and "internal error" not in error:
            outcome = "refused in one line"
        else:
            outcome = "tracebacks, other exit codes, several lines"
        counts[outcome] += 1
        if outcome not in ("as undamaged", "refused in one line"):
            said = {"use": use, "code": code, "stderr": error[-1000:]}
            findings.append({"what": outcome, "kind": kind, "file": name} | said)
    return counts, findings


def folders(work: Path, counts: Counts, n: int, seed: int) -> None:
    """n damaged folders."""
    run, _ = whole_run(work)
    signal.signal(signal.SIGALRM, too_long)
    expected = uses(work, run)
    assert all(code == 0 for code, *_ in expected.values()), expected
    for trial in counts.begin("folders", range(n)):
        counts.add("folders", trial, *folder_trial(work, run, trial, seed, expected))
