"""Using a finished run: scoring the rows of a file, judging it again or on other data."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molrel.baselines import floors
from molrel.chem.scaffolds import murcko_scaffold
from molrel.config import DataConfig
from molrel.data.formats import read_table
from molrel.data.splits import relation_ids
from molrel.data.types import Examples, concatenate, join
from molrel.data.write import encode_table, format_of
from molrel.divide import divide
from molrel.errors import InputError, RunError
from molrel.evaluate.markdown import metrics_table
from molrel.evaluate.report import evaluate_predictions
from molrel.files import check_output, write_output
from molrel.prepare import name_strata
from molrel.reporting import part_frame, setting_of, thresholds
from molrel.run_folder import read_predictions
from molrel.runs import Run, load_run
from molrel.sources import is_file, load_dataset

# ---- predict ---------------------------------------------------------------------------------


def predict_csv(
    folder: Path,
    source: Path,
    output: Path,
    smiles_columns: Sequence[str] | None = None,
    *,
    trust_code: bool = False,
) -> dict[str, int]:
    """Scores the rows of a CSV file; every row, its order and its other columns (without
    blanks around their cells) are kept.

    Adds ``score`` (mean over seeds), ``spread`` (their standard deviation) and ``error``; of
    several targets, or classes, ``score NAME`` and ``spread NAME`` for each.

    Args:
      folder: of a finished run.
      source: the CSV file.
      output: file to write, whole or not at all, in the format of its suffix
        (``data.write``); ``-`` is standard output (``files.write_output``).
      smiles_columns: one a molecule; None takes those of the run's config.
      trust_code: see ``runs.load_run``.

    Returns:
      ``scored`` and ``failed``, numbers of rows.

    Raises:
      InputError: the file or the run cannot be read, the output cannot be written there, or
        no row can be scored.
      RunError: the output cannot be written after all, or no score is finite (then the rows
        are written, each with its error).
    """
    check_output(output)
    format_of(output.name)
    run = load_run(folder, trust_code=trust_code)
    columns = run.columns_of(smiles_columns)
    table = read_table(source, columns)
    for note in table.notes:
        print(f"note: {note}", file=sys.stderr)
    for name in (*run.score_names, "error"):
        if name in table.frame:
            raise InputError(
                "the file already has a column of this name, which is to be added",
                path=source,
                row=1,
                column=name,
                remedy="Rename it",
            )
    result = run.score_rows(table, columns, source)
    write_output(output, encode_table(result, output.name))
    failed = int(np.sum(np.asarray(result["error"]) != ""))
    if failed == len(result):
        raise RunError(f"{output}: no row has a score; the first: {result['error'].iloc[0]}")
    return {"scored": len(result) - failed, "failed": failed}


# ---- embed -----------------------------------------------------------------------------------


def embed_file(
    folder: Path,
    source: Path,
    output: Path,
    smiles_columns: Sequence[str] | None = None,
    *,
    trust_code: bool = False,
) -> dict[str, int]:
    """Writes embeddings of the molecules of a file as an npz.

    Its arrays: ``smiles`` str [M], the different texts of the columns in order of appearance;
    ``z`` float32 [S, M, D], NaN where a text cannot be read; ``seeds`` int64 [S].

    Args:
      folder: of a finished run.
      source: the file.
      output: the npz, written whole or not at all.
      smiles_columns: of the molecules; by default ``smiles`` where there is such a column, else
        those of the run's config.
      trust_code: see ``runs.load_run``.

    Returns:
      ``embedded`` and ``failed``, numbers of molecules.

    Raises:
      InputError: the file or the run cannot be read, or no molecule can.
    """
    check_output(output)
    run = load_run(folder, trust_code=trust_code)
    table = read_table(source, smiles_columns or ())
    usual = ["smiles"] if "smiles" in table.frame else list(run.columns)
    columns = list(smiles_columns or usual)
    missing = [c for c in columns if c not in table.frame]
    if missing:
        raise InputError(
            "no such column", path=source, column=missing[0], remedy="Name it by --smiles-columns"
        )
    texts = [text for text in pd.unique(table.frame[columns].to_numpy(object).ravel()) if text]
    z = run.embed(texts)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, smiles=np.array(texts, str), z=z, seeds=np.array(run.config.seeds, np.int64)
    )
    write_output(output, buffer.getvalue())
    failed = int(np.isnan(z[0]).any(axis=1).sum())
    return {"embedded": len(texts) - failed, "failed": failed}


# ---- evaluate --------------------------------------------------------------------------------


def evaluate_run(
    folder: Path,
    *,
    data: str | None = None,
    stratum: str | None = None,
    smiles_columns: Sequence[str] | None = None,
    label_column: str | None = None,
    trust_code: bool = False,
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
      trust_code: see ``runs.load_run``.

    Returns:
      The rows that were printed, as in report.json.

    Raises:
      InputError: no run, unreadable or unlabelled data, another task, or unknown stratum.
    """
    run = load_run(folder, trust_code=trust_code)
    own = read_predictions(folder)
    frames, notes = {run.config.name: own}, []
    setting = setting_of(replace(run.config.data, target=data or run.config.data.target))
    if data is not None:
        settings = replace(
            run.config.data,
            smiles_columns=tuple(run.columns_of(smiles_columns)) if is_file(data) else (),
        )
        if label_column:
            settings = replace(settings, label_column=label_column, label_columns=())
        frames, notes = _score_dataset(run, own, data, settings)
    of_target = own.loc[own["split"] == "target", "label"].to_numpy()
    has_target = data is not None or not np.isnan(of_target).all()
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


def _score_dataset(
    run: Run, own: pd.DataFrame, address: str, settings: DataConfig
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Predictions of the run and of the floors for another data set, and notes on it.

    Every frame also holds source-validation rows, which thresholds are taken from.
    """
    max_atoms = run.config.features.max_atoms
    divided = divide(run.config.data, max_atoms=max_atoms)
    if run.data_digest not in (None, divided.digest()):
        raise InputError(
            "the data of the run have changed since it was trained, so what it has seen is unknown",
            path=run.config.data.source,
            remedy="Restore the file, or train again",
        )
    source = [divided.source.molecules[m] for m in divided.source_all.molecules()]
    # A file does not say what its labels are. Several columns make the kind multilabel.
    kind = "binary" if run.task.kind == "multilabel" else run.task.kind
    settings = replace(settings, kind=kind, symmetric=run.task.symmetric, split="random")
    dataset = load_dataset(address, settings, max_atoms=max_atoms, seen=source, like=run.task)
    if dataset.task.kind != run.task.kind or len(dataset.examples.sides) != run.sides:
        raise InputError(
            f"is {dataset.task.kind} of {len(dataset.examples.sides)} molecules, the run "
            f"predicts {run.task.kind} of {run.sides}",
            path=address,
        )
    if dataset.task.targets != run.task.targets and len(run.task.targets) > 1:
        raise InputError(
            f"its targets {list(dataset.task.targets)[:5]} are not the run's", path=address
        )
    if np.isnan(dataset.examples.labels).all():
        raise InputError("has no label", path=address, remedy="`molrel predict` needs none")
    # One molecule list for the training data and the new set.
    _, other = join(divided.source, dataset)
    seen = np.zeros(len(other.molecules), bool)
    seen[divided.parts["train"].molecules()] = True
    valid, train = divided.parts["valid"], divided.parts["train"]
    labelled = divided.labelled
    trained = [divided.source.examples] + ([] if labelled is None else [labelled])
    known, mine = relation_ids(concatenate(trained), other.examples)
    met = np.isin(mine, known)
    examples = other.examples.take(np.flatnonzero(~met))
    if not len(examples):
        raise InputError("every example of it is one of the run's own", path=address)
    examples, scores, failures = run.score_examples(examples, other.molecules, address)

    smiles = np.array(other.molecules, dtype=object)

    def frame(part: Examples, split: str, columns: np.ndarray) -> pd.DataFrame:
        named = name_strata(part, seen, lambda: [murcko_scaffold(s) for s in smiles], labelled)
        return part_frame(part, smiles, run.task, columns, split, named)

    kept = own.loc[own["split"] == "source-valid"]
    frames = {run.config.name: pd.concat([frame(examples, "target", scores), kept])}
    on_valid = floors(train, valid, run.task)
    for name, values in floors(divided.source_all, examples, run.task).items():
        rows = [frame(examples, "target", values[None])]
        rows += [frame(valid, "source-valid", on_valid[name][None])]
        frames[name] = pd.concat(rows)
    notes = [f"{dataset.name}: {dataset.note}"] if dataset.note else []
    notes += [f"{len(dataset.rejected)} rows were set aside."] if dataset.rejected else []
    notes += [f"Left out, with its examples: {m} ({why})." for m, why in failures.items()]
    if met.any():
        notes += [f"{met.sum():,} examples belong to the run's own source and were left out."]
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
