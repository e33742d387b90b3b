"""A few labels of the target join the training, and no other ever does."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from molrel.config import DataConfig, Experiment, check
from molrel.data.splits import few_by_molecule
from molrel.data.types import Examples
from molrel.errors import InputError
from molrel.methods.classical import LinearConfig
from molrel.methods.siamese import SiameseConfig
from molrel.prepare import prepare
from molrel.problem import Fit
from molrel.train.settings import TrainConfig

CONFIG = Experiment(
    data=DataConfig(target_labels=24),
    method=SiameseConfig(width=8, depth=1, domain_statistics=True),
    train=TrainConfig(
        steps=2,
        source_molecules=12,
        source_examples=64,
        target_molecules=8,
        target_examples=32,
        valid_examples=50,
    ),
    seeds=(0,),
)


@pytest.fixture(scope="module")
def prepared():
    return prepare(CONFIG, needs=())


def test_they_are_of_few_molecules_and_fewer_are_a_part_of_more():
    pairs = np.array([(i, j) for i in range(40) for j in range(i + 1, 40)])
    examples = Examples.pairs(pairs, np.ones(len(pairs)))
    seen = np.arange(40) < 10
    drawn = {k: few_by_molecule(examples, seen, k, seed=3) for k in (4, 16, 64, 256)}
    for k, index in drawn.items():
        assert len(np.unique(index)) == k
        rank = np.bincount(pairs[index].ravel(), minlength=40)[~seen]
        assert rank.max() >= k**0.5 - 1
        # Each holds a new molecule, and sqrt(k) of those hold all.
        assert (pairs[index] >= 10).any(axis=1).all()
        assert np.sort(rank)[::-1][: int(k**0.5)].sum() >= k
    for few, more in ((4, 16), (16, 64), (64, 256)):
        assert set(drawn[few]) <= set(drawn[more])
    assert set(few_by_molecule(examples, seen, 16, seed=4)) != set(drawn[16])


def test_examples_without_a_label_are_never_drawn():
    pairs = np.array([(i, i + 20) for i in range(20)])
    labels = np.where(np.arange(20) < 5, 1.0, np.nan)
    examples = Examples.pairs(pairs, labels)
    assert few_by_molecule(examples, np.zeros(40, bool), 5, seed=0).tolist() == list(range(5))


def test_they_are_trained_on_and_not_scored(prepared):
    target, labelled = prepared.target, prepared.labelled
    whole = prepare(replace(CONFIG, data=DataConfig()), needs=())
    assert len(labelled) == 24 and len(target) + 24 == len(whole.target)
    fit = Fit(CONFIG, prepared)
    examples = fit.problem.sampler.examples(0, 0)
    few = examples.domain == 2
    assert few.sum() == 24 and not np.isnan(examples.labels[few]).any()
    # They weigh as much as the source's examples together.
    total = [examples.weight[examples.domain == d].sum() for d in (0, 2)]
    np.testing.assert_allclose(*total, rtol=1e-4)
    assert {tuple(x) for x in sides(labelled)}.isdisjoint(map(tuple, sides(target)))


def sides(examples):
    return np.stack([s.ids for s in examples.sides], axis=1)


def test_scored_pairs_of_their_new_molecules_are_a_stratum(prepared):
    strata = prepared.strata(prepared.target)
    new = set(prepared.labelled.molecules()) - set(np.flatnonzero(prepared.seen))
    holds = np.array([bool(new & set(pair)) for pair in sides(prepared.target)])
    np.testing.assert_array_equal(strata == "labelled", holds)
    assert 0 < holds.mean() < 0.5
    assert "labelled" not in prepared.strata(prepared.source["test"])


def parameters(prepared, config=CONFIG):
    (fitted,), _ = Fit(config, prepared)((0,))
    return fitted.best


def test_no_other_label_of_the_target_is_read(prepared):
    flipped = prepared.target.replace(labels=1 - prepared.target.labels)
    other = replace(prepared, target=flipped)
    jax.tree.map(np.testing.assert_array_equal, parameters(prepared), parameters(other))
    told = prepared.labelled.replace(labels=1 - prepared.labelled.labels)
    changed = parameters(replace(prepared, labelled=told))
    differences = jax.tree.map(lambda a, b: np.abs(a - b).max(), parameters(prepared), changed)
    assert max(jax.tree.leaves(differences)) > 1e-6


def test_learners_without_steps_are_fitted_to_them_too(prepared):
    config = replace(CONFIG, method=LinearConfig())
    prepared = prepare(config, needs=config.method.needs)
    none = replace(prepared, labelled=None)
    a, b = (jax.tree.leaves(parameters(p, config)) for p in (prepared, none))
    assert any(not np.array_equal(x, y) for x, y in zip(a, b))


def test_more_labels_than_there_are_is_an_error():
    with pytest.raises(InputError, match=r"10,883 labelled examples, .* 20,000 of them.*Lower"):
        prepare(replace(CONFIG, data=DataConfig(target_labels=20_000)), needs=())


def test_labels_of_no_target_are_an_error():
    with pytest.raises(InputError, match="there is no target"):
        check(replace(CONFIG, data=DataConfig(target=None, target_labels=3)))


def test_patience_without_validations_is_an_error():
    train = TrainConfig(steps=10, evaluate_every=10, patience=2)
    with pytest.raises(InputError, match=r"train.patience.*validated once"):
        check(replace(CONFIG, train=train))


def test_epochs_are_not_made_of_molecules():
    with pytest.raises(InputError, match=r"train.epochs.*source_molecules"):
        check(replace(CONFIG, train=TrainConfig(epochs=2, source_molecules=8)))
