"""Experiments as values: frozen dataclasses that config files build and flags change."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import traceback
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from molrel.chem.features import FeatureConfig
from molrel.errors import InputError
from molrel.methods.adaptation import AdaptationConfig
from molrel.methods.cgib import CGIBConfig
from molrel.methods.cigin import CIGINConfig
from molrel.methods.cmrl import CMRLConfig
from molrel.methods.distrans import DisTransConfig
from molrel.methods.fingerprint_mlp import FingerprintMLPConfig
from molrel.methods.method import MoleculeNetworkConfig
from molrel.methods.molecule import MoleculeGNNConfig
from molrel.methods.separation import SeparationConfig
from molrel.methods.siamese import SiameseConfig
from molrel.methods.ssi_ddi import SSIDDIConfig
from molrel.methods.topexpert import TopExpertConfig
from molrel.train.settings import OptimiserConfig, TrainConfig

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
    valid_fraction: float = 0.1
    test_fraction: float = 0.1
    split_seed: int = 0
    negatives: Literal["uniform", "degree"] = "degree"
    """How negatives are drawn where a set has positives only."""
    balance: bool = False
    """Re-draw the source's negatives one to one each epoch."""
    min_carriers: int = 10
    """Molecules in each domain that must have a functional group for it to be aligned."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns of a file that hold labels."""
        return self.label_columns or ((self.label_column,) if self.label_column else ())


# Every method that a run can be configured with; flags are those of the config file's choice.
Methods = (
    DisTransConfig
    | SiameseConfig
    | FingerprintMLPConfig
    | CIGINConfig
    | CGIBConfig
    | CMRLConfig
    | SSIDDIConfig
    | AdaptationConfig
    | SeparationConfig
    | MoleculeGNNConfig
    | TopExpertConfig
)


@dataclass(frozen=True)
class Experiment:
    """Everything that determines a run."""

    name: str = "distrans_mixtures"
    data: DataConfig = field(default_factory=DataConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    method: tyro.conf.AvoidSubcommands[Methods] = field(default_factory=DisTransConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    seeds: tuple[int, ...] = (0, 1, 2)
    version: int = 1
    """Of this layout; a run of another version is refused with a message."""


@dataclass(frozen=True)
class TrainCommand:
    """Trains an experiment and writes its run folder."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    out: Path
    """Run folder."""
    resume: bool = False
    """Continue the run in the folder, bit for bit."""
    overwrite: bool = False
    """Begin anew where the folder holds a run already."""
    compare: tuple[Path, ...] = ()
    """Run folders to put beside this one in the report."""
    workers: int | None = None
    """Processes that compute features; default: one a usable core."""


def load_config_file(path: Path) -> Experiment:
    """Runs a config file and returns what its ``get_config()`` builds.

    Raises:
      InputError: no such file, no ``get_config``, or an unknown field in it.
    """
    if not path.is_file():
        nearby = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise InputError("no such config file", path=path, remedy=f"Files there: {nearby}")
    namespace: dict[str, Any] = {"__file__": str(path), "__name__": "molrel_config"}
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), namespace)
        if "get_config" not in namespace:
            raise InputError("defines no get_config()", path=path)
        config = namespace["get_config"]()
    except InputError:
        raise
    except Exception as error:  # a config file is a program: anything may go wrong in it
        raise InputError(
            f"{type(error).__name__}: {error}",
            path=path,
            row=_line_in(path, error),
            remedy=_nearest_field(str(error)),
        ) from error
    if not isinstance(config, Experiment):
        raise InputError("get_config() must return a molrel.config.Experiment", path=path)
    return config


def _line_in(path: Path, error: Exception) -> int | None:
    """Line of the config file that an error arose from."""
    if isinstance(error, SyntaxError):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)


def _nearest_field(message: str) -> str | None:
    """What to do about a keyword that some dataclass of the config does not have."""
    found = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", message)
    sections = {
        hint.__name__: hint
        for cls in (Experiment, *typing.get_args(Methods))
        for hint in (cls, *typing.get_type_hints(cls).values())
        if dataclasses.is_dataclass(hint)
    }
    if not found or found[1] not in sections:
        return None
    return _suggest(found[2], {f.name for f in dataclasses.fields(sections[found[1]])})


def _suggest(name: str, known: set[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"Did you mean {prefix + near[0]!r}?" if near else f"Fields: {sorted(known)}"


def check(experiment: Experiment) -> Experiment:
    """The experiment itself, if its values can be trained with.

    Raises:
      InputError: names the first field that cannot be what it is.
    """
    train, optimiser, method = experiment.train, experiment.optimiser, experiment.method
    data, seeds = experiment.data, experiment.seeds
    if type(method) not in typing.get_args(Methods):
        raise InputError(
            f"a run of the method {type(method).__name__} could be trained, but not read again: "
            "it is not one of the package's",
            remedy="Add its config to molrel.config.Methods",
        )
    rules = {
        "seeds": (
            seeds,
            len(set(seeds)) == len(seeds) > 0
            and len(seeds) <= 10_000
            and all(0 <= s < 2**31 for s in seeds),
            "different numbers from 0 to 2147483647, at most 10,000 of them",
        ),
        "train.steps": (train.steps, train.steps >= 1, "at least 1"),
        "train.evaluate_every": (train.evaluate_every, train.evaluate_every >= 1, "at least 1"),
        "train.source_examples": (train.source_examples, train.source_examples >= 1, "at least 1"),
        "train.target_examples": (train.target_examples, train.target_examples >= 0, "at least 0"),
        "train.valid_examples": (train.valid_examples, train.valid_examples >= 1, "at least 1"),
        "train.replicates": (train.replicates, train.replicates >= 0, "at least 0"),
        "train.devices": (train.devices, train.devices >= 0, "at least 0"),
        "data.valid_fraction": (
            data.valid_fraction,
            0 < data.valid_fraction < 1,
            "greater than 0 and less than 1",
        ),
        "data.test_fraction": (
            data.test_fraction,
            0 <= data.test_fraction < 1 - data.valid_fraction,
            "at least 0 and less than what data.valid_fraction leaves",
        ),
        "data.split_seed": (data.split_seed, 0 <= data.split_seed < 2**31, "0 to 2147483647"),
        "data.min_carriers": (data.min_carriers, data.min_carriers >= 0, "at least 0"),
        "optimiser.weight_decay": (
            optimiser.weight_decay,
            0 <= optimiser.weight_decay < math.inf,
            "a finite number that is not negative",
        ),
        "optimiser.learning_rate": (
            optimiser.learning_rate,
            0 <= optimiser.learning_rate < math.inf,
            "a finite number that is not negative",
        ),
        "optimiser.warmup": (optimiser.warmup, 0 <= optimiser.warmup < 1, "from 0 to less than 1"),
        "optimiser.clip": (optimiser.clip, optimiser.clip >= 0, "at least 0"),
        "train.epochs": (train.epochs, train.epochs >= 0, "at least 0"),
    }
    warmup = getattr(method, "warmup", 0.0)
    rules["method.warmup"] = (warmup, 0 <= warmup < 1, "from 0 to less than 1")
    for name, most in (
        ("width", 2**16),
        ("depth", 1000),
        ("experts", 2**16),
        ("gate_width", 2**16),
    ):
        value = getattr(method, name, 1)
        rules[f"method.{name}"] = (value, 1 <= value <= most, f"at least 1 and at most {most}")
    for name in ("temperature", "final_temperature"):
        value = getattr(method, name, 1.0)
        rules[f"method.{name}"] = (value, 0 < value < math.inf, "greater than 0")
    dropout = getattr(method, "dropout", 0.0)
    rules["method.dropout"] = (dropout, 0 <= dropout < 1, "from 0 to less than 1")
    if isinstance(method, MoleculeNetworkConfig):
        scheme = experiment.features.scheme
        rules["features.scheme"] = (scheme, scheme == "hu", "'hu' for this method")
    for name, (value, good, wanted) in rules.items():
        if not good:
            raise InputError(f"config field {name!r} is {_short(value)}, but must be {wanted}")
    return experiment


def with_options(experiment: Experiment, options: Mapping[str, Any]) -> Experiment:
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


def _with_option(section: Any, path: list[str], value: Any, name: str) -> Any:
    known = {f.name for f in dataclasses.fields(section)}
    if path[0] not in known:
        raise InputError(f"unknown config field {name!r}", remedy=_suggest(path[0], known))
    if len(path) > 1:
        value = _with_option(getattr(section, path[0]), path[1:], value, name)
    return dataclasses.replace(section, **{path[0]: value})


def to_json(experiment: Experiment) -> dict[str, Any]:
    """Plain JSON values of every field; ``type`` tells which method's they are."""
    values = json.loads(json.dumps(dataclasses.asdict(experiment)))
    return values | {"method": {"type": type(experiment.method).__name__, **values["method"]}}


def from_json(values: dict[str, Any], path: Path | str = "config") -> Experiment:
    """Rebuilds an experiment from ``to_json``.

    Raises:
      InputError: an unknown or missing field, or another layout version.
    """
    if not isinstance(values, dict):
        raise InputError(f"a config cannot be {_short(values)}", path=path)
    if values.get("version") != Experiment.version:
        raise InputError(
            f"config version {values.get('version')!r}, this release reads {Experiment.version}",
            path=path,
        )
    return _build(Experiment, values, str(path), "")


def _build(cls: Any, values: Any, path: str, prefix: str) -> Any:
    """Builds one dataclass of the config, recursing into its sections."""
    if not isinstance(values, dict):
        section = prefix.rstrip(".") or "experiment"
        raise InputError(f"config section {section!r} cannot be {_short(values)}", path=path)
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}
    for name in values:
        if name not in known:
            raise InputError(
                f"unknown config field {prefix + name!r}",
                path=path,
                remedy=_suggest(name, known, prefix),
            )
    built = {}
    for name, value in values.items():
        hint = hints[name]
        if hint == Methods:
            hint, value = _method_class(value, path)
        if dataclasses.is_dataclass(hint):
            built[name] = _build(hint, value, path, f"{prefix}{name}.")
        else:
            built[name] = tuple(value) if isinstance(value, list) else value
            _check_type(hint, built[name], path, prefix + name)
    return cls(**built)


def _method_class(values: Any, path: str) -> tuple[Any, Any]:
    """(class, fields) of the method section, whose ``type`` names the class."""
    classes = {cls.__name__: cls for cls in typing.get_args(Methods)}
    chosen = values.get("type") if isinstance(values, dict) else None
    if not isinstance(chosen, str) or chosen not in classes:
        raise InputError(
            f"config section 'method' cannot be {_short(values)}",
            path=path,
            remedy=f"Its type is one of {sorted(classes)}",
        )
    return classes[chosen], {k: v for k, v in values.items() if k != "type"}


def _check_type(hint: Any, value: Any, path: str, name: str) -> None:
    """Refuses a value of the wrong plain type; literals, tuples and unions by their members."""
    if not _is_a(value, hint):
        raise InputError(f"config field {name!r} cannot be {_short(value)}", path=path)


def _is_a(value: Any, hint: Any) -> bool:
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return any(type(value) is type(m) and value == m for m in members)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = members[:1] * len(value) if members[-1:] == (...,) else members
        return len(each) == len(value) and all(map(_is_a, value, each))
    if origin in (typing.Union, types.UnionType):
        return any(_is_a(value, member) for member in members)
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if hint is float else hint)


def _short(value: Any) -> str:
    """A value as text, of which a hostile file could have made megabytes."""
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} nested too deeply"
    return text if len(text) <= 100 else text[:100] + "..."
