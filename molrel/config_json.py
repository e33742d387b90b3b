"""Configs as JSON; the one place where a type that JSON names is looked up.

A run folder is data. A type is the import path of a dataclass, such as
``molrel.methods.distrans:DisTransConfig``, and only those of this package are imported, unless
the caller trusts the folder. ``config.py:NAME`` is a class of the run's own config file.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
import re
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from molrel import methods
from molrel.config import Experiment, suggest
from molrel.config_files import PREFIX, load_module
from molrel.errors import InputError

LAYOUT = 2
CONFIG_FILE = "config.py"


@dataclass(frozen=True)
class Types:
    """Where types that JSON names are found.

    Attributes:
      trust: whether types from outside this package are imported, which runs their code.
      folder: of the run, whose ``config.py`` may define types.
      known: type by path, of those that are there already.
    """

    trust: bool = False
    folder: Path | None = None
    known: Mapping[str, type] = dataclasses.field(default_factory=dict)

    def find(self, path: Any, where: str) -> type:
        """The dataclass that a path names.

        Raises:
          InputError: it is not trusted, not there, or no frozen dataclass.
        """
        if isinstance(path, str) and path.isidentifier():
            path = _full_path(path)
        if not isinstance(path, str) or not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", path):
            raise InputError(f"config type cannot be {short(path)}", path=where)
        if path in self.known:
            return self.known[path]
        module, _, name = path.partition(":")
        if module.partition(".")[0] != "molrel" and not self.trust:
            raise InputError(
                f"its type {path} is not of this package, and reading it would run code",
                path=where,
                remedy="If you trust the folder, add --trust-code (trust_code=True)",
            )
        found = getattr(self._module(module, path, where), name, None)
        if not (isinstance(found, type) and _is_config(found)):
            raise InputError(f"config type {path!r} is no frozen dataclass", path=where)
        return found

    def _module(self, module: str, path: str, where: str) -> Any:
        try:
            if module != CONFIG_FILE:
                return importlib.import_module(module)
            file = (self.folder or Path()) / CONFIG_FILE
            if self.folder is None or file.is_symlink() or not file.is_file():
                raise InputError(f"no {CONFIG_FILE} to find the type {path!r} in", path=where)
            return load_module(file)
        except InputError:
            raise
        except Exception as error:  # of a module that is not ours: anything may go wrong in it
            raise InputError(
                f"config type {path!r} cannot be imported ({type(error).__name__}: {error})",
                path=where,
                remedy=None if module.startswith("molrel") else "Add its folder to PYTHONPATH",
            ) from error


def _full_path(name: str) -> str:
    """Path of a method of this package, of which layout 1 told the name alone."""
    for module in pkgutil.iter_modules(methods.__path__, "molrel.methods."):
        if hasattr(importlib.import_module(module.name), name):
            return f"{module.name}:{name}"
    return name


def _is_config(cls: Any) -> bool:
    return dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen  # pyright: ignore


def type_path(cls: type) -> str:
    """The import path of a config class.

    Raises:
      InputError: a class inside a function has none, and a run of it could not be read again.
    """
    if not cls.__qualname__.isidentifier():
        raise InputError(
            f"{cls.__qualname__} is defined inside a function or a class, so a run of it could "
            "be trained, but not read again",
            remedy="Define it at the top level of a module or config file",
        )
    module = cls.__module__
    script = module == "__main__" and hasattr(sys.modules["__main__"], "__file__")
    if module.startswith(PREFIX) or script:
        module = CONFIG_FILE
    return f"{module}:{cls.__name__}"


def own_file(experiment: Experiment[Any]) -> Path | None:
    """The config file or script in which a class of the experiment is defined."""
    for cls in _classes(experiment):
        if type_path(cls).startswith(f"{CONFIG_FILE}:"):
            file = getattr(sys.modules[cls.__module__], "__file__", None)
            return None if file is None else Path(file)
    return None


def types_of(experiment: Experiment[Any]) -> dict[str, type]:
    """The classes of an experiment by path, which its JSON can then be read with."""
    return {type_path(cls): cls for cls in _classes(experiment)}


def _classes(section: Any) -> list[type]:
    inner = [getattr(section, f.name) for f in dataclasses.fields(section)]
    return [type(section), *(c for s in inner if dataclasses.is_dataclass(s) for c in _classes(s))]


def to_json(experiment: Experiment[Any]) -> dict[str, Any]:
    """Plain JSON values of every field; ``type`` tells which class a section is, where the
    field's annotation does not."""
    values = json.loads(json.dumps(_plain(experiment)))
    return {**values, "version": LAYOUT}


def _plain(section: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(type(section))
    out: dict[str, Any] = {}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            named = {} if type(value) is hints[field.name] else {"type": type_path(type(value))}
            value = named | _plain(value)
        out[field.name] = value
    return out


def from_json(
    values: Any, path: Path | str = "config", types_: Types | None = None
) -> Experiment[Any]:
    """Rebuilds an experiment from ``to_json``.

    Args:
      values: JSON values.
      path: of the file, for messages.
      types_: where types are found; by default in this package alone.

    Raises:
      InputError: an unknown or missing field, another layout, or a type that is not found.
    """
    if not isinstance(values, dict):
        raise InputError(f"a config cannot be {short(values)}", path=path)
    values = dict(values)
    version = values.pop("version", None)
    if version not in (1, LAYOUT):
        raise InputError(
            f"config version {version!r}, this release reads 1 and {LAYOUT}", path=path
        )
    return _build(Experiment, values, str(path), "", types_ or Types())


def _build(cls: Any, values: Any, path: str, prefix: str, types_: Types) -> Any:
    """Builds one dataclass of the config, recursing into its sections."""
    hints = typing.get_type_hints(cls)
    fields = {f.name for f in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise InputError(
                f"unknown config field {prefix + name!r}",
                path=path,
                remedy=suggest(name, fields, prefix),
            )
    built = {}
    for name, value in values.items():
        hint, full = hints[name], prefix + name
        typed = isinstance(value, dict) and "type" in value
        if typed or dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise InputError(f"config section {full!r} cannot be {short(value)}", path=path)
            section: Any = types_.find(value["type"], path) if typed else hint
            if not _fits(section, hint):
                raise InputError(f"config section {full!r} cannot be {section.__name__}", path=path)
            inner = {k: v for k, v in value.items() if k != "type"}
            built[name] = _build(section, inner, path, f"{full}.", types_)
        else:
            built[name] = tuple(value) if isinstance(value, list) else value
            if not _is_a(built[name], hint):
                raise InputError(f"config field {full!r} cannot be {short(value)}", path=path)
    try:
        return cls(**built)
    except TypeError as error:
        raise InputError(f"config section {prefix or 'experiment'!r}: {error}", path=path) from None


def _fits(section: type, hint: Any) -> bool:
    """Whether a class may stand where a field has a hint; a type variable means a method."""
    if isinstance(hint, typing.TypeVar):
        wanted = ("build", "takes_sides", "adapts", "needs", "source_only", "scheme", "notes")
        return all(hasattr(section, name) for name in wanted)
    members = typing.get_args(hint) or (hint,)
    return hint is Any or any(isinstance(m, type) and issubclass(section, m) for m in members)


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is of a plain type; literals, tuples and unions by their members."""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return any(type(value) is type(m) and value == m for m in members)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        hints = members[:1] * len(value) if members[-1:] == (...,) else members
        return len(hints) == len(value) and all(map(_is_a, value, hints))
    if origin in (typing.Union, types.UnionType):
        return any(_is_a(value, member) for member in members)
    if hint in (int, float) and isinstance(value, bool):
        return False
    if not isinstance(hint, type):  # a type variable, which only a section can be
        return False
    return isinstance(value, (int, float) if hint is float else hint)


def short(value: Any) -> str:
    """A value as text, of which a hostile file could have made megabytes."""
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} nested too deeply"
    return text if len(text) <= 100 else text[:100] + "..."
