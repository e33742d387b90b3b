"""The classical baselines: symmetry, lossless column choice, learning, reproducibility."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score, roc_auc_score

from molrel.errors import InputError, RunError
from molrel.methods.estimators import (
    bag_fingerprints,
    fit_classical,
    fold,
    informative,
    pair_features,
)

random_forest = functools.partial(fit_classical, "forest")
RNG = np.random.default_rng(0)
COUNTS = (RNG.poisson(0.4, (60, 64))).astype(np.uint8)
COUNTS[:, 40:] = 3
PAIRS = RNG.integers(0, 60, (1500, 2))
TARGET = RNG.integers(0, 60, (300, 2))
FAST = {"n_estimators": 30}


def like(pairs):
    """A symmetric label: the molecules have the same number of the first substructure."""
    return (COUNTS[pairs[:, 0], 0] == COUNTS[pairs[:, 1], 0]).astype(np.float32)


def larger(pairs):
    """A label that depends on the order."""
    return (COUNTS[pairs[:, 0], 0] > COUNTS[pairs[:, 1], 0]).astype(np.float32)


@given(st.integers(0, 255), st.integers(0, 255))
def test_pair_features_by_hand(a, b):
    counts = np.array([[a], [b]], np.uint8)
    x, y = min(a, 127), min(b, 127)
    for pair in ([0, 1], [1, 0]):
        assert pair_features(counts, np.array([pair])).tolist() == [[x + y, abs(x - y)]]
    ordered = pair_features(counts, np.array([[1, 0]]), symmetric=False)
    assert ordered.tolist() == [[y, x]]
    assert pair_features(counts, np.array([[1]])).tolist() == [[y]]


def test_fold_adds_counts_that_meet():
    assert fold(np.array([[1, 2, 3, 200], [0, 0, 0, 0]], np.uint8), 2).tolist() == [
        [4, 202],
        [0, 0],
    ]
    assert fold(np.full((1, 4), 100, np.uint8), 1).tolist() == [[255]]


def test_only_columns_that_vary_in_training_are_kept():
    counts = np.array([[0, 1, 5, 2], [0, 2, 5, 2], [9, 3, 5, 7]], np.uint8)
    assert informative(counts, np.array([0, 1])).of(counts).tolist() == [[1], [2], [3]]
    assert (
        informative(counts, np.array([1, 2])).of(counts).tolist() == counts[:, [0, 1, 3]].tolist()
    )
    assert informative(counts, np.array([0])).of(counts).shape == (3, 1)


def test_many_columns_are_folded():
    counts = RNG.integers(0, 3, (50, 2048)).astype(np.uint8)
    np.testing.assert_array_equal(informative(counts, np.arange(50)).of(counts), fold(counts, 1024))


def test_learns_and_is_exactly_symmetric():
    forward, backward = random_forest(COUNTS, PAIRS, like(PAIRS), [TARGET, TARGET[:, ::-1]], **FAST)
    assert forward.shape == (300,) and forward.dtype == np.float64
    assert roc_auc_score(like(TARGET), forward) > 0.95
    np.testing.assert_array_equal(forward, backward)


def test_order_of_training_pairs_sides_plays_no_role():
    swapped = np.where(np.arange(len(PAIRS))[:, None] % 2 == 0, PAIRS, PAIRS[:, ::-1])
    (a,) = random_forest(COUNTS, PAIRS, like(PAIRS), [TARGET], **FAST)
    (b,) = random_forest(COUNTS, swapped, like(PAIRS), [TARGET], **FAST)
    np.testing.assert_array_equal(a, b)


def test_ordered_pairs_are_learned_only_if_not_symmetric():
    settings = {"symmetric": False, **FAST}
    (ordered,) = random_forest(COUNTS, PAIRS, larger(PAIRS), [TARGET], **settings)
    (blind,) = random_forest(COUNTS, PAIRS, larger(PAIRS), [TARGET], **FAST)
    assert roc_auc_score(larger(TARGET), ordered) > 0.95
    assert roc_auc_score(larger(TARGET), blind) < roc_auc_score(larger(TARGET), ordered) - 0.1


def test_regression_of_single_molecules_in_the_unit_of_the_labels():
    values = 100 + 10.0 * COUNTS[:, 0] - 5 * COUNTS[:, 1]
    train, test = np.arange(45)[:, None], np.arange(60)[:, None]
    (found,) = random_forest(COUNTS, train, values[:45], [test], kind="regression")
    assert r2_score(values, found) > 0.6
    assert values[:45].min() <= found.min() and found.max() <= values[:45].max()


def test_unknown_labels_teach_nothing():
    labels = like(PAIRS)
    labels[1000:] = np.nan
    (a,) = random_forest(COUNTS, PAIRS, labels, [TARGET], **FAST)
    (b,) = random_forest(COUNTS, PAIRS[:1000], labels[:1000], [TARGET], **FAST)
    np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match="no labelled example"):
        random_forest(COUNTS, PAIRS, np.full(1500, np.nan), [TARGET])


def test_seed_decides_and_subsample_is_used():
    settings = {"max_examples": 200, **FAST}
    (a,), (again,), (other,) = (
        random_forest(COUNTS, PAIRS, like(PAIRS), [TARGET], seed=s, **settings) for s in (0, 0, 1)
    )
    (whole,) = random_forest(COUNTS, PAIRS, like(PAIRS), [TARGET], seed=0, **FAST)
    np.testing.assert_array_equal(a, again)
    assert not np.array_equal(a, other) and not np.array_equal(a, whole)


def test_a_single_class_and_an_empty_target():
    ones, empty = random_forest(
        COUNTS, PAIRS[:20], np.ones(20), [TARGET, TARGET[:0]], n_estimators=5
    )
    assert (ones == 1).all() and empty.shape == (0,)


def test_pieces_of_the_target_join_without_seam(monkeypatch):
    (whole,) = random_forest(COUNTS, PAIRS, like(PAIRS), [TARGET], n_estimators=5)
    monkeypatch.setattr("molrel.methods.estimators.CHUNK", 7)
    (pieces,) = random_forest(COUNTS, PAIRS, like(PAIRS), [TARGET], n_estimators=5)
    np.testing.assert_array_equal(whole, pieces)


@pytest.mark.parametrize("learner", ["linear", "forest", "boosting"])
def test_every_learner_learns_and_is_symmetric(learner):
    (forward, backward) = fit_classical(
        learner, COUNTS, PAIRS, larger(np.sort(PAIRS)), [TARGET, TARGET[:, ::-1]], seed=1
    )
    np.testing.assert_array_equal(forward, backward)
    ordered = fit_classical(learner, COUNTS, PAIRS, larger(PAIRS), [TARGET], symmetric=False)[0]
    assert roc_auc_score(larger(TARGET), ordered) > 0.95


@pytest.mark.parametrize("learner", ["linear", "forest", "boosting"])
def test_the_tuned_setting_matters(learner):
    value = {"linear": 1000.0, "forest": 50, "boosting": 0.01}[learner]
    (a,) = fit_classical(learner, COUNTS, PAIRS, like(PAIRS), [TARGET])
    (b,) = fit_classical(learner, COUNTS, PAIRS, like(PAIRS), [TARGET], setting=value)
    assert np.abs(a - b).max() > 1e-3


@pytest.mark.parametrize("learner", ["linear", "forest", "boosting"])
def test_classes_have_columns_by_number_even_if_not_all_occur(learner):
    labels = np.where(COUNTS[PAIRS[:, 0], 0] > 1, 3.0, 1.0)
    (found,) = fit_classical(
        learner, COUNTS, PAIRS, labels, [TARGET], kind="multiclass", symmetric=False
    )
    assert found.shape == (len(TARGET), 4) and not found[:, [0, 2]].any()
    truth = np.where(COUNTS[TARGET[:, 0], 0] > 1, 3, 1)
    assert (found.argmax(1) == truth).mean() > 0.9


def test_boosting_bears_classes_of_few_examples():
    # Most classes have one example or a few; without a penalty accuracy is 0.93.
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 13) ** 3
    centres = rng.integers(0, 2, (12, 32))
    classes = rng.choice(12, 3000, p=shares / shares.sum())
    counts = np.abs(centres[classes] - (rng.random((3000, 32)) < 0.02)).astype(np.uint8)
    sides = np.arange(3000)[:, None]
    (found,) = fit_classical(
        "boosting",
        counts,
        sides[:2000],
        classes[:2000].astype(float),
        [sides[2000:]],
        kind="multiclass",
        setting=0.3,
    )
    assert (found.argmax(1) == classes[2000:]).mean() > 0.98


def test_scores_that_are_not_finite_are_refused(monkeypatch):
    class Diverged:
        def fit(self, features, labels):
            return self

        def predict(self, features):
            return np.where(np.arange(len(features)) == 1, np.inf, 0.0)

    monkeypatch.setattr("molrel.methods.estimators._learner", lambda *settings: Diverged())
    with pytest.raises(RunError, match=r"boosting learner has diverged \(seed 3, .* 0\.1\): 1 of"):
        fit_classical(
            "boosting", COUNTS, PAIRS, like(PAIRS), [TARGET, TARGET[:0]], kind="regression", seed=3
        )


def test_counts_of_bags_add_up_and_saturate():
    counts = np.array([[1, 200], [2, 100], [0, 7]], np.uint8)
    bags = [np.array([0]), np.array([0, 1]), np.array([2, 2])]
    assert bag_fingerprints(counts, bags).tolist() == [[1, 200], [3, 255], [0, 14]]


@pytest.mark.parametrize("learner", ["linear", "forest", "boosting", "svm"])
@pytest.mark.parametrize("scale, offset", [(1e-30, 0.0), (1e21, 0.0), (1.0, 1e8)])
def test_predictions_do_not_depend_on_the_unit_of_the_labels(learner, scale, offset):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, (60, 16)).astype(np.uint8)
    sides = rng.integers(0, 60, (200, 2))
    plain = counts[sides].sum(axis=1)[:, :3].sum(axis=1) + 0.1 * rng.normal(size=200)
    plain = (plain - plain.mean()) / plain.std()
    standard, other = (
        fit_classical(
            learner, counts, sides, y, [sides], kind="regression", seed=0, n_estimators=20
        )[0]
        for y in (plain, offset + scale * plain)
    )
    # Rounding decides between splits that are equally good, so trees differ a little.
    error = (other - offset) / scale - standard
    assert np.abs(error).mean() < (1e-6 if learner in ("linear", "svm") else 0.15)
    assert np.std(standard) > 0.5
