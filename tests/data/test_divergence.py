# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""Jensen-Shannon divergence against scipy, and random re-partitions."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from molrel.data.divergence import disjoint, jensen_shannon, partition_sums

weights = st.lists(st.integers(0, 50), min_size=4, max_size=4)


@given(weights, weights)
def test_agrees_with_scipy_and_is_symmetric_and_bounded(p, q):
    p, q = np.array(p, float), np.array(q, float)
    found = jensen_shannon(p, q)
    assert 0 <= found <= 1 and found == pytest.approx(float(jensen_shannon(q, p)), abs=1e-12)
    if p.sum() and q.sum():
        assert found == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-9)
    else:
        assert found == 0


def test_known_values():
    p = np.array([[1.0, 0], [1, 1], [3, 1]])
    q = np.array([[0, 5.0], [2, 2], [1, 3]])
    expected = [1.0, 0.0, 1 - (0.75 * np.log2(4 / 3) + 0.25 * np.log2(4))]
    np.testing.assert_allclose(jensen_shannon(p, q), expected, atol=1e-12)


def test_disjoint_gives_shared_molecules_to_the_source():
    source, target = disjoint(np.array([5, 1, 5]), np.array([7, 5, 2]))
    assert source.tolist() == [1, 5] and target.tolist() == [2, 7]


def test_partitions_keep_sizes_and_totals():
    table = scipy.sparse.csr_array(np.eye(7))
    sums = partition_sums(table, 3, 20, 0)
    assert sums[0, 0].tolist() == [1, 1, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(sums.sum(axis=0), np.ones((21, 7)))
    np.testing.assert_array_equal(sums[0].sum(axis=1), np.full(21, 3))
    assert len({tuple(r) for r in sums[0].tolist()}) > 5
