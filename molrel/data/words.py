"""Words for the two values of a binary label, and for a label that is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from molrel.data.types import Task
from molrel.errors import InputError

# What pandas reads as missing, and what people write.
MISSING = frozenset(
    (
        *("", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "none", "nil", "#n/a n/a"),
        *("-", "--", ".", "?", "unknown", "missing", "n.a.", "n.d.", "nd", "not available"),
        *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "\N{EN DASH}", "\N{EM DASH}"),
    )
)
# (0, 1) in words; the first pair that explains most cells is taken.
PAIRS = (
    ("0", "1"),
    ("false", "true"),
    ("f", "t"),
    ("no", "yes"),
    ("n", "y"),
    ("inactive", "active"),
    ("negative", "positive"),
    ("neg", "pos"),
    ("-", "+"),
    ("-1", "1"),
)
NEGATIONS = ("in", "im", "non", "non-", "non ", "not ", "not-", "no ", "un")


def plain(word: str) -> str:
    """A word as it is compared: without case, numbers without a decimal point."""
    word = word.strip().replace("\N{MINUS SIGN}", "-").casefold()
    number = re.fullmatch(r"([-+]?)0*(\d+)(?:\.0*)?", word)
    return ("-" if number[1] == "-" and number[2] != "0" else "") + number[2] if number else word


def choose_pair(
    counts: dict[str, int],
    cells: Sequence[str],
    column: str,
    path: str,
    positive: str | None,
    like: Task | None,
) -> tuple[str, str]:
    """The words for 0 and 1, as ``plain`` has them.

    Args:
      counts: how often each plain word occurs that is not missing.
      cells: texts, for messages.
      column, path: for messages.
      positive: the word for 1, as the user says; None leaves it to ``like`` and the words.
      like: task of the source, whose two classes are taken.

    Raises:
      InputError: the words do not say which is 1, or none is what the user says.
    """
    if positive is not None:
        return _pair_of(plain(positive), counts, positive, column, path)
    if like is not None and len(like.classes) == 2:
        return plain(like.classes[0]), plain(like.classes[1])
    return _obvious_pair(counts, cells, column, path)


def _opposites(word: str) -> set[str]:
    """Words that say the contrary."""
    found = {a for a, b in PAIRS if b == word} | {b for a, b in PAIRS if a == word}
    found |= {f"{prefix}{word}" for prefix in NEGATIONS}
    return found | {word.removeprefix(p) for p in NEGATIONS if word.startswith(p)} - {word, ""}


def _pair_of(
    one: str, counts: dict[str, int], positive: str, column: str, path: str
) -> tuple[str, str]:
    """(0, 1) where the user says what is 1."""
    others = [word for word in counts if word != one]
    contrary = [word for word in others if word in _opposites(one)]
    if len(contrary) == 1 or (contrary and one in counts):
        return contrary[0], one
    if one in counts and len(others) < 2:
        return (others or ["not " + one])[0], one
    listed = ", ".join(repr(word) for word in list(counts)[:5]) + ", ..." * (len(counts) > 5)
    problem = f"no label is {positive!r}, which data.positive says is 1; there are {listed}"
    if one in counts:
        problem = f"beside {positive!r}, which is 1, there are several labels: {listed}"
    raise InputError(
        problem if counts else "no label is known",
        path=path,
        column=column,
        remedy="Leave the labels empty that are neither class, or choose another data.positive",
    )


def _obvious_pair(
    counts: dict[str, int], cells: Sequence[str], column: str, path: str
) -> tuple[str, str]:
    """(0, 1) where the words themselves say which is which.

    Raises:
      InputError: two words that do not.
    """
    pairs = list(PAIRS)
    for word in counts:
        negated = (f"{prefix}{word}" for prefix in NEGATIONS)
        pairs += [(other, word) for other in negated if other in counts]
    pair = max(pairs, key=lambda p: sum(counts.get(word, 0) for word in p))
    explained = sum(counts.get(word, 0) for word in pair)
    numeric = all(re.fullmatch(r"[-+]?[\d.,]+(e[-+]?\d+)?", word) for word in counts)
    if len(counts) == 2 and explained < sum(counts.values()) and not numeric:
        a, b = (next(str(cell) for cell in cells if plain(cell) == word) for word in counts)
        raise InputError(
            f"the labels are {a!r} and {b!r}, and it is not clear which is 1",
            path=path,
            column=column,
            remedy=f"Say so, for instance with --data.positive {a!r}",
        )
    return pair
