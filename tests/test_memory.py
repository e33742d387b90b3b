"""Settings of the process; those that cannot be undone are tried in processes of their own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import molrel
from molrel import memory

ROOT = Path(molrel.__file__).parents[1]


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": "/nonexistent"} | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


COUNT_FAULTS = """
import ctypes, resource, sys
from molrel.memory import keep_heap
assert "jax" not in sys.modules
if {keep}:
    assert keep_heap() is True
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
def touch():
    block = library.malloc(64 << 20)
    ctypes.memset(block, 1, 64 << 20)
    library.free(ctypes.c_void_p(block))
library.free.argtypes = [ctypes.c_void_p]
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_kept_heap_pays_for_a_page_once():
    import ctypes

    if not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        pytest.skip("the C library is not glibc")
    kept, returned = (int(run(COUNT_FAULTS.format(keep=keep))) for keep in (True, False))
    # Huge pages may make the second number small, but never as small as the first.
    assert kept < 10 < returned


def test_other_platforms_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.keep_heap() is False


COMPILE = """
import sys
from pathlib import Path
from molrel.memory import enable_compilation_cache
folder = enable_compilation_cache({folder!r})
import jax
jax.jit(lambda x: jax.numpy.sin(x) * 3)(jax.numpy.ones(7)).block_until_ready()
print(folder, len(list(Path(folder).glob("*-cache"))))
"""


def test_compiled_programs_are_kept(tmp_path):
    folder = tmp_path / "programs"
    first = run(COMPILE.format(folder=str(folder)), JAX_PLATFORMS="cpu").split()
    assert first[0] == str(folder) and int(first[1]) >= 1
    assert run(COMPILE.format(folder=str(folder)), JAX_PLATFORMS="cpu").split() == first


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MOLREL_CACHE", str(tmp_path))
    assert memory.compilation_cache_folder() == tmp_path / "jax"
    monkeypatch.delenv("MOLREL_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert memory.compilation_cache_folder() == Path("/home/someone/.cache/molrel/jax")


def test_peak_memory_counts_what_was_freed():
    before = memory.peak_memory_mb()
    block = np.ones(int(before + 200) * 2**17)
    size = block.nbytes / 2**20
    del block
    assert size <= memory.peak_memory_mb() <= before + size + 100
