"""Checkpoints: damage is noticed, links are refused, failures end with one line."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from trained import ROOT, train_flags, write_domains

from molrel.errors import InputError
from molrel.train.checkpoint import Checkpoints, RunState, digest
from molrel.train.step import TrainState


def small_run(number: int = 0) -> RunState:
    """A run state of two seeds, with parameters of its own."""
    kernel = jax.random.normal(jax.random.key(number), (2, 40, 50))  # does not compress
    params = {"dense": {"kernel": kernel, "bias": jnp.arange(2.0)}}
    train = TrainState(
        params=params,
        state={},
        opt_state=(jnp.zeros((2, 3)), ()),
        step=jnp.array([4, 4]),
        key=jax.random.split(jax.random.key(0), 2),
    )
    return RunState(train, params, {}, jnp.zeros(2), jnp.array([2, 4]))


def saved(folder: Path, *steps: int) -> Path:
    """A folder of checkpoints."""
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(step, small_run(step))
    checkpoints.close()
    return folder


def restored(folder: Path) -> RunState:
    """The newest checkpoint of a folder."""
    checkpoints = Checkpoints(folder)
    try:
        return checkpoints.restore(small_run())
    finally:
        checkpoints.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder of checkpoints that nothing has happened to."""
    return saved(tmp_path_factory.mktemp("whole") / "checkpoints", 2, 4)


def copy(source: Path, target: Path) -> Path:
    """A copy of a folder."""
    for path in source.rglob("*"):
        if path.is_file():
            to = target / path.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(path.read_bytes())
    return target


def test_a_checkpoint_is_restored_as_it_was(whole, tmp_path):
    found = restored(copy(whole, tmp_path / "checkpoints"))
    assert digest(found) == digest(small_run(4))


def test_no_flipped_bit_is_restored_silently(whole, tmp_path):
    rng, noticed = random.Random(0), 0
    files = [p for p in (whole / "4" / "default").rglob("*") if p.is_file()]
    largest = sorted(files, key=lambda p: p.stat().st_size)[-1].relative_to(whole)
    for trial in range(12):
        folder = copy(whole, tmp_path / str(trial))
        path = folder / largest
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            found = restored(folder)
        except InputError as error:
            noticed += 1
            assert "checkpoint cannot be read" in str(error) and str(folder / "4") in str(error)
            assert "\n" not in str(error)
        else:  # a byte that nothing reads
            assert digest(found) == digest(small_run(4))
    assert noticed > 3


def test_values_that_were_replaced_by_a_valid_checkpoint_of_others_are_noticed(whole, tmp_path):
    folder = copy(whole, tmp_path / "checkpoints")
    other = copy(whole / "2" / "default", tmp_path / "other")
    for path in (folder / "4" / "default").rglob("*"):
        if path.is_file():
            path.unlink()
    copy(other, folder / "4" / "default")
    with pytest.raises(InputError, match="not those that were written"):
        restored(folder)


def test_a_checkpoint_without_a_digest_is_still_restored(tmp_path):
    manager = ocp.CheckpointManager(tmp_path / "checkpoints")
    manager.save(6, args=ocp.args.StandardSave(small_run(6)))
    manager.close()
    assert digest(restored(tmp_path / "checkpoints")) == digest(small_run(6))


def test_what_a_kill_leaves_is_ignored(whole, tmp_path):
    folder = copy(whole, tmp_path / "checkpoints")
    half = folder / "6.orbax-checkpoint-tmp"
    copy(folder / "4", half)
    (half / "_CHECKPOINT_METADATA").unlink()
    (folder / "1").mkdir()  # of a deletion that was cut short
    assert digest(restored(folder)) == digest(small_run(4))
    checkpoints = Checkpoints(folder)
    checkpoints.save(6, small_run(6))
    checkpoints.close()
    assert digest(restored(folder)) == digest(small_run(6))
    assert sorted(p.name for p in folder.iterdir()) == ["4", "6"]


def test_a_digest_is_of_names_shapes_dtypes_and_bytes():
    tree = {"b": np.arange(6, dtype=np.float32), "a": {"c": np.zeros(2, np.int32)}}

    @flax.struct.dataclass
    class Same:
        a: dict
        b: jax.Array

    assert digest(tree) == digest(jax.tree.map(jnp.asarray, tree))
    assert digest(tree) == digest(Same(tree["a"], tree["b"]))
    assert digest({"b": tree["b"].reshape(2, 3).T.copy().T.ravel(), "a": tree["a"]}) == digest(tree)
    others = [
        tree | {"b": tree["b"].reshape(2, 3)},
        tree | {"b": tree["b"].view(np.int32)},
        {"x" if k == "b" else k: v for k, v in tree.items()},
        tree | {"b": tree["b"][::-1]},
        tree | {"b": np.nextafter(tree["b"], np.float32(9))},
        {"b": tree["b"]},
    ]
    assert len({digest(tree), *map(digest, others)}) == 1 + len(others)
    keys = [{"key": jax.random.key(i)} for i in (0, 1)]
    assert digest(keys[0]) != digest(keys[1])


@pytest.mark.parametrize("link", ["checkpoints", "checkpoints/4", "checkpoints/4/default"])
def test_links_among_checkpoints_are_refused(whole, tmp_path, link):
    folder = copy(whole, tmp_path / "run" / "checkpoints")
    path, goal = tmp_path / "run" / link, tmp_path / "elsewhere"
    path.rename(goal)
    path.symlink_to(goal)
    before = {p: p.stat().st_mtime_ns for p in goal.rglob("*")}
    with pytest.raises(InputError, match="symbolic link") as caught:
        Checkpoints(folder)
    assert str(path) in str(caught.value)
    assert {p: p.stat().st_mtime_ns for p in goal.rglob("*")} == before


# ---- a run that fails --------------------------------------------------------------------------

LIMITED = """
import json, resource, sys
from molrel.cli import main
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(main(json.loads(sys.argv[2])))
"""


# orbax fails at another file, and in another way, with each.
@pytest.mark.parametrize(
    "limit", [20_000, *(pytest.param(n, marks=pytest.mark.slow) for n in (6_000, 60_000))]
)
def test_a_full_disk_while_saving_is_one_line(tmp_path, limit):
    flags = train_flags(write_domains(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), json.dumps(flags)],
        capture_output=True,
        text=True,
        # Its own: what it leaves there is cut off too.
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax")},
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1, done.stderr[-2000:]
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr[:3000]
    assert "cannot write the checkpoint of step 2" in lines[0] and "--resume" in lines[0]


@pytest.mark.slow
def test_an_interrupt_in_the_middle_of_the_loop_is_one_line(tmp_path):
    flags = train_flags(write_domains(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-m", "molrel", *flags, "--train.steps", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 4/"):
            process.send_signal(signal.SIGINT)
            break
    _, stderr = process.communicate()
    assert process.returncode == 130, stderr[-2000:]
    assert stderr.splitlines() == [
        "molrel: stopped; --resume continues from the last checkpoint"
    ], stderr[:3000]
