"""From an experiment and its prepared data to what is trained: the one assembly.

Method, sampler, optimiser, scores and selection are put together here, for a run, a sweep and
every benchmark alike. Nothing here reads or writes a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from molrel.config import Experiment, check, may_vary, with_options
from molrel.data.sampler import Sampler
from molrel.data.types import Dataset, Examples
from molrel.errors import InputError
from molrel.evaluate.selection import selection_metrics
from molrel.methods.method import Method
from molrel.prepare import Prepared
from molrel.sources import in_memory, with_full_paths
from molrel.train.checkpoint import RunState
from molrel.train.loop import count_devices, train
from molrel.train.optimiser import make_optimiser
from molrel.train.predict import make_predictor, to_scores
from molrel.train.step import Program, Vary, compile_step, unstack
from molrel.train.whole import fit_whole


@dataclass(frozen=True)
class Problem:
    """An experiment ready to be trained.

    Attributes:
      config: the experiment, its length in steps.
      prepared: its data.
      method: what is trained.
      sampler: draws the examples of a step: source with labels, target where the method reads it.
    """

    config: Experiment[Any]
    prepared: Prepared
    method: Method
    sampler: Sampler

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Of the config."""
        return make_optimiser(self.config.optimiser, self.config.train.steps)

    def fit(self, score: Scorer, **settings: Any) -> tuple[RunState, dict[str, float]]:
        """``train.train`` of this problem, or ``fit_whole`` of a method without steps.

        Args:
          score: scores the source's validation part.
          **settings: other arguments of ``train.train``.
        """
        if self.method.fit is not None:
            return fit_whole(
                self.method,
                self.prepared.table,
                self.sampler.every_labelled(),
                score.validate,
                seeds=settings["seeds"],
                folder=settings["folder"],
            )
        return train(
            self.method,
            self.prepared.table,
            self.sampler,
            score.validate,
            config=self.config.train,
            optimiser_config=self.config.optimiser,
            molecules=self.prepared.molecules,
            **settings,
        )


class Scorer:
    """Scores examples with the parameters of every seed.

    Mapped over the seeds where the step is mapped, and one seed after the other elsewhere.
    """

    def __init__(self, problem: Problem):
        self.prepared, train = problem.prepared, problem.config.train
        self.predict = make_predictor(
            problem.method,
            self.prepared.table,
            symmetric=self.prepared.task.symmetric,
            mode=train.seeds_mode,
        )
        valid = self.prepared.source["valid"]
        self.valid = valid.take(subset(valid, train.valid_examples))

    def __call__(self, params: Any, state: Any, examples: Examples) -> np.ndarray:
        """``to_scores`` of examples: float64 [S, N], or [S, N, T] of several targets or classes.

        Args:
          params, state: of S seeds, every leaf with a leading seed axis.
          examples: N examples.
        """
        p = self.prepared
        logits = self.predict(params, state, examples)
        return np.stack([to_scores(x, p.task.kind, p.label_mean, p.label_scale) for x in logits])

    def validate(self, params: Any, state: Any) -> list[dict[str, float]]:
        """``selection_metrics`` of each seed on the source's validation part."""
        kind, unit = self.prepared.task.kind, self.prepared.label_scale
        return [
            selection_metrics(self.valid.labels, scores, kind, unit=unit)
            for scores in self(params, state, self.valid)
        ]


def as_run(
    config: Experiment[Any], source: Dataset | None = None, target: Dataset | None = None
) -> Experiment[Any]:
    """The experiment as it is run: checked, files by their full paths, data in memory told by
    name, and without terms that look at a target where there is none.

    Raises:
      InputError: see ``check`` and ``with_full_paths``.
    """
    check(config)
    if source is not None:
        config = replace(config, data=in_memory(config.data, source, target))
    if config.data.target is None and config.method.adapts:
        print("No target domain: the adaptation terms are switched off.")
        config = replace(config, method=config.method.source_only())
    return replace(config, data=with_full_paths(config.data))


def make_problem(config: Experiment[Any], prepared: Prepared) -> Problem:
    """Puts an experiment together.

    Raises:
      InputError: the method takes examples of another number of sides, or reads a target that
        there is none of.
    """
    method = make_method(config, prepared)
    if method.target and prepared.target is None:
        raise InputError(
            "the method reads a target domain, and there is none",
            path=config.data.source,
            remedy="Name one with data.target, or set the weights of its adaptation terms to 0",
        )
    if method.fit is not None and config.data.balance:
        raise InputError(
            f"{type(config.method).__name__} learns from all examples at once, and data.balance "
            "draws anew in every epoch",
            remedy="Set data.balance to False",
        )
    sampler = Sampler(
        prepared.training_source(),
        prepared.target if method.target else None,
        n_source=config.train.source_examples,
        n_target=config.train.target_examples,
        labelled=prepared.training_labelled(),
        source_molecules=config.train.source_molecules,
        target_molecules=config.train.target_molecules,
        symmetric=prepared.task.symmetric,
        balance=config.data.balance,
        whole_epochs=config.train.epochs > 0,
        apart=method.apart,
    )
    config = replace(config, train=config.train.in_steps(sampler.epoch_size))
    return Problem(config, prepared, method, sampler)


def make_method(config: Experiment[Any], prepared: Prepared) -> Method:
    """The config's method for the prepared task.

    Raises:
      InputError: the method takes examples of another number of sides.
    """
    check_sides(config, len(prepared.source_all.sides))
    return config.method.build(
        prepared.knowledge,
        kind=prepared.task.kind,
        n_outputs=prepared.task.n_outputs,
        symmetric=prepared.task.symmetric,
    )


def check_sides(config: Experiment[Any], n_sides: int) -> None:
    """Raises InputError if the method cannot take examples of so many sides."""
    takes = config.method.takes_sides
    if n_sides not in takes:
        raise InputError(
            f"{type(config.method).__name__} takes examples of {' or '.join(map(str, takes))} "
            f"molecules, and these are of {n_sides}",
            path=config.data.source,
            remedy="For single molecules take the preset forest, property_gin or topexpert",
        )


def subset(examples: Examples, count: int) -> np.ndarray:
    """Indices, in order, of a fixed random subset of at most ``count`` examples."""
    return np.sort(np.random.default_rng(0).permutation(len(examples))[:count])


class Fitted(NamedTuple):
    """What a run in memory ended with.

    Attributes:
      best, last: (params, state) with the best source validation, and of the last step.
      selection: that validation (``selection_metrics``).
    """

    best: tuple[Any, Any]
    last: tuple[Any, Any]
    selection: float


class Fit:
    """Training in memory, by one program however often it is called.

    Args:
      config, prepared: of the experiment.
      grid: option (``with_options``) -> the values that it will be given. Numbers alone that
        enter the program as arrays (``config.may_vary``); the program is built for the largest,
        so that a term which any point switches on is in it.

    Raises:
      InputError: an option must be the same in all runs of one program.
    """

    def __init__(
        self,
        config: Experiment[Any],
        prepared: Prepared,
        grid: Mapping[str, Sequence[float]] | None = None,
    ):
        self.grid = {name: tuple(values) for name, values in (grid or {}).items()}
        for name in self.grid:
            if not may_vary(config, name):
                raise InputError(
                    f"{name!r} must be the same in all runs of one program",
                    remedy="Build one program for each of its values",
                )
        largest = {name: max(values, key=abs) for name, values in self.grid.items()}
        self.problem = make_problem(with_options(config, largest), prepared)
        if self.grid and self.problem.method.fit is not None:
            raise InputError(
                f"{type(config.method).__name__} has no steps that {', '.join(self.grid)} could "
                "change"
            )
        self.scorer = Scorer(self.problem)
        self.program = self._compile() if self.problem.method.fit is None else None

    def _compile(self) -> Program:
        config = self.problem.config
        return compile_step(
            self.problem.method,
            self.problem.optimiser,
            steps=config.train.steps,
            n_devices=count_devices(config.train.devices),
            mode=config.train.seeds_mode,
            vary=self._vary() if self.grid else None,
        )

    def _vary(self) -> Vary:
        """Method and optimiser of the config with some fields replaced by arrays."""

        def build(options: dict[str, jax.Array]):
            changed = with_options(self.problem.config, options)
            method = make_method(changed, self.problem.prepared)
            return method, make_optimiser(changed.optimiser, changed.train.steps)

        return build

    def __call__(
        self, seeds: Sequence[int], options: Sequence[Mapping[str, float]] = ()
    ) -> tuple[list[Fitted], dict[str, float]]:
        """Trains a run for each seed with its options.

        Returns:
          (what each ended with, the cost of ``train``).

        Raises:
          InputError: the options are not those of the grid.
        """
        for point in options:
            if set(point) != set(self.grid):
                raise InputError(
                    f"the program was built for the options {sorted(self.grid)}, not for "
                    f"{sorted(point)}"
                )
        final, cost = self.problem.fit(
            self.scorer,
            seeds=seeds,
            folder=None,
            options=[dict(point) for point in options],
            program=self.program,
        )
        best = jax.device_get((final.best_params, final.best_state))
        last = jax.device_get((final.train.params, final.train.state))
        values = np.asarray(final.best_value)
        fitted = [
            Fitted(unstack(best, i), unstack(last, i), float(values[i])) for i in range(len(seeds))
        ]
        return fitted, cost

    def scores(self, variables: tuple[Any, Any], examples: Examples) -> np.ndarray:
        """Scores [N], or [N, T], of examples by (params, state) of one run."""
        params, state = jax.tree.map(lambda x: x[None], variables)
        return self.scorer(params, state, examples)[0]
