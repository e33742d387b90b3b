"""Batches of molecules: every example equally often, or weighted so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molrel.data.sampler import AroundExamples, ByMolecules, Sampler, Units, Weighted
from molrel.data.types import Bag, Examples
from molrel.errors import InputError

MANY = 10**6


def numbered(pairs, domain=0):
    """Examples that can be told by their labels."""
    return Examples.pairs(np.asarray(pairs), np.arange(len(pairs), dtype=float), domain)


def dense(n=14):
    return numbered([(i, j) for i in range(n) for j in range(i + 1, n)])


def sparse(rng, n=60, examples=90):
    """Degrees as unequal as those of a citation network."""
    chance = 1 / np.arange(1, n + 1)
    drawn = rng.choice(n, (4 * examples, 2), p=chance / chance.sum())
    return numbered(np.unique(np.sort(drawn[drawn[:, 0] != drawn[:, 1]], axis=1), axis=0))


def bipartite(rng, solutes=40, solvents=5):
    every = np.array([(i, solutes + j) for i in range(solutes) for j in range(solvents)])
    return numbered(every[rng.random(len(every)) < 0.6])


def bags(rng, n_bags=12, n=30):
    """Pairs of herbs, each herb a bag of some molecules that others hold, too."""
    herbs = [np.sort(rng.choice(n, rng.integers(1, 5), replace=False)) for _ in range(n_bags)]
    pairs = [(i, j) for i in range(n_bags) for j in range(i + 1, n_bags) if rng.random() < 0.5]
    sides = []
    for side in zip(*pairs):
        offsets = np.concatenate([[0], np.cumsum([len(herbs[h]) for h in side])])
        sides.append(
            Bag(np.concatenate([herbs[h] for h in side]).astype(np.int32), offsets.astype(np.int32))
        )
    k = len(pairs)
    return Examples(
        tuple(sides), np.arange(k, dtype=float)[:, None], np.zeros(k, int), np.ones(k, np.float32)
    )


def single(n=40):
    return Examples(
        (Bag.singles(np.arange(n)),),
        np.arange(n, dtype=float)[:, None],
        np.zeros(n, int),
        np.ones(n, np.float32),
    )


RNG = np.random.default_rng(0)
SETS = {
    "dense": (dense(), True, 6),
    "itself": (numbered([(0, 0), (0, 1), (1, 1), (1, 2), (2, 3), (3, 3), (0, 3)]), True, 3),
    "sparse": (sparse(RNG), True, 10),
    "bipartite": (bipartite(RNG), False, 8),
    "bags": (bags(RNG), True, 12),
    "single": (single(), True, 7),
}


@pytest.mark.parametrize("most", [MANY, 9])
@pytest.mark.parametrize("name", SETS)
def test_every_example_is_drawn_equally_often_or_weighs_more(name, most):
    """Within four standard errors of the mean over 6,000 steps, for every example."""
    examples, symmetric, molecules = SETS[name]
    draw = Weighted(examples, molecules, most, 0, symmetric=symmetric)
    steps, n = 6000, len(examples)
    total, square = np.zeros(n), np.zeros(n)
    for step in range(steps):
        index, weight = draw(0, step)
        assert len(np.unique(index)) == len(index) <= draw.rows <= most
        total[index] += weight
        square[index] += weight**2
    mean = total / steps
    error = np.sqrt(square / steps / steps)
    assert np.all(np.abs(mean - mean.mean()) < 4.5 * error + 1e-9), (mean, error)


@pytest.mark.parametrize("kind", [ByMolecules, AroundExamples])
@pytest.mark.parametrize("name", SETS)
def test_a_draw_holds_every_example_among_its_units(name, kind):
    """And the chance of each is what it says, by four standard errors."""
    examples, symmetric, molecules = SETS[name]
    units = Units(examples, symmetric)
    if kind is ByMolecules:
        draw = ByMolecules(units, molecules, 0)
    else:
        draw = AroundExamples(units, examples, molecules, MANY, 0)
    steps, times = 4000, np.zeros(len(examples))
    for step in range(steps):
        index = draw(0, step)
        inside = np.isin(units.of, units.of[index]).all(axis=1)
        # Units that were drawn and have no example among them are not known here.
        np.testing.assert_array_equal(np.flatnonzero(inside), index)
        times[index] += 1
    error = np.sqrt(draw.chance * (1 - draw.chance) / steps)
    # A slice across the end of an epoch may hold an example twice.
    slack = 0.03 * draw.chance if kind is AroundExamples else 0
    assert np.all(np.abs(times / steps - draw.chance) < 4.5 * error + slack + 1e-9)


def test_roles_are_kept():
    """Solutes are drawn as solutes: a molecule in both roles is two units."""
    pairs = [(0, 1), (1, 0), (2, 1), (3, 0), (0, 0)]
    units = Units(numbered(pairs), symmetric=False)
    assert len(units.molecules) == 4 + 2
    assert units.among(np.unique(units.of[:2])).tolist() == [0, 1, 4]
    together = Units(numbered(pairs), symmetric=True)
    assert len(together.molecules) == 4
    both = ByMolecules(Units(bipartite(RNG), symmetric=False), 8, 0)
    assert sorted(count for _, count in both.drawn) == [4, 4]


def test_few_solvents_leave_their_places_to_solutes():
    draw = ByMolecules(Units(bipartite(RNG, solutes=60, solvents=2), symmetric=False), 12, 0)
    assert sorted(count for _, count in draw.drawn) == [2, 10]


def test_nothing_is_added_where_nothing_is_shared():
    """As many examples as molecules, in the order of epochs, as without batches of molecules."""
    examples = single()
    by_molecules = Sampler(examples, None, n_source=64, n_target=0, source_molecules=8)
    plain = Sampler(examples, None, n_source=8, n_target=0)
    for step in range(12):
        drawn = [np.sort(s.examples(3, step).labels[:, 0]) for s in (by_molecules, plain)]
        if len(np.unique(drawn[1])) == 8:
            np.testing.assert_array_equal(*drawn)
    assert (by_molecules.examples(0, 0).weight == 1).all()


@given(st.integers(0, 5), st.integers(0, 40))
@settings(max_examples=20, deadline=None)
def test_a_step_is_a_function_of_seed_and_number(seed, step):
    def draw():
        target = single().replace(sides=(single().sides[0],) * 2)
        sizes = {"source_molecules": 7, "target_molecules": 5}
        return Sampler(dense(), target, n_source=50, n_target=9, **sizes).examples(seed, step)

    first, again = draw(), draw()
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.weight, again.weight)


def test_the_better_draw_is_taken():
    assert isinstance(Weighted(dense(40), 10, MANY, 0, symmetric=True).draw, ByMolecules)
    rng = np.random.default_rng(0)
    tree = numbered([(i, int(rng.integers(i))) for i in range(1, 200)])
    assert isinstance(Weighted(tree, 10, MANY, 0, symmetric=True).draw, AroundExamples)


def test_balance_makes_classes_count_alike():
    labels = (np.arange(len(dense(20))) % 10 == 0).astype(float)
    examples = dense(20).replace(labels=labels[:, None])
    draw = Weighted(examples, 8, MANY, 0, symmetric=True, balance=True)
    sums = np.zeros(2)
    for step in range(800):
        index, weight = draw(0, step)
        for label in (0, 1):
            sums[label] += weight[labels[index] == label].sum()
    assert abs(sums[0] / sums[1] - 1) < 0.1


def test_a_cap_below_the_examples_of_one_molecule_is_an_error():
    with pytest.raises(InputError, match=r"train.source_examples is 5, .* 12 molecules"):
        Weighted(dense(40), 12, 5, 0, symmetric=True)


def test_more_than_two_sides_are_an_error():
    examples = dense()
    three = examples.replace(sides=(*examples.sides, examples.sides[0]))
    with pytest.raises(InputError, match="one or two sides"):
        Weighted(three, 6, MANY, 0, symmetric=False)
