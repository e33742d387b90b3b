"""How far two domains' substructures differ, beyond what chance gives.

Jensen-Shannon divergences (base 2, so between 0 and 1 bit) of substructure distributions,
each beside its permutation null: the same figure after the molecules have been dealt out
to two domains of the same sizes at random. Only the excess over the null means anything.

Domains are made disjoint first: a molecule of both domains counts for the source only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse

from molrel.data.divergence import (
    disjoint,
    flatten,
    jensen_shannon,
    partition_sums,
    presence_table,
    sparse_table,
)
from molrel.errors import InputError

N_RAW_TYPES = 72
N_KINDS = 3  # aromatic ring, aliphatic ring, chain: raw types are grouped by kind
MAX_TYPES = 48

# Keeps weights finite where hardly any type differs (kappa "up" and "down").
SOFTENING = 0.01
# Of kappa "signed", whose formula leaves it open: tanh is half way at 0.05 bits.
SIGNED_SLOPE = 10.0


@dataclass(frozen=True)
class Discrepancy:
    """Difference between the adjacent-fragment-type distributions of two domains.

    Attributes:
      value: Jensen-Shannon divergence in bits, of the pairs of adjacent types.
      null_mean, null_max: the same over random re-partitions of the molecules.
      adjusted: (value - null_mean) / (1 - null_mean), clipped to [0, 1].
      type_map: int64 [72], raw fragment type -> merged type 0..K-1.
      delta: float64 [K], divergence in bits of what merged type k is adjacent to, minus its
        null mean, floored at 0; 0 for types with too few molecules.
      counts: int64 [2, K], molecules of source and target that have merged type k.
    """

    value: float
    null_mean: float
    null_max: float
    adjusted: float
    type_map: np.ndarray
    delta: np.ndarray
    counts: np.ndarray

    @property
    def above_null(self) -> bool:
        """Whether the domains differ more than every random re-partition of them."""
        return self.value > self.null_max and bool(self.delta.any())


def substructure_discrepancy(
    types: Sequence[np.ndarray],
    bonds: Sequence[np.ndarray],
    source: np.ndarray,
    target: np.ndarray,
    *,
    minimum: int = 20,
    repeats: int = 50,
    seed: int = 0,
) -> Discrepancy:
    """Compares which coarse fragment types stand next to which in two domains.

    The distribution of domain d over ordered pairs of merged types (k, l) is proportional to
    ``eps + sum_m 1/|E_m| sum_(u,v) in E_m [(t_u, t_v) = (k, l) or (l, k)] / 2`` with
    eps = 0.5 / K^2; every molecule has weight 1. A molecule without fragment bonds counts
    as (t_u, nothing), 1/F for each of its F fragments. The global value compares the whole
    K x (K + 1) tables, ``delta[k]`` their rows k, normalised.

    Args:
      types: raw fragment types (0..71) of each of M molecules, int [F_m].
      bonds: fragment bonds of each molecule, int [B_m, 2], indices into its fragments.
      source, target: int, molecule ids; those in both count for the source.
      minimum: fragments (both domains together) below which a raw type is merged, and
        molecules below which a merged type has ``delta`` 0.
      repeats: re-partitions for the null.
      seed: of the re-partitions.

    Returns:
      The discrepancy; all zero if a domain has no molecules of its own.
    """
    source, target = disjoint(source, target)
    members = np.concatenate([source, target])
    of_molecule, fragment_types = flatten([types[m] for m in members])
    type_map = merge_types(np.bincount(fragment_types, minlength=N_RAW_TYPES), minimum)
    n_types = int(type_map.max()) + 1
    merged = type_map[fragment_types]
    carriers = presence_table(of_molecule, merged, (len(members), n_types))
    counts = partition_sums(carriers, len(source), 0, seed)[:, 0].astype(np.int64)
    if not len(source) or not len(target):
        return Discrepancy(0.0, 0.0, 0.0, 0.0, type_map, np.zeros(n_types), counts)

    pairs = _adjacency(of_molecule, merged, [bonds[m] for m in members], n_types)
    sums = partition_sums(pairs, len(source), repeats, seed) + 0.5 / n_types**2
    divergence = jensen_shannon(sums[0], sums[1])
    rows = sums.reshape(2, repeats + 1, n_types, n_types + 1)
    by_type = jensen_shannon(rows[0], rows[1])
    delta = np.maximum(by_type[0] - by_type[1:].mean(axis=0), 0.0)
    value, null = float(divergence[0]), divergence[1:]
    return Discrepancy(
        value=value,
        null_mean=float(null.mean()),
        null_max=float(null.max()),
        adjusted=float(np.clip((value - null.mean()) / (1 - null.mean()), 0, 1)),
        type_map=type_map,
        delta=np.where(counts.sum(axis=0) >= minimum, delta, 0.0),
        counts=counts,
    )


def merge_types(counts: np.ndarray, minimum: int = 20) -> np.ndarray:
    """Merges rare fragment types, first within their kind, then into one "other".

    Types with at least ``minimum`` fragments stay (the commonest 44 of them, which leaves
    room for the merged ones in 48). Rare types of one kind (aromatic ring, aliphatic ring,
    chain), unseen ones included, become one type if these together reach the minimum; what
    is left then is the last type.

    Args:
      counts: int [72], fragments of each raw type; kinds are consecutive thirds.
      minimum: see above.

    Returns:
      int64 [72], raw type -> merged type, without gaps from 0.
    """
    counts = np.asarray(counts)
    by_count = np.argsort(-counts, kind="stable")[: MAX_TYPES - N_KINDS - 1]
    kept = np.sort(by_count[counts[by_count] >= minimum])
    mapping = np.full(len(counts), -1, np.int64)
    mapping[kept] = np.arange(len(kept))
    n_types = len(kept)
    kind = np.arange(len(counts)) * N_KINDS // len(counts)
    for k in range(N_KINDS):
        rare = (kind == k) & (mapping < 0)
        if counts[rare].sum() >= max(minimum, 1):
            mapping[rare] = n_types
            n_types += 1
    mapping[mapping < 0] = n_types
    return mapping


def reversal_weights(
    discrepancy: Discrepancy,
    weighting: Literal["uniform", "up", "down", "signed", "shuffled"],
    *,
    seed: int = 0,
) -> np.ndarray:
    """Gradient-reversal coefficient of each merged fragment type.

    With delta the excess divergence of each type:

    - uniform: 1, which is DANN (Ganin et al., JMLR 17:59, 2016);
    - up: (delta + 0.01) / (mean delta + 0.01), at most 3: aligns hardest where the domains
      differ most;
    - down: 1 - delta / (max delta + 0.01): aligns what the domains share;
    - signed: tanh(10 (mean delta - delta)): what differs most is made *more* separable;
    - shuffled: "up" with the types permuted; a control that keeps the weights' spread.

    Where the domains do not differ more than chance makes them (``above_null`` is false),
    the weights would be noise: signed is then 0 (no adversary), all others are 1.

    Args:
      discrepancy: of the two domains.
      weighting: see above.
      seed: of the permutation of "shuffled".

    Returns:
      float32 [K].

    Raises:
      InputError: unknown weighting.
    """
    if weighting not in ("uniform", "up", "down", "signed", "shuffled"):
        raise InputError(
            f"unknown weighting {weighting!r}",
            remedy="Use uniform, up, down, signed or shuffled",
        )
    delta = discrepancy.delta
    if weighting == "uniform" or not discrepancy.above_null:
        return np.full(len(delta), 0.0 if weighting == "signed" else 1.0, np.float32)
    if weighting == "down":
        kappa = 1 - delta / (delta.max() + SOFTENING)
    elif weighting == "signed":
        kappa = np.tanh(SIGNED_SLOPE * (delta.mean() - delta))
    else:
        kappa = np.clip((delta + SOFTENING) / (delta.mean() + SOFTENING), 0, 3)
    if weighting == "shuffled":
        kappa = np.random.default_rng(seed).permutation(kappa)
    return kappa.astype(np.float32)


def presence_discrepancy(
    present: Sequence[np.ndarray],
    source: np.ndarray,
    target: np.ndarray,
    *,
    repeats: int = 50,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Compares how many molecules of each domain have each kind of substructure.

    Args:
      present: kinds (numbers >= 0) that each of M molecules has, int [k_m]; repetitions
        within a molecule count once.
      source, target: int, molecule ids; those in both count for the source.
      repeats: re-partitions for the null.
      seed: of the re-partitions.

    Returns:
      (divergence in bits, mean of the null, maximum of the null) of the distributions over
      kinds: molecules that have the kind, normalised to sum 1, not smoothed. All 0 if
      a domain has no molecules of its own or no molecule has any kind.
    """
    source, target = disjoint(source, target)
    members = np.concatenate([source, target])
    of_molecule, kinds = flatten([present[m] for m in members])
    if not len(source) or not len(target) or not len(kinds):
        return 0.0, 0.0, 0.0
    shape = (len(members), int(kinds.max()) + 1)
    table = presence_table(of_molecule, kinds, shape)
    sums = partition_sums(table, len(source), repeats, seed)
    divergence = jensen_shannon(sums[0], sums[1])
    return float(divergence[0]), float(divergence[1:].mean()), float(divergence[1:].max())


def discrepancy_rows(
    compare: str,
    present: Mapping[str, Sequence[np.ndarray]],
    source: np.ndarray,
    target: np.ndarray,
    *,
    repeats: int = 50,
    seed: int = 0,
) -> list[dict[str, str | int | float]]:
    """Rows of a report's table, one for each way of describing molecules.

    Args:
      compare: what is compared, such as "A vs B".
      present: name of the description ("functional groups", ...) -> kinds of each molecule,
        as for ``presence_discrepancy``.
      source, target, repeats, seed: as for ``presence_discrepancy``.

    Returns:
      dicts with the keys compare, kind, n_source, n_target, js, null_mean, null_max.
    """
    own_source, own_target = disjoint(source, target)
    rows = []
    for kind, kinds in present.items():
        js, mean, most = presence_discrepancy(kinds, source, target, repeats=repeats, seed=seed)
        rows.append(
            {
                "compare": compare,
                "kind": kind,
                "n_source": len(own_source),
                "n_target": len(own_target),
                "js": js,
                "null_mean": mean,
                "null_max": most,
            }
        )
    return rows


def _adjacency(
    of_molecule: np.ndarray, merged: np.ndarray, bonds: Sequence[np.ndarray], n_types: int
) -> scipy.sparse.csr_array:
    """[M, K (K + 1)]: weights of each molecule's adjacent types; the last column is none."""
    n_molecules = len(bonds)
    n_fragments = np.bincount(of_molecule, minlength=n_molecules)
    first = np.concatenate([[0], np.cumsum(n_fragments)[:-1]])
    n_bonds = np.array([len(b) for b in bonds], np.int64)
    owner = np.repeat(np.arange(n_molecules), n_bonds)
    ends = np.concatenate([np.zeros((0, 2), np.int64), *(np.reshape(b, (-1, 2)) for b in bonds)])
    a, b = (merged[first[owner] + ends[:, i].astype(np.int64)] for i in (0, 1))
    half = 0.5 / n_bonds[owner]
    lonely = n_bonds[of_molecule] == 0
    width = n_types + 1
    return sparse_table(
        np.concatenate([owner, owner, of_molecule[lonely]]),
        np.concatenate([a * width + b, b * width + a, merged[lonely] * width + n_types]),
        np.concatenate([half, half, 1 / n_fragments[of_molecule[lonely]]]),
        (n_molecules, n_types * width),
    )
