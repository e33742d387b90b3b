"""What is left of a run that is killed, of a file that is garbled, of a folder that is damaged.

    python benchmarks/damage.py --kills 200 --rows 100000 --folders 100 --seed 0

- Kills: a tiny run, started as ``python -m molrel train ... --resume``, meets SIGKILL at random
  moments of its life, two runs at a time; then it goes on to its end. Its files must equal those
  of a run that nothing interrupted.
- Rows: mutated SMILES, and CSV files with mutated bytes, are scored. Rows and their order must
  be kept, each row must have a score or an error, and good rows the score that they have alone.
- Folders: copies of a finished run are damaged. ``predict`` and ``evaluate`` must give what the
  undamaged run gives, or end with exit code 2 and one line.

Counts are kept in ``--work``/counts.json and what went wrong in ``--work``/findings.jsonl, so a
run of this script that was cut short goes on where it was. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molrel.cli import main as molrel
from molrel.errors import InputError
from molrel.evaluate.markdown import markdown_table
from molrel.memory import enable_compilation_cache, keep_heap

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
KILLS_A_RUN = 4
BATCH = 1000
KNOWN = 50
TOLERANCE = 1e-5
LIMIT = 300  # seconds that one command on a damaged folder may take


# What must not happen; the table shows these also where they did not.
WRONG = {
    "kills": ["mismatches", "tracebacks", "refused to go on", "kills that left workers"],
    "rows": ["tracebacks", "rows lost or moved", "rows without score or error", "scores changed"],
    "folders": ["silently different", "tracebacks, other exit codes, several lines"],
}


# ---- keeping counts --------------------------------------------------------------------------


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


# ---- the tiny run ----------------------------------------------------------------------------


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


# ---- kills -----------------------------------------------------------------------------------


def kill_trial(work: Path, trial: int, seed: int, life: float, expected: dict) -> tuple:
    """A run that is killed a few times and then goes on to its end."""
    rng = random.Random(f"{seed} kills {trial}")
    out = work / "kills" / str(trial)
    shutil.rmtree(out, ignore_errors=True)
    counts, findings = Counter(runs=1), []
    for attempt in range(KILLS_A_RUN + 1):
        last = attempt == KILLS_A_RUN
        process = start(work, out)
        when = None if last else rng.uniform(0, life)
        try:
            _, stderr = process.communicate(timeout=when)
        except subprocess.TimeoutExpired:
            process.kill()
            with contextlib.suppress(ProcessLookupError):
                counts["kills that left workers"] += outlives(process.pid)
                os.killpg(process.pid, signal.SIGKILL)
            _, stderr = process.communicate()
            counts["kills"] += 1
        said = {"attempt": attempt, "kill after": when, "stderr": stderr[-2000:]}
        if "Traceback" in stderr or "internal error" in stderr:
            counts["tracebacks"] += 1
            findings.append({"what": "traceback"} | said)
        elif process.returncode not in (0, -signal.SIGKILL):
            counts["refused to go on"] += 1
            findings.append({"what": f"exit code {process.returncode}"} | said)
    try:
        found = contents(out)
        different = [name for name, value in expected.items() if found[name] != value]
    except (InputError, OSError) as error:
        different = [str(error)]
    if different:
        counts["mismatches"] += 1
        findings.append({"what": "differs", "files": different})
    else:
        shutil.rmtree(out)
    return counts, findings


def outlives(group: int) -> bool:
    """Whether processes of a group are there five seconds after the first one was killed."""
    for _ in range(50):
        time.sleep(0.1)
        # The killed one itself stays as a zombie until it is waited for.
        running = [p for p in Path("/proc").glob("[0-9]*/stat") if in_group(p, group)]
        if not running:
            return False
    return True


def in_group(stat: Path, group: int) -> bool:
    """Whether a process of /proc belongs to a group and runs."""
    try:
        state, _, its_group = stat.read_text().rpartition(") ")[2].split()[:3]
    except OSError:
        return False
    return int(its_group) == group and state != "Z"


def kills(work: Path, counts: Counts, n: int, seed: int) -> None:
    """About n kills."""
    run, life = whole_run(work)
    expected = contents(run)
    counts.forget("kills")

    def trial(number: int) -> None:
        counts.add("kills", number, *kill_trial(work, number, seed, life, expected))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(trial, counts.begin("kills", range(-(-n // KILLS_A_RUN)))))


# ---- rows ------------------------------------------------------------------------------------

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


# ---- folders ---------------------------------------------------------------------------------

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


# ---- all -------------------------------------------------------------------------------------


def main() -> None:
    """Runs what is not done yet and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folders", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs") / "damage")
    args = parser.parse_args()
    work = (args.work / f"seed_{args.seed}").resolve()
    work.mkdir(parents=True, exist_ok=True)
    keep_heap()
    enable_compilation_cache()
    write_data(work)
    counts = Counts(work)
    folders(work, counts, args.folders, args.seed)
    rows(work, counts, args.rows, args.seed)
    kills(work, counts, args.kills, args.seed)
    table = [
        {"part": name, "what": what, "count": f"{count:,}"}
        for name in ("kills", "rows", "folders")
        for what, count in (dict.fromkeys(WRONG[name], 0) | counts.part(name)["counts"]).items()
    ]
    print(f"`python benchmarks/damage.py {' '.join(sys.argv[1:])}`\n\n{markdown_table(table)}")
    print(f"What went wrong, one by one: {counts.findings}")


if __name__ == "__main__":
    main()
