"""Ranks over settings: by hand, against SciPy, and the figure."""

import numpy as np
import pytest
import scipy.stats

from molrel.evaluate.ranks import cliques, rank_methods, save_ranks

# Rows are settings, columns methods; the second is always best, the last two tie once.
VALUES = np.array([[0.6, 0.9, 0.5, 0.5], [0.7, 0.8, 0.2, 0.1], [0.1, 0.3, 0.2, 0.0]])


def test_mean_ranks_by_hand():
    ranks = rank_methods(VALUES)
    np.testing.assert_allclose(ranks.mean, [(2 + 2 + 3) / 3, 1, (3.5 + 3 + 2) / 3, 11.5 / 3])
    assert ranks.p_value == pytest.approx(scipy.stats.friedmanchisquare(*VALUES.T).pvalue)


def test_critical_difference_of_the_published_table():
    # Demsar (2006), table 5: q = 2.569 for 4 classifiers at 5 %; his example has 14 data sets.
    ranks = rank_methods(np.random.default_rng(0).random((14, 4)))
    assert ranks.critical_difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=2e-3)


def test_too_few_to_test_is_not_a_number_and_gaps_are_refused():
    ranks = rank_methods(VALUES[:, :2])
    assert np.isnan(ranks.p_value) and np.isnan(ranks.critical_difference)
    assert ranks.mean.tolist() == [2, 1]
    assert rank_methods(np.ones((3, 3))).p_value == 1
    with pytest.raises(ValueError, match="cannot be ranked"):
        rank_methods(np.array([[1.0, np.nan]]))


def test_cliques_join_what_is_not_told_apart():
    assert cliques(np.array([1.0, 4.0, 2.0, 3.5]), 1.6) == [(0, 1), (1, 2), (2, 3)]
    assert cliques(np.array([1.0, 2.0, 3.0]), 5.0) == [(0, 2)]
    assert cliques(np.array([1.0, 9.0]), 1.0) == []


def test_figure_is_written(tmp_path):
    ranks = rank_methods(VALUES)
    path = tmp_path / "ranks.png"
    two = rank_methods(VALUES[:, :2])
    save_ranks(path, {"all": (["a", "b", "c", "d"], ranks, 3), "two": (["a", "b"], two, 3)})
    assert path.read_bytes().startswith(b"\x89PNG")
