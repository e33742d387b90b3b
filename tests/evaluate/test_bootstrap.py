"""Clustered intervals: weights, what they equal, what they cover, what degenerates."""

import time

import numpy as np
import pytest

from molrel.errors import RunError
from molrel.evaluate.bootstrap import (
    Interval,
    _Data,
    clustered_interval,
    intervals,
    paired_difference,
)
from molrel.evaluate.metrics import CLASSIFICATION, REGRESSION, classification_metrics


def pairs_with_molecule_effects(rng, n_molecules=40, n_pairs=400, n_seeds=2):
    """Labels, scores and pairs; how well a pair is scored depends on its molecules."""
    pairs = rng.integers(0, n_molecules, (n_pairs, 2))
    skill = rng.normal(1.0, 1.0, n_molecules)[pairs].sum(axis=1)
    labels = rng.integers(0, 2, n_pairs).astype(float)
    scores = (labels - 0.5) * skill + rng.normal(size=(n_seeds, n_pairs))
    return labels, 1 / (1 + np.exp(-scores)), pairs


def drawn_weights(clusters, replicates=1):
    clusters = np.asarray(clusters)
    data = _Data(np.zeros(len(clusters)), clusters, is_class=True)
    return [weights for weights, _ in data.replicates(replicates, seed=0)]


def test_weight_is_the_product_of_multiplicities_on_either_side():
    # Molecules 10, 20, 30 alone in the first rows reveal their multiplicities.
    clusters = [[10, -1], [20, -1], [-1, 30], [10, 20], [20, 10], [30, 20], [30, 30], [10, 10]]
    for w in drawn_weights(clusters, 50):
        a, b, c = w[:3]
        assert a + b + c == 3
        assert w[3:].tolist() == [a * b, a * b, b * c, c, a]


def test_a_bag_is_the_product_over_its_different_molecules():
    for w in drawn_weights([[0, -1, -1, -1], [1, -1, -1, -1], [1, 0, 1, -1]], 20):
        assert w[2] == w[0] * w[1]


def test_a_molecule_of_every_example_is_not_resampled():
    rng = np.random.default_rng(0)
    solutes = np.arange(1, 31)
    found = clustered_interval(
        "rmse", rng.normal(size=30), np.zeros((2, 30)), np.stack([solutes, 0 * solutes], axis=1)
    )
    assert found.skipped == 0 and found.low < found.mean < found.high
    for w in drawn_weights([[0, 1], [2, 0], [0, 0]], 20):
        assert w[2] == 1


def test_multiplicities_are_those_of_drawing_with_replacement():
    weights = np.array(drawn_weights(np.arange(200)[:, None], 300))
    assert (weights.sum(axis=1) == 200).all()
    assert weights.var() == pytest.approx(1 - 1 / 200, abs=0.03)
    assert (weights == 0).mean() == pytest.approx(np.exp(-1), abs=0.01)


def test_mean_is_the_metric_on_all_data_averaged_over_seeds():
    labels, scores, pairs = pairs_with_molecule_effects(np.random.default_rng(0))
    found = intervals(CLASSIFICATION, labels, scores, pairs, replicates=20, thresholds=[0.4, 0.6])
    each = [classification_metrics(labels, s, t) for s, t in zip(scores, [0.4, 0.6])]
    for name in CLASSIFICATION:
        assert found[name].mean == pytest.approx(np.mean([e[name] for e in each]))
        assert found[name].low <= found[name].high


def test_same_replicates_alone_or_with_other_metrics():
    labels, scores, pairs = pairs_with_molecule_effects(np.random.default_rng(1))
    shared = intervals(CLASSIFICATION, labels, scores, pairs, replicates=30)
    for name in CLASSIFICATION:
        assert clustered_interval(name, labels, scores, pairs, replicates=30) == shared[name]


def test_regression_interval_holds_the_value():
    rng = np.random.default_rng(2)
    labels, pairs = rng.normal(size=300), rng.integers(0, 60, (300, 2))
    found = intervals(REGRESSION, labels, labels + rng.normal(size=(3, 300)), pairs)
    assert found["rmse"].mean == pytest.approx(1, abs=0.1)
    for interval in found.values():
        assert interval.low < interval.mean < interval.high


def test_order_of_sides_and_names_of_molecules_play_no_role():
    labels, scores, pairs = pairs_with_molecule_effects(np.random.default_rng(3))
    expected = clustered_interval("auroc", labels, scores, pairs, replicates=30)
    swapped = np.where(np.arange(len(pairs))[:, None] % 2 == 0, pairs, pairs[:, ::-1])
    assert clustered_interval("auroc", labels, scores, swapped, replicates=30) == expected
    assert clustered_interval("auroc", labels, scores, 7 * pairs + 5, replicates=30) == expected


def test_unknown_labels_change_nothing():
    labels, scores, pairs = pairs_with_molecule_effects(np.random.default_rng(4))
    expected = clustered_interval("ap", labels, scores, pairs, replicates=30)
    more = np.append(labels, [np.nan, np.nan])
    more_scores = np.append(scores, [[np.nan, 0.5]] * 2, axis=1)
    more_pairs = np.append(pairs, [[999, 998], [0, 1]], axis=0)
    assert clustered_interval("ap", more, more_scores, more_pairs, replicates=30) == expected


def test_clustering_widens_the_interval_where_molecules_matter():
    labels, scores, pairs = pairs_with_molecule_effects(np.random.default_rng(5), 30, 3000, 1)
    clustered = clustered_interval("auroc", labels, scores, pairs)
    naive = clustered_interval("auroc", labels, scores, np.arange(len(labels)))
    assert clustered.high - clustered.low > 2 * (naive.high - naive.low)


def test_seeds_widen_the_interval():
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 2000).astype(float)
    skill = np.array([0.2, 1.0, 3.0])[:, None]
    scores = (labels - 0.5) * skill + rng.normal(size=(3, 2000))
    together = clustered_interval("auroc", labels, scores, np.arange(2000))
    alone = clustered_interval("auroc", labels, scores[1], np.arange(2000))
    assert together.high - together.low > 3 * (alone.high - alone.low)


def coverage(draw, truth, trials):
    """Share of simulated data sets whose interval holds the true accuracy."""
    rng, hits = np.random.default_rng(7), 0
    for _ in range(trials):
        right, clusters = draw(rng)
        labels = np.ones(len(right))
        interval = clustered_interval("accuracy", labels, right, clusters, replicates=100)
        hits += interval.low <= truth <= interval.high
    return hits / trials


def test_intervals_cover_the_truth_where_molecules_carry_effects():
    def draw(rng):
        pairs = rng.integers(0, 50, (600, 2))
        effect = rng.normal(size=50)[pairs].sum(axis=1)
        return (effect + rng.normal(size=600) > 0).astype(float), pairs

    def draw_without_clusters(rng):
        return draw(rng)[0], np.arange(600)

    # 150 trials of a true 95 % have a standard deviation of 1.8 %.
    assert 0.89 <= coverage(draw, 0.5, 150) <= 1
    assert coverage(draw_without_clusters, 0.5, 40) < 0.6


def test_difference_is_between_the_same_replicates():
    labels, scores, pairs = pairs_with_molecule_effects(np.random.default_rng(8), n_seeds=1)
    same = paired_difference("auroc", labels, scores, scores, pairs, replicates=20)
    assert same == Interval(0, 0, 0, 0)
    worse = np.clip(scores + 0.1 * np.random.default_rng(9).normal(size=scores.shape), 0, 1)
    paired = paired_difference("auroc", labels, scores, worse, pairs)
    single = clustered_interval("auroc", labels, scores, pairs)
    assert paired.high - paired.low < (single.high - single.low) / 3
    back = paired_difference("auroc", labels, worse, scores, pairs)
    assert (back.mean, back.low, back.high) == pytest.approx(
        (-paired.mean, -paired.high, -paired.low)
    )


def test_difference_of_methods_with_other_numbers_of_seeds():
    labels, scores, pairs = pairs_with_molecule_effects(np.random.default_rng(10), n_seeds=3)
    noise = np.random.default_rng(11).random((1, len(labels)))
    found = paired_difference("ap", labels, scores, noise, pairs, replicates=100)
    alone = clustered_interval("ap", labels, scores, pairs).mean
    assert found.mean == pytest.approx(alone - clustered_interval("ap", labels, noise, pairs).mean)
    assert found.low > 0
    assert np.isfinite(paired_difference("rmse", labels, scores, noise, pairs, replicates=5)).all()


def test_thresholds_of_a_difference_belong_to_their_methods():
    labels, scores = np.array([0.0, 0, 1, 1]), np.array([[0.1, 0.2, 0.3, 0.4]])
    pairs = np.arange(8).reshape(4, 2)
    found = paired_difference(
        "accuracy", labels, scores, 2 * scores, pairs, replicates=5, thresholds=(0.25, 0.9)
    )
    assert found.mean == 0.5


def test_replicates_with_a_single_class_are_skipped_and_counted():
    labels = np.array([1.0] + [0.0] * 20)
    pairs = np.stack([np.arange(21), np.full(21, 21)], axis=1)
    found = intervals(["auroc", "accuracy"], labels, np.linspace(1, 0, 21), pairs, replicates=200)
    # Molecule 0 is the only positive's; it is not drawn in a share of exp(-1) of the cases.
    # Molecule 21 is in every pair and always there.
    assert found["accuracy"].skipped == 0
    assert found["auroc"].skipped == pytest.approx(200 * np.exp(-1), abs=25)
    assert found["auroc"][:3] == (1, 1, 1)


def test_metrics_that_labels_do_not_define_have_no_interval():
    found = intervals(["auroc", "accuracy"], np.ones(4), np.ones(4), np.arange(4), replicates=10)
    assert np.isnan(found["auroc"][:3]).all() and found["auroc"].skipped == 10
    assert found["accuracy"] == Interval(1, 1, 1, 0)
    empty = intervals(["rmse"], np.full(3, np.nan), np.ones(3), np.arange(3), replicates=10)
    assert np.isnan(empty["rmse"][:3]).all()


def test_wrong_arguments_are_refused():
    labels, scores, pairs = np.array([0.0, 1]), np.array([0.2, 0.3]), np.array([[0, 1], [1, 2]])
    with pytest.raises(ValueError, match="metrics must be out of"):
        intervals(["auroc", "rmse"], labels, scores, pairs)
    with pytest.raises(ValueError, match="do not fit"):
        intervals(["auroc"], labels, scores, pairs[:1])
    with pytest.raises(ValueError, match="no molecule"):
        intervals(["auroc"], labels, scores, np.array([[0, 1], [-1, -1]]))
    with pytest.raises(ValueError, match="must be"):
        intervals(["auroc"], labels, scores[:1], pairs)
    with pytest.raises(RunError, match="example 1 "):
        intervals(["auroc"], labels, np.array([0.1, np.nan]), pairs)


def test_is_fast_enough_for_large_sets():
    """A tenth of the replicates of 250,000 pairs and three seeds, generously timed."""
    rng = np.random.default_rng(12)
    labels, pairs = (rng.random(250_000) < 0.3).astype(float), rng.integers(0, 1200, (250_000, 2))
    started = time.process_time()
    names = ("auroc", "ap", "f1", "accuracy")
    intervals(names, labels, rng.random((3, 250_000)), pairs, replicates=20)
    assert time.process_time() - started < 12


def several_targets(n=80, n_targets=4):
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, (n, n_targets)).astype(float)
    labels[rng.random(labels.shape) < 0.3] = np.nan
    labels[:, 2] = np.where(np.isnan(labels[:, 2]), np.nan, 1.0)  # a single class
    scores = rng.random((2, n, n_targets)) + 0.3 * np.nan_to_num(labels)
    return labels, scores, rng.integers(0, 40, (n, 1))


def test_of_several_targets_the_mean_over_those_of_two_classes():
    labels, scores, molecules = several_targets()
    found = intervals(["auroc", "ap"], labels, scores, molecules, replicates=50)
    columns = [
        intervals(["auroc"], labels[:, t], scores[..., t], molecules, replicates=0)["auroc"].mean
        for t in (0, 1, 3)
    ]
    assert found["auroc"].mean == pytest.approx(np.mean(columns))
    assert found["auroc"].low < found["auroc"].mean < found["auroc"].high
    alone = intervals(["auroc"], labels[:, :1], scores[..., :1], molecules, replicates=50)
    assert alone == intervals(["auroc"], labels[:, 0], scores[..., 0], molecules, replicates=50)


def test_a_paired_difference_of_several_targets():
    labels, scores, molecules = several_targets()
    zero = paired_difference("auroc", labels, scores[:1], scores[:1], molecules, replicates=20)
    assert zero.mean == zero.low == zero.high == 0
    better = np.where(np.isnan(labels), 0, labels)[None]
    found = paired_difference("auroc", labels, better, scores, molecules, replicates=20)
    assert found.low > 0 and found.mean == pytest.approx(
        1 - intervals(["auroc"], labels, scores, molecules, replicates=0)["auroc"].mean
    )
