"""Floors: constants, and the copier against a dictionary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molrel.errors import InputError
from molrel.evaluate.floors import (
    PREFIX,
    all_positive,
    floor_scores,
    molecule_means,
    prevalence,
    source_label_copier,
)
from molrel.evaluate.metrics import classification_metrics

PAIRS = np.array([[0, 1], [1, 0], [2, 3], [4, 4]])
LABELS = np.array([1.0, 0, 1, 0])


def test_constants_have_the_metrics_that_floors_must_have():
    labels = np.array([1.0, 0, 0, 0])
    for scores in (prevalence(LABELS, 4), all_positive(4)):
        found = classification_metrics(labels, scores, 0.5)
        assert (found["auroc"], found["ap"]) == (0.5, 0.25)
        assert found["f1"] == pytest.approx(2 * 0.25 / 1.25)


def test_prevalence_ignores_unknown_labels():
    assert prevalence(np.array([1, np.nan, 0, 0], np.float32), 2).tolist() == [1 / 3] * 2


def test_copier_takes_pairs_in_either_order_and_averages_contradictions():
    target = np.array([[1, 0], [3, 2], [4, 4], [4, 2], [0, 2]])
    assert source_label_copier(PAIRS, LABELS, target).tolist() == [0.5, 1, 0, 0.5, 0.5]
    assert source_label_copier(PAIRS, LABELS, target, fallback=0.1)[3:].tolist() == [0.1, 0.1]


def test_copier_ignores_unknown_labels():
    labels = np.array([np.nan, 0.0, 1, np.nan])
    assert source_label_copier(PAIRS, labels, PAIRS).tolist() == [0, 0, 1, 0.5]


def test_copier_of_single_molecules():
    scores = source_label_copier(np.array([[0], [1]]), np.array([0.0, 1]), np.array([[1], [2]]))
    assert scores.tolist() == [1, 0.5]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 1)), min_size=1),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5))),
)
def test_copier_equals_a_dictionary(source, target):
    known: dict[frozenset, list[int]] = {}
    for a, b, label in source:
        known.setdefault(frozenset((a, b)), []).append(label)
    base = np.mean([row[2] for row in source])
    expected = [np.mean(known.get(frozenset(pair), [base])) for pair in target]
    rows = np.array(source)
    pairs = np.array(target, int).reshape(-1, 2)
    found = source_label_copier(rows[:, :2], rows[:, 2].astype(float), pairs)
    np.testing.assert_allclose(found, expected)


def test_all_floors_are_named_as_floors():
    floors = floor_scores(PAIRS, LABELS, PAIRS[:3])
    assert len(floors) == 4
    values = floor_scores(PAIRS, LABELS, PAIRS[:3], regression=True)
    assert set(values) == set(floors) - {"floor: prevalence", "floor: all positive"} | {
        "floor: mean"
    }
    for name, scores in floors.items():
        assert name.startswith(PREFIX) and scores.shape == (3,) and scores.dtype == np.float64


def test_a_source_without_labels_is_refused():
    with pytest.raises(InputError, match="no labelled example"):
        floor_scores(PAIRS, np.full(4, np.nan), PAIRS)


def test_molecule_means_are_smoothed():
    known = np.array([[0, 1], [0, 2], [3, 1]])
    labels = np.array([1.0, 1.0, np.nan])
    # Molecule 0 has two positives, 1 and 2 one each, 3 none known; the prevalence is 1.
    scores = molecule_means(known, labels, np.array([[0, 3], [3, 3]]))
    assert scores.tolist() == [1.0, 1.0]
    scores = molecule_means(known, np.array([1.0, 0.0, 1.0]), np.array([[0, 1], [2, 4]]))
    base = 2 / 3
    expected = [((1 + base) / 3 + (2 + base) / 3) / 2, ((0 + base) / 2 + base) / 2]
    np.testing.assert_allclose(scores, expected)
