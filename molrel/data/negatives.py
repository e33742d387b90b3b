"""Negatives for sets that list positives only: pairs outside the known positives.

No pair so drawn is proven not to interact. The pool should be *all* molecules of the
target: negatives drawn among some of the molecules only (as in the negatives that
ChChMiner is often shipped with) let a model read the label off the molecules' names. For
the same reason a molecule keeps the side that it occurs on, where sides are roles: a drawn
pair of two solvents is told from a pair of solute and solvent without any chemistry.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from molrel.errors import InputError

Strategy = Literal["uniform", "degree"]


def sample_negatives(
    positives: ArrayLike,
    known: ArrayLike,
    pool: np.ndarray | tuple[np.ndarray, np.ndarray],
    count: int,
    *,
    strategy: Strategy,
    seed: int,
) -> np.ndarray:
    """Draws pairs that are neither known, nor of a molecule with itself.

    - "uniform": every pair of the complement is equally likely (exact, without
      replacement).
    - "degree": molecule i gets ``count / P`` times as many negatives as it has among the P
      positives, up to rounding, so that how often a molecule occurs says nothing about the
      label. Pairs are placed molecule by molecule, the most constrained first, with partners
      drawn in proportion to what they still lack (sequential sampling of graphs with given
      degrees, Blitzstein & Diaconis, Internet Math. 6:489, 2010).
      A *saturated* molecule interacts with so many others that the complement holds too few
      partners for it, or only partners that need few themselves. It gets what can be had;
      what it lacks is spread over the others in proportion to their degree, round by round,
      and at last uniformly. Such molecules stay mostly positive, whatever the sampler: in
      sparse sets there are none, and in dense ones (ZhangDDI: 32 % of all pairs are
      positive) they can only be avoided by asking for fewer negatives.

    Args:
      positives: int [P, 2], pairs whose degrees are matched; none is drawn.
      known: int [Q, 2], further pairs that must not be drawn (validation and test
        positives, positives of other sets).
      pool: int [m], molecule ids that negatives may hold, for pairs without order. Two arrays,
        one a side, for ordered pairs: a molecule is then drawn for the sides that it is in the
        pool of, and its degree is matched on each.
      count: number of negatives.
      strategy: see above.
      seed: of the generator.

    Returns:
      int32 [count, 2] molecule ids, in random order, without repetition. Of unordered pairs
      the sides are in random order, and no pair is repeated the other way round.

    Raises:
      InputError: the complement holds fewer than ``count`` pairs, or unknown strategy.
    """
    rng = np.random.default_rng(seed)
    pairs = _Ordered.of(*pool) if isinstance(pool, tuple) else _Unordered.of(pool)
    taken = np.union1d(pairs.codes(np.concatenate([_pairs(positives), _pairs(known)])), pairs.loops)
    available = pairs.size - len(taken)
    if count > available:
        raise InputError(
            f"{count} negatives wanted, but only {available} pairs of the {pairs.n_molecules} "
            "molecules are not known positives",
            remedy="Ask for fewer negatives, or give more molecules",
        )
    if strategy == "uniform":
        drawn = _uniform(taken, pairs.size, count, rng)
    elif strategy == "degree":
        ends = np.concatenate(pairs.ends(pairs.codes(_pairs(positives))))
        degree = np.bincount(ends, minlength=len(pairs.side))
        drawn = _degree_matched(degree, taken, count, pairs, rng)
    else:
        raise InputError(f"unknown strategy {strategy!r}", remedy="Use 'uniform' or 'degree'")
    found = pairs.molecules[np.stack(pairs.ends(rng.permutation(drawn)), axis=1)]
    return (found if pairs.ordered else rng.permuted(found, axis=1)).astype(np.int32)


def sample_negatives_by_stratum(
    positives: np.ndarray,
    pool: np.ndarray | tuple[np.ndarray, np.ndarray],
    seen: np.ndarray,
    *,
    strategy: Strategy,
    seed: int,
    known: np.ndarray | None = None,
) -> np.ndarray:
    """As many negatives as positives in each stratum: pairs of 0, 1 and 2 seen molecules.

    Degrees are then matched within each stratum too. Matched over all pairs at once, the
    number of seen molecules of a pair, and how often a seen molecule occurs with new ones,
    would still tell the label, because interactions are densest among the molecules that
    older sets hold already. Of ordered pairs, which of the two sides is seen counts too.

    Args:
      positives: int [P, 2].
      pool: int [m], molecule ids that negatives may hold; two arrays for ordered pairs
        (``sample_negatives``).
      seen: bool [M] by molecule id, molecules of the source.
      strategy, seed: as for ``sample_negatives``.
      known: int [Q, 2], further pairs that must not be drawn.

    Returns:
      int32 [P, 2] as of ``sample_negatives``; fewer where a stratum has fewer free pairs
      than positives, all of which are then taken.
    """
    positives = _pairs(positives)
    if isinstance(pool, tuple):
        parts = _ordered_strata(positives, pool, seen)
    else:
        parts = _unordered_strata(positives, pool, seen)
    drawn = [np.zeros((0, 2), np.int32)]
    for k, own, ids, other in parts:
        other = np.concatenate([other, _pairs([] if known is None else known)])
        pairs = _Ordered.of(*ids) if isinstance(ids, tuple) else _Unordered.of(ids)
        taken = np.union1d(pairs.codes(np.concatenate([own, other])), pairs.loops)
        count = min(len(own), pairs.size - len(taken))
        if count:
            drawn.append(sample_negatives(own, other, ids, count, strategy=strategy, seed=seed + k))
    return np.concatenate(drawn)


def _unordered_strata(positives: np.ndarray, pool: np.ndarray, seen: np.ndarray) -> list[tuple]:
    """(seen molecules of a pair, positives, pool, pairs of other strata) of each stratum."""
    pool = np.unique(np.asarray(pool, np.int64))
    n_seen = seen[positives].sum(axis=1)
    old, new = pool[seen[pool]], pool[~seen[pool]]
    within = [np.stack(np.triu_indices(len(ids), 1), axis=1) for ids in (old, new)]
    none = np.zeros((0, 2), np.int64)
    return [
        (2, positives[n_seen == 2], old, none),
        (1, positives[n_seen == 1], pool, np.concatenate([old[within[0]], new[within[1]]])),
        (0, positives[n_seen == 0], new, none),
    ]


def _ordered_strata(positives: np.ndarray, pool: tuple, seen: np.ndarray) -> list[tuple]:
    """The same by which of the two molecules is seen."""
    found = []
    for k, wanted in enumerate([(True, True), (True, False), (False, True), (False, False)]):
        own = (seen[positives] == wanted).all(axis=1)
        sides = tuple(ids[seen[ids] == w] for ids, w in zip(pool, wanted, strict=True))
        found.append((k, positives[own], sides, np.zeros((0, 2), np.int64)))
    return found


def _pairs(pairs: ArrayLike) -> np.ndarray:
    return np.asarray(pairs, np.int64).reshape(-1, 2)


class _Unordered(NamedTuple):
    """The pairs of m molecules, numbered from 0 to m (m - 1) / 2 without a gap.

    Pair (i, j) of positions i < j in the pool has number j (j - 1) / 2 + i.

    Attributes:
      molecules: int64 [m], sorted ids.
      side: int [m], 0: any two molecules make a pair.
      size: number of pairs.
      loops: int64 [0], numbers that belong to no pair of two different molecules.
    """

    molecules: np.ndarray
    side: np.ndarray
    size: int
    loops: np.ndarray
    ordered: bool = False

    @classmethod
    def of(cls, pool: np.ndarray) -> _Unordered:
        ids = np.unique(np.asarray(pool, np.int64))
        return cls(ids, np.zeros(len(ids), int), len(ids) * (len(ids) - 1) // 2, _NONE)

    @property
    def n_molecules(self) -> int:
        return len(self.molecules)

    def codes(self, pairs: np.ndarray) -> np.ndarray:
        """Sorted unique numbers of the pairs within the pool, self pairs left out."""
        position, inside = _positions(pairs, self.molecules)
        low, high = position.min(axis=1), position.max(axis=1)
        keep = inside.all(axis=1) & (low < high)
        return np.unique(self.number(low[keep], high[keep]))

    def number(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Number of each pair of positions, of which the first is lower."""
        return high * (high - 1) // 2 + low

    def ends(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (low, high), int64 [n] each, of pair numbers."""
        high = ((1 + np.sqrt(8.0 * codes + 1)) / 2).astype(np.int64)
        # The square root is off by one at most, where 8 codes + 1 is near a square.
        high -= high * (high - 1) // 2 > codes
        high += high * (high + 1) // 2 <= codes
        return codes - high * (high - 1) // 2, high


class _Ordered(NamedTuple):
    """The pairs of m first and n second molecules, numbered i n + j; ``_Unordered``'s methods.

    A molecule that occurs on both sides has two positions, one of each side.
    """

    molecules: np.ndarray
    side: np.ndarray
    size: int
    loops: np.ndarray
    ordered: bool = True

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> _Ordered:
        a, b = (np.unique(np.asarray(ids, np.int64)) for ids in (first, second))
        both, i, j = np.intersect1d(a, b, assume_unique=True, return_indices=True)
        side = np.repeat([0, 1], [len(a), len(b)])
        return cls(np.concatenate([a, b]), side, len(a) * len(b), np.sort(i * len(b) + j))

    @property
    def n_molecules(self) -> int:
        return len(np.unique(self.molecules))

    def _first(self) -> int:
        return int((self.side == 0).sum())

    def codes(self, pairs: np.ndarray) -> np.ndarray:
        m = self._first()
        first, in_first = _positions(pairs[:, 0], self.molecules[:m])
        second, in_second = _positions(pairs[:, 1], self.molecules[m:])
        return np.unique(self.number(first, second + m)[in_first & in_second])

    def number(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        m = self._first()
        return low * (len(self.side) - m) + high - m

    def ends(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        m = self._first()
        first, second = np.divmod(codes, max(1, len(self.side) - m))
        return first, second + m


_NONE = np.zeros(0, np.int64)


def _positions(ids: np.ndarray, sorted_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(position of each id, whether it is there at all)."""
    position = np.searchsorted(sorted_ids, ids)
    if not len(sorted_ids):
        return position, np.zeros(ids.shape, bool)
    return position, sorted_ids[np.minimum(position, len(sorted_ids) - 1)] == ids


def _uniform(taken: np.ndarray, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of ``count`` of ``size`` pairs that are not among the sorted numbers ``taken``."""
    free = size - len(taken)
    rank = rng.choice(free, count, replace=False) if count else _NONE
    # taken[i] has i taken numbers below it, hence taken[i] - i free ones.
    return rank + np.searchsorted(taken - np.arange(len(taken)), rank, side="right")


def _degree_matched(
    degree: np.ndarray,
    taken: np.ndarray,
    count: int,
    pairs: _Unordered | _Ordered,
    rng: np.random.Generator,
) -> np.ndarray:
    """Numbers of ``count`` free pairs with degrees as near to proportional as can be had."""
    drawn = np.zeros(0, np.int64)
    placed = 1
    # After the first round only what saturated molecules lack is left to be spread.
    while placed and len(drawn) < count and degree.any():
        left = count - len(drawn)
        if pairs.ordered:
            first, second = (_apportion(degree * (pairs.side == s), left, rng) for s in (0, 1))
            lacks = first + second
        else:
            lacks = _apportion(degree, 2 * left, rng)
        new = _place(lacks, np.union1d(taken, drawn), pairs, rng)
        drawn, placed = np.concatenate([drawn, new]), len(new)
    rest = _uniform(np.union1d(taken, drawn), pairs.size, count - len(drawn), rng)
    return np.concatenate([drawn, rest])


def _apportion(degree: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """int64 [m] of sum ``total``, proportional to degree; remainders go by lot."""
    share = total * degree / degree.sum()
    lacks = np.floor(share).astype(np.int64)
    remainder = share - lacks
    with np.errstate(divide="ignore"):
        lot = np.log(remainder) + rng.gumbel(size=len(share))
    lacks[np.argsort(-lot)[: total - lacks.sum()]] += 1
    return lacks


def _place(
    lacks: np.ndarray,
    taken: np.ndarray,
    pairs: _Unordered | _Ordered,
    rng: np.random.Generator,
) -> np.ndarray:
    """Numbers of free pairs in which no molecule occurs more often than it lacks."""
    m = len(lacks)
    low, high = pairs.ends(taken)
    ends, others = np.concatenate([low, high]), np.concatenate([high, low])
    others = others[np.argsort(ends, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=m))])
    n_partners = np.bincount(pairs.side, minlength=2)[1 - pairs.side] if pairs.ordered else m - 1
    partners_left = n_partners - np.diff(starts)
    pressure = lacks / np.maximum(partners_left, 0.5) + 1e-9 * rng.random(m)
    lacks, drawn = lacks.copy(), [np.zeros(0, np.int64)]
    for u in np.argsort(-pressure):
        if not lacks[u]:
            continue
        free = lacks > 0
        free[others[starts[u] : starts[u + 1]]] = False
        free[u] = False
        if pairs.ordered:
            free &= pairs.side != pairs.side[u]
        partners = np.flatnonzero(free)
        # Gumbel top-k: without replacement, in proportion to what the partners lack.
        lot = np.log(lacks[partners]) + rng.gumbel(size=len(partners))
        partners = partners[np.argsort(-lot)[: lacks[u]]]
        lacks[partners] -= 1
        lacks[u] = 0
        drawn.append(pairs.number(np.minimum(partners, u), np.maximum(partners, u)))
    return np.concatenate(drawn)
