# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""Negatives: never known, never repeated, and with the degrees that were asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molrel.data.negatives import (
    _Ordered,
    _Unordered,
    sample_negatives,
    sample_negatives_by_stratum,
)
from molrel.data.types import Dataset
from molrel.errors import InputError

STRATEGIES = ("uniform", "degree")
ONE, NONE = np.array([(0, 1)]), np.zeros((0, 2), int)


def unordered(pairs):
    return {tuple(sorted(p)) for p in np.asarray(pairs).tolist()}


def degrees(pairs, n):
    return np.bincount(np.asarray(pairs).ravel(), minlength=n)


def sparse_positives(n=300, count=2500, seed=0):
    """Pairs with degrees over two orders of magnitude."""
    rng = np.random.default_rng(seed)
    weight = np.geomspace(1, 100, n)
    pairs = rng.choice(n, (20 * count, 2), p=weight / weight.sum())
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    return pairs[rng.permutation(len(pairs))[:count]]


pairs_of_ten = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30)


@settings(deadline=None)
@given(pairs_of_ten, pairs_of_ten, st.data())
def test_never_known_never_self_never_repeated(positives, known, data):
    pool = sorted(data.draw(st.sets(st.integers(0, 9), min_size=2)) | {12})
    complement = {(i, j) for i in pool for j in pool if i < j}
    complement -= unordered(positives or np.zeros((0, 2))) | unordered(known or np.zeros((0, 2)))
    count = data.draw(st.integers(0, len(complement)))
    for strategy in STRATEGIES:
        drawn = sample_negatives(positives, known, np.array(pool), count, strategy=strategy, seed=0)
        assert drawn.shape == (count, 2) and drawn.dtype == np.int32
        assert len(unordered(drawn)) == count
        assert unordered(drawn) <= complement


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_asking_for_too_many_is_a_clear_error(strategy):
    with pytest.raises(InputError, match="3 negatives wanted, but only 2 pairs of the 3"):
        sample_negatives(ONE, ONE[:, ::-1], np.arange(3), 3, strategy=strategy, seed=0)


def test_unknown_strategy(unchecked):
    with pytest.raises(InputError, match="uniform"):
        sample_negatives(ONE, NONE, np.arange(3), 1, strategy="any", seed=0)  # pyright: ignore


@settings(deadline=None)
@given(st.integers(0, 10**9))
def test_pair_numbers_have_no_gaps(code):
    low, high = _Unordered.of(np.arange(2)).ends(np.array([code]))
    assert 0 <= low[0] < high[0]
    assert high[0] * (high[0] - 1) // 2 + low[0] == code
    pairs = _Unordered.of(np.arange(high[0] + 1))
    assert pairs.codes(np.array([(high[0], low[0])])).tolist() == [code]


def test_uniform_reaches_every_free_pair_equally_often():
    positives = [(0, 1), (2, 3)]
    counts: dict = {}
    for seed in range(3000):
        for pair in unordered(
            sample_negatives(positives, NONE, np.arange(5), 2, strategy="uniform", seed=seed)
        ):
            counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 8
    # Each is drawn with probability 1/4: 750 with standard deviation 24.
    assert all(abs(c - 750) < 5 * 24 for c in counts.values())


def test_sides_are_in_random_order():
    drawn = sample_negatives(ONE, NONE, np.arange(60), 1000, strategy="uniform", seed=0)
    assert 400 < (drawn[:, 0] < drawn[:, 1]).sum() < 600


@pytest.mark.parametrize("ratio", [1, 2, 0.5])
def test_degree_matching_of_a_sparse_set(ratio):
    positives = sparse_positives()
    count = int(ratio * len(positives))
    drawn = sample_negatives(positives, NONE, np.arange(300), count, strategy="degree", seed=0)
    difference = degrees(drawn, 300) - ratio * degrees(positives, 300)
    assert np.abs(difference).mean() < 0.6
    uniform = sample_negatives(positives, NONE, np.arange(300), count, strategy="uniform", seed=0)
    assert np.abs(degrees(uniform, 300) - ratio * degrees(positives, 300)).mean() > 3


def test_degree_matching_removes_the_popular_molecule_shortcut():
    from sklearn.metrics import roc_auc_score

    positives = sparse_positives()
    popularity = np.log1p(degrees(positives, 300))
    auroc = {}
    for strategy in STRATEGIES:
        drawn = sample_negatives(positives, NONE, np.arange(300), 2500, strategy=strategy, seed=0)
        pairs = np.concatenate([positives, drawn])
        labels = np.repeat([1, 0], 2500)
        auroc[strategy] = roc_auc_score(labels, popularity[pairs].sum(1))
    assert auroc["uniform"] > 0.75 and abs(auroc["degree"] - 0.5) < 0.05


def test_saturated_molecules_get_all_that_is_left():
    # 0 interacts with all but one of 30; the others among themselves sparsely.
    positives = [(0, j) for j in range(1, 29)] + [(j, j + 1) for j in range(1, 28)]
    drawn = sample_negatives(positives, NONE, np.arange(30), 55, strategy="degree", seed=0)
    assert degrees(drawn, 30)[0] <= 1 and len(unordered(drawn)) == 55


def test_molecules_of_other_sets_are_neither_drawn_nor_counted():
    positives = [(0, 1), (1, 100), (100, 101)]
    drawn = sample_negatives(positives, NONE, np.arange(6), 10, strategy="degree", seed=0)
    assert drawn.max() < 6


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_deterministic_given_seed(strategy):
    positives = sparse_positives()
    draw = [
        sample_negatives(positives, NONE, np.arange(300), 100, strategy=strategy, seed=s).tolist()
        for s in (0, 0, 1)
    ]
    assert draw[0] == draw[1] != draw[2]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_stratum_has_as_many_negatives_as_positives_and_the_same_degrees(strategy):
    positives, seen = sparse_positives(), np.arange(300) >= 180  # the popular ones are seen
    drawn = sample_negatives_by_stratum(positives, np.arange(300), seen, strategy=strategy, seed=0)
    assert len(unordered(drawn)) == len(drawn) == len(positives)
    assert not unordered(drawn) & unordered(positives)
    for k in (0, 1, 2):
        own, found = (p[seen[p].sum(1) == k] for p in (positives, drawn))
        assert len(own) == len(found) > 0
        if strategy == "degree":
            assert np.abs(degrees(own, 300) - degrees(found, 300)).mean() < 0.6


def test_a_stratum_without_free_pairs_gets_none():
    # 0, 1, 2 are seen and all interact; 3 to 9 do not interact with one another.
    positives = np.array([(0, 1), (0, 2), (1, 2), (3, 0), (4, 5)])
    seen = np.arange(10) < 3
    drawn = sample_negatives_by_stratum(positives, np.arange(10), seen, strategy="degree", seed=0)
    assert sorted(seen[drawn].sum(1)) == [0, 1]


@pytest.mark.staged
@pytest.mark.parametrize("name", [pytest.param("ddinter2", marks=pytest.mark.slow), "chchminer"])
def test_drug_sets_are_matched(staged, name):
    dataset: Dataset = staged(name)
    positives = np.stack([s.ids for s in dataset.examples.sides], axis=1)
    n = len(dataset.molecules)
    drawn = sample_negatives(
        positives, positives, np.arange(n), len(positives), strategy="degree", seed=0
    )
    assert len(unordered(drawn)) == len(positives) and not unordered(drawn) & unordered(positives)
    difference = np.abs(degrees(drawn, n) - degrees(positives, n))
    if name == "chchminer":
        assert difference.max() <= 1
    else:
        # A few drugs of DDInter interact with more than half of all others.
        assert difference.mean() < 0.02 * degrees(positives, n).mean()
        assert (difference > 10).mean() < 0.03


@pytest.mark.staged
def test_zhangddi_is_too_dense_to_match_but_matching_still_helps(staged):
    dataset = staged("zhangddi")
    pairs = np.stack([s.ids for s in dataset.examples.sides], axis=1)
    positives = pairs[dataset.examples.labels[:, 0] == 1]
    n = len(dataset.molecules)
    wanted = degrees(positives, n)
    correlation = {}
    for strategy in STRATEGIES:
        drawn = sample_negatives(
            positives, positives, np.arange(n), len(positives), strategy=strategy, seed=0
        )
        correlation[strategy] = np.corrcoef(wanted, degrees(drawn, n))[0, 1]
    assert correlation["uniform"] < -0.95 and correlation["degree"] > 0


# ---- ordered pairs ---------------------------------------------------------------------------


@settings(deadline=None)
@given(pairs_of_ten, st.data())
def test_ordered_pairs_keep_their_sides(positives, data):
    first, second = (
        np.array(sorted(data.draw(st.sets(st.integers(0, 9), min_size=1)))) for _ in range(2)
    )
    complement = {(i, j) for i in first for j in second if i != j} - {tuple(p) for p in positives}
    count = data.draw(st.integers(0, len(complement)))
    positives = np.array(positives, np.int64).reshape(-1, 2)
    for strategy in STRATEGIES:
        drawn = sample_negatives(positives, NONE, (first, second), count, strategy=strategy, seed=0)
        assert drawn.shape == (count, 2)
        found = {tuple(p) for p in drawn.tolist()}
        assert len(found) == count and found <= complement


def test_numbers_of_ordered_pairs_have_no_gaps():
    pairs = _Ordered.of(np.array([2, 5, 7]), np.array([5, 9]))
    every = np.stack(np.meshgrid([2, 5, 7], [5, 9], indexing="ij"), axis=-1).reshape(-1, 2)
    codes = pairs.codes(every)
    assert codes.tolist() == list(range(6)) and pairs.loops.tolist() == [2]
    low, high = pairs.ends(codes)
    assert pairs.molecules[low].tolist() == every[:, 0].tolist()
    assert pairs.molecules[high].tolist() == every[:, 1].tolist()


def test_degrees_of_ordered_pairs_are_matched_on_each_side():
    rng = np.random.default_rng(0)
    weight = np.geomspace(1, 30, 300)
    first = rng.choice(300, 8000, p=weight / weight.sum())
    second = 300 + rng.choice(300, 8000, p=weight[::-1] / weight.sum())
    positives = np.unique(np.stack([first, second], axis=1), axis=0)
    positives = positives[rng.permutation(len(positives))[:2000]]
    sides = np.unique(positives[:, 0]), np.unique(positives[:, 1])
    drawn = sample_negatives(positives, NONE, sides, 2000, strategy="degree", seed=0)
    uniform = sample_negatives(positives, NONE, sides, 2000, strategy="uniform", seed=0)
    for side in (0, 1):
        wanted = degrees(positives[:, side], 600)
        assert np.abs(degrees(drawn[:, side], 600) - wanted).mean() < 0.3
        assert np.abs(degrees(uniform[:, side], 600) - wanted).mean() > 1


def test_strata_of_ordered_pairs_are_matched_with_their_order():
    rng = np.random.default_rng(1)
    pairs = np.stack([rng.integers(0, 40, 900), rng.integers(30, 80, 900)], axis=1)
    positives = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)[:250]
    seen = rng.random(80) < 0.5
    sides = np.unique(positives[:, 0]), np.unique(positives[:, 1])
    for strategy in STRATEGIES:
        drawn = sample_negatives_by_stratum(positives, sides, seen, strategy=strategy, seed=0)
        for wanted in ((0, 0), (0, 1), (1, 0), (1, 1)):
            counts = [int((seen[p] == wanted).all(axis=1).sum()) for p in (positives, drawn)]
            assert counts[0] == counts[1] > 0
        assert not {tuple(p) for p in drawn.tolist()} & {tuple(p) for p in positives.tolist()}
