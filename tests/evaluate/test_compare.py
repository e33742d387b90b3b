"""Judging: several classes, strata, seeds and pairs of methods."""

import numpy as np
import pytest

from molrel.evaluate.compare import Scored, main_metric, metrics_of

RNG = np.random.default_rng(0)
CLUSTERS = RNG.integers(0, 8, (30, 2))
LABELS = np.tile([0.0, 1.0], 15)
GOOD = np.stack([LABELS + 0.3 * RNG.normal(size=30) for _ in range(3)])
BAD = RNG.normal(size=(3, 30))
STRATA = np.where(np.arange(30) < 12, "seen-seen", "new-new")


def scored(scores, labels=LABELS):
    return Scored(labels, scores, CLUSTERS, STRATA)


def test_a_stratum_is_judged_as_if_it_stood_alone():
    part = scored(GOOD).stratum("seen-seen")
    alone = Scored(LABELS[:12], GOOD[:, :12], CLUSTERS[:12])
    assert len(part) == 12
    assert part.judge(["auroc"]) == alone.judge(["auroc"])
    assert scored(GOOD).stratum("all").judge(["ap"]) == scored(GOOD).judge(["ap"])


def test_the_spread_is_that_of_the_seeds():
    each = [scored(s[None]).judge(["auroc"], replicates=0)["auroc"].mean for s in BAD]
    assert scored(BAD).spread("auroc") == pytest.approx(np.std(each, ddof=1))
    assert np.isnan(scored(BAD[:1]).spread("auroc"))


def test_the_better_method_minus_the_worse_one():
    ours, other = scored(GOOD), scored(BAD)
    found = ours.minus(other, "auroc")
    means = [x.judge(["auroc"], replicates=0)["auroc"].mean for x in (ours, other)]
    assert found.mean == pytest.approx(means[0] - means[1]) and found.low > 0
    assert ours.minus(ours, "auroc", pair_seeds=True)[:3] == (0, 0, 0)


def test_several_classes():
    labels = np.eye(3)[RNG.integers(0, 3, 30)]
    scores = np.stack([labels + 0.4 * RNG.normal(size=(30, 3)) for _ in range(2)])
    classes = scored(scores, labels)
    right = (scores.argmax(-1) == labels.argmax(-1)).mean()
    assert classes.most_probable().judge(["accuracy"])["accuracy"].mean == pytest.approx(right)
    pooled = classes.pooled()
    assert len(pooled) == 90 and (pooled.strata == np.repeat(STRATA, 3)).all()
    flat = Scored(labels.reshape(-1), scores.reshape(2, -1), np.repeat(CLUSTERS, 3, axis=0))
    assert pooled.judge(["auroc"]) == flat.judge(["auroc"])


def test_what_a_table_shows_by_default():
    for kind in ("binary", "multiclass", "regression"):
        assert main_metric(kind) in metrics_of(kind)


def test_every_seed_and_method_keeps_its_own_threshold():
    cut = Scored(LABELS, GOOD, CLUSTERS, thresholds=(0.4, 0.5, 0.6))
    each = [
        Scored(LABELS, s[None], CLUSTERS, thresholds=t).judge(["f1"], replicates=0)["f1"].mean
        for s, t in zip(GOOD, (0.4, 0.5, 0.6))
    ]
    assert cut.spread("f1") == pytest.approx(np.std(each, ddof=1))
    low = Scored(LABELS, GOOD, CLUSTERS, thresholds=-9.0)
    means = [x.judge(["f1"], replicates=0)["f1"].mean for x in (cut, low)]
    assert cut.minus(low, "f1").mean == pytest.approx(means[0] - means[1])
