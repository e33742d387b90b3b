"""Classical learners as methods: what is kept and scored is what scikit-learn has learned."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from molrel.chem import FeatureConfig, featurise_all
from molrel.data.splits import bag_ids
from molrel.data.types import Bag, Examples
from molrel.methods.classical import BoostingConfig, ForestConfig, LinearConfig
from molrel.methods.estimators import bag_fingerprints, fit_classical
from molrel.nn.trees import Trees, stack_padded, sum_of_trees
from molrel.prepare import molecule_table
from molrel.train.predict import make_predictor, to_scores

FEATURES = FeatureConfig(picture_size=0)
SMILES = ["CCO", "CCN", "c1ccccc1", "CC(=O)O", "CCCC", "ClCCl", "c1ccncc1", "CS", "OCCO", "CC#N"]
CONFIGS = [
    ForestConfig(trees=12),
    BoostingConfig(trees=12),
    LinearConfig(),
]
by_learner = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.learner)


@pytest.fixture(scope="module")
def features():
    return featurise_all(SMILES, FEATURES, cache=None)


def examples(labels: np.ndarray, sides: int = 2, seed: int = 0) -> Examples:
    """An example for each row of labels, of random molecules; every seventh side has two."""
    rng = np.random.default_rng(seed)
    bags = []
    for _ in range(sides):
        sizes = np.where(np.arange(len(labels)) % 7, 1, 2)
        ids = rng.integers(0, len(SMILES), sizes.sum()).astype(np.int32)
        bags.append(Bag(ids, np.append(0, np.cumsum(sizes)).astype(np.int32)))
    return Examples(
        sides=tuple(bags),
        labels=labels.astype(np.float32),
        domain=np.zeros(len(labels), np.int32),
        weight=np.ones(len(labels), np.float32),
    )


def both(config, kind, labels, features, *, sides=2, symmetric=True, n_outputs=1):
    """Scores of the method, and of the learner that it was made of."""
    labels = labels.astype(np.float32).astype(np.float64)  # as examples hold them
    every = examples(labels, sides)
    table = molecule_table(features, FEATURES, None, config.needs)
    method = config.build(None, kind=kind, n_outputs=n_outputs, symmetric=symmetric)
    variables = [method.fit(seed, table, every) for seed in (0, 1)]
    params, state = stack_padded([tuple(v) for v in variables])
    logits = make_predictor(method, table, symmetric=symmetric)(params, state, every)
    one = np.ones(labels.shape[1])
    ours = np.stack([to_scores(x, kind, 0 * one, one) for x in logits])
    counts = np.asarray(table.fingerprints)
    ids, bags = bag_ids(every)
    theirs = [
        fit_classical(
            config.learner,
            bag_fingerprints(counts, bags),
            ids,
            labels if kind == "multilabel" else labels[:, 0],
            [ids],
            kind=kind,
            symmetric=symmetric,
            seed=seed,
            **config.settings(),
        )[0]
        for seed in (0, 1)
    ]
    return ours, np.stack(theirs)


LABELS = np.random.default_rng(3).integers(0, 2, (150, 1))


@by_learner
@pytest.mark.parametrize("symmetric", [True, False])
def test_pairs_of_two_classes(config, symmetric, features):
    ours, theirs = both(config, "binary", LABELS, features, symmetric=symmetric)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    assert np.ptp(ours) > 0.1


@by_learner
def test_single_molecules_with_several_targets_and_missing_labels(config, features):
    labels = np.concatenate([LABELS, 1 - LABELS[::-1], np.ones_like(LABELS)], axis=1).astype(float)
    labels[::3, 1] = np.nan
    ours, theirs = both(config, "multilabel", labels, features, sides=1, n_outputs=3)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    assert (ours[..., 2] > 1 - 1e-6).all()  # a target of one class alone


@by_learner
@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 2), (1,)], ids=str)
def test_several_classes_of_which_some_may_be_missing(config, classes, features):
    labels = np.random.default_rng(4).choice(classes, (150, 1))
    ours, theirs = both(config, "multiclass", labels, features, n_outputs=3)
    if len(classes) > 1:
        known = np.pad(theirs, ((0, 0), (0, 0), (0, 3 - theirs.shape[-1])))
        np.testing.assert_allclose(ours, known, atol=2e-6)
    assert (ours[..., list(classes)].sum(axis=-1) > 1 - 1e-5).all()


@by_learner
def test_measured_labels(config, features):
    labels = np.random.default_rng(5).normal(7, 2, (150, 1))
    ours, theirs = both(config, "regression", labels, features)
    np.testing.assert_allclose(ours, theirs, rtol=2e-6)
    far, expected = both(config, "regression", labels * 1e-9, features)
    np.testing.assert_allclose(far, expected, rtol=1e-4)


@by_learner
def test_counts_that_are_folded(config, features, monkeypatch):
    monkeypatch.setattr("molrel.methods.estimators.MAX_COLUMNS", 16)
    many = [
        dataclasses.replace(f, fingerprint=np.roll(f.fingerprint, 3) * 60 + f.fingerprint)
        for f in features
    ]
    ours, theirs = both(config, "binary", LABELS, many)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_trees_one_below_the_other():
    # A leaf of nothing, a stump and a leaf.
    trees: Any = Trees(
        feature=np.array([0, 1, 0, 0, 0]),
        threshold=np.array([0, 0.5, 0, 0, 0], np.float32),
        left=np.array([0, 2, 0, 0, 0]),
        right=np.array([0, 3, 0, 0, 0]),
        value=np.array([[0.0], [9.0], [1.0], [2.0], [4.0]], np.float32),
    )
    x = np.array([[7, 0], [7, 1]])
    for roots, sums in (([1], [[1], [2]]), ([4], [[4], [4]]), ([1, 4, 0], [[5], [6]])):
        assert sum_of_trees(trees, np.array(roots), x).tolist() == sums
