"""A finished run: reading its folder, and scoring molecules with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np
import pandas as pd
from flax.errors import FlaxError

from molrel.chem.cache import featurise_each
from molrel.chem.features import FeatureConfig, MoleculeFeatures
from molrel.config import Experiment, check
from molrel.config_json import Types, from_json
from molrel.data.cells import parse_cells
from molrel.data.formats import Table
from molrel.data.read import frame_table, from_frame
from molrel.data.table import MoleculeTable
from molrel.data.types import Bag, Examples, Kind, Task
from molrel.divide import without_molecules
from molrel.errors import InputError
from molrel.evaluate.report import evaluate_predictions
from molrel.memory import enable_compilation_cache
from molrel.methods.method import Method
from molrel.prepare import molecule_table
from molrel.reporting import part_frame, thresholds
from molrel.run_folder import read_best, read_predictions
from molrel.run_record import RECORD, read_record, task_of
from molrel.sources import is_file
from molrel.train.predict import make_embedder, make_predictor, to_scores


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
      version: of the package that wrote it; None if not kept.
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
    version: str | None
    best: dict[str, Any]

    @property
    def features(self) -> FeatureConfig:
        """What must be computed of molecules to be scored."""
        return self.config.features.drawn_for(self.config.method.needs)

    @property
    def score_names(self) -> list[str]:
        """The columns that scores are put into."""
        if len(self.task.outputs) == 1:
            return ["score", "spread"]
        return [f"{kind} {name}" for name in self.task.outputs for kind in ("score", "spread")]

    def predict(self, rows: pd.DataFrame | Iterable[Sequence[str] | str]) -> pd.DataFrame:
        """Scores of rows of molecules.

        Args:
          rows: SMILES, a tuple a row (or a single SMILES, of a run on single molecules); or a
            DataFrame with the columns of the run.

        Returns:
          The rows with ``score`` (mean over seeds), ``spread`` (their standard deviation) and
          ``error``, "" where there is none; of several targets, or classes, ``score NAME`` and
          ``spread NAME`` for each.

        Raises:
          InputError: no row can be scored, or the columns are not those of the run.
        """
        columns = list(self.columns)
        if not isinstance(rows, pd.DataFrame):
            cells = [(row,) if isinstance(row, str) else tuple(row) for row in rows]
            if any(len(row) != self.sides for row in cells) or not cells:
                raise InputError(f"there must be rows, and each must have {self.sides} molecules")
            rows = pd.DataFrame(cells, columns=columns)
        scored = self.score_rows(frame_table(rows, columns, "frame"), columns, "frame")
        added = scored[[*self.score_names, "error"]].set_index(rows.index)
        return rows.assign(**{name: added[name] for name in added})

    def evaluate(self, frame: pd.DataFrame, labels: str | Sequence[str]) -> pd.DataFrame:
        """How well labelled rows are predicted, whatever the run has seen of them.

        Args:
          frame: with the columns of the run.
          labels: its column of labels, or columns of several targets.

        Returns:
          A row a metric: its mean over seeds, its 95 % interval clustered by molecule, and the
          number of examples. Decision thresholds come from the run's source validation.

        Raises:
          InputError: no row can be used, or a column is missing.
        """
        task = self.task
        names = [labels] if isinstance(labels, str) else list(labels)
        if len(task.targets) > 1 and set(names) == set(task.targets):
            names = list(task.targets)
        elif len(task.targets) > 1 or len(names) != 1:
            raise InputError(f"the label columns {names} are not the run's: {list(task.targets)}")
        data = from_frame(
            frame,
            smiles=self.columns,
            labels=names,
            kind="binary" if task.kind == "multilabel" else task.kind,
            symmetric=task.symmetric,
            max_atoms=self.features.max_atoms,
            like=task,
        )
        if np.isnan(data.examples.labels).all():
            raise InputError("no row has a label")
        examples, scores, _ = self.score_examples(data.examples, data.molecules, "frame")
        smiles, strata = np.array(data.molecules, object), np.full(len(examples), "unknown")
        rows = evaluate_predictions(
            part_frame(examples, smiles, task, scores, "target", strata),
            method=self.config.name,
            setting="frame",
            task=task,
            thresholds=thresholds(read_predictions(self.folder), task),
            replicates=self.config.train.replicates,
        )
        whole = [row for row in rows if row["stratum"] == "all"]
        return pd.DataFrame(whole, columns=["metric", "mean", "low", "high", "n_examples"])

    def embed(self, molecules: Sequence[str]) -> np.ndarray:
        """Embeddings of molecules, float32 [S, M, D] of S seeds; NaN where a molecule cannot be
        read. Where statistics of the domains are kept apart, those of the target are used, as for
        all molecules of a user.

        Raises:
          InputError: none can be read.
        """
        parsed = parse_cells(np.array(molecules, object)[:, None], self.features.max_atoms)
        features, failures = featurise_each(parsed.molecules, self.features)
        present = [m for m in parsed.molecules if m not in failures]
        if not present:
            reason = next(iter([*parsed.reasons.values(), *failures.values()]))
            raise InputError(f"none of the molecules can be read; the first: {reason}")
        place = {smiles: i for i, smiles in enumerate(present)}
        table = self._table([features[m] for m in present])
        embed = make_embedder(self._method(), table)
        with self._of_this_version():
            z = embed(self.best["params"], self.best["state"], np.arange(len(present)), 1)
        rows = [place.get(parsed.molecules[i], -1) if i >= 0 else -1 for i in parsed.ids[:, 0]]
        out = z[:, rows]
        out[:, np.array(rows) < 0] = np.nan
        return out

    @contextlib.contextmanager
    def _of_this_version(self) -> Iterator[None]:
        """Raises InputError where the network has other parameters than the run's."""
        try:
            yield
        except FlaxError as error:
            by = f"molrel {self.version}" if self.version else "an earlier molrel"
            raise InputError(
                f"was written by {by}, whose network has other parameters",
                path=self.folder,
                remedy="Score with that version, or train again",
            ) from error

    def _method(self) -> Method:
        return self.config.method.build(
            None,
            kind=self.task.kind,
            n_outputs=self.task.n_outputs,
            symmetric=self.task.symmetric,
        )

    def _table(self, features: Sequence[MoleculeFeatures]) -> MoleculeTable:
        return molecule_table(features, self.features, None, self.config.method.needs)

    def score(self, features: Sequence[MoleculeFeatures], examples: Examples) -> np.ndarray:
        """Scores float64 of every seed for examples over molecules, as of ``features``.

        Probabilities for classes, predictions in the task's units for regression: [S, N], or
        [S, N, T] of several targets or classes.
        """
        table, task = self._table(features), self.task
        predict = make_predictor(self._method(), table, symmetric=task.symmetric)
        with self._of_this_version():
            logits = predict(self.best["params"], self.best["state"], examples)
        return np.stack(
            [to_scores(x, task.kind, self.label_mean, self.label_scale) for x in logits]
        )

    def score_examples(
        self, examples: Examples, molecules: tuple[str, ...], source: Path | str
    ) -> tuple[Examples, np.ndarray, dict[str, str]]:
        """``score`` of examples over molecules by their SMILES.

        Returns:
          (the examples whose molecules can be featurised, their scores, SMILES -> why not).

        Raises:
          InputError: none can be; names the source.
        """
        wanted = [molecules[m] for m in examples.molecules()]
        features, failures = featurise_each(wanted, self.features)
        examples = examples.take(without_molecules(examples, molecules, failures))
        if not len(examples):
            first = next(iter(failures.values()))
            raise InputError(f"no molecule can be used; the first: {first}", path=source)
        compact, present = examples.compact()
        return examples, self.score([features[molecules[m]] for m in present], compact), failures

    def columns_of(self, chosen: Sequence[str] | None) -> list[str]:
        """SMILES columns to read: those chosen, or those of the run's record.

        Raises:
          InputError: they are not as many as the run's, or not different.
        """
        columns = list(self.columns if chosen is None else chosen)
        if len(columns) != self.sides or len(set(columns)) != len(columns):
            raise InputError(
                f"the run takes {self.sides} molecules a row, the SMILES columns are {columns}",
                path=self.folder,
                remedy=f"Give {self.sides} different names to --smiles-columns",
            )
        return columns

    def score_rows(self, table: Table, columns: list[str], source: Path | str) -> pd.DataFrame:
        """The rows of the table with the columns of the scores, and error."""
        frame = table.frame
        cells = frame[columns].to_numpy(object)
        parsed = parse_cells(cells, self.config.features.max_atoms)
        errors = [
            "; ".join(f"{c}: {parsed.reasons[x]}" for c, x, i in zip(columns, row, ids) if i < 0)
            for row, ids in zip(cells, parsed.ids)
        ]
        # A malformed row is not scored, whatever stands in its cells.
        errors = [table.errors.get(row, error) for row, error in zip(frame.index, errors)]
        good = (parsed.ids >= 0).all(axis=1) & ~frame.index.isin(list(table.errors))
        wanted = [parsed.molecules[i] for i in np.unique(parsed.ids[good])]
        features, failures = featurise_each(wanted, self.features)
        for row in np.flatnonzero(good) if failures else ():
            failed = [(c, parsed.molecules[i]) for c, i in zip(columns, parsed.ids[row])]
            reasons = [f"{c}: {failures[m]}" for c, m in failed if m in failures]
            errors[row], good[row] = "; ".join(reasons), not reasons
        if not good.any():
            raise InputError(
                f"none of the {len(frame)} rows can be scored; the first: {errors[0]}",
                path=source,
                row=int(frame.index.to_numpy(np.int64)[0]),
                remedy="Check --smiles-columns",
            )
        # Rows with a bad molecule may have mentioned molecules that are not needed.
        present, ids = np.unique(parsed.ids[good], return_inverse=True)
        n = int(good.sum())
        examples = Examples(
            sides=tuple(Bag.singles(column) for column in ids.reshape(n, -1).T),
            labels=np.full((n, len(self.task.targets)), np.nan, np.float32),
            domain=np.ones(n, np.int32),
            weight=np.ones(n, np.float32),
        )
        scores = self.score([features[parsed.molecules[i]] for i in present], examples)
        # [n, T, 2], in the order of the names.
        found = np.stack([scores.mean(0), scores.std(0)], axis=-1).reshape(n, -1)
        columns_added = np.full((len(frame), found.shape[1]), np.nan)
        columns_added[good] = found
        for row in np.flatnonzero(good)[~np.isfinite(found).all(axis=1)]:
            # Written as no score at all: a number that is none would be read as one.
            columns_added[row] = np.nan
            errors[row] = self._why_not_finite()
        added = dict(zip(self.score_names, columns_added.T, strict=True))
        return frame.assign(**added, error=errors)

    def _why_not_finite(self) -> str:
        """Why a row has no score although its molecules can be read."""
        broken = [
            seed
            for i, seed in enumerate(self.config.seeds)
            if not all(np.isfinite(x[i]).all() for x in jax.tree.leaves(self.best["params"]))
        ]
        if broken:
            return f"the run's parameters of seed {', '.join(map(str, broken))} are not finite"
        return "the run's score of it is not finite"


def load_run(folder: Path | str, *, trust_code: bool = False) -> Run:
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
        config = check(from_json(record["experiment"], path, Types(trust_code, folder)))
        run = Run(
            folder=folder,
            config=config,
            task=task_of(record),
            sides=record.get("sides", 2),
            columns=tuple(record.get("columns") or _usual_columns(config, record)),
            data_digest=record.get("data_digest"),
            version=record.get("environment", {}).get("molrel"),
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
