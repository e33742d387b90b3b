"""Negatives for sets that list positives only: unordered pairs outside the known positives.

No pair so drawn is proven not to interact. The pool should be *all* molecules of the
target: negatives drawn among some of the molecules only (as in the negatives that
ChChMiner is often shipped with) let a model read the label off the molecules' names.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from molrel.errors import InputError


def sample_negatives(
    positives: np.ndarray,
    known: np.ndarray,
    pool: np.ndarray,
    count: int,
    *,
    strategy: Literal["uniform", "degree"],
    seed: int,
) -> np.ndarray:
    """Draws unordered pairs that are neither known, nor of a molecule with itself.

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
      pool: int [m], molecule ids that negatives may hold.
      count: number of negatives.
      strategy: see above.
      seed: of the generator.

    Returns:
      int32 [count, 2] molecule ids, in random order and with sides in random order, without
      repetition in either order.

    Raises:
      InputError: the complement holds fewer than ``count`` pairs, or unknown strategy.
    """
    rng = np.random.default_rng(seed)
    pool = np.unique(np.asarray(pool, np.int64))
    taken = _codes(np.concatenate([_pairs(positives), _pairs(known)]), pool)
    available = len(pool) * (len(pool) - 1) // 2 - len(taken)
    if count > available:
        raise InputError(
            f"{count} negatives wanted, but only {available} pairs of the {len(pool)} "
            "molecules are not known positives",
            remedy="Ask for fewer negatives, or give more molecules",
        )
    if strategy == "uniform":
        drawn = _uniform(taken, len(pool), count, rng)
    elif strategy == "degree":
        ends = np.concatenate(_ends(_codes(_pairs(positives), pool)))
        drawn = _degree_matched(np.bincount(ends, minlength=len(pool)), taken, count, rng)
    else:
        raise InputError(f"unknown strategy {strategy!r}", remedy="Use 'uniform' or 'degree'")
    pairs = np.stack(_ends(rng.permutation(drawn)), axis=1)
    return pool[rng.permuted(pairs, axis=1)].astype(np.int32)


def sample_negatives_by_stratum(
    positives: np.ndarray,
    pool: np.ndarray,
    seen: np.ndarray,
    *,
    strategy: Literal["uniform", "degree"],
    seed: int,
) -> np.ndarray:
    """As many negatives as positives in each stratum: pairs of 0, 1 and 2 seen molecules.

    Degrees are then matched within each stratum too. Matched over all pairs at once, the
    number of seen molecules of a pair, and how often a seen molecule occurs with new ones,
    would still tell the label, because interactions are densest among the molecules that
    older sets hold already.

    Args:
      positives: int [P, 2].
      pool: int [m], molecule ids that negatives may hold.
      seen: bool [M] by molecule id, molecules of the source.
      strategy, seed: as for ``sample_negatives``.

    Returns:
      int32 [P, 2] as of ``sample_negatives``; fewer where a stratum has fewer free pairs
      than positives, all of which are then taken.
    """
    positives, pool = _pairs(positives), np.unique(np.asarray(pool, np.int64))
    n_seen = seen[positives].sum(axis=1)
    old, new = pool[seen[pool]], pool[~seen[pool]]
    within = [np.stack(np.triu_indices(len(ids), 1), axis=1) for ids in (old, new)]
    drawn = []
    for k, ids, other in (
        (2, old, np.zeros((0, 2), np.int64)),
        (1, pool, np.concatenate([old[within[0]], new[within[1]]])),
        (0, new, np.zeros((0, 2), np.int64)),
    ):
        own = positives[n_seen == k]
        free = len(ids) * (len(ids) - 1) // 2 - len(other) - len(_codes(own, ids))
        count = min(len(own), free)
        if count:
            drawn.append(sample_negatives(own, other, ids, count, strategy=strategy, seed=seed + k))
    return np.concatenate([np.zeros((0, 2), np.int32), *drawn])


def _pairs(pairs: np.ndarray) -> np.ndarray:
    return np.asarray(pairs, np.int64).reshape(-1, 2)


def _codes(pairs: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Sorted unique numbers of the unordered pairs within the pool, self pairs left out.

    Pair (i, j) of positions i < j in the pool has number j (j - 1) / 2 + i, so that numbers
    run from 0 to m (m - 1) / 2 without a gap.
    """
    position = np.searchsorted(pool, pairs)
    inside = (pool[np.minimum(position, len(pool) - 1)] == pairs).all(axis=1)
    low, high = position.min(axis=1), position.max(axis=1)
    keep = inside & (low < high)
    return np.unique(high[keep] * (high[keep] - 1) // 2 + low[keep])


def _ends(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (low, high), int64 [n] each, of pair numbers."""
    high = ((1 + np.sqrt(8.0 * codes + 1)) / 2).astype(np.int64)
    # The square root is off by one at most, where 8 codes + 1 is near a square.
    high -= high * (high - 1) // 2 > codes
    high += high * (high + 1) // 2 <= codes
    return codes - high * (high - 1) // 2, high


def _uniform(
    taken: np.ndarray, n_molecules: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Numbers of ``count`` pairs that are not among the sorted numbers ``taken``."""
    free = n_molecules * (n_molecules - 1) // 2 - len(taken)
    rank = rng.choice(free, count, replace=False) if count else np.zeros(0, np.int64)
    # taken[i] has i taken numbers below it, hence taken[i] - i free ones.
    return rank + np.searchsorted(taken - np.arange(len(taken)), rank, side="right")


def _degree_matched(
    degree: np.ndarray, taken: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Numbers of ``count`` free pairs with degrees as near to proportional as can be had."""
    drawn = np.zeros(0, np.int64)
    placed = 1
    # After the first round only what saturated molecules lack is left to be spread.
    while placed and len(drawn) < count and degree.any():
        lacks = _apportion(degree, 2 * (count - len(drawn)), rng)
        new = _place(lacks, np.union1d(taken, drawn), rng)
        drawn, placed = np.concatenate([drawn, new]), len(new)
    rest = _uniform(np.union1d(taken, drawn), len(degree), count - len(drawn), rng)
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


def _place(lacks: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Numbers of free pairs in which no molecule occurs more often than it lacks."""
    m = len(lacks)
    low, high = _ends(taken)
    ends, others = np.concatenate([low, high]), np.concatenate([high, low])
    others = others[np.argsort(ends, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=m))])
    partners_left = m - 1 - np.diff(starts)
    pressure = lacks / np.maximum(partners_left, 0.5) + 1e-9 * rng.random(m)
    lacks, drawn = lacks.copy(), [np.zeros(0, np.int64)]
    for u in np.argsort(-pressure):
        if not lacks[u]:
            continue
        free = lacks > 0
        free[others[starts[u] : starts[u + 1]]] = False
        free[u] = False
        partners = np.flatnonzero(free)
        # Gumbel top-k: without replacement, in proportion to what the partners lack.
        lot = np.log(lacks[partners]) + rng.gumbel(size=len(partners))
        partners = partners[np.argsort(-lot)[: lacks[u]]]
        lacks[partners] -= 1
        lacks[u] = 0
        a, b = np.minimum(partners, u), np.maximum(partners, u)
        drawn.append(b * (b - 1) // 2 + a)
    return np.concatenate(drawn)
