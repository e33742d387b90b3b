"""A finished run: reading its folder, and scoring molecules with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from molrel.chem.features import FeatureConfig, MoleculeFeatures
from molrel.config import Experiment, check
from molrel.config_json import Types, from_json
from molrel.data.types import Examples, Kind, Task
from molrel.errors import InputError
from molrel.memory import enable_compilation_cache
from molrel.prepare import molecule_table
from molrel.run_folder import RECORD, read_best, read_record
from molrel.sources import is_file
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
      columns: SMILES columns that a file to be scored has by default.
      label_mean, label_scale: float64 [T], that turn outputs into the task's units.
      data_digest: of the data that it was trained on (``Divided.digest``); None if not kept.
      best: selected parameters and state, every leaf with a leading seed axis.
    """

    folder: Path
    config: Experiment
    task: Task
    sides: int
    columns: tuple[str, ...]
    label_mean: np.ndarray
    label_scale: np.ndarray
    data_digest: str | None
    best: dict[str, Any]

    @property
    def features(self) -> FeatureConfig:
        """What must be computed of molecules to be scored."""
        return self.config.features.drawn_for(self.config.method.needs)

    def score(self, features: Sequence[MoleculeFeatures], examples: Examples) -> np.ndarray:
        """Scores float64 of every seed for examples over molecules, as of ``features``.

        Probabilities for classes, predictions in the task's units for regression: [S, N], or
        [S, N, T] of several targets or classes.
        """
        method = self.config.method.build(
            None,
            kind=self.task.kind,
            n_outputs=self.task.n_outputs,
            symmetric=self.task.symmetric,
        )
        table = molecule_table(features, self.features, None, self.config.method.needs)
        predict = make_predictor(method, table, symmetric=self.task.symmetric)
        scores = []
        for i in range(len(self.config.seeds)):
            params, state = unstack(self.best["params"], i), unstack(self.best["state"], i)
            logits = predict(params, state, examples)
            scores.append(to_scores(logits, self.task.kind, self.label_mean, self.label_scale))
        return np.stack(scores)


def load_run(folder: Path, *, trust_code: bool = False) -> Run:
    """Reads a run folder, which is data: nothing in it is executed.

    Args:
      folder: of the run.
      trust_code: import the types that its config names although they are not of this package,
        which runs their code and, if they are defined in it, the run's ``config.py``.

    Raises:
      InputError: not a run, not finished, its files are damaged, or its method is not of this
        package.
    """
    enable_compilation_cache()
    folder = Path(folder)
    record = read_record(folder)
    path = folder / RECORD
    if record is None:
        what = "config.json that is no run's" if path.exists() else "no config.json"
        raise InputError(f"is not a run folder: it has {what}", path=folder)
    try:
        task = record["task"]
        config = check(from_json(record["experiment"], path, Types(trust_code, folder)))
        run = Run(
            folder=folder,
            config=config,
            task=Task(
                **task
                | {name: tuple(task[name]) for name in ("targets", "units")}
                | {"classes": tuple(task.get("classes", ()))}
            ),
            sides=record.get("sides", 2),
            columns=tuple(record.get("columns") or _usual_columns(config, record)),
            data_digest=record.get("data_digest"),
            label_mean=np.array(record["label_mean"], np.float64),
            label_scale=np.array(record["label_scale"], np.float64),
            best={},
        )
        _check_record(run)
    except InputError as error:
        if error.path is not None:
            raise
        raise InputError(f"is damaged, or no run's config ({error})", path=path) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            f"is damaged, or no run's config ({type(error).__name__}: {error})", path=path
        ) from error
    return replace(run, best=read_best(folder, record.get("best_digest")))


def _usual_columns(config: Experiment, record: dict[str, Any]) -> tuple[str, ...]:
    """SMILES columns by default, for runs whose record does not name them."""
    single = record.get("sides", 2) == 1 and not is_file(config.data.source)
    return ("smiles",) if single else config.data.smiles_columns


def _check_record(run: Run) -> None:
    """Raises InputError unless the parts of a record belong together."""
    task, n_targets = run.task, len(run.task.targets)
    fitting = {
        "task.kind": task.kind in get_args(Kind),
        "task.targets": all(isinstance(t, str) for t in task.targets) and n_targets > 0,
        "task.classes": all(isinstance(c, str) for c in task.classes)
        and len(task.classes) in (0, task.n_classes),
        "task.symmetric": isinstance(task.symmetric, bool),
        "task.n_classes": isinstance(task.n_classes, int) and 2 <= task.n_classes < 2**24,
        "sides": isinstance(run.sides, int) and run.sides in run.config.method.takes_sides,
        "columns": all(isinstance(c, str) for c in run.columns),
        "label_mean": run.label_mean.shape == (n_targets,) and np.isfinite(run.label_mean).all(),
        "label_scale": run.label_scale.shape == (n_targets,)
        and bool((np.isfinite(run.label_scale) & (run.label_scale > 0)).all()),
    }
    wrong = [name for name, good in fitting.items() if not good]
    if wrong:
        raise InputError(f"{', '.join(wrong)} cannot be what is written there")
