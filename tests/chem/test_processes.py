"""Worker processes: what happens where none can start, and when their parent ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import molrel
from molrel.chem.processes import _interrupts_held_back, map_in_processes
from molrel.errors import RunError

ROOT = Path(molrel.__path__[0]).parent


def python(code: str, *path: Path, **options) -> subprocess.Popen:
    """Another process with the package."""
    search = os.pathsep.join(map(str, (*path, ROOT)))
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": search},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_results_come_in_order_from_other_processes():
    assert list(map_in_processes(abs, range(-99, 0), 2)) == list(range(99, 0, -1))


def test_what_the_function_raises_is_raised():
    with pytest.raises(TypeError, match="abs"):
        list(map_in_processes(abs, ["a"], 2))


def test_a_worker_that_dies_is_reported_with_what_to_do():
    with pytest.raises(RunError, match="--workers 1"):
        list(map_in_processes(os._exit, [3], 2))


NO_WORKERS = """
import sys
{obstacle}
from pathlib import Path
from molrel.chem import FeatureConfig, featurise_all
many = ["C" * n + x + "C" * m for n in range(1, 16) for x in "ONS" for m in range(1, 16)]
features = featurise_all(many, FeatureConfig(picture_size=32), cache=Path({folder!r}), workers=2)
print(len(features), features[0].smiles)
"""


@pytest.mark.parametrize(
    ("obstacle", "lines"),
    [
        # Semaphores are files in shared memory; this stops them as a full /dev/shm does.
        ("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))", 2),
        ("sys.modules['_multiprocessing'] = None", 1),
        ("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))", 1),
    ],
)
def test_where_no_worker_can_start_this_process_works_alone(obstacle, lines, tmp_path):
    pytest.importorskip("resource")
    process = python(NO_WORKERS.format(obstacle=obstacle, folder=str(tmp_path)))
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "675 COC\n"), err
    assert len(err.splitlines()) == lines and "Traceback" not in err
    assert err.startswith("molrel: no worker processes can be started (")


FEATURISE = """
from pathlib import Path
from molrel.chem import FeatureConfig, featurise_all
many = ["C" * n + x + "C" * m for n in range(1, 50) for x in "ONS" for m in range(1, 50)]
featurise_all(many, FeatureConfig(picture_size=96), cache=Path({folder!r}), workers=2)
"""


def descendants(pid: int) -> set[int]:
    """Process ids below a process."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    below = {pid}
    while more := {p for p, parent in parents.items() if parent in below} - below:
        below |= more
    return below - {pid}


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may still be listed until someone asks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(("by", "system"), [(signal.SIGKILL, "linux"), (signal.SIGTERM, "another")])
def test_workers_end_with_their_parent(by, system, tmp_path):
    # On other systems workers have only the thread that waits for the parent.
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.platform = {system!r}")
    process = python(FEATURISE.format(folder=str(tmp_path / "cache")), tmp_path)
    try:
        assert wait_for(lambda: any((tmp_path / "cache").rglob("*.features")), 100)
        workers = descendants(process.pid)
        assert len(workers) >= 2
        process.send_signal(by)
        process.communicate(timeout=60)
        assert process.returncode == -by
        assert wait_for(lambda: not any(map(alive, workers)), 20)
    finally:
        process.kill()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="POSIX only")
def test_ctrl_c_ends_all_and_only_the_parent_speaks(tmp_path):
    code = FEATURISE.format(folder=str(tmp_path))
    process = python(code, start_new_session=True)
    try:
        # As a terminal does, to all of them; some workers may be starting only now.
        assert wait_for(lambda: len(descendants(process.pid)) >= 2, 100)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=100)
        assert process.returncode != 0
        assert err.count("Traceback") == err.count("KeyboardInterrupt") == 1, err
    finally:
        process.kill()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="POSIX only")
def test_ctrl_c_while_workers_start_comes_when_they_have():
    # Another thread may take the signal; its handler runs in the main thread all the same.
    other = threading.Thread(target=time.sleep, args=(0.5,))
    other.start()
    whole = False
    with pytest.raises(KeyboardInterrupt), _interrupts_held_back():
        signal.pthread_kill(other.ident, signal.SIGINT)
        time.sleep(0.2)
        whole = True
    assert whole
    other.join()
