"""Settings of the process: how it keeps memory, how it keeps compiled programs."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
import zlib
from pathlib import Path

# (parameter of mallopt, value), from glibc's malloc.h.
_MALLOPT = (
    (-4, 0),  # M_MMAP_MAX: large blocks come from the heap, not from mmap
    (-1, 2**31 - 1),  # M_TRIM_THRESHOLD: freed memory is never given back
    (-2, 2**20),  # M_TOP_PAD: the heap grows by 1 MiB at a time
    (-8, 1),  # M_ARENA_MAX: all threads share that one heap
)


def keep_heap() -> bool:
    """Makes glibc keep freed memory, instead of returning it to the kernel.

    XLA on CPU takes the temporaries of a step from malloc and frees them after it; by default
    glibc gives such large blocks back to the kernel, and the next step pays for every page
    again. Keeping them made training steps 1.2 to 1.8 times faster. The price is that the
    process stays as large as it ever was.

    Call it before JAX is imported, as threads that already have an arena keep it. See
    ``man 3 mallopt``, https://man7.org/linux/man-pages/man3/mallopt.3.html.

    Returns:
      Whether all of it took effect: False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return all([library.mallopt(parameter, value) == 1 for parameter, value in _MALLOPT])


def release_free_memory() -> None:
    """Gives the pages of all freed blocks back to the kernel, once.

    For after a compilation or a checkpoint: these free hundreds of megabytes in blocks that
    the temporaries of a step do not fit into. Does nothing where the C library is not glibc.
    """
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)


def _processor() -> str:
    """A name for what this processor can do: compiled programs run on no lesser one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = next((x for x in lines if x.startswith(("flags", "Features"))), None)
    if features is None:
        features = platform.processor()  # starts a process
    return f"{platform.machine()}-{zlib.crc32(features.encode()):08x}"


def compilation_cache_folder() -> Path | None:
    """``$MOLREL_CACHE/jax``, or ``~/.cache/molrel/jax``, and in it a folder for this processor.

    None where MOLREL_CACHE is set to nothing, or where there is no home folder.
    """
    chosen = os.environ.get("MOLREL_CACHE")
    if chosen == "":
        return None
    try:
        base = Path(chosen) if chosen else Path.home() / ".cache" / "molrel"
    except RuntimeError:  # no HOME, and no entry in the list of users
        return None
    return base / "jax" / _processor()


def enable_compilation_cache(folder: str | Path | None = None) -> Path | None:
    """Keeps compiled programs on disk, so that the next process need not compile them again.

    ``import molrel`` does it where JAX is not imported yet; otherwise a run does it when it
    begins. Before is better: XLA on CPU reports every program that it loads as an error
    (jax-ml/jax#38445), because it takes preferences of the compiler for abilities of the
    processor, and how much it reports is settled when JAX is imported. Failures are raised as
    exceptions all the same. Processes started later inherit the settings.

    What the user has set stays as it is: JAX's own variables and options, and
    JAX_ENABLE_COMPILATION_CACHE=0 or an empty MOLREL_CACHE, which keep nothing.

    Args:
      folder: where; the default is JAX's own setting if there is one, otherwise
        ``compilation_cache_folder()``. It is created on first use.

    Returns:
      The folder; None where nothing is kept.
    """
    if folder is None and "jax" in sys.modules:
        import jax

        present = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
        if present is not None:
            return Path(present) if present else None
    chosen = folder
    if chosen is None:
        chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if chosen is None:
        chosen = compilation_cache_folder()
    if not chosen:
        return None
    settings = {
        "jax_compilation_cache_dir": str(chosen),
        # Programs for CPUs compile in less than the default threshold of one second, but there
        # are many of them.
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    if "jax" in sys.modules:
        import jax

        for name, value in settings.items():
            jax.config.update(name, value)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(chosen)
    for name, value in settings.items():
        os.environ.setdefault(name.upper(), str(value))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return Path(chosen)


def reset_peak_memory() -> None:
    """Starts ``peak_memory_mb`` anew, where the system can."""
    release_free_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, or since ``reset_peak_memory``, in MiB."""
    try:
        # Unlike ru_maxrss, this does not start from the size of the process that started us.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
