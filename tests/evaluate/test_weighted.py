"""Weighted metrics against scikit-learn with sample_weight, and against repeated data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn import metrics

from molrel.evaluate.metrics import (
    CLASSIFICATION,
    REGRESSION,
    classification_metrics,
    regression_metrics,
)
from molrel.evaluate.weighted import weighted_metrics


@st.composite
def weighted_cases(draw):
    """Labels, scores with many ties, and weights of which many are zero; both classes drawn."""
    n = draw(st.integers(2, 30))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), float)
    scores = np.array(draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)), float) / 6
    weights = np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), float)
    labels[0], labels[1], weights[0], weights[1] = 0, 1, max(1, weights[0]), max(1, weights[1])
    return labels, scores, weights


@given(weighted_cases())
@settings(max_examples=80, deadline=None)
def test_classification_equals_scikit_learn(case):
    labels, scores, weights = case
    ours = weighted_metrics(CLASSIFICATION, labels, scores, threshold=0.5)(weights)
    decided = scores >= 0.5
    expected = {
        "auroc": metrics.roc_auc_score(labels, scores, sample_weight=weights),
        "ap": metrics.average_precision_score(labels, scores, sample_weight=weights),
        "f1": metrics.f1_score(labels, decided, sample_weight=weights, zero_division=0),
        "accuracy": metrics.accuracy_score(labels, decided, sample_weight=weights),
        "brier": metrics.brier_score_loss(labels, scores, sample_weight=weights),
    }
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name


@given(weighted_cases())
@settings(max_examples=80, deadline=None)
def test_classification_equals_repeated_data(case):
    labels, scores, weights = case
    times = weights.astype(int)
    ours = weighted_metrics(CLASSIFICATION, labels, scores, threshold=0.3)(weights)
    repeated = classification_metrics(np.repeat(labels, times), np.repeat(scores, times), 0.3)
    assert ours == pytest.approx(repeated, abs=1e-12)


@given(weighted_cases(), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_regression_equals_repeated_data(case, shift):
    classes, scores, weights = case
    labels = np.round(10 * scores * np.roll(classes, 1) + shift * classes + 100)
    times = weights.astype(int)
    ours = weighted_metrics(REGRESSION, labels, 100 + 10 * scores)(weights)
    repeated = regression_metrics(np.repeat(labels, times), np.repeat(100 + 10 * scores, times))
    assert ours == pytest.approx(repeated, abs=1e-9, nan_ok=True)


def test_spearman_with_ties_and_weights():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 60).astype(float)
    scores = labels + rng.integers(-2, 3, 60)
    times = rng.integers(0, 4, 60)
    expected = spearmanr(np.repeat(labels, times), np.repeat(scores, times)).statistic
    ours = weighted_metrics(["spearman"], labels, scores)(times.astype(float))
    assert ours["spearman"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_single_drawn_class_is_undefined_for_ranking_only(label):
    labels = np.array([0.0, 1.0, 0.0, 1.0])
    weights = (labels == label).astype(float)
    ours = weighted_metrics(CLASSIFICATION, labels, np.array([0.1, 0.6, 0.7, 0.2]))(weights)
    assert [n for n, v in ours.items() if np.isnan(v)] == ["auroc", "ap", "f1"]
    assert ours["accuracy"] == 0.5


def test_no_drawn_example_is_undefined_everywhere():
    labels, nothing = np.array([0.0, 1.0]), np.zeros(2)
    assert np.isnan([*weighted_metrics(CLASSIFICATION, labels, labels)(nothing).values()]).all()
    assert np.isnan([*weighted_metrics(REGRESSION, labels, labels)(nothing).values()]).all()


def test_constant_drawn_labels_have_no_r2():
    labels = np.array([0.1, 0.1, 0.1, 7.0])
    ours = weighted_metrics(REGRESSION, labels, labels + 1)(np.array([3.0, 2.0, 1.0, 0.0]))
    assert np.isnan(ours["r2"]) and np.isnan(ours["spearman"])
    assert ours["rmse"] == pytest.approx(1)
