# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""Splits never put one relation on two sides; strata count unseen sides."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molrel.data.catalog import load
from molrel.data.splits import cold_split, random_split, relation_ids, scaffold_split, strata
from molrel.data.types import Bag, Examples
from molrel.errors import InputError

FRACTIONS = (0.7, 0.2, 0.1)
bag = st.lists(st.integers(0, 6), min_size=1, max_size=3)
relations = st.lists(st.tuples(bag, bag), min_size=1, max_size=40)


def make(lists):
    def side(s):
        sizes = [len(x[s]) for x in lists]
        ids = np.array([i for x in lists for i in x[s]], np.int32)
        return Bag(ids, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))

    n = len(lists)
    return Examples((side(0), side(1)), np.zeros((n, 1)), np.zeros(n, np.int32), np.ones(n))


def grid(n):
    return Examples.pairs(
        np.array([(i, j) for i in range(n) for j in range(i)]), np.zeros(n * (n - 1) // 2)
    )


def split_all(examples, seed):
    scaffolds = ["", "c1ccccc1", "c1ccccc1", "C1CC1", "", "C1CC1", "c1ccncc1"]
    return {
        "random": random_split(examples, FRACTIONS, seed),
        "cold": cold_split(examples, FRACTIONS, seed),
        "scaffold": scaffold_split(examples, scaffolds, FRACTIONS, seed),
    }


@settings(deadline=None)
@given(relations, st.integers(0, 3))
def test_every_example_in_one_part_and_repeats_together(lists, seed):
    swapped = lists + [(b[::-1], a) for a, b in lists]
    examples = make(swapped)
    for split in split_all(examples, seed).values():
        parts = [set(p.tolist()) for p in (split.train, split.valid, split.test)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == len(examples) - split.dropped
        of = {i: p for p, part in enumerate(parts) for i in part}
        seen: dict = {}
        for i, (a, b) in enumerate(swapped):
            key = tuple(sorted([tuple(sorted(a)), tuple(sorted(b))]))
            assert seen.setdefault(key, of.get(i)) == of.get(i)


@settings(deadline=None)
@given(relations)
def test_relation_numbers_are_equality_of_unordered_multisets(lists):
    examples = make(lists)
    keys = [tuple(sorted([tuple(sorted(a)), tuple(sorted(b))])) for a, b in lists]
    first, second = relation_ids(examples, make([(b, a) for a, b in lists]))
    for i, x in enumerate(keys):
        for j, y in enumerate(keys):
            assert (first[i] == second[j]) == (x == y)


@settings(deadline=None)
@given(relations, st.integers(0, 3))
def test_cold_test_molecules_are_never_trained_or_selected_on(lists, seed):
    examples = make(lists)
    for name in ("cold", "scaffold"):
        split = split_all(examples, seed)[name]
        train, valid, test = (
            set(examples.take(p).molecules().tolist()) if len(p) else set()
            for p in (split.train, split.valid, split.test)
        )
        known = np.zeros(7, bool)
        known[list(train)] = True
        if len(split.test):
            # A test example has a molecule that is neither in train nor in valid.
            for i in split.test:
                own = set(examples.take(np.array([i])).molecules().tolist())
                assert own - train - valid
        if len(split.valid):
            for i in split.valid:
                assert set(examples.take(np.array([i])).molecules().tolist()) - train - test


def test_scaffold_split_keeps_scaffolds_whole_and_acyclic_apart():
    n = 60
    examples = grid(n)
    scaffolds = ["" if i < 20 else f"ring {i % 13}" for i in range(n)]
    split = scaffold_split(examples, scaffolds, (0.6, 0.2, 0.2), 0)
    seen = set(examples.take(split.train).molecules().tolist())
    hidden = set(range(n)) - seen
    assert {scaffolds[i] for i in seen if i >= 20}.isdisjoint(
        scaffolds[i] for i in hidden if i >= 20
    )
    assert 0 < len([i for i in seen if i < 20]) < 20
    assert 0.3 < len(hidden) / n < 0.5 and len(split.valid) and len(split.test)


def test_a_scaffold_that_would_fill_a_part_is_trained_on():
    scaffolds = ["big"] * 50 + [f"s{i}" for i in range(50)]
    split = scaffold_split(grid(100), scaffolds, (0.8, 0.1, 0.1), 1)
    assert set(range(50)) <= set(grid(100).take(split.train).molecules().tolist())


def test_fractions_are_met():
    examples = grid(80)
    split = random_split(examples, FRACTIONS, 0)
    sizes = np.array([len(split.train), len(split.valid), len(split.test)])
    np.testing.assert_allclose(sizes / len(examples), FRACTIONS, atol=1 / len(examples))
    cold = cold_split(examples, (0.5, 0.25, 0.25), 0)
    # 40 train, 20 valid, 20 test molecules
    assert len(cold.train) == 40 * 39 // 2
    assert len(cold.valid) == len(cold.test) == 20 * 19 // 2 + 20 * 40
    assert cold.dropped == 20 * 20


def test_a_part_may_be_empty():
    for split in (random_split, cold_split):
        assert len(split(grid(9), (1, 0, 0), 0).train) == 36
        assert len(split(grid(9), (0.5, 0.5, 0), 0).test) == 0


@pytest.mark.parametrize("fractions", [(1, 1, 1), (0.5, 0.5), (1.2, -0.1, -0.1), (np.nan, 0, 1)])
def test_wrong_fractions(fractions):
    for split in (random_split, cold_split):
        with pytest.raises(InputError, match="sum to 1"):
            split(grid(5), fractions, 0)


def test_seeds_differ_and_zero_is_a_seed():
    examples = grid(30)
    a, b, c = (random_split(examples, FRACTIONS, s).test.tolist() for s in (0, 0, 1))
    assert a == b != c


def test_strata_by_hand():
    seen = np.array([True, True, False, False])
    examples = Examples.pairs(np.array([(0, 1), (0, 2), (3, 1), (2, 3)]), np.zeros(4))
    expected = ["seen-seen", "seen-new", "seen-new", "new-new"]
    assert strata(examples, seen).tolist() == expected
    one = examples.replace(sides=examples.sides[:1])
    assert strata(one, seen).tolist() == ["seen", "seen", "new", "new"]
    herbs = make([([0, 1], [0, 2]), ([2], [0, 1, 3]), ([0], [1])])
    assert strata(herbs, seen).tolist() == ["seen-new", "new-new", "seen-seen"]


def digest(split):
    parts = (split.train, split.valid, split.test)
    return [len(p) for p in parts] + [
        hashlib.sha256(np.concatenate(parts).astype("<i8").tobytes()).hexdigest()[:12]
    ]


def test_golden_splits_of_mixtures():
    from molrel.chem.scaffolds import murcko_scaffold

    d = load("mixtures/hydrocarbons")
    fractions = (0.8, 0.1, 0.1)
    assert digest(random_split(d.examples, fractions, 0)) == GOLDEN["random"]
    assert digest(cold_split(d.examples, fractions, 0)) == GOLDEN["cold"]
    scaffolds = [murcko_scaffold(s) for s in d.molecules]
    assert digest(scaffold_split(d.examples, scaffolds, fractions, 0)) == GOLDEN["scaffold"]


GOLDEN = {
    "random": [60058, 7508, 7507, "9ec457ca539e"],
    "cold": [47891, 12830, 12831, "504ee65d4e82"],
    "scaffold": [48205, 12525, 12863, "61a667413ddd"],
}
