"""Checkpoints of a run with orbax: atomic, complete, and restored into a template."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jaxtyping import Array, Float, Int

from molrel.errors import InputError, RunError
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
    """

    def __init__(self, folder: Path):
        quiet()
        self.folder = folder.resolve()
        self._manager = ocp.CheckpointManager(
            self.folder, options=ocp.CheckpointManagerOptions(max_to_keep=2, create=True)
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
            self._manager.save(step, args=ocp.args.StandardSave(run))
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
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        try:
            restored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        except Exception as error:  # orbax and tensorstore raise many kinds
            raise InputError(
                f"the checkpoint cannot be read ({first_line(error)})",
                path=path,
                remedy="Delete this folder to go on from the checkpoint before it, "
                "or train again with the config it was written with",
            ) from error
        return jax.tree.map(jnp.asarray, restored)

    def close(self) -> None:
        """Waits for background work and frees the manager."""
        self._manager.close()


def quiet() -> None:
    """Keeps orbax from logging what an error of ours says already."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)


def first_line(error: Exception) -> str:
    """First line of an error's text, or its kind if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
