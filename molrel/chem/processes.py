"""Work shared by processes: started where they can be, and ended with the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from molrel.errors import RunError
from molrel.machine import say_once

_A = TypeVar("_A")
_B = TypeVar("_B")
_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


def map_in_processes(
    function: Callable[[_A], _B], items: Sequence[_A], workers: int
) -> Generator[_B]:
    """``map``, with worker processes; in this process where none can be started.

    Args:
      function: of a module, as it is sent to the workers by name; may be a ``partial``.
      items: what to apply it to.
      workers: number of processes.

    Yields:
      The results, in the order of ``items``.

    Raises:
      RunError: a worker died. What the function raises is raised here.
    """
    with contextlib.ExitStack() as stack:
        try:
            # They need a shared memory that some containers lack, and a module that some builds
            # of Python lack.
            from concurrent.futures import ProcessPoolExecutor
            from concurrent.futures.process import BrokenProcessPool
            from multiprocessing import get_context

            # Not forked: a parent with JAX has threads, and a forked child of it may hang.
            pool = ProcessPoolExecutor(
                workers,
                mp_context=get_context("spawn"),
                initializer=_end_with_parent,
                initargs=(os.getpid(),),
            )
            stack.callback(pool.shutdown, cancel_futures=True)
            with _without_main_module(), _interrupts_held_back():
                results = pool.map(function, items, chunksize=16)
        except (OSError, ImportError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            say_once(f"no worker processes can be started ({reason}); this process works alone")
            results = map(function, items)
            BrokenProcessPool = ()
        try:
            yield from results
        except BrokenProcessPool as error:
            raise RunError(
                "a process that computes molecule features died (out of memory, or a crash "
                "inside RDKit). Run again with --workers 1 to see at which molecule"
            ) from error


def _end_with_parent(parent: int) -> None:
    """Makes this worker end when its parent does, in whatever way that comes about.

    The thread sees it on every system, but not before RDKit returns from a molecule; Linux
    itself ends the worker at once.
    """
    from multiprocessing import parent_process

    def wait() -> None:
        handle = parent_process()
        if handle is not None:
            handle.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before that took effect
            os._exit(1)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Keeps Ctrl-C from worker processes that start meanwhile: their parent ends them.

    A terminal sends it to all of them, and each would print where it was. This process
    receives it afterwards: also where one of its other threads takes the signal, which the
    mask of this thread does not keep from it. Interrupted between the start of a worker and
    the message that tells it what to do, it would leave the worker with half a message.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    arrived: list[int] = []
    usual = signal.getsignal(signal.SIGINT)
    deferred = callable(usual) and threading.current_thread() is threading.main_thread()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if deferred:
        signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if deferred:
            signal.signal(signal.SIGINT, usual)
        if arrived:
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Keeps worker processes that start meanwhile from importing the parent's script.

    Python imports it into each of them, and with it JAX and whatever else the script
    needs; a script without ``if __name__ == "__main__"`` would even run again in each.
    Workers need the module of their function alone.
    """
    main: Any = sys.modules["__main__"]
    names = [name for name in ("__file__", "__spec__") if hasattr(main, name)]
    hidden = {name: getattr(main, name) for name in names}
    try:
        main.__spec__ = None
        main.__dict__.pop("__file__", None)
        yield
    finally:
        main.__dict__.update(hidden)
