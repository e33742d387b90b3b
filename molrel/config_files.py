"""Config files: Python modules whose ``get_config()`` builds an experiment."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import re
import sys
import traceback
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

from molrel.config import Experiment, suggest
from molrel.errors import InputError

PREFIX = "molrel_config_"


def load_config_file(path: Path) -> Experiment[Any]:
    """Runs a config file and returns what its ``get_config()`` builds.

    The file is a module: dataclasses and flax modules can be defined in it, and modules beside it
    be imported from it, as from a script.

    Raises:
      InputError: no such file, no ``get_config``, or an unknown field in it.
    """
    path = Path(path)
    if not path.is_file():
        nearby = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise InputError("no such config file", path=path, remedy=f"Files there: {nearby}")
    module: ModuleType | None = None
    try:
        module = load_module(path)
        if not hasattr(module, "get_config"):
            raise InputError("defines no get_config()", path=path)
        config = module.get_config()
    except InputError:
        raise
    except Exception as error:  # a config file is a program: anything may go wrong in it
        raise InputError(
            f"{type(error).__name__}: {error}",
            path=path,
            row=_line_in(path, error),
            remedy=_nearest_field(str(error), module),
        ) from error
    if not isinstance(config, Experiment):
        raise InputError("get_config() must return a molrel.config.Experiment", path=path)
    return config


def load_module(path: Path) -> ModuleType:
    """The module of a Python file, under a name of its own in ``sys.modules``."""
    name = PREFIX + hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before, folder = sys.modules.get(name), str(path.resolve().parent)
    sys.modules[name] = module
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise
    finally:
        sys.path.remove(folder)
    return module


def _line_in(path: Path, error: Exception) -> int | None:
    """Line of the config file that an error arose from."""
    if isinstance(error, SyntaxError):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)


def _nearest_field(message: str, module: ModuleType | None) -> str | None:
    """What to do about a keyword that some dataclass of the config does not have."""
    match = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", message)
    if not match:
        return None
    sections = [Experiment, *typing.get_type_hints(Experiment).values()]
    sections += [] if module is None else vars(module).values()
    for section in sections:
        if dataclasses.is_dataclass(section) and getattr(section, "__name__", "") == match[1]:
            return suggest(match[2], {f.name for f in dataclasses.fields(section)})
    return None
