"""Settings of the process: how it keeps memory, how it keeps compiled programs."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

from molrel.machine import NO_HOME, say_once, user_cache

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
    base = Path(chosen) if chosen else user_cache()
    return None if base is None else base / "jax" / _processor()


# Programs for CPUs compile in less than the default threshold of one second, but there are many.
_KEEP_ALL = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def name_compilation_cache() -> None:
    """Tells a JAX that is not imported yet where to keep compiled programs; touches no file.

    Before the import is better: XLA on CPU reports every program that it loads as an error
    (jax-ml/jax#38445), because it takes preferences of the compiler for abilities of the
    processor, and how much it reports is settled when JAX is imported. Failures are raised as
    exceptions all the same. Processes started later inherit the settings.

    What the user has set stays as it is: JAX's own variables, and JAX_ENABLE_COMPILATION_CACHE=0
    or an empty MOLREL_CACHE, which keep nothing.
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if chosen is None:
        chosen = compilation_cache_folder()
    if not chosen:
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(chosen)
    for name, value in _KEEP_ALL.items():
        os.environ.setdefault(name.upper(), str(value))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # JAX would report every program that it cannot keep, once a disk is full.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache", UserWarning)


def enable_compilation_cache(folder: str | Path | None = None) -> Path | None:
    """Keeps compiled programs on disk, so that the next process need not compile them again.

    ``name_compilation_cache`` for a JAX that is imported or not. A run does it when it begins.
    Where nothing can be kept, one line on standard error says so, and programs are compiled
    each time.

    Args:
      folder: where; the default is JAX's own setting if there is one, otherwise
        ``compilation_cache_folder()``. It is created.

    Returns:
      The folder; None where nothing is kept.
    """
    if folder is not None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    name_compilation_cache()
    chosen, settings = os.environ.get("JAX_COMPILATION_CACHE_DIR"), {}
    if "jax" in sys.modules:
        import jax

        present = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
        if folder is None and present is not None:
            chosen = present
        elif chosen:
            settings = {"jax_compilation_cache_dir": chosen, **_KEEP_ALL}
    if chosen is None and os.environ.get("MOLREL_CACHE") != "":
        say_once(NO_HOME)
    if not chosen:
        return None
    reason = _why_not_writable(chosen)
    if reason is not None:
        say_once(
            f"{chosen}: compiled programs cannot be kept there ({reason}), so that the next run "
            "compiles them again; JAX_COMPILATION_CACHE_DIR can name another folder"
        )
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "False"
        chosen, settings = None, {"jax_enable_compilation_cache": False}
    if "jax" in sys.modules:
        import jax

        for name, value in settings.items():
            jax.config.update(name, value)
    return None if chosen is None else Path(chosen)


def _why_not_writable(folder: str | Path) -> str | None:
    """Why no file can be written into a folder, which is created if need be; None if one can."""
    if "://" in str(folder):  # storage elsewhere, which is JAX's business
        return None
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        return error.strerror or str(error)
    return None


def reset_peak_memory() -> None:
    """Starts ``peak_memory_mb`` anew, where the system can."""
    release_free_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, or since ``reset_peak_memory``, in MiB.

    NaN where the system does not tell.
    """
    try:
        # Unlike ru_maxrss, this does not start from the size of the process that started us.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
