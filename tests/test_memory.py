"""Settings of the process; those that cannot be undone are tried in processes of their own."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

import molrel
from molrel import memory

ROOT = Path(molrel.__file__).parents[1]


def start(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": "/nonexistent"} | environment,
        check=False,
    )


def run(code: str, **environment: str) -> str:
    done = start(code, **environment)
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
{first}
from pathlib import Path
from molrel.memory import enable_compilation_cache
folder = enable_compilation_cache({folder!r})
import jax
jax.jit(lambda x: jax.numpy.sin(x) * 3)(jax.numpy.ones(7)).block_until_ready()
print(folder, len(list(Path(folder).glob("*-cache"))))
"""


@pytest.mark.parametrize("first", ["", "import jax"])
def test_compiled_programs_are_kept(tmp_path, first):
    code = COMPILE.format(folder=str(tmp_path / "programs"), first=first)
    folder, count = run(code, JAX_PLATFORMS="cpu").split()
    assert folder == str(tmp_path / "programs") and int(count) >= 1
    assert run(code, JAX_PLATFORMS="cpu").split() == [folder, count]


def test_loading_kept_programs_is_quiet(tmp_path):
    code = COMPILE.format(folder=str(tmp_path), first="")
    for _ in range(2):
        done = start(code, JAX_PLATFORMS="cpu")
        assert done.returncode == 0 and done.stderr == ""


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MOLREL_CACHE", str(tmp_path))
    assert memory.compilation_cache_folder().parent == tmp_path / "jax"
    monkeypatch.delenv("MOLREL_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    folder = memory.compilation_cache_folder()
    assert folder.parent == Path("/home/someone/.cache/molrel/jax")
    # A program for another processor may hold instructions that this one lacks.
    monkeypatch.setattr(Path, "read_text", lambda self: "flags : sse2\n")
    other = memory.compilation_cache_folder()
    assert other.parent == folder.parent and other != folder


ENABLE = "from molrel.memory import enable_compilation_cache as e; print(e())"


def test_the_users_own_cache_is_respected(tmp_path):
    own = str(tmp_path / "mine")
    assert run(ENABLE, JAX_COMPILATION_CACHE_DIR=own).strip() == own
    told = ENABLE + "; import os; print(os.environ['JAX_COMPILATION_CACHE_DIR'])"
    bucket = "gs://bucket/mine"
    assert run(told, JAX_COMPILATION_CACHE_DIR=bucket).splitlines()[-1] == bucket


COMPILE_TWO = """
import sys
{first}
from molrel.memory import enable_compilation_cache
assert enable_compilation_cache() is None
import jax
for i in range(2):
    jax.jit(lambda x: jax.numpy.sin(x) * i)(jax.numpy.ones(7)).block_until_ready()
print("done")
"""


@pytest.mark.parametrize("variable", ["MOLREL_CACHE", "JAX_COMPILATION_CACHE_DIR"])
@pytest.mark.parametrize("first", ["", "import jax"])
def test_where_no_program_can_be_kept_one_line_says_so(variable, first, tmp_path):
    (tmp_path / "file").write_text("")
    code = COMPILE_TWO.format(first=first)
    done = start(code, JAX_PLATFORMS="cpu", **{variable: str(tmp_path / "file")})
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"molrel: {tmp_path / 'file'}") and "programs cannot be kept" in line


def test_without_a_home_folder_one_line_says_so():
    code = "import pwd; pwd.getpwuid = {}.__getitem__; import os; del os.environ['HOME']\n"
    done = start(code + COMPILE_TWO.format(first=""), JAX_PLATFORMS="cpu")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    (line,) = done.stderr.splitlines()
    assert "no home folder" in line


def test_a_disk_that_fills_up_later_is_no_warning_a_program(tmp_path):
    code = COMPILE.format(folder=str(tmp_path), first="").replace(
        "import jax\n",
        "import jax, resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n",
    )
    done = start(code, JAX_PLATFORMS="cpu")
    assert done.returncode == 0 and done.stderr == ""


def test_peak_memory_needs_no_posix(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(Path, "read_text", lambda self: (_ for _ in ()).throw(OSError()))
    assert math.isnan(memory.peak_memory_mb())


PEAK = """
import numpy as np
from molrel.memory import peak_memory_mb
before = peak_memory_mb()
block = np.ones(int(before + 200) * 2**17)
size = block.nbytes / 2**20
del block
print(before, size, peak_memory_mb())
"""


def test_peak_memory_counts_what_was_freed():
    # Of its own process: that of the tests may have had gigabytes, which the block would double.
    before, size, peak = map(float, run(PEAK).split())
    assert size <= peak <= before + size + 100
