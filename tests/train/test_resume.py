"""A run that is killed and resumed ends bit for bit where an uninterrupted one does."""

import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from trained import ROOT, train_flags, write_domains

from molrel.cli import main
from molrel.runs import load_run

STEPS, EVERY = 40, 5


def flags(folder, out):
    changed = ("--train.steps", str(STEPS), "--train.evaluate-every", str(EVERY))
    return [*train_flags(folder, out), *changed]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """CSV files and the run that nothing interrupts."""
    folder = write_domains(tmp_path_factory.mktemp("resume"))
    assert main(flags(folder, "whole")) == 0
    return folder


def kill_after(folder, out, line):
    """Starts a run and kills it with SIGKILL as soon as it prints a line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "molrel", *flags(folder, out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for printed in process.stdout:
        if printed.startswith(line):
            process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"


def saved_state(run):
    """Every array of the last checkpoint."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(run / "checkpoints" / str(STEPS) / "default")


def assert_same(a, b):
    leaves = zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True)
    for (path, x), y in leaves:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of orbax, restoring without a template
@pytest.mark.parametrize(
    "line",
    ["note:", f"step {2 * EVERY}/", f"step {STEPS}/"],
    ids=["before the first checkpoint", "between two checkpoints", "before the report"],
)
def test_killed_and_resumed_equals_uninterrupted(folder, line, request):
    out = f"killed_{request.node.callspec.indices['line']}"
    kill_after(folder, out, line)
    whole, run = folder / "whole", folder / out
    done = [p.name for p in (run / "checkpoints").glob("[0-9]*")]
    assert done == [] if line == "note:" else done, "was killed at another point"
    assert str(STEPS) not in done or line.startswith(f"step {STEPS}")

    # What a kill in the middle of a write can leave behind.
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints" / "999.orbax-checkpoint-tmp-7").mkdir()
    (run / "config.tmp").write_text("{")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 999, "seed"')

    assert main([*flags(folder, out), "--resume"]) == 0
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert (run / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert_same(load_run(whole).best, load_run(run).best)
    assert_same(saved_state(whole), saved_state(run))
    rows = [json.loads((r / "report.json").read_text())["rows"] for r in (whole, run)]
    assert rows[0] == rows[1]
