"""Runs that meet SIGKILL at random moments, and must end like one that nothing interrupted."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from damage_run import Counts, contents, start, whole_run

from molrel.errors import InputError

KILLS_A_RUN = 4


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
