"""Checkpoints of a run with orbax: atomic, complete, and restored into a template."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array, Float, Int

from molrel.collectives import plain, with_keys
from molrel.errors import InputError, RunError, writing
from molrel.files import refuse_links
from molrel.train.step import TrainState


@flax.struct.dataclass
class RunState:
    """All that a run needs to go on; every leaf has a leading seed axis.

    Attributes:
      train: states of the seeds.
      best_params, best_state: at the best source validation so far.
      best_value: f32 [S], that validation value, larger is better.
      best_step: int32 [S].
    """

    train: TrainState
    best_params: Any
    best_state: Any
    best_value: Float[Array, " s"]
    best_step: Int[Array, " s"]


class Checkpoints:
    """The checkpoint folder of a run; the newest two are kept.

    Args:
      folder: made absolute, because orbax silently loses what is saved to a relative path.

    Raises:
      InputError: there is a symbolic link in the run folder.
    """

    def __init__(self, folder: Path):
        quiet()
        refuse_links(folder.parent)
        self.folder = folder.resolve()
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(max_to_keep=2, create=False, **of_one_process()),
        )

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, None where there is none."""
        return self._manager.latest_step()

    def save(self, step: int, run: RunState) -> None:
        """Saves and waits until it is on disk, so that a later kill cannot lose it.

        Raises:
          RunError: the disk is full or the folder cannot be written.
        """
        try:
            with quiet_save():
                self._manager.save(
                    step,
                    args=ocp.args.StandardSave(plain(run)),
                    custom_metadata={DIGEST: digest(run)},
                )
                self._manager.wait_until_finished()
        except Exception as error:  # orbax and tensorstore raise many kinds
            raise RunError(
                f"{self.folder}: cannot write the checkpoint of step {step} ({first_line(error)}). "
                "Free some space and continue with --resume; earlier checkpoints are intact"
            ) from error

    def restore(self, template: RunState) -> RunState:
        """The newest checkpoint, in the template's structure, shapes and dtypes.

        Raises:
          InputError: it is damaged, or its arrays are not those of the template.
        """
        step = self.latest()
        path = self.folder / str(step)
        abstract = plain(template)
        try:
            restored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
            written = (self._manager.metadata(step).custom_metadata or {}).get(DIGEST)
            # Checkpoints of earlier versions have no digest.
            if written not in (None, digest(restored)):
                raise ValueError("its arrays are not those that were written")
        except Exception as error:  # orbax and tensorstore raise many kinds
            raise InputError(
                f"the checkpoint cannot be read ({first_line(error)})",
                path=path,
                remedy="Delete this folder to go on from the checkpoint before it, "
                "or train again with the config it was written with",
            ) from error
        return with_keys(template, jax.tree.map(jnp.asarray, restored))

    def close(self) -> None:
        """Frees the manager. Every save was waited for, so a failure here loses nothing."""
        with contextlib.suppress(Exception):  # orbax raises what a failed save raised once more
            self._manager.close()


def of_one_process() -> dict[str, Any]:
    """Options of orbax, by which the first of several processes writes without the others."""
    if jax.process_count() == 1:
        return {}
    only = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    return {"multiprocessing_options": only}


DIGEST = "sha256"


def digest(tree: Any) -> str:
    """sha256 of a pytree of arrays: their names, shapes, dtypes and bytes.

    The same for NumPy and JAX arrays, on one device and on several, and for a dataclass and a
    dict with the same names.
    """
    total = hashlib.sha256()
    named = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    ]
    for name, leaf in sorted(named, key=lambda pair: pair[0]):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        total.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def quiet() -> None:
    """Keeps orbax from logging what an error of ours says already."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def quiet_save() -> Iterator[None]:
    """For a save by orbax: if a write fails, its error is all that is ever said of it.

    orbax gives up at the first write that fails. Those that fail or end after it are reported
    one by one, up to the end of the process: by asyncio, as errors that nobody fetched, and by
    tensorstore, which calls back an event loop that orbax has closed, and by Python, for writes
    that have not begun.
    """
    logger, usual = logging.getLogger("asyncio"), sys.unraisablehook

    def hook(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            usual(unraisable)

    logger.addFilter(_was_fetched)
    warnings.filterwarnings("ignore", "coroutine 'async_serialize", RuntimeWarning)
    sys.unraisablehook = hook
    yield
    # Not reached after a failure, whose echoes come later.
    logger.removeFilter(_was_fetched)
    sys.unraisablehook = usual


def _was_fetched(record: logging.LogRecord) -> bool:
    return "exception was never retrieved" not in record.getMessage()


def first_line(error: Exception) -> str:
    """First line of an error's text, or its kind if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
