"""Train, validation and test parts in which no relation stands on two sides.

All splits act on *unordered* relations: (a, b), (b, a) and repeated rows always go to the
same part, so that no label can be read off a swapped copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from molrel.data.types import Bag, Examples
from molrel.errors import InputError

TRAIN, VALID, TEST = 0, 1, 2


@dataclass(frozen=True)
class Split:
    """Indices of the examples of each part, int64, ascending.

    Attributes:
      train, valid, test: disjoint index arrays.
      dropped: number of examples in none of them (they join a validation molecule with a
        test molecule; always 0 for a random split).
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    dropped: int = 0


def bag_ids(examples: Examples) -> tuple[np.ndarray, list[np.ndarray]]:
    """Numbers the different bags of the examples.

    Returns:
      (int64 [N, S], number of each side's bag; the molecules of each bag, int32 sorted).
    """
    width = max(int(side.sizes.max(initial=1)) for side in examples.sides)
    rows = np.concatenate([np.sort(side.dense(width), axis=1) for side in examples.sides])
    numbers = _row_numbers(rows)
    _, first = np.unique(numbers, return_index=True)
    bags = [row[row >= 0] for row in rows[first]]
    return numbers.reshape(len(examples.sides), -1).T, bags


def role_ids(examples: Examples, symmetric: bool) -> np.ndarray:
    """Like ``bag_ids``, int64 [N, S]. For ordered tasks the same bag has different numbers on the
    two sides, so that knowing a molecule as solvent does not count as knowing it as solute."""
    numbers, bags = bag_ids(examples)
    return numbers if symmetric else numbers + len(bags) * np.arange(numbers.shape[1])


def relation_ids(*parts: Examples, symmetric: bool = True) -> tuple[np.ndarray, ...]:
    """Numbers the relations of one or more examples over the same molecules.

    Two examples have the same number if and only if their sides are the same multisets of
    molecules, in whichever order the sides stand; in the same order if not ``symmetric``.

    Returns:
      int64 [N] for each part; numbers are shared by all parts.
    """
    width = max(int(side.sizes.max(initial=1)) for part in parts for side in part.sides)
    bags = np.concatenate(
        [np.sort(side.dense(width), axis=1) for part in parts for side in part.sides]
    )
    numbers = _row_numbers(bags)
    relations, start = [], 0
    n_sides = max(len(part.sides) for part in parts)
    for part in parts:
        sides = np.full((len(part), n_sides), -1, np.int64)
        for s in range(len(part.sides)):
            sides[:, s] = numbers[start : start + len(part)]
            start += len(part)
        relations.append(np.sort(sides, axis=1) if symmetric else sides)
    numbers = _row_numbers(np.concatenate(relations))
    return tuple(np.split(numbers, np.cumsum([len(part) for part in parts])[:-1]))


def _row_numbers(rows: np.ndarray) -> np.ndarray:
    """int64 [N], the same number for equal rows of an int [N, C]."""
    numbers = np.zeros(len(rows), np.int64)
    for column in rows.T:
        _, code = np.unique(column, return_inverse=True)
        joint = numbers * (code.max(initial=0) + 1) + code
        _, numbers = np.unique(joint, return_inverse=True)
    return numbers.astype(np.int64)


def random_split(examples: Examples, fractions: Sequence[float], seed: int) -> Split:
    """Divides the relations at random; molecules may occur in every part.

    Args:
      examples: N examples.
      fractions: of train, valid and test examples; they sum to 1. Met to within the size of
        one group of repeated relations.
      seed: of the permutation.

    Raises:
      InputError: the fractions are not three numbers that sum to 1.
    """
    bounds = fraction_bounds(fractions)
    (relation,) = relation_ids(examples)
    sizes = np.bincount(relation)
    order = np.random.default_rng(seed).permutation(len(sizes))
    # A relation goes where the middle of its run of examples falls.
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    part = np.empty(len(sizes), np.int64)
    part[order] = np.searchsorted(bounds * len(examples), middle, side="right")
    part = part[relation]
    train, valid, test = (np.flatnonzero(part == p) for p in (TRAIN, VALID, TEST))
    return Split(train, valid, test)


def cold_split(examples: Examples, fractions: Sequence[float], seed: int) -> Split:
    """Divides the *molecules* at random, so that test examples hold unseen molecules.

    Every molecule that occurs is a train, valid or test molecule. An example is in

    - train if all its molecules are train molecules,
    - valid if it has a valid molecule and no test molecule,
    - test if it has a test molecule and no valid molecule,
    - no part (counted in ``dropped``) if it has both.

    The test part hence holds examples with one side unseen (stratum "seen-new") and with
    all sides unseen ("new-new"); see ``strata``. No test molecule is ever trained or
    selected on.

    Args:
      examples: N examples.
      fractions: of the molecules (not of the examples) in train, valid and test.
      seed: of the permutation.

    Raises:
      InputError: the fractions are not three numbers that sum to 1.
    """
    bounds = fraction_bounds(fractions)
    molecules = examples.molecules()
    order = np.random.default_rng(seed).permutation(len(molecules))
    part = np.zeros(int(molecules.max(initial=-1)) + 1, np.int64)
    middle = np.arange(len(molecules)) + 0.5
    part[molecules[order]] = np.searchsorted(bounds * len(molecules), middle, side="right")
    return _by_molecule(examples, part)


def scaffold_split(
    examples: Examples, scaffolds: Sequence[str], fractions: Sequence[float], seed: int
) -> Split:
    """A cold split in which all molecules of one scaffold are in the same part.

    Each acyclic molecule (scaffold "") is a scaffold of its own, since the absence of rings
    is nothing they share. Scaffolds with more than half as many molecules as the smaller of
    the valid and test parts go to train, as one of them would fill a part; the others are
    drawn at random into valid and test until these are full.

    Args:
      examples: N examples.
      scaffolds: M Bemis-Murcko scaffolds (SMILES) by molecule id, "" for acyclic ones.
      fractions: of the molecules in train, valid and test.
      seed: of the permutation.

    Raises:
      InputError: the fractions are not three numbers that sum to 1.
    """
    bounds = fraction_bounds(fractions)
    molecules = examples.molecules()
    names = [scaffolds[m] or f"acyclic {m}" for m in molecules]
    _, scaffold = np.unique(np.array(names, dtype=object), return_inverse=True)
    sizes = np.bincount(scaffold)
    quota = np.round(np.array([bounds[1] - bounds[0], 1 - bounds[1]]) * len(molecules), 6)
    wanted = quota[quota > 0]
    small = sizes <= max(1.0, wanted.min() / 2) if len(wanted) else sizes < 0
    order = np.random.default_rng(seed).permutation(np.flatnonzero(small))
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    of_scaffold = np.full(len(sizes), TRAIN)
    of_scaffold[order] = np.array([VALID, TEST, TRAIN])[
        np.searchsorted(np.cumsum(quota), middle, side="right")
    ]
    part = np.zeros(int(molecules.max(initial=-1)) + 1, np.int64)
    part[molecules] = of_scaffold[scaffold]
    return _by_molecule(examples, part)


PART_NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("valid", "val", "validation", "validate", "dev"), VALID),
    **dict.fromkeys(("test", "testing"), TEST),
}


def column_split(cells: np.ndarray, rows: np.ndarray, column: str, path: str) -> Split:
    """The parts that a column of the file names: train, valid (val, validation, dev), test.

    Args:
      cells: object [N], text; the case of letters does not matter. An example with an empty
        cell is in no part, and counted in ``dropped``.
      rows: [N], rows of the file, for messages.
      column, path: for messages.

    Raises:
      InputError: a cell names no part, or no cell names one that is needed.
    """
    part = np.full(len(cells), -1)
    for n, cell in enumerate(cells):
        if cell.lower() in PART_NAMES:
            part[n] = PART_NAMES[cell.lower()]
        elif cell:
            raise InputError(
                f"{cell[:40]!r} names no part",
                path=path,
                row=int(rows[n]),
                column=column,
                remedy="Write train, valid or test, or leave the cell empty to leave the row out",
            )
    train, valid, test = (np.flatnonzero(part == p) for p in (TRAIN, VALID, TEST))
    for name, found in (("train", train), ("valid", valid)):
        if not len(found):
            raise InputError(
                f"no usable row is of the part {name}",
                path=path,
                column=column,
                remedy="A run needs rows to train on and rows to select by",
            )
    return Split(train, valid, test, int((part < 0).sum()))


def strata(examples: Examples, seen: np.ndarray) -> np.ndarray:
    """Names how many sides of each example are made of seen molecules only.

    Args:
      examples: N examples of S sides.
      seen: bool [M], molecules that were trained on.

    Returns:
      str [N]: "seen-seen", "seen-new" or "new-new" for pairs in either order; "seen" or
      "new" for one side. A side of several molecules is new if any of them is.
    """
    n_sides = len(examples.sides)
    new = sum(_count(side, ~np.asarray(seen, bool)) > 0 for side in examples.sides)
    names = ["-".join(["seen"] * (n_sides - k) + ["new"] * k) for k in range(n_sides + 1)]
    return np.array(names)[np.asarray(new, np.int64)]


def few_by_molecule(examples: Examples, seen: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted indices of ``count`` labelled examples: about sqrt(count) each of as many molecules.

    So the molecules whose labels are known are few, and most examples hold none of them. The
    molecules are those that were not trained on, or all where that leaves too few examples, in
    random order. Fewer examples are a part of more of the same seed.

    Args:
      examples: N examples, of which those without any label are never drawn.
      seen: bool [M], molecules that were trained on.
      count: at most the number of labelled examples.
      seed: of the order.
    """
    rng = np.random.default_rng([seed, 0x6665_77])
    rank = np.argsort(rng.permutation(len(seen)))
    # Molecules that were trained on come behind all others.
    rank = np.where(seen, rank + len(seen), rank)
    # Each example belongs to its first molecule, and has a random place among that one's.
    firsts = [np.minimum.reduceat(rank[s.ids], s.offsets[:-1]) for s in examples.sides]
    first = np.minimum.reduce(firsts)
    index = rng.permutation(np.flatnonzero((~np.isnan(examples.labels)).any(axis=1)))
    order = index[np.argsort(first[index], kind="stable")]
    _, starts, inverse = np.unique(first[order], return_index=True, return_inverse=True)
    place = np.arange(len(order)) - starts[inverse]
    # Squares of ever more molecules and examples; trained molecules behind all others.
    is_seen = first[order] >= len(seen)
    shell = np.lexsort((place, np.maximum(place, inverse), is_seen))
    return np.sort(order[shell[:count]])


def _by_molecule(examples: Examples, part: np.ndarray) -> Split:
    """Split of examples whose molecules have the given part, int [M]."""
    has_valid = sum(_count(side, part == VALID) for side in examples.sides) > np.int64(0)
    has_test = sum(_count(side, part == TEST) for side in examples.sides) > np.int64(0)
    return Split(
        train=np.flatnonzero(~has_valid & ~has_test),
        valid=np.flatnonzero(has_valid & ~has_test),
        test=np.flatnonzero(~has_valid & has_test),
        dropped=int((has_valid & has_test).sum()),
    )


def _count(side: Bag, flag: np.ndarray) -> np.ndarray:
    """int64 [N], number of molecules with the flag (bool [M]) in each bag."""
    total = np.concatenate([[0], np.cumsum(flag[side.ids])])
    return total[side.offsets[1:]] - total[side.offsets[:-1]]


def fraction_bounds(fractions: Sequence[float]) -> np.ndarray:
    """The upper ends of train and valid in [0, 1], float64 [2].

    Raises:
      InputError: they are not three numbers that sum to 1.
    """
    values = np.asarray(fractions, np.float64)
    if values.shape != (3,) or not (values >= 0).all() or abs(values.sum() - 1) > 1e-6:
        raise InputError(
            f"the fractions of train, valid and test are {tuple(fractions)}",
            remedy="Give three numbers that are not negative and sum to 1",
        )
    return np.minimum(np.cumsum(values)[:2], 1.0)
