"""Metrics of one set of predictions: golden values, missing labels, degenerate labels."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from molrel.errors import RunError
from molrel.evaluate.metrics import (
    CLASSIFICATION,
    REGRESSION,
    best_threshold,
    classification_metrics,
    regression_metrics,
)

LABELS = np.array([1, 0, 1, 0, 1])
SCORES = np.array([0.9, 0.8, 0.7, 0.2, 0.1])


def test_classification_by_hand():
    found = classification_metrics(LABELS, SCORES, 0.5)
    # 3 positives x 2 negatives: 0.9 beats both, 0.7 beats one, 0.1 beats none.
    assert found["auroc"] == pytest.approx(3 / 6)
    assert found["ap"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert found["f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["brier"] == pytest.approx((0.01 + 0.64 + 0.09 + 0.04 + 0.81) / 5)
    assert found["ece"] == pytest.approx((0.1 + 0.8 + 0.3 + 0.2 + 0.9) / 5)


def test_calibration_error_averages_within_bins():
    # One bin holds 0.61 and 0.65 (rate 0.5, mean 0.63); another holds 0.95 (rate 1).
    found = classification_metrics(np.array([1, 0, 1]), np.array([0.61, 0.65, 0.95]), 0.5)
    assert found["ece"] == pytest.approx((2 * 0.13 + 0.05) / 3)


def test_calibrated_certainty_falls_in_the_last_bin():
    found = classification_metrics(np.array([1, 0]), np.array([1.0, 0.0]), 0.5)
    assert found["ece"] == 0 and found["brier"] == 0


def test_regression_by_hand():
    found = regression_metrics(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]))
    assert found["rmse"] == pytest.approx(np.sqrt(2 / 3))
    assert found["mae"] == pytest.approx(2 / 3)
    assert found["r2"] == pytest.approx(0)
    assert found["spearman"] == pytest.approx(0.5)


@pytest.mark.parametrize("label", [0, 1])
def test_single_class_is_silent_and_undefined_where_classes_are_compared(label):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = classification_metrics(np.full(5, label), SCORES, 0.5)
    assert [n for n, v in found.items() if np.isnan(v)] == ["auroc", "ap", "f1"]
    assert found["accuracy"] == pytest.approx(0.6 if label else 0.4)


def test_constant_and_absent_labels_are_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constant = regression_metrics(np.ones(3), np.arange(3.0))
        flat = regression_metrics(np.arange(3.0), np.ones(3))
        single = regression_metrics(np.ones(1), np.ones(1))
        none = classification_metrics(np.full(3, np.nan), np.ones(3), 0.5)
        none_regression = regression_metrics(np.array([]), np.array([]))
    assert np.isnan(constant["r2"]) and np.isnan(constant["spearman"])
    assert flat["r2"] == 0 - 1.5 * 0 and np.isnan(flat["spearman"])
    assert single["rmse"] == 0 and np.isnan(single["r2"])
    assert none.keys() == set(CLASSIFICATION) and np.isnan([*none.values()]).all()
    assert none_regression.keys() == set(REGRESSION)


@pytest.mark.parametrize(
    "metrics", [lambda y, p: classification_metrics(y, p, 0.5), regression_metrics]
)
def test_unknown_labels_are_left_out(metrics):
    labels = np.concatenate([LABELS, [np.nan, np.nan]])
    scores = np.concatenate([SCORES, [np.nan, 0.3]])
    assert metrics(labels, scores) == pytest.approx(metrics(LABELS, SCORES))


def test_float32_is_judged_in_float64():
    labels = np.array([0, 1], np.float32)
    found = regression_metrics(labels, np.array([1e-9, 1 - 1e-9]))
    assert found["mae"] == pytest.approx(1e-9, rel=1e-6)


def test_scores_that_are_not_finite_are_refused_by_number():
    with pytest.raises(RunError, match="example 3 "):
        classification_metrics(np.array([np.nan, 0, 1, 1]), np.array([0, 0.1, 0.2, np.inf]), 0.5)


def test_labels_that_are_no_classes_are_refused():
    with pytest.raises(ValueError, match="0, 1 or NaN"):
        classification_metrics(np.array([0, 2]), np.array([0.1, 0.2]), 0.5)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=25).filter(
        lambda rows: 0 < sum(r[0] for r in rows) < len(rows)
    )
)
@settings(max_examples=50, deadline=None)
def test_no_threshold_has_a_higher_f1(rows):
    labels, scores = np.array(rows, float).T
    best = best_threshold(labels, scores / 8)
    reached = f1_score(labels, scores / 8 >= best)
    others = [f1_score(labels, scores / 8 >= t) for t in np.arange(-1, 19) / 16]
    assert reached == pytest.approx(max(others))


def test_threshold_lies_between_scores_even_if_they_are_neighbours():
    low = 0.3
    high = np.nextafter(low, 1)
    labels = np.array([0.0, 1.0])
    assert best_threshold(labels, np.array([low, high])) == high
    assert best_threshold(labels, np.array([0.2, 0.8])) == pytest.approx(0.5)


def test_threshold_without_information_or_without_classes():
    assert best_threshold(np.array([0.0, 1, 0, 1]), np.full(4, 0.7)) == 0.7
    assert best_threshold(np.array([1.0, 1, np.nan]), np.array([0.1, 0.2, 0.3])) == 0.5


def test_import_is_light():
    code = (
        "import sys, molrel.evaluate.bootstrap, molrel.evaluate.plots, molrel.evaluate.floors;"
        "print([m for m in ('sklearn', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
