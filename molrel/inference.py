"""Using a finished run: loading it, scoring new pairs, judging it on other data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
import pandas as pd

from molrel.chem.cache import featurise_all
from molrel.chem.smiles import MoleculeError, parse
from molrel.config import Experiment, from_json
from molrel.data.read import read_frame
from molrel.data.types import Examples, Task
from molrel.errors import InputError
from molrel.methods.distrans import distrans
from molrel.prepare import load_dataset, load_domains, molecule_table, split_source
from molrel.train.predict import make_predictor
from molrel.train.step import unstack


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
      folder: where it lies.
      config: the experiment.
      task: what it predicts.
      label_mean, label_scale: float32 [T], that turn outputs into the task's units.
      best: selected parameters and state, every leaf with a leading seed axis.
    """

    folder: Path
    config: Experiment
    task: Task
    label_mean: np.ndarray
    label_scale: np.ndarray
    best: dict[str, Any]

    def score(self, molecules: list[str], examples: Examples) -> np.ndarray:
        """Scores float64 [S, N] of every seed for examples over canonical SMILES.

        Probabilities for classes, predictions in the task's units for regression.
        """
        features = featurise_all(molecules, self.config.features)
        method = distrans(
            self.config.method,
            None,
            kind=self.task.kind,
            n_targets=len(self.task.targets),
            symmetric=self.task.symmetric,
        )
        table = molecule_table(features, self.config.features, None, pictures=method.pictures)
        predict = make_predictor(method, table, symmetric=self.task.symmetric)
        scores = []
        for i in range(len(self.config.seeds)):
            params, state = unstack(self.best["params"], i), unstack(self.best["state"], i)
            logits = predict(params, state, examples)[:, 0].astype(np.float64)
            if self.task.kind == "regression":
                scores.append(logits * self.label_scale[0] + self.label_mean[0])
            else:
                scores.append(1 / (1 + np.exp(-logits)))
        return np.stack(scores)


def load_run(folder: Path) -> Run:
    """Reads a run folder.

    Raises:
      InputError: not a run, not finished, or its files are damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError("is not a run folder: it has no config.json", path=folder)
    try:
        values = json.loads(path.read_text())
        config = from_json(values["experiment"], path)
        task = values["task"]
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", path=path) from error
    best = (folder / "best").resolve()
    if not best.is_dir():
        raise InputError(
            "the run has not finished", path=folder, remedy="Continue it with train --resume"
        )
    try:
        restored = ocp.StandardCheckpointer().restore(best)
    except Exception as error:  # orbax and tensorstore raise many kinds
        first = str(error).strip().splitlines()[:1]
        raise InputError(
            f"the parameters cannot be read ({first[0][:200] if first else type(error).__name__})",
            path=best,
            remedy="Delete this folder and run train --resume to write it again",
        ) from error
    restored.setdefault("state", {})
    return Run(
        folder=folder,
        config=config,
        task=Task(task["kind"], tuple(task["targets"]), tuple(task["units"]), task["symmetric"]),
        label_mean=np.array(values["label_mean"], np.float32),
        label_scale=np.array(values["label_scale"], np.float32),
        best=restored,
    )


def predict_csv(
    folder: Path, source: Path, output: Path, smiles_columns: tuple[str, ...]
) -> dict[str, int]:
    """Scores the pairs of a CSV file; every row and its order are kept.

    Adds ``score`` (mean over seeds), ``spread`` (their standard deviation) and ``error``.

    Raises:
      InputError: the file or the run cannot be read, or no row can be scored.
    """
    run = load_run(folder)
    frame = read_frame(source, smiles_columns)
    ids: dict[str, int] = {}
    parsed: dict[str, int | str] = {}
    for text in pd.unique(frame[list(smiles_columns)].to_numpy().ravel()):
        try:
            smiles = parse(text, run.config.features.max_atoms).smiles
            parsed[text] = ids.setdefault(smiles, len(ids))
        except MoleculeError as error:
            parsed[text] = str(error)
    rows, errors = [], []
    for cells in frame[list(smiles_columns)].itertuples(index=False):
        wrong = [
            f"{c}: {parsed[v]}" for c, v in zip(smiles_columns, cells) if isinstance(parsed[v], str)
        ]
        errors.append("; ".join(wrong))
        rows.append([-1 if wrong else parsed[v] for v in cells])
    pairs = np.array(rows, np.int32).reshape(len(frame), len(smiles_columns))
    good = np.array([not e for e in errors], bool)
    if not good.any():
        raise InputError(
            f"none of the {len(frame)} rows can be scored; the first: {errors[0]}",
            path=source,
            row=2,
            remedy="Check --smiles-columns",
        )
    scores = run.score(list(ids), Examples.pairs(pairs[good], np.full(int(good.sum()), np.nan)))
    mean, spread = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    mean[good], spread[good] = scores.mean(0), scores.std(0)
    result = frame.assign(score=mean, spread=spread, error=errors)
    temporary = output.with_name(output.name + ".tmp")
    result.to_csv(temporary, index=False, float_format="%.6g")
    temporary.replace(output)
    return {"scored": int(good.sum()), "failed": int((~good).sum())}
