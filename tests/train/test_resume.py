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

# Steps of the run, and between checkpoints. Experts start from clusters of all training
# examples, count epochs and keep statistics.
LENGTHS = {"distrans": (20, 5), "experts": (18, 6)}


def flags(folder, kind, out):
    steps, every = LENGTHS[kind]
    usual = train_flags(folder, f"{kind}_{out}")
    if kind == "distrans":
        return [*usual, "--train.steps", str(steps), "--train.evaluate-every", str(every)]
    kept = usual[2 : usual.index("--train.steps")]
    return [
        "train",
        str(ROOT / "configs" / "topexpert_mixtures.py"),
        *kept,
        *("--train.epochs", str(steps // 3), "--train.evaluate-every", str(every // 3)),
        *("--train.source-examples", "20", "--train.replicates", "5", "--method.width", "16"),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """CSV files."""
    return write_domains(tmp_path_factory.mktemp("resume"))


def whole_run(folder, kind):
    """The run that nothing interrupts."""
    run = folder / f"{kind}_whole"
    if not run.is_dir():
        assert main(flags(folder, kind, "whole")) == 0
    return run


def kill_after(folder, kind, out, line):
    """Starts a run and kills it with SIGKILL as soon as it prints a line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "molrel", *flags(folder, kind, out)],
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


def saved_state(run, steps):
    """Every array of the last checkpoint."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(run / "checkpoints" / str(steps) / "default")


def assert_same(a, b):
    leaves = zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True)
    for (path, x), y in leaves:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of orbax, restoring without a template
@pytest.mark.parametrize(
    ("kind", "when"),
    [
        pytest.param("distrans", "before the first checkpoint", marks=pytest.mark.slow),
        ("distrans", "between two checkpoints"),
        pytest.param("distrans", "before the report", marks=pytest.mark.slow),
        pytest.param("experts", "before the first checkpoint", marks=pytest.mark.slow),
        pytest.param("experts", "between two checkpoints", marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(folder, kind, when):
    steps, every = LENGTHS[kind]
    line = {
        "before the first checkpoint": "note:",
        "between two checkpoints": f"step {2 * every}/",
        "before the report": f"step {steps}/",
    }[when]
    out = "killed_" + when.replace(" ", "_")
    kill_after(folder, kind, out, line)
    whole, run = whole_run(folder, kind), folder / f"{kind}_{out}"
    done = [p.name for p in (run / "checkpoints").glob("[0-9]*")]
    assert done == [] if line == "note:" else done, "was killed at another point"
    assert str(steps) not in done or line.startswith(f"step {steps}")

    # What a kill in the middle of a write can leave behind.
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints" / "999.orbax-checkpoint-tmp-7").mkdir()
    (run / "config.tmp").write_text("{")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 999, "seed"')

    assert main([*flags(folder, kind, out), "--resume"]) == 0
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert (run / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert_same(load_run(whole).best, load_run(run).best)
    assert_same(saved_state(whole, steps), saved_state(run, steps))
    rows = [json.loads((r / "report.json").read_text())["rows"] for r in (whole, run)]
    assert rows[0] == rows[1]
