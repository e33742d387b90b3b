"""Checks annotations at run time, where they can be: used by the session's import hook."""

from __future__ import annotations

from typing import TypeVar

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintException

_F = TypeVar("_F")
_CHECK = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float too

UNCHECKED: list[str] = []
"""Names of what has a hint that nobody can check, such as a protocol of flax's."""


def checked(function: _F) -> _F:
    """``beartype`` of a function or class; itself where a hint cannot be checked."""
    try:
        return _CHECK(function)  # pyright: ignore
    except BeartypeDecorHintException:
        UNCHECKED.append(getattr(function, "__qualname__", str(function)))
        return function
