"""A finished run: reading its folder, and scoring molecules with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from molrel.chem.cache import featurise_all
from molrel.config import Experiment, from_json
from molrel.data.types import Examples, Task
from molrel.errors import InputError
from molrel.memory import enable_compilation_cache
from molrel.prepare import molecule_table
from molrel.train.checkpoint import first_line, quiet
from molrel.train.predict import make_predictor, to_scores
from molrel.train.step import unstack


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
      folder: where it lies.
      config: the experiment.
      task: what it predicts.
      sides: molecules that it takes together.
      label_mean, label_scale: float32 [T], that turn outputs into the task's units.
      data_digest: of the data that it was trained on (``Divided.digest``); None if not kept.
      best: selected parameters and state, every leaf with a leading seed axis.
    """

    folder: Path
    config: Experiment
    task: Task
    sides: int
    label_mean: np.ndarray
    label_scale: np.ndarray
    data_digest: str | None
    best: dict[str, Any]

    def score(self, molecules: list[str], examples: Examples) -> np.ndarray:
        """Scores float64 of every seed for examples over canonical SMILES.

        Probabilities for classes, predictions in the task's units for regression: [S, N], or
        [S, N, T] of several targets.
        """
        features = featurise_all(molecules, self.config.features)
        method = self.config.method.build(
            None,
            kind=self.task.kind,
            n_outputs=self.task.n_outputs,
            symmetric=self.task.symmetric,
        )
        table = molecule_table(features, self.config.features, None, self.config.method.needs)
        predict = make_predictor(method, table, symmetric=self.task.symmetric)
        scores = []
        for i in range(len(self.config.seeds)):
            params, state = unstack(self.best["params"], i), unstack(self.best["state"], i)
            logits = predict(params, state, examples)
            scores.append(to_scores(logits, self.task.kind, self.label_mean, self.label_scale))
        return np.stack(scores)


def load_run(folder: Path) -> Run:
    """Reads a run folder.

    Raises:
      InputError: not a run, not finished, or its files are damaged.
    """
    enable_compilation_cache()
    path = folder / "config.json"
    if not path.is_file():
        raise InputError("is not a run folder: it has no config.json", path=folder)
    try:
        values = json.loads(path.read_text())
        task = values["task"]
        settings = {
            "config": from_json(values["experiment"], path),
            "task": Task(
                **task | {"targets": tuple(task["targets"]), "units": tuple(task["units"])}
            ),
            "sides": int(values.get("sides", 2)),
            "data_digest": values.get("data_digest"),
            "label_mean": np.array(values["label_mean"], np.float32),
            "label_scale": np.array(values["label_scale"], np.float32),
        }
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"is damaged, or no run's config ({type(error).__name__}: {error})", path=path
        ) from error
    best = (folder / "best").resolve()
    if not best.is_dir():
        raise InputError(
            "the run has not finished", path=folder, remedy="Continue it with train --resume"
        )
    return Run(folder=folder, best=_restore(best), **settings)


def _restore(best: Path) -> dict[str, Any]:
    """Parameters and state of a run, as NumPy arrays.

    Raises:
      InputError: they are damaged.
    """
    quiet()
    checkpointer = ocp.PyTreeCheckpointer()
    try:
        # NumPy, so that a run made on an accelerator is read on a machine without one.
        metadata: Any = checkpointer.metadata(best).item_metadata
        if metadata is None:
            raise ValueError("its metadata is damaged")
        restore = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata.tree)
        restored = checkpointer.restore(best, restore_args=restore)
    except Exception as error:  # orbax and tensorstore raise many kinds
        raise InputError(
            f"the parameters cannot be read ({first_line(error)})",
            path=best,
            remedy="Delete this folder and run train --resume to write it again",
        ) from error
    finally:
        checkpointer.close()
    # What has no leaves, such as the state without prototypes, is not stored.
    return {"state": {}, **restored}
