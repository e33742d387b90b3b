"""Using a finished run: loading it, scoring new pairs, judging it on other data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pandas as pd

from molrel.chem.cache import featurise_all
from molrel.config import DataConfig, Experiment, from_json
from molrel.data.read import parse_cells, read_frame
from molrel.data.splits import relation_ids, strata
from molrel.data.types import Bag, Examples, Task, join
from molrel.errors import InputError, writing
from molrel.evaluate.markdown import metrics_table
from molrel.evaluate.report import evaluate_predictions
from molrel.experiment import floors
from molrel.methods.distrans import distrans
from molrel.prepare import divide, load_dataset, molecule_table
from molrel.reporting import pair_ids, thresholds
from molrel.train.checkpoint import first_line
from molrel.train.predict import make_predictor
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
      best: selected parameters and state, every leaf with a leading seed axis.
    """

    folder: Path
    config: Experiment
    task: Task
    sides: int
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
        task = values["task"]
        settings = {
            "config": from_json(values["experiment"], path),
            "task": Task(
                task["kind"], tuple(task["targets"]), tuple(task["units"]), task["symmetric"]
            ),
            "sides": int(values.get("sides", 2)),
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
    checkpointer = ocp.PyTreeCheckpointer()
    try:
        # NumPy, so that a run made on an accelerator is read on a machine without one.
        tree = checkpointer.metadata(best).item_metadata.tree
        restore = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
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


# ---- predict ---------------------------------------------------------------------------------


def predict_csv(
    folder: Path, source: Path, output: Path, smiles_columns: Sequence[str] | None = None
) -> dict[str, int]:
    """Scores the rows of a CSV file; every row, its order and its other columns are kept.

    Adds ``score`` (mean over seeds), ``spread`` (their standard deviation) and ``error``.

    Args:
      folder: of a finished run.
      source: the CSV file.
      output: CSV file to write, whole or not at all.
      smiles_columns: one a molecule; None takes those of the run's config.

    Returns:
      ``scored`` and ``failed``, numbers of rows.

    Raises:
      InputError: the file or the run cannot be read, the output cannot be written there, or
        no row can be scored.
      RunError: the disk is full.
    """
    run = load_run(folder)
    columns = _columns(run, smiles_columns)
    frame = read_frame(source, columns)
    for name in ("score", "spread", "error"):
        if name in frame:
            raise InputError(
                "the file already has a column of this name, which is to be added",
                path=source,
                row=1,
                column=name,
                remedy="Rename it",
            )
    temporary = _claim_output(output)
    try:
        result = _score_frame(run, frame, columns, source)
        text = result.to_csv(index=False, float_format="%.6g", lineterminator="\r\n")
        with writing(output):
            temporary.write_text(text, encoding="utf-8", newline="")
            temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    failed = int((result["error"] != "").sum())
    return {"scored": len(result) - failed, "failed": failed}


def _columns(run: Run, chosen: Sequence[str] | None) -> list[str]:
    """SMILES columns to read: those chosen, or those of the run's own config."""
    columns = list(run.config.data.smiles_columns if chosen is None else chosen)
    if len(columns) != run.sides or len(set(columns)) != len(columns):
        raise InputError(
            f"the run takes {run.sides} molecules a row, the SMILES columns are {columns}",
            path=run.folder,
            remedy=f"Give {run.sides} different names to --smiles-columns",
        )
    return columns


def _claim_output(output: Path) -> Path:
    """An empty file beside the output: what cannot be written is known before the work."""
    temporary = output.with_name(output.name + ".tmp")
    if output.is_dir():
        raise InputError("is a folder; name a file", path=output)
    try:
        temporary.touch()
    except OSError as error:
        raise InputError(
            f"cannot write there: {error.strerror}", path=output, remedy="Choose another --output"
        ) from error
    return temporary


def _score_frame(run: Run, frame: pd.DataFrame, columns: list[str], source: Path) -> pd.DataFrame:
    """The frame with the columns score, spread and error."""
    cells = frame[columns].to_numpy(object)
    parsed = parse_cells(cells, run.config.features.max_atoms)
    errors = [
        "; ".join(f"{c}: {parsed.reasons[x]}" for c, x, i in zip(columns, row, ids) if i < 0)
        for row, ids in zip(cells, parsed.ids)
    ]
    good = (parsed.ids >= 0).all(axis=1)
    if not good.any():
        raise InputError(
            f"none of the {len(frame)} rows can be scored; the first: {errors[0]}",
            path=source,
            row=int(frame.index[0]),
            remedy="Check --smiles-columns",
        )
    # Rows with a bad molecule may have mentioned molecules that are not needed.
    present, ids = np.unique(parsed.ids[good], return_inverse=True)
    n = int(good.sum())
    examples = Examples(
        sides=tuple(Bag.singles(column) for column in ids.reshape(n, -1).T),
        labels=np.full((n, len(run.task.targets)), np.nan, np.float32),
        domain=np.ones(n, np.int32),
        weight=np.ones(n, np.float32),
    )
    scores = run.score([parsed.molecules[i] for i in present], examples)
    mean, spread = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    mean[good], spread[good] = scores.mean(0), scores.std(0)
    return frame.assign(score=mean, spread=spread, error=errors)


# ---- evaluate --------------------------------------------------------------------------------


def evaluate_run(
    folder: Path,
    *,
    data: str | None = None,
    stratum: str | None = None,
    smiles_columns: Sequence[str] | None = None,
    label_column: str | None = None,
) -> list[dict[str, Any]]:
    """Prints a run's table: of its own predictions, or of its scores for another data set.

    Strata are relative to the molecules that the run was trained on, and decision thresholds
    come from its source validation set, whatever it is judged on.

    Args:
      folder: of a finished run.
      data: address in the catalogue or CSV file; None reads predictions.csv and shows the
        target (the source's test set where there is none with labels).
      stratum: only this one, such as "new-new".
      smiles_columns, label_column: of a CSV file; None takes those of the run's config.

    Returns:
      The rows that were printed, as in report.json.

    Raises:
      InputError: no run, unreadable or unlabelled data, another task, or unknown stratum.
    """
    run = load_run(folder)
    own = _own_predictions(folder)
    frames, notes = {run.config.name: own}, []
    setting = f"{run.config.data.source} -> {data or run.config.data.target}"
    if data is not None:
        settings = replace(
            run.config.data,
            smiles_columns=tuple(_columns(run, smiles_columns)),
            label_column=label_column or run.config.data.label_column,
        )
        frames, notes = _score_dataset(run, own, data, settings)
    labelled = own["label"].notna()
    has_target = data is not None or (labelled & (own["split"] == "target")).any()
    split = "target" if has_target else "source-test"
    rows: list[dict[str, Any]] = []
    for name, frame in frames.items():
        rows += evaluate_predictions(
            _choose(frame, split, stratum, folder),
            method=name,
            setting=setting,
            task=run.task,
            thresholds=thresholds(frame, run.task),
            replicates=run.config.train.replicates,
        )
    if stratum is not None:
        rows = [row | {"stratum": stratum} for row in rows if row["stratum"] == "all"]
    _print_rows(rows, f"{run.config.name}: {setting}", split, notes)
    return rows


def _own_predictions(folder: Path) -> pd.DataFrame:
    """predictions.csv of a run.

    Raises:
      InputError: it is missing or damaged.
    """
    path = folder / "predictions.csv"
    remedy = "train --resume writes it again"
    if not path.is_file():
        raise InputError("the run has not finished: no such file", path=path, remedy=remedy)
    try:
        frame = pd.read_csv(path)
    except ValueError as error:  # of pandas' parser too
        raise InputError(
            f"cannot be read ({first_line(error)})", path=path, remedy=remedy
        ) from error
    missing = {"molecule_a", "label", "split", "stratum", "score_0"} - set(frame.columns)
    if missing:
        raise InputError(f"no columns {sorted(missing)}", path=path, remedy=remedy)
    return frame


def _score_dataset(
    run: Run, own: pd.DataFrame, address: str, settings: DataConfig
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Predictions of the run and of the floors for another data set, and notes on it.

    Every frame also holds source-validation rows, which thresholds are taken from.
    """
    max_atoms = run.config.features.max_atoms
    dataset = load_dataset(address, settings, max_atoms=max_atoms)
    if dataset.task.kind != run.task.kind or len(dataset.examples.sides) != run.sides:
        raise InputError(
            f"is {dataset.task.kind} of {len(dataset.examples.sides)} molecules, the run "
            f"predicts {run.task.kind} of {run.sides}",
            path=address,
        )
    if np.isnan(dataset.examples.labels).all():
        raise InputError("has no label", path=address, remedy="`molrel predict` needs none")
    divided = divide(run.config.data, max_atoms=max_atoms)
    # One molecule list for the training data and the new set.
    trained, other = join(divided.source, dataset)
    seen = np.zeros(len(other.molecules), bool)
    seen[: len(trained.molecules)] = divided.seen()
    examples, valid, train = other.examples, divided.parts["valid"], divided.parts["train"]
    present = examples.molecules()
    position = np.zeros(len(other.molecules), np.int32)
    position[present] = np.arange(len(present))
    scores = run.score([other.molecules[m] for m in present], examples.relabel(position))

    def frame(part: Examples, split: str, columns: np.ndarray) -> pd.DataFrame:
        ids = pair_ids(part)
        named = {f"molecule_{letter}": column for letter, column in zip("ab", ids.T)}
        values = {f"score_{i}": s for i, s in enumerate(columns)}
        stratum = strata(part, seen)
        return pd.DataFrame(
            {**named, "label": part.labels[:, 0], "split": split, "stratum": stratum, **values}
        )

    kept = own.loc[own["split"] == "source-valid"]
    frames = {run.config.name: pd.concat([frame(examples, "target", scores), kept])}
    on_valid = floors(train, valid, run.task.kind)
    for name, values in floors(divided.source_all, examples, run.task.kind).items():
        rows = [frame(examples, "target", values[None])]
        rows += [frame(valid, "source-valid", on_valid[name][None])]
        frames[name] = pd.concat(rows)
    of_train, of_other = relation_ids(train, examples)
    trained_on = int(np.isin(of_other, of_train).sum())
    notes = [f"{dataset.name}: {dataset.note}"] if dataset.note else []
    notes += [f"{len(dataset.rejected)} rows were set aside."] if dataset.rejected else []
    notes += [f"{trained_on} of the examples were trained on."] if trained_on else []
    return frames, notes


def _choose(frame: pd.DataFrame, split: str, stratum: str | None, folder: Path) -> pd.DataFrame:
    """The labelled rows of a split, and of a stratum if one is named."""
    chosen = frame.loc[(frame["split"] == split) & frame["label"].notna()]
    if not len(chosen):
        raise InputError(f"there is no labelled example in {split}", path=folder)
    if stratum is None:
        return chosen
    known = sorted(set(chosen["stratum"]))
    if stratum not in known:
        raise InputError(f"no stratum {stratum!r}; there are {', '.join(known)}", path=folder)
    return chosen.loc[chosen["stratum"] == stratum]


def _print_rows(rows: list[dict[str, Any]], title: str, split: str, notes: list[str]) -> None:
    """One Markdown table a stratum."""
    print(f"# {title}\n")
    for stratum in dict.fromkeys(row["stratum"] for row in rows):
        here = [row for row in rows if row["stratum"] == stratum]
        first = here[0]
        rate = "" if first["prevalence"] is None else f", prevalence {first['prevalence']:.3f}"
        print(f"{split}, stratum {stratum}: {first['n_examples']:,} labelled examples{rate}\n")
        print(metrics_table(here))
    for note in notes:
        print(f"note: {note}")
