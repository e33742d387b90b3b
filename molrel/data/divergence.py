"""Arrays behind the comparison of two domains: divergences and random re-partitions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse


def disjoint(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted unique ids of the source, and of the target without the source's."""
    source = np.unique(np.asarray(source, np.int64))
    return source, np.setdiff1d(np.asarray(target, np.int64), source)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Divergence in bits over the last axis of weights that need not sum to 1.

    Args:
      p, q: float [..., C], not negative; an all-zero row against anything gives 0.

    Returns:
      float64 [...].
    """
    total_p, total_q = p.sum(-1, keepdims=True), q.sum(-1, keepdims=True)
    p = np.divide(p, total_p, out=np.zeros(p.shape), where=total_p > 0)
    q = np.divide(q, total_q, out=np.zeros(q.shape), where=total_q > 0)
    middle = (p + q) / 2

    def relative_entropy(x: np.ndarray) -> np.ndarray | np.floating:
        ratio = np.divide(x, middle, out=np.ones(x.shape), where=x > 0)
        return (x * np.log2(ratio)).sum(-1)

    defined = (total_p > 0)[..., 0] & (total_q > 0)[..., 0]
    divergence = (relative_entropy(p) + relative_entropy(q)) / 2
    return np.where(defined, np.clip(divergence, 0.0, 1.0), 0.0)


def flatten(values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Concatenates int [n_m] of each of M molecules: (molecule, value), int64 [n] each."""
    sizes = np.array([len(v) for v in values], np.int64)
    flat = np.concatenate([np.zeros(0, np.int64), *values]).astype(np.int64)
    return np.repeat(np.arange(len(values)), sizes), flat


def sparse_table(
    rows: np.ndarray, columns: np.ndarray, weights: np.ndarray, shape: tuple[int, int]
) -> scipy.sparse.csr_array:
    """float64 [M, C] from entries (row, column, weight); equal places are summed."""
    return scipy.sparse.csr_array((weights, (rows, columns)), shape=shape)


def presence_table(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> scipy.sparse.csr_array:
    """float64 [M, C], 1 where there is an entry, however often."""
    table = sparse_table(rows, columns, np.ones(len(rows)), shape)
    table.data[:] = 1
    return table


def partition_sums(
    table: scipy.sparse.csr_array, n_source: int, repeats: int, seed: int
) -> np.ndarray:
    """Column sums of two domains and of random re-partitions of the same sizes.

    Args:
      table: [M, C], the source's molecules first.
      n_source: number of source molecules.
      repeats: R re-partitions.
      seed: of the re-partitions.

    Returns:
      float64 [2, R + 1, C]: (source, target), first as they are, then permuted.
    """
    n_molecules = len(table.indptr) - 1
    rng = np.random.default_rng(seed)
    in_source = np.zeros((repeats + 1, n_molecules))
    in_source[0, :n_source] = 1
    for r in range(repeats):
        in_source[r + 1, rng.permutation(n_molecules)[:n_source]] = 1
    return np.stack([in_source @ table, (1 - in_source) @ table])
