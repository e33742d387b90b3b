"""Scaffold splits: the published memberships, and what holds for any scaffolds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molrel.chem.scaffolds import murcko_scaffold
from molrel.data.scaffold_splits import (
    balanced_scaffold_split,
    deterministic_scaffold_split,
    published_split,
    random_scaffold_split,
    split_fingerprint,
)
from molrel.data.splits import TEST, TRAIN
from molrel.errors import InputError

FRACTIONS = (0.8, 0.1, 0.1)
SPLITS = {
    "deterministic": deterministic_scaffold_split,
    "random": lambda s, f: random_scaffold_split(s, f, 0),
    "balanced": lambda s, f: balanced_scaffold_split(s, f, 0),
}
scaffolds = st.lists(st.sampled_from(["", *(f"s{i}" for i in range(30))]), min_size=1, max_size=120)


@pytest.fixture(scope="module")
def of_examples(staged):
    def scaffolds_of(name, chirality=True):
        found = staged(name, max_atoms=500)
        names = [murcko_scaffold(s, chirality=chirality) for s in found.molecules]
        return found, [names[m] for m in found.examples.sides[0].ids]

    return scaffolds_of


@pytest.mark.staged
@pytest.mark.parametrize(
    ("name", "sizes", "digest"),
    [
        ("bace", (1210, 151, 152), "f945e8ffc1a5"),
        ("bbbp", (1631, 204, 204), "44c955655542"),
        ("sider", (1141, 143, 143), "d2d567d7a180"),
        ("tox21", (6258, 782, 783), "58c26d95a411"),
        # Another release of ClinTox than the one of other papers, hence its own digest.
        ("clintox", (1189, 149, 149), "f12a5199d139"),
    ],
)
def test_golden_deterministic_splits(of_examples, name, sizes, digest):
    found, own = of_examples(name)
    split = deterministic_scaffold_split(own, FRACTIONS)
    assert tuple(map(len, (split.train, split.valid, split.test))) == sizes
    assert split_fingerprint(found.rows[split.test] - 2) == digest


@pytest.mark.staged
@pytest.mark.slow
def test_golden_deterministic_split_of_hiv(of_examples):
    found, own = of_examples("hiv")
    split = deterministic_scaffold_split(own, FRACTIONS)
    assert split_fingerprint(found.rows[split.test] - 2) == "fa2ed33e6864"


@pytest.mark.staged
def test_golden_random_scaffold_split(of_examples):
    found, own = of_examples("bace")
    split = random_scaffold_split(own, FRACTIONS, 0)
    rates = [found.examples.labels[p].mean() for p in (split.train, split.valid, split.test)]
    assert (len(split.train), len(split.valid), len(split.test)) == (1211, 151, 151)
    np.testing.assert_allclose(rates, [0.456, 0.477, 0.444], atol=5e-4)


@pytest.mark.parametrize("name", SPLITS)
@given(scaffolds)
def test_no_scaffold_is_divided_and_no_example_lost(name, own):
    split = SPLITS[name](own, FRACTIONS)
    parts = [split.train, split.valid, split.test]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(own)))
    groups = [{own[i] for i in part} for part in parts]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    again = SPLITS[name](own, FRACTIONS)
    assert all(np.array_equal(a, b) for a, b in zip(parts, [again.train, again.valid, again.test]))


@given(scaffolds)
def test_random_scaffold_split_never_overfills(own):
    split = random_scaffold_split(own, FRACTIONS, 3)
    assert max(len(split.valid), len(split.test)) <= len(own) // 10


def test_large_scaffolds_go_to_train():
    own = ["big"] * 50 + [f"s{i}" for i in range(50)]
    for split in (
        deterministic_scaffold_split(own, FRACTIONS),
        balanced_scaffold_split(own, FRACTIONS, 1),
    ):
        assert set(range(50)) <= set(split.train)
        assert len(split.train) == 80 and len(split.valid) == len(split.test) == 10


def test_seeds_give_other_splits():
    own = [f"s{i % 40}" for i in range(100)]
    for split in (random_scaffold_split, balanced_scaffold_split):
        a, b = split(own, FRACTIONS, 0), split(own, FRACTIONS, 1)
        assert not np.array_equal(a.test, b.test)


def test_published_split_takes_validation_from_the_training_part():
    published = np.where(np.arange(50) % 5 == 0, TEST, TRAIN)
    split = published_split(published, 0.1, seed=0)
    assert np.array_equal(split.test, np.arange(0, 50, 5))
    assert len(split.valid) == 4 and len(split.train) == 36
    with pytest.raises(InputError, match="valid_fraction"):
        published_split(published, 0.0, seed=0)
