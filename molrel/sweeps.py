"""Options times seeds: one table, one program wherever the options are numbers in it.

Every run of a sweep is kept as soon as it has ended, so that a sweep which is killed goes on
where it stood. What differs between the seeds of one point is the same at every other point
(initial parameters and batches), so differences between points are taken seed by seed.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from molrel.config import Experiment, check, may_vary, with_options
from molrel.config_json import to_json
from molrel.data.types import Dataset, Examples, one_against_others
from molrel.errors import InputError, writing
from molrel.evaluate.compare import Scored, main_metric, metrics_of
from molrel.evaluate.markdown import cell, markdown_table
from molrel.files import only_one, write_whole
from molrel.memory import enable_compilation_cache
from molrel.prepare import Prepared, prepare
from molrel.problem import Fit, as_run
from molrel.reporting import setting_of, side_ids
from molrel.train.step import resolve_seeds_mode

Point = dict[str, Any]
RECORD = "sweep.json"
COLUMNS = ("mean", "low", "high", "sd", "difference", "diff_low", "diff_high")


@dataclass(frozen=True)
class Sweep:
    """What a sweep has found.

    Attributes:
      points: options of each of G points.
      seeds: S seeds.
      scores: float64 [G, S, N], or [G, S, N, T] of several targets or classes.
      selection: float64 [G, S], best source validation (larger is better).
      labels: float64 [N, T].
      clusters: int64 [N, C], molecules (or bags) of each example.
      strata: str [N].
      kind: of the task.
      part: "target", or "source-test" where there is no target.
    """

    points: tuple[Point, ...]
    seeds: tuple[int, ...]
    scores: np.ndarray
    selection: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray
    strata: np.ndarray
    kind: str
    part: str

    def table(
        self,
        metric: str | None = None,
        *,
        against: int = 0,
        stratum: str = "all",
        pair_seeds: bool = True,
        replicates: int = 200,
    ) -> pd.DataFrame:
        """One row a point: its options and the metric with 95 % intervals.

        Args:
          metric: out of ``evaluate.metrics``; by default AUROC, or RMSE of a regression.
          against: number of the point that the others are compared with.
          stratum: only examples of this one.
          pair_seeds: compare seed by seed; see ``paired_difference``.
          replicates: of the bootstrap over molecules and seeds.

        Returns:
          Columns: the options, mean, low, high, sd (over seeds), difference, diff_low, diff_high.

        Raises:
          InputError: unknown metric, point or stratum.
        """
        metric = metric or main_metric(self.kind)
        several = self.scores.ndim == 4 and not (self.kind == "multiclass" and metric == "accuracy")
        # Of several targets, F1 and accuracy need a threshold for each.
        if metric not in metrics_of(self.kind) or (several and metric in ("f1", "accuracy")):
            raise InputError(f"no metric of a {self.kind} task is called {metric!r}")
        if not 0 <= against < len(self.points):
            raise InputError(f"there is no point {against}, there are {len(self.points)}")
        chosen = self._chosen(stratum)
        each = [Scored(self.labels, s, self.clusters).take(chosen) for s in self.scores]
        if self.kind == "multiclass" and metric == "accuracy":
            each = [scored.most_probable() for scored in each]
        rows = []
        for point, mine in zip(self.points, each, strict=True):
            value = mine.judge([metric], replicates=replicates)[metric]
            row = dict(point) | {"mean": value.mean, "low": value.low, "high": value.high}
            row["sd"] = mine.spread(metric)
            if len(rows) != against:
                difference = mine.minus(
                    each[against], metric, replicates=replicates, pair_seeds=pair_seeds
                )
                row |= dict(zip(("difference", "diff_low", "diff_high"), difference))
            rows.append(row)
        return pd.DataFrame(rows, columns=[*self.points[0], *COLUMNS])

    def _chosen(self, stratum: str) -> np.ndarray:
        """bool [N], the labelled examples of a stratum."""
        labelled = np.asarray(np.isfinite(self.labels).any(axis=1))
        if stratum == "all":
            return labelled
        names = sorted(set(self.strata))
        if stratum not in names:
            raise InputError(f"no stratum {stratum!r}; there are {', '.join(names)}")
        return labelled & (self.strata == stratum)


def sweep(
    config: Experiment[Any],
    grid: Mapping[str, Sequence[Any]] | None = None,
    *,
    seeds: Iterable[int] | None = None,
    folder: Path | str | None = None,
    source: Dataset | None = None,
    target: Dataset | None = None,
    progress: bool | None = None,
) -> Sweep:
    """Trains every combination of options with every seed, and scores the target.

    Args:
      config: the base.
      grid: dotted field -> its values, such as {"method.weights.guidance": (0, 0.1, 0.5)}.
      seeds: by default those of the config.
      folder: keeps each run that has ended; a sweep of the same config and grid goes on there.
      source, target: data in memory, in place of the config's.
      progress: show a bar; by default where there is a folder or a terminal.

    Returns:
      Scores of the target, or of the source's test part where there is no target.

    Raises:
      InputError: an unknown field, a value that it cannot have, an option that changes the
        examples, or a folder of another sweep.
    """
    enable_compilation_cache()
    grid = {name: tuple(values) for name, values in (grid or {}).items()}
    config = replace(config, seeds=tuple(config.seeds if seeds is None else seeds))
    config = as_run(config, source, target)
    for name, values in grid.items():
        if name.startswith("data.") or name == "features.max_atoms":
            raise InputError(
                f"{name!r} changes the examples, and differences are paired",
                remedy="Set it in the config, for the whole sweep",
            )
        if not values:
            raise InputError(f"the option {name!r} has no value")
        for value in values:
            check(with_options(config, {name: value}))
    points = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    if folder is None:
        return _Runs(config, grid, points, None, source, target, progress).all()
    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder):
        return _Runs(config, grid, points, folder, source, target, progress).all()


def write_sweep(
    config: Experiment[Any],
    grid: Mapping[str, Sequence[Any]],
    folder: Path,
    *,
    metric: str | None,
    stratum: str,
    replicates: int,
) -> pd.DataFrame:
    """``sweep`` into a folder, with its table there as Markdown and CSV and on standard output."""
    result = sweep(config, grid, folder=folder)
    table = result.table(metric, stratum=stratum, replicates=replicates)
    text = (
        f"# {config.name}: {setting_of(config.data)}\n\n{result.part}, stratum {stratum}, "
        f"{len(result.seeds)} seeds: {metric or main_metric(result.kind)}, mean over seeds with "
        "95 % intervals clustered by molecule; differences from the first row, seed by seed.\n\n"
        f"{markdown_table(_cells(table))}"
    )
    write_whole(folder / "table.md", text)
    write_whole(folder / "table.csv", table.to_csv(index=False))
    print(text)
    return table


def _cells(table: pd.DataFrame) -> list[dict[str, str]]:
    """The rows of a table as text, each value beside its interval."""
    rows = []
    for row in table.to_dict("records"):
        cells = {str(k): f"{v}" for k, v in row.items() if k not in COLUMNS}
        cells["mean"] = cell({k: row[k] for k in ("mean", "low", "high")})
        cells["sd over seeds"] = "" if np.isnan(row["sd"]) else f"{row['sd']:.3g}"
        difference = {"mean": row["difference"], "low": row["diff_low"], "high": row["diff_high"]}
        known = not np.isnan(row["difference"])
        rows.append(cells | {"difference": cell(difference, sign=True) if known else ""})
    return rows


class _Runs:
    """The runs of a sweep: those that are kept, and those to be done."""

    def __init__(self, config, grid, points, folder, source, target, progress):
        self.config, self.grid, self.points, self.folder = config, grid, points, folder
        self.data = {"source": source, "target": target}
        self.prepared: Prepared | None = None
        self.made_for: Any = None
        self.results: dict[tuple[int, int], tuple[np.ndarray, float]] = {}
        self.bar = tqdm(
            total=len(points) * len(config.seeds),
            unit="run",
            disable=not (sys.stderr.isatty() if progress is None else progress),
        )

    def all(self) -> Sweep:
        """Does what is missing and puts it together."""
        arrays = [name for name in self.grid if may_vary(self.config, name)]
        prepared = self._prepare(self.config)
        self._claim(prepared)
        for g, seed in itertools.product(range(len(self.points)), self.config.seeds):
            self._read(g, seed)
        programs: dict[tuple[Any, ...], list[int]] = {}
        static = [name for name in self.grid if name not in arrays]
        for g, point in enumerate(self.points):
            programs.setdefault(tuple(point[name] for name in static), []).append(g)
        with self.bar:
            self.bar.update(len(self.results))
            for values, members in programs.items():
                self._program(dict(zip(static, values)), arrays, members)
        return self._together(prepared)

    def _prepare(self, config: Experiment[Any]) -> Prepared:
        """The data, made anew only where a point needs other features."""
        needed = config.features, config.method.needs
        if self.prepared is None or self.made_for != needed:
            self.made_for = needed
            self.prepared = prepare(config, needs=config.method.needs, **self.data)
        return self.prepared

    def _program(self, static: Point, arrays: list[str], members: list[int]) -> None:
        """All missing runs of the points that share a program."""
        missing = [
            (g, seed)
            for g in members
            for seed in self.config.seeds
            if (g, seed) not in self.results
        ]
        if not missing:
            return
        config = check(with_options(self.config, static))
        prepared = self._prepare(config)
        fit = Fit(config, prepared, {name: self.grid[name] for name in arrays})
        examples = examples_of(prepared)[1]
        # One after the other, so that each is kept as it ends; mapped, they end together.
        size = 1 if resolve_seeds_mode(config.train.seeds_mode) == "loop" else len(missing)
        for start in range(0, len(missing), size):
            group = missing[start : start + size]
            options = [{k: self.points[g][k] for k in arrays} for g, _ in group]
            fitted, _ = fit([seed for _, seed in group], options if arrays else ())
            for (g, seed), run in zip(group, fitted, strict=True):
                self._keep(g, seed, fit.scores(run.best, examples), run.selection)

    # ---- what is kept ------------------------------------------------------------------------

    def _claim(self, prepared: Prepared) -> None:
        """Makes sure that the folder is this sweep's.

        Raises:
          InputError: it holds something else.
        """
        if self.folder is None:
            return
        described = to_json(replace(self.config, name="", seeds=()))
        described |= {"grid": {k: list(v) for k, v in self.grid.items()}, "data": prepared.digest}
        path = self.folder / RECORD
        text = json.dumps(described, indent=2) + "\n"
        others = [p.name for p in self.folder.iterdir() if not p.name.startswith(".")]
        if path.is_file():
            if path.read_text("utf-8") == text:
                return
            raise InputError(
                "holds a sweep of another config, grid or data",
                path=self.folder,
                remedy="Choose another folder",
            )
        if others:
            raise InputError("is not empty, and is no sweep's", path=self.folder)
        write_whole(path, text)

    def _cell(self, g: int, seed: int) -> Path:
        assert self.folder is not None
        return self.folder / f"point_{g}_seed_{seed}.npz"

    def _read(self, g: int, seed: int) -> None:
        if self.folder is None or not self._cell(g, seed).is_file():
            return
        with np.load(self._cell(g, seed), allow_pickle=False) as cell:
            self.results[g, seed] = cell["scores"], float(cell["selection"])

    def _keep(self, g: int, seed: int, scores: np.ndarray, selection: float) -> None:
        self.results[g, seed] = scores, selection
        if self.folder is not None:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, scores=scores, selection=selection)
            write_whole(self._cell(g, seed), buffer.getvalue())
        self.bar.update()
        if self.bar.disable and self.folder is not None:
            total = self.bar.total
            print(f"run {len(self.results)}/{total}: {self.points[g]}, seed {seed}", flush=True)

    def _together(self, prepared: Prepared) -> Sweep:
        part, examples = examples_of(prepared)
        smiles = np.array(prepared.molecules, dtype=object)
        order = [[self.results[g, s] for s in self.config.seeds] for g in range(len(self.points))]
        labels, scores = examples.labels, np.array([[r[0] for r in row] for row in order])
        if prepared.task.kind == "multiclass":
            labels = one_against_others(labels[:, 0], prepared.task.n_classes).T
        return Sweep(
            points=tuple(self.points),
            seeds=self.config.seeds,
            scores=scores,
            selection=np.array([[r[1] for r in row] for row in order]),
            labels=labels.astype(np.float64),
            clusters=side_ids(examples, smiles)[0],
            strata=prepared.strata(examples),
            kind=prepared.task.kind,
            part=part,
        )


def examples_of(prepared: Prepared) -> tuple[str, Examples]:
    """The part that a sweep is scored on, by name."""
    if prepared.target is not None:
        return "target", prepared.target
    return "source-test", prepared.source["test"]
