"""Molecular relational learning across domains, in JAX.

The public names below are imported when they are first asked for, so that importing the package
takes no time and no JAX.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

# Compiled programs stay on disk for the next process. It must be settled before JAX is imported,
# and importing this package is the last moment that is certain to come before.
if "jax" not in sys.modules:
    from molrel.memory import name_compilation_cache

    name_compilation_cache()

if TYPE_CHECKING:
    from molrel.chem.features import FeatureConfig as FeatureConfig
    from molrel.config import DataConfig as DataConfig
    from molrel.config import Experiment as Experiment
    from molrel.config_files import load_config_file as load_config_file
    from molrel.data.read import from_frame as from_frame
    from molrel.data.read import read_csv as read_csv
    from molrel.data.types import Dataset as Dataset
    from molrel.data.types import Task as Task
    from molrel.errors import InputError as InputError
    from molrel.methods.batch import Batch as Batch
    from molrel.methods.method import Context as Context
    from molrel.methods.method import LossOutput as LossOutput
    from molrel.methods.method import Method as Method
    from molrel.methods.method import Wrapper as Wrapper
    from molrel.methods.method import with_term as with_term
    from molrel.methods.networks import EncoderConfig as EncoderConfig
    from molrel.methods.networks import from_network as from_network
    from molrel.presets import load_preset as load_preset
    from molrel.runner import run as run
    from molrel.runs import load_run as load_run
    from molrel.sweeps import sweep as sweep
    from molrel.train.settings import OptimiserConfig as OptimiserConfig
    from molrel.train.settings import TrainConfig as TrainConfig

_PUBLIC = {
    "chem.features": ("FeatureConfig",),
    "config": ("DataConfig", "Experiment"),
    "config_files": ("load_config_file",),
    "data.read": ("from_frame", "read_csv"),
    "data.types": ("Dataset", "Task"),
    "errors": ("InputError",),
    "methods.batch": ("Batch",),
    "methods.method": ("Context", "LossOutput", "Method", "Wrapper", "with_term"),
    "methods.networks": ("EncoderConfig", "from_network"),
    "presets": ("load_preset",),
    "runner": ("run",),
    "runs": ("load_run",),
    "sweeps": ("sweep",),
    "train.settings": ("OptimiserConfig", "TrainConfig"),
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """A public name, or ``__version__``, which are looked up only when they are asked for."""
    if name in _MODULES:
        value = getattr(importlib.import_module(f"molrel.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("molrel")
    except PackageNotFoundError:  # a checkout that was never installed
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, "__version__"})
