"""The ``molrel`` command: what holds for every command, whose own part is in ``commands``.

Nothing here takes time to import, so that a Ctrl-C is caught as soon as there is a command.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("train", "evaluate", "predict", "embed", "ablate", "data")
USAGE = f"""usage: molrel {{{",".join(NAMES)}}} ...

  train PRESET|CONFIG.py --out runs/NAME   train an experiment and report on it
  evaluate runs/NAME                       print or recompute a run's table
  predict runs/NAME --input FILE --output FILE
  embed runs/NAME --input FILE --output FILE.npz
  ablate PRESET|CONFIG.py --grid FIELD=VALUE,VALUE --seeds N --out FOLDER
  data list|info|overlap|discrepancy

molrel COMMAND --help lists the flags of a command; molrel --version prints the version."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a command as Ctrl-C does."""


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns the exit code.

    0, 1 for a fault of ours or of the machine, 2 for wrong input, 130 and 143 when stopped by
    Ctrl-C and by SIGTERM. A failure is one line on standard error; MOLREL_DEBUG shows the
    traceback of an internal error.
    """
    arguments = sys.argv[1:] if argv is None else argv
    command = arguments[0] if arguments else ""
    try:
        with _terminable():
            _open_streams()
            code = _run(command, arguments)
            try:
                sys.stdout.flush()
            except OSError as error:
                return _broken_output(error, finished=True)
            return code
    except KeyboardInterrupt as stop:
        ended, code = ("terminated", 143) if isinstance(stop, Terminated) else ("stopped", 130)
        resume = "; --resume continues from the last checkpoint" if command == "train" else ""
        return _fail(f"{ended}{resume}", code)


def _run(command: str, arguments: list[str]) -> int:
    from molrel.errors import InputError, RunError

    if command in ("", "-h", "--help"):
        print(USAGE)
        return 0 if command else 2
    if command == "--version":
        import molrel

        print(f"molrel {molrel.__version__}")
        return 0
    if command not in NAMES:
        print(f"molrel: unknown command {command!r}\n{USAGE}", file=sys.stderr)
        return 2
    from molrel.memory import keep_heap

    # Before JAX is imported: temporaries stay with the process instead of going back to the
    # system at every step. Only here, as it is for the whole process and for good.
    keep_heap()
    # joblib, on a machine without shared memory; nothing here uses its processes.
    warnings.filterwarnings("ignore", "(?s).*joblib will operate in serial mode")
    try:
        from molrel import commands

        return commands.COMMANDS[command](arguments[1:])
    except (InputError, RunError) as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_has_left():
            return _broken_output(error, finished=command != "train")
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 1)
    except SystemExit as stop:  # of tyro, which has printed what is wrong with a flag
        if isinstance(stop.code, str):  # of a config file
            return _fail(stop.code, 1)
        return stop.code or 0
    except MemoryError:
        return _fail("not enough memory", 1)
    except Exception as error:
        if os.environ.get("MOLREL_DEBUG"):
            raise
        return _fail(f"internal error: {_describe(error)} (MOLREL_DEBUG=1 shows the traceback)", 1)


def _describe(error: Exception) -> str:
    """Kind, first line and place, innermost in this package, of an error that is ours."""
    import traceback

    lines = str(error).strip().splitlines()
    text = type(error).__name__ + (f": {lines[0][:300]}" if lines else "")
    folder = os.path.dirname(os.path.abspath(__file__))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(folder + os.sep):
            return f"{text}, at molrel{frame.filename[len(folder) :]}:{frame.lineno}"
    return text


def _fail(problem: str, code: int) -> int:
    """Says on one line what is wrong."""
    print(f"molrel: {' '.join(problem.splitlines())}", file=sys.stderr)
    return code


def _open_streams() -> None:
    """Output that fails for no character, and goes nowhere where the caller has closed it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _reader_has_left() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    if not hasattr(select, "poll"):  # on Windows
        return True
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _broken_output(error: OSError, *, finished: bool) -> int:
    """What could not be printed: silent where its reader has seen enough (``| head``)."""
    # What is left in the buffer would be tried, and reported, once more at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if finished and isinstance(error, BrokenPipeError):
        return 0
    return _fail(f"standard output: {error.strerror or error}", 1)


@contextmanager
def _terminable() -> Iterator[None]:
    """Meanwhile SIGTERM raises ``Terminated``, so that files and processes are cleaned up."""
    owner = os.getpid()

    def stop(number: int, frame: object) -> None:
        if os.getpid() != owner:  # a forked process has nothing of ours to clean up
            os._exit(143)
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread, which alone receives signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
