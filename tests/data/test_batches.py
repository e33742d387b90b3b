"""Index batches: budgets, splitting, the stateless sampler."""

import dataclasses
from dataclasses import fields

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molrel.data.batches import (
    Budget,
    MoleculeSizes,
    all_batches,
    choose_budget,
    index_batch,
    round_up,
    step_batches,
)
from molrel.data.sampler import Sampler
from molrel.data.types import Bag, Examples, concatenate
from molrel.errors import InputError

RNG = np.random.default_rng(0)
N_MOLECULES = 40


class Sizes(MoleculeSizes):
    """Stands for ``MoleculeSizes`` of a table whose molecule m has m + 1 atoms."""

    def __init__(self):
        self.padding_id = N_MOLECULES

    per_molecule = np.concatenate(
        [np.repeat(np.arange(1, N_MOLECULES + 1)[:, None], 5, axis=1), np.zeros((1, 5), int)]
    )

    def of(self, molecules):
        return Budget(len(molecules), *self.per_molecule[molecules].sum(axis=0).tolist())

    def worst(self, n):
        rows = -np.sort(-self.per_molecule[:-1], axis=0)[:n]
        return Budget(len(rows), *rows.sum(axis=0).tolist())


SIZES = Sizes()
LARGE = Budget(48, *[2000] * 5)


def pairs(n, domain=0, seed=0):
    rng = np.random.default_rng(seed)
    return Examples.pairs(
        rng.integers(0, N_MOLECULES, (n, 2)), rng.integers(0, 2, n).astype(np.float32), domain
    )


def test_index_batch_points_at_the_right_molecules_and_hides_target_labels():
    examples = concatenate([pairs(5), pairs(4, domain=1, seed=1)])
    batch = index_batch(examples, 12, LARGE, SIZES, (1, 1))
    assert batch is not None
    for side, bag in zip(batch.sides, examples.sides):
        np.testing.assert_array_equal(batch.molecules[side[:9, 0]], bag.ids)
        assert (side[9:] == -1).all()
    np.testing.assert_array_equal(batch.labels[:5], examples.labels[:5])
    assert np.isnan(batch.labels[5:]).all(), "a target label reached the device"
    assert batch.mask.tolist() == [True] * 9 + [False] * 3
    assert len(np.unique(batch.molecules[:-1])) <= N_MOLECULES + 1


def test_index_batch_of_bags():
    bags = Bag(np.array([3, 1, 3, 2], np.int32), np.array([0, 3, 4], np.int32))
    examples = Examples(
        (bags, Bag.singles(np.array([0, 1]))), np.zeros((2, 1)), np.zeros(2, int), np.ones(2)
    )
    batch = index_batch(examples, 2, LARGE, SIZES, (3, 1))
    assert batch is not None
    assert batch.molecules[batch.sides[0][0]].tolist() == [3, 1, 3]
    assert batch.sides[0][1].tolist()[1:] == [-1, -1]


def test_sampler_is_a_function_of_seed_and_step():
    make = lambda: Sampler(pairs(50), pairs(30, 1, 2), n_source=8, n_target=4)  # noqa: E731
    a, b = make(), make()
    late = a.examples(3, 17)  # asked for without the steps before it
    for step in range(18):
        early = b.examples(3, step)
    for x, y in zip(*(jax.tree.leaves(dataclasses.asdict(e)) for e in (late, early)), strict=True):
        np.testing.assert_array_equal(x, y)
    other = a.examples(4, 17)
    assert not np.array_equal(late.sides[0].ids, other.sides[0].ids)


def test_an_epoch_visits_every_example_once():
    source = pairs(48)
    source = source.replace(weight=np.arange(48, dtype=np.float32))
    sampler = Sampler(source, None, n_source=8, n_target=4)
    seen = np.concatenate([sampler.examples(0, s).weight for s in range(6)])
    assert sorted(seen) == list(range(48))
    assert sampler.rows == [8]


def test_balance_redraws_negatives_each_epoch():
    labels = np.array([1.0] * 10 + [0.0] * 90)
    source = Examples.pairs(RNG.integers(0, N_MOLECULES, (100, 2)), labels)
    source = source.replace(weight=np.arange(100, dtype=np.float32))
    sampler = Sampler(source, None, n_source=20, n_target=0, balance=True)
    epochs = [sampler.examples(0, e) for e in range(3)]
    for epoch in epochs:
        assert epoch.labels.sum() == 10
        assert set(range(10)) <= set(epoch.weight.astype(int))
    negatives = [set(e.weight[e.weight >= 10]) for e in epochs]
    assert negatives[0] != negatives[1] != negatives[2]


def test_an_unknown_label_is_no_negative():
    labels = np.array([1.0] * 4 + [0.0] * 6 + [np.nan] * 30)
    source = Examples.pairs(RNG.integers(0, N_MOLECULES, (40, 2)), labels)
    sampler = Sampler(source, None, n_source=8, n_target=0, balance=True)
    for epoch in range(5):
        assert sorted(sampler.examples(0, epoch).labels[:, 0]) == [0] * 4 + [1] * 4


@given(st.integers(1, 24), st.integers(1, 4), st.integers(0, 50))
def test_splitting_drops_nothing_and_keeps_one_shape(n_source, n_devices, step):
    sampler = Sampler(pairs(60), pairs(20, 1, 3), n_source=n_source, n_target=3)
    small = Budget(8, *[150] * 5)
    batches = step_batches(sampler, SIZES, small, seeds=(0, 1), step=step, n_devices=n_devices)
    shapes = {tuple(x.shape for x in jax.tree.leaves(b)) for b in batches}
    assert len(shapes) == 1
    assert sum(int(b.mask.sum()) for b in batches) == 2 * (n_source + 3)
    for seed_index, seed in enumerate((0, 1)):
        expected = sampler.examples(seed, step)
        found = []
        for b in batches:
            flat = jax.tree.map(lambda x: x if n_devices > 1 else x[None], b)
            for d in range(n_devices):
                m = flat.molecules[d, seed_index]
                keep = flat.mask[d, seed_index]
                found += [tuple(m[s[d, seed_index][keep, 0]]) for s in flat.sides[:1]]
        np.testing.assert_array_equal(
            np.sort(np.concatenate(found)), np.sort(expected.sides[0].ids)
        )


def test_the_examples_of_a_batch_of_molecules_are_dealt_by_their_molecules():
    """All pairs among 24 molecules on 8 devices: far fewer on each, and each counted once."""
    every = np.array([(i, j) for i in range(24) for j in range(i + 1, 24)])
    source = Examples.pairs(every, np.ones(len(every)))
    sampler = Sampler(source, None, n_source=400, n_target=0, source_molecules=24)
    (batch,) = step_batches(sampler, SIZES, LARGE, seeds=(0,), step=0, n_devices=8)
    one = jax.tree.map(lambda x: x[:, 0], batch)
    real = one.molecules < SIZES.padding_id
    assert real.sum(axis=1).max() <= 18 and real.sum() < 8 * 16
    assert one.mask.sum() == len(every) and np.ptp(one.mask.sum(axis=1)) <= 1
    once = np.zeros(24)
    np.add.at(once, one.molecules[real], 1 / one.molecule_copies[real])
    np.testing.assert_allclose(once, 1)


def test_a_molecule_of_both_domains_is_there_twice_where_they_are_encoded_apart():
    examples = concatenate([pairs(5), pairs(4, domain=1, seed=0)])
    one, two = (index_batch(examples, 9, LARGE, SIZES, (1, 1), apart=a) for a in (False, True))
    assert one is not None and two is not None
    assert not one.molecule_domain.any()
    for side, bag in zip(two.sides, examples.sides):
        np.testing.assert_array_equal(two.molecules[side[:, 0]], bag.ids)
        np.testing.assert_array_equal(two.molecule_domain[side[:, 0]], examples.domain)
    n_real = [(b.molecules < SIZES.padding_id).sum() for b in (one, two)]
    assert n_real[0] < n_real[1] == len(set(zip(two.molecules, two.molecule_domain))) - 1


def test_an_example_too_large_for_any_budget_is_an_error():
    sampler = Sampler(pairs(60), None, n_source=4, n_target=0)
    with pytest.raises(InputError, match="budget"):
        step_batches(sampler, SIZES, Budget(8, 1, 1, 1, 1, 1), seeds=(0,), step=0)


def test_budget_holds_its_samples_and_never_exceeds_the_worst_case():
    samples = [RNG.choice(N_MOLECULES, 10, replace=False) for _ in range(20)]
    budget = choose_budget(SIZES, samples)
    assert all(budget.fits(SIZES.of(s)) for s in samples)
    everything = choose_budget(SIZES, [np.arange(N_MOLECULES)])
    worst = round_up(SIZES.worst(N_MOLECULES))
    assert all(getattr(everything, f.name) <= getattr(worst, f.name) for f in fields(Budget))


def test_concatenate_keeps_bags():
    one, zero = np.ones(1), np.zeros(1)
    a = Examples((Bag(np.array([1, 2]), np.array([0, 2])),), np.ones((1, 1)), zero, one)
    b = Examples((Bag(np.array([5]), np.array([0, 1])),), np.ones((1, 1)), one, one)
    joined = concatenate([a, b])
    assert joined.sides[0].ids.tolist() == [1, 2, 5]
    assert joined.sides[0].offsets.tolist() == [0, 2, 3]
    assert joined.domain.tolist() == [0, 1]


def test_whole_epochs_end_with_what_is_left():
    sampler = Sampler(pairs(10), None, n_source=4, n_target=0, whole_epochs=True)
    for epoch in range(3):
        parts = [sampler.examples(0, 3 * epoch + i) for i in range(3)]
        assert [len(p) for p in parts] == [4, 4, 2]
        seen = np.concatenate([np.stack([s.ids for s in p.sides], 1) for p in parts])
        every = np.stack([s.ids for s in sampler.source.sides], 1)
        assert sorted(map(tuple, seen)) == sorted(map(tuple, every))
    orders = [sampler.examples(0, 3 * e).sides[0].ids.tolist() for e in range(3)]
    assert len({tuple(o) for o in orders}) > 1


@given(st.integers(1, 40), st.integers(1, 12), st.integers(60, 400))
def test_all_batches_hold_every_example_once_in_order(n, rows, atoms):
    examples = pairs(n)
    batches = all_batches(examples, rows, Budget(48, *[max(atoms, 90)] * 5), SIZES)
    assert {b.mask.shape for b in batches} == {(rows,)}
    for side, original in zip(range(2), examples.sides):
        ids = np.concatenate([b.molecules[b.sides[side][b.mask, 0]] for b in batches])
        np.testing.assert_array_equal(ids, original.ids)


def test_an_example_that_is_too_large_is_named():
    with pytest.raises(InputError, match="budget"):
        all_batches(pairs(5), 3, Budget(48, *[3] * 5), SIZES)
