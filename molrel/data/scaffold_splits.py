"""Splits of single molecules by scaffold, as the published benchmarks of properties make them.

Several different splits are called "scaffold split", and their figures are not comparable: a
report must name the one it used. All take the Murcko scaffold of each example and put examples
that share one into the same part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from molrel.data.splits import TEST, TRAIN, VALID, Split, fraction_bounds
from molrel.errors import InputError

Fractions = Sequence[float]


def deterministic_scaffold_split(scaffolds: Sequence[str], fractions: Fractions) -> Split:
    """Largest scaffolds to train, then to valid, and the rest to test; no randomness.

    The split of Hu et al., "Strategies for pre-training graph neural networks" (ICLR 2020;
    their code, chem/splitters.py), if scaffolds are with chirality. Groups are ordered by size
    and, among equals, by the index of their first member, both descending; a group goes to the
    first part that it does not overfill. All acyclic molecules (scaffold "") are one group.

    Args:
      scaffolds: N, of each example.
      fractions: of train, valid and test.

    Raises:
      InputError: the fractions are not three numbers that sum to 1.
    """
    first, both = fraction_bounds(fractions) * len(scaffolds)
    groups = sorted(_groups(scaffolds), key=lambda g: (len(g), g[0]), reverse=True)
    rooms = [Room(TRAIN, (TRAIN,), first + 1e-6), Room(VALID, (TRAIN, VALID), both + 1e-6)]
    return _deal(groups, rooms, rest=TEST)


def random_scaffold_split(scaffolds: Sequence[str], fractions: Fractions, seed: int) -> Split:
    """Scaffolds in random order, to valid and test until these are full, the rest to train.

    ``random_scaffold_split`` of Hu et al. (ICLR 2020), the same for the same seed if scaffolds
    are with chirality. Parts are alike, so it is much easier than the deterministic split.

    Args and Raises: as ``deterministic_scaffold_split``; ``seed`` of the order.
    """
    fraction_bounds(fractions)
    groups = _groups(scaffolds)
    # NumPy's old generator, since the published splits were drawn with it.
    order = np.random.RandomState(seed).permutation(len(groups))
    sizes = [int(np.floor(f * len(scaffolds))) for f in fractions[1:]]
    rooms = [Room(part, (part,), size) for part, size in zip((VALID, TEST), sizes, strict=True)]
    return _deal([groups[i] for i in order], rooms, rest=TRAIN)


def balanced_scaffold_split(scaffolds: Sequence[str], fractions: Fractions, seed: int) -> Split:
    """Scaffolds with more than half as many members as valid or test go to train, the others
    in random order to the first of train, valid and test that has room.

    The balanced scaffold split of Yang et al., J. Chem. Inf. Model. 59:3370 (2019), where
    scaffolds are without chirality; other seeds than theirs.

    Args and Raises: as ``deterministic_scaffold_split``; ``seed`` of the order.
    """
    fraction_bounds(fractions)
    n_train, n_valid, n_test = (f * len(scaffolds) + 1e-6 for f in fractions)
    groups = _groups(scaffolds)
    big = [g for g in groups if len(g) > min(n_valid, n_test) / 2]
    small = [g for g in groups if len(g) <= min(n_valid, n_test) / 2]
    rng = np.random.default_rng(seed)
    ordered = [group[i] for group in (big, small) for i in rng.permutation(len(group))]
    rooms = [Room(TRAIN, (TRAIN,), n_train), Room(VALID, (VALID,), n_valid)]
    return _deal(ordered, rooms, rest=TEST)


def published_split(published: np.ndarray, valid_fraction: float, seed: int) -> Split:
    """The authors' own test part; validation is drawn at random from their training part.

    Args:
      published: int [N], ``splits.TRAIN`` or ``splits.TEST``.
      valid_fraction: of the training part.
      seed: of the draw.

    Raises:
      InputError: the fraction is not between 0 and 1.
    """
    if not 0 < valid_fraction < 1:
        raise InputError(
            f"data.valid_fraction is {valid_fraction}, but must be between 0 and 1",
            remedy="It is the share of the published training part to select with",
        )
    known = np.flatnonzero(published != TEST)
    order = np.random.default_rng(seed).permutation(known)
    n_valid = max(1, round(valid_fraction * len(known)))
    return _split(order[n_valid:], order[:n_valid], np.flatnonzero(published == TEST))


def split_fingerprint(rows: np.ndarray) -> str:
    """What identifies a test part: 12 hex digits of the SHA-256 of its ascending row numbers.

    Args:
      rows: int [n], rows of the file, the first behind the header being 0.
    """
    text = ",".join(str(row) for row in np.sort(rows))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _groups(scaffolds: Sequence[str]) -> list[list[int]]:
    """Indices of the examples of each scaffold, in order of first appearance."""
    groups: dict[str, list[int]] = {}
    for index, scaffold in enumerate(scaffolds):
        groups.setdefault(scaffold, []).append(index)
    return list(groups.values())


class Room(NamedTuple):
    """A part that a group may go to while the parts ``counted`` hold at most ``limit`` then."""

    part: int
    counted: tuple[int, ...]
    limit: float


def _deal(groups: Iterable[list[int]], rooms: Sequence[Room], *, rest: int) -> Split:
    """Each group, in order, goes to the first part that has room for it, or else to ``rest``."""
    parts: dict[int, list[int]] = {TRAIN: [], VALID: [], TEST: []}
    for group in groups:
        fitting = (
            room.part
            for room in rooms
            if sum(len(parts[p]) for p in room.counted) + len(group) <= room.limit
        )
        parts[next(fitting, rest)] += group
    return _split(parts[TRAIN], parts[VALID], parts[TEST])


def _split(train: ArrayLike, valid: ArrayLike, test: ArrayLike) -> Split:
    def ascending(part: ArrayLike) -> np.ndarray:
        return np.sort(np.asarray(part, np.int64))

    return Split(ascending(train), ascending(valid), ascending(test))
