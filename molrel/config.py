"""Experiments as values: frozen dataclasses that config files build and flags change.

No method is known here by its name: whatever a field may be stands beside the field.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from molrel.chem.features import FeatureConfig
from molrel.errors import InputError
from molrel.fields import at, check_fields, is_static
from molrel.methods.method import MethodConfig
from molrel.train.settings import OptimiserConfig, TrainConfig

M = TypeVar("M", bound=MethodConfig)

SplitName = Literal[
    "random",
    "cold",
    "scaffold",
    "deterministic_scaffold",
    "random_scaffold",
    "balanced_scaffold",
    "published",
    "column",
]


@dataclass(frozen=True)
class DataConfig:
    """Which relations are learned from, and which are the target."""

    source: str = "mixtures/hydrocarbons"
    """Address in the catalogue, or path of a file: CSV, or another of ``data.formats``."""
    target: str | None = "mixtures/heteroatoms"
    """Address or path of the target domain; its labels are read for the report only."""
    smiles_columns: tuple[str, ...] = ("smiles_a", "smiles_b")
    """Columns of a file that hold the molecules."""
    label_column: str = "label"
    """Column of a file that holds the label; empty reads no labels."""
    label_columns: tuple[str, ...] = ()
    """Columns of a file that hold several labels, instead of ``label_column``; a cell may be
    empty."""
    kind: Literal["binary", "multiclass", "regression"] = "binary"
    """Labels of a file: one of two values, one of several classes, or measured values."""
    positive: str | None = None
    """Of binary labels in words, the one that is 1; pairs such as active and inactive need no
    telling."""
    qualifiers: Literal["set_aside", "strip"] = "set_aside"
    """What becomes of measured values such as >10000: their rows are set aside, or the number
    is taken."""
    duplicates: Literal["keep", "drop", "mean", "error"] = "keep"
    """What becomes of the same molecules with different labels: kept; left out; one example of
    the mean, or the most frequent class; or an error."""
    symmetric: bool = True
    """Whether the order of the molecules in a row of a CSV file means nothing."""
    split: SplitName = "random"
    """How the source is divided: ``data.splits`` for relations, of which cold and scaffold hold
    molecules out; ``data.scaffold_splits`` for single molecules; ``column`` takes the parts
    that ``split_column`` names."""
    split_column: str = "split"
    """Column of a file that says train, valid or test, read where ``split`` is ``column``."""
    valid_fraction: float = at(0.1, above=0, below=1)
    test_fraction: float = at(0.1, least=0, below=1)
    split_seed: int = at(0, least=0, below=2**31)
    negatives: Literal["uniform", "degree"] = "degree"
    """How negatives are drawn where a set has positives only."""
    target_labels: int = at(0, least=0)
    """Number of target examples whose labels join the training, drawn by molecule
    (``splits.few_by_molecule``); they are not scored."""
    balance: bool = False
    """Re-draw the source's negatives one to one each epoch."""
    min_carriers: int = at(10, least=0)
    """A functional group is aligned only if this many molecules of each domain contain it."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns of a file that hold labels."""
        return self.label_columns or ((self.label_column,) if self.label_column else ())


@dataclass(frozen=True, kw_only=True)
class Experiment(Generic[M]):
    """Everything that determines a run.

    Attributes:
      name: of the run, in its report.
      data, features: what is learned from.
      method: a ``MethodConfig``, of the package or of your own.
      optimiser, train: how it is trained.
      seeds: one run each.
    """

    name: str = "experiment"
    data: DataConfig = field(default_factory=DataConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    method: M
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    seeds: tuple[int, ...] = (0, 1, 2)


@dataclass(frozen=True)
class TrainCommand(Generic[M]):
    """Trains an experiment and writes its run folder."""

    experiment: Annotated[Experiment[M], tyro.conf.arg(name="")]
    out: Path
    """Run folder."""
    resume: bool = False
    """Continue the run in the folder, bit for bit."""
    overwrite: bool = False
    """Begin anew where the folder holds a run already."""
    distributed: bool = False
    """Share each step with the processes that jax.distributed.initialize() finds: of a TPU pod, a
    Slurm or an MPI job."""
    compare: tuple[Path, ...] = ()
    """Run folders to put beside this one in the report."""
    workers: int | None = None
    """Processes that compute features; default: one a usable core."""


def check(experiment: Experiment[M]) -> Experiment[M]:
    """The experiment itself, if its values can be trained with.

    Raises:
      InputError: names the first field that cannot be what it is.
    """
    check_fields(experiment)
    data, seeds, scheme = experiment.data, experiment.seeds, experiment.method.scheme
    different = 0 < len(set(seeds)) == len(seeds) <= 10_000
    if not different or not all(0 <= seed < 2**31 for seed in seeds):
        raise InputError(
            f"config field 'seeds' is {str(seeds)[:100]}, but must be different numbers from 0 to "
            "2147483647, at most 10,000 of them"
        )
    if data.test_fraction >= 1 - data.valid_fraction:
        raise InputError(
            f"config field 'data.test_fraction' is {data.test_fraction}, but must be less than "
            "what data.valid_fraction leaves"
        )
    if data.target_labels and data.target is None:
        raise InputError(
            f"config field 'data.target_labels' is {data.target_labels}, and there is no target",
            remedy="Name one with data.target, or set data.target_labels to 0",
        )
    train = experiment.train
    if train.epochs and (train.source_molecules or train.target_molecules):
        raise InputError(
            "config field 'train.epochs' counts passes over the examples, and batches of molecules "
            "make none",
            remedy="Set train.steps instead, or train.source_molecules and train.target_molecules "
            "to 0",
        )
    if train.patience and not train.epochs and train.evaluate_every >= train.steps:
        raise InputError(
            f"config field 'train.patience' is {train.patience}, and a run of {train.steps} steps "
            f"is validated once, at its end",
            remedy=f"Set train.evaluate_every, which is {train.evaluate_every}, to fewer steps",
        )
    if scheme not in (None, experiment.features.scheme):
        raise InputError(
            f"config field 'features.scheme' is {experiment.features.scheme!r}, but must be "
            f"{scheme!r} for this method"
        )
    return experiment


def suggest(name: str, fields: set[str], prefix: str = "") -> str:
    """What to write in place of a name that no field has."""
    near = difflib.get_close_matches(name, fields, 1)
    return f"Did you mean {prefix + near[0]!r}?" if near else f"Fields: {sorted(fields)}"


def with_options(experiment: Experiment[M], options: Mapping[str, Any]) -> Experiment[M]:
    """The experiment with some fields replaced, without checks of their values.

    Args:
      experiment: the base.
      options: dotted field name, such as ``method.weights.guidance``, -> value. Numbers may be
        arrays: methods and optimisers can be built inside jit from such an experiment.

    Raises:
      InputError: there is no such field.
    """
    for name, value in options.items():
        experiment = _with_option(experiment, name.split("."), value, name)
    return experiment


def may_vary(experiment: Experiment[Any], name: str) -> bool:
    """Whether a dotted field may differ between runs of one compiled program: a number of the
    method or the optimiser that enters it as an array."""
    with_options(experiment, {name: None})  # raises, with the nearest field
    return name.partition(".")[0] in ("method", "optimiser") and not is_static(experiment, name)


def parse_grid(experiment: Experiment[Any], text: str) -> tuple[str, tuple[Any, ...]]:
    """(field, values) of ``field.name=a,b,c``, with values of the type that the field has.

    Raises:
      InputError: no such field, no value, or a value of another type.
    """
    name, _, listed = text.partition("=")
    with_options(experiment, {name: None})
    usual: Any = functools.reduce(getattr, name.split("."), experiment)
    values = []
    for word in filter(None, listed.split(",")):
        try:
            value = json.loads(word.lower() if word in ("True", "False") else word)
        except json.JSONDecodeError:
            value = word
        number = isinstance(usual, float) and type(value) in (int, float)
        if not number and type(value) is not type(usual):
            raise InputError(f"{name!r} is {usual!r}, and cannot be {word!r}")
        values.append(float(value) if number else value)
    if not values:
        raise InputError(f"{text!r} gives no value", remedy="Write field.name=value,value")
    return name, tuple(values)


def _with_option(section: Any, path: list[str], value: Any, name: str) -> Any:
    fields = {f.name for f in dataclasses.fields(section)}
    if path[0] not in fields:
        raise InputError(f"unknown config field {name!r}", remedy=suggest(path[0], fields))
    if len(path) > 1:
        value = _with_option(getattr(section, path[0]), path[1:], value, name)
    return dataclasses.replace(section, **{path[0]: value})
