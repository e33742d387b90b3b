# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""Discrepancy of substructures against a plain reimplementation, its null, and published counts."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from molrel.data.discrepancy import (
    MAX_TYPES,
    Discrepancy,
    discrepancy_rows,
    merge_types,
    presence_discrepancy,
    reversal_weights,
    substructure_discrepancy,
)
from molrel.errors import InputError

N = 400


def molecules(n, seed, likely=None):
    """Chains of 1 to 5 fragments whose types are drawn from a few raw types."""
    rng = np.random.default_rng(seed)
    raw = np.array([0, 7, 24, 30, 48, 50, 71])
    p = np.ones(7) / 7 if likely is None else np.asarray(likely) / np.sum(likely)
    types = [rng.choice(raw, rng.integers(1, 6), p=p) for _ in range(n)]
    bonds = [np.stack([np.arange(len(t) - 1), np.arange(1, len(t))], 1) for t in types]
    return types, bonds


def slow_table(types, bonds, type_map, members):
    """The formula, one molecule and one bond at a time."""
    k = int(type_map.max()) + 1
    table = np.full((k, k + 1), 0.5 / k**2)
    for m in members:
        t = [int(type_map[x]) for x in types[m]]
        for u, v in bonds[m]:
            table[t[u], t[v]] += 0.5 / len(bonds[m])
            table[t[v], t[u]] += 0.5 / len(bonds[m])
        if not len(bonds[m]):
            for x in t:
                table[x, k] += 1 / len(t)
    return table


def js(p, q):
    return jensenshannon(np.ravel(p), np.ravel(q), base=2) ** 2


def test_agrees_with_a_plain_reimplementation():
    types, bonds = molecules(60, 0)
    types.append(np.array([0, 24]))  # a salt: two fragments, no bond
    bonds.append(np.zeros((0, 2), int))
    source, target = np.arange(25), np.arange(20, 61)
    found = substructure_discrepancy(types, bonds, source, target, minimum=5, repeats=4, seed=3)
    s = slow_table(types, bonds, found.type_map, range(25))
    t = slow_table(types, bonds, found.type_map, range(25, 61))
    assert found.value == pytest.approx(js(s, t), abs=1e-9)

    rng = np.random.default_rng(3)
    null, null_by_type = [], []
    for _ in range(4):
        order = rng.permutation(61)
        a, b = (slow_table(types, bonds, found.type_map, o) for o in (order[:25], order[25:]))
        null.append(js(a, b))
        null_by_type.append([js(x, y) for x, y in zip(a, b, strict=True)])
    assert found.null_mean == pytest.approx(np.mean(null), abs=1e-9)
    assert found.null_max == pytest.approx(np.max(null), abs=1e-9)
    by_type = np.array([js(x, y) for x, y in zip(s, t, strict=True)])
    expected = np.maximum(by_type - np.mean(null_by_type, axis=0), 0)
    np.testing.assert_allclose(found.delta, expected, atol=1e-9)
    counts = [
        [sum(k in found.type_map[types[m]] for m in d) for k in range(found.counts.shape[1])]
        for d in (range(25), range(25, 61))
    ]
    assert found.counts.tolist() == counts


def test_one_chemistry_is_inside_its_null_and_two_are_not():
    types, bonds = molecules(N, 1)
    same = substructure_discrepancy(types, bonds, np.arange(N // 2), np.arange(N // 2, N))
    assert same.adjusted < 0.01 and abs(same.value - same.null_mean) < 3 * (
        same.null_max - same.null_mean
    )
    other_types, other_bonds = molecules(N, 2, likely=[9, 1, 1, 1, 9, 1, 1])
    found = substructure_discrepancy(
        types + other_types, bonds + other_bonds, np.arange(N), np.arange(N, 2 * N)
    )
    assert found.above_null and found.value > 3 * found.null_max
    assert 0 < found.adjusted < found.value and (found.delta > 0).any()


def test_shared_molecules_count_for_the_source_only():
    types, bonds = molecules(N, 4)
    half = np.arange(N // 2)
    a = substructure_discrepancy(types, bonds, half, np.arange(N))
    b = substructure_discrepancy(types, bonds, half, np.arange(N // 2, N))
    assert a.value == b.value and a.null_mean == b.null_mean
    nothing = substructure_discrepancy(types, bonds, np.arange(N), half)
    assert (nothing.value, nothing.null_max, nothing.adjusted) == (0, 0, 0)
    assert not nothing.delta.any() and not nothing.above_null


def test_order_of_fragments_and_direction_of_bonds_do_not_matter():
    types, bonds = molecules(N, 5)
    source, target = np.arange(150), np.arange(150, N)
    reference = substructure_discrepancy(types, bonds, source, target)
    turned = substructure_discrepancy(
        [t[::-1] for t in types],
        [len(t) - 1 - b[:, ::-1] for t, b in zip(types, bonds, strict=True)],
        source,
        target,
    )
    assert reference.value == pytest.approx(turned.value, abs=1e-12)
    np.testing.assert_allclose(reference.delta, turned.delta, atol=1e-12)


def test_types_with_little_data_have_no_delta():
    types, bonds = molecules(30, 6)
    found = substructure_discrepancy(types, bonds, np.arange(15), np.arange(15, 30), minimum=20)
    few = found.counts.sum(0) < 20
    assert few.any() and not found.delta[few].any()


def test_merging_keeps_common_types_and_pools_rare_ones_by_kind():
    counts = np.zeros(72, int)
    counts[[3, 30, 50]] = 100
    counts[[0, 1]] = 12  # aromatic: 24 together
    counts[[25, 26]] = 5  # aliphatic: 10 together
    mapping = merge_types(counts, 20)
    assert mapping[[3, 30, 50]].tolist() == [0, 1, 2]
    aromatic = set(mapping[:24]) - {0}
    assert aromatic == {3} == {mapping[0], mapping[1]}
    # Neither the aliphatic rest nor the chain's reaches 20: one type for both.
    assert mapping[25] == mapping[26] == mapping[60] == 4 == mapping.max()


@pytest.mark.parametrize("seed", range(5))
def test_merging_maps_every_type_to_at_most_48_without_gaps(seed):
    counts = np.random.default_rng(seed).integers(
        0, 10 ** np.random.default_rng(seed).integers(1, 4), 72
    )
    mapping = merge_types(counts, 20)
    n_types = mapping.max() + 1
    assert mapping.shape == (72,) and n_types <= MAX_TYPES
    assert set(mapping) == set(range(n_types))
    merged = np.bincount(mapping, counts, n_types)
    assert (merged[:-1] >= 20).all()


def test_all_rare_is_one_type():
    assert merge_types(np.zeros(72, int)).tolist() == [0] * 72


def given_delta(delta, value=0.5):
    delta = np.array(delta, float)
    return Discrepancy(
        value, 0.1, 0.2, 0.4, np.zeros(72, int), delta, np.ones((2, len(delta)), int)
    )


def test_weights_by_hand():
    d = given_delta([0.0, 0.1, 0.2])
    np.testing.assert_allclose(reversal_weights(d, "uniform"), [1, 1, 1])
    np.testing.assert_allclose(reversal_weights(d, "up"), np.array([0.01, 0.11, 0.21]) / 0.11, 1e-6)
    np.testing.assert_allclose(
        reversal_weights(d, "down"), 1 - np.array([0, 0.1, 0.2]) / 0.21, 1e-6
    )
    np.testing.assert_allclose(reversal_weights(d, "signed"), np.tanh([1.0, 0.0, -1.0]), atol=1e-6)
    shuffled = reversal_weights(given_delta(np.arange(20) / 20), "shuffled", seed=1)
    up = reversal_weights(given_delta(np.arange(20) / 20), "up")
    assert sorted(shuffled) == sorted(up) and shuffled.tolist() != up.tolist()
    assert reversal_weights(d, "up").dtype == np.float32


def test_up_is_clipped_at_three():
    assert reversal_weights(given_delta([0] * 9 + [0.9]), "up").max() == 3


@pytest.mark.parametrize("d", [given_delta([0.1, 0.3], value=0.15), given_delta([0, 0])])
def test_nothing_above_the_null_falls_back_to_plain_reversal(d):
    for weighting in ("uniform", "up", "down", "shuffled"):
        assert reversal_weights(d, weighting).tolist() == [1, 1]
    assert reversal_weights(d, "signed").tolist() == [0, 0]


def test_unknown_weighting(unchecked):
    with pytest.raises(InputError, match="shuffled"):
        reversal_weights(given_delta([0.1]), "sideways")  # pyright: ignore[reportArgumentType]


def test_presence_counts_molecules_once():
    present = [np.array(x, int) for x in ([0, 0, 0, 1], [1], [2, 2], [2, 1])]
    value, mean, most = presence_discrepancy(present, np.array([0, 1]), np.array([2, 3]))
    assert value == pytest.approx(js([1, 2, 0], [0, 1, 2]))
    assert mean <= most <= 1
    none = [np.zeros(0, int)] * 4
    assert presence_discrepancy(none, np.array([0]), np.array([1])) == (0, 0, 0)


def test_rows_of_the_report():
    present = [np.array([i % 3]) for i in range(12)]
    (row,) = discrepancy_rows("A vs B", {"groups": present}, np.arange(6), np.arange(4, 12))
    assert list(row) == ["compare", "kind", "n_source", "n_target", "js", "null_mean", "null_max"]
    assert (row["compare"], row["kind"], row["n_source"], row["n_target"]) == (
        "A vs B",
        "groups",
        6,
        6,
    )


@pytest.mark.slow
@pytest.mark.staged
def test_drug_sets_hold_nearly_the_same_chemistry(staged):
    """Functional groups of ZhangDDI against DDInter's other drugs: 0.0081 (null mean 0.0044)
    was measured on another release of DDInter."""
    from rdkit import Chem

    from molrel.chem.groups import match_groups
    from molrel.data.types import join

    source, target = join(staged("zhangddi"), staged("ddinter2"))
    groups = [np.unique(match_groups(Chem.MolFromSmiles(s))[:, 0]) for s in source.molecules]
    value, mean, most = presence_discrepancy(
        groups, source.examples.molecules(), target.examples.molecules()
    )
    assert value == pytest.approx(0.0081, abs=0.003)
    assert mean == pytest.approx(0.0044, abs=0.0015)
    assert mean < most < 0.012 and value > mean
