"""Config fields that know their bounds.

What a field may be stands beside it, so that whoever checks a config knows no method by name.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from molrel.errors import InputError


@dataclass(frozen=True)
class Bounds:
    """Interval that a number must lie in; None leaves a side open.

    Attributes:
      least, most: allowed themselves.
      above, below: not allowed themselves.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def allow(self, value: float) -> bool:
        """Whether the value lies between the bounds; NaN lies nowhere."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and not math.isnan(value)
        )

    def __str__(self) -> str:
        words = {"at least": self.least, "greater than": self.above, "at most": self.most}
        parts = [f"{word} {bound:g}" for word, bound in words.items() if bound is not None]
        if self.below == math.inf:
            parts.append("finite")
        elif self.below is not None:
            parts.append(f"less than {self.below:g}")
        return " and ".join(parts)


def at(
    default: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    static: bool = False,
) -> Any:
    """A dataclass field with a default and bounds.

    Args:
      default: value of the field.
      least, most, above, below: see ``Bounds``.
      static: the field changes the compiled program, such as a width or a schedule. Other
        float fields of a method or an optimiser may differ between runs of one program.
    """
    bounds = Bounds(least, most, above, below)
    return dataclasses.field(default=default, metadata={"bounds": bounds, "static": static})


def check_fields(section: Any, prefix: str = "") -> None:
    """Checks every field of a dataclass, and of those nested in it, against its bounds.

    Raises:
      InputError: names the first field that is out of bounds.
    """
    for field in dataclasses.fields(section):
        name, value = prefix + field.name, getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            check_fields(value, f"{name}.")
        bounds = field.metadata.get("bounds")
        if bounds is not None and isinstance(value, (int, float)) and not bounds.allow(value):
            raise InputError(f"config field {name!r} is {value!r}, but must be {bounds}")


def is_static(section: Any, path: str) -> bool:
    """Whether a dotted field of a config must be the same in all runs of one program."""
    first, _, rest = path.partition(".")
    if rest:
        return is_static(getattr(section, first), rest)
    field = next(f for f in dataclasses.fields(section) if f.name == first)
    return field.metadata.get("static", False) or not isinstance(getattr(section, first), float)
