"""The curves of a run: what they compute, and that they are drawn for every kind of run."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from molrel.data.types import Task
from molrel.errors import RunError
from molrel.evaluate.plots import GRID, plot_run, precision_recall, roc

REGRESSING = Task("regression", ("ln H",), ("ln(Pa)",), symmetric=False)


def log(n_seeds=2, validation=True):
    return [
        {
            "step": step,
            "seed": seed,
            "terms": {"total": 1 / step + seed, **({"late_term": -step} if step > 100 else {})},
            **({"validation": {"selection": 0.5, "auroc": 0.5 + seed / 10}} if validation else {}),
        }
        for step in (10, 100, 1000)
        for seed in range(n_seeds)
    ]


def target(n=200, n_seeds=2):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"label": rng.integers(0, 2, n).astype(float)})
    for i in range(n_seeds):
        frame[f"score_{i}"] = 0.3 * frame["label"] + 0.7 * rng.random(n)
    return frame


def drawn(path):
    """Pixels of the PNG; it must be one, and not blank."""
    from matplotlib.image import imread

    pixels = imread(path)
    assert pixels.ndim == 3 and pixels.std() > 0.02
    return pixels


def test_areas_under_the_curves():
    frame = target(2000)
    labels, scores = frame["label"].to_numpy(), frame["score_0"].to_numpy()
    assert np.trapezoid(roc(labels, scores), GRID) == pytest.approx(
        roc_auc_score(labels, scores), abs=2e-3
    )
    assert np.mean(precision_recall(labels, scores)) == pytest.approx(
        average_precision_score(labels, scores), abs=2e-3
    )


def test_precision_is_a_step_function_of_recall():
    labels = np.array([1.0, 1, 0, 1, 0])
    precision = precision_recall(labels, np.array([0.9, 0.5, 0.5, 0.1, 0.1]))
    assert precision[GRID <= 1 / 3].tolist() == [1.0] * (GRID <= 1 / 3).sum()
    middle = (GRID > 1 / 3) & (GRID <= 2 / 3)
    np.testing.assert_allclose(precision[middle], 2 / 3)
    np.testing.assert_allclose(precision[GRID > 2 / 3], 3 / 5)


@pytest.mark.parametrize("task", [Task(), REGRESSING], ids=["classes", "regression"])
def test_a_run_with_floors_is_drawn(tmp_path, task):
    copier = target(n_seeds=1)
    frames = {"ours": target(), "forest": target(n_seeds=1), "floor: copier": copier}
    frames["floor: prevalence"] = copier.assign(score_0=0.3)
    plot_run(tmp_path / "curves.png", log(), frames, task)
    drawn(tmp_path / "curves.png")
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize("task", [Task(), REGRESSING], ids=["classes", "regression"])
@pytest.mark.parametrize("frames", [{}, {"ours": target(0)}], ids=["none", "empty"])
def test_a_run_without_target_is_drawn(tmp_path, task, frames):
    plot_run(tmp_path / "curves.png", log(1, validation=False), frames, task)
    drawn(tmp_path / "curves.png")


def test_one_class_and_unknown_labels_and_no_log_are_drawn(tmp_path):
    frame = target().assign(label=1.0)
    frame.loc[:5, "label"] = np.nan
    plot_run(tmp_path / "curves.png", [], {"ours": frame}, Task())
    drawn(tmp_path / "curves.png")


def test_other_scores_give_other_pixels(tmp_path):
    frame = target()
    plot_run(tmp_path / "a.png", log(), {"ours": frame}, Task())
    plot_run(tmp_path / "b.png", log(), {"ours": frame.assign(score_0=frame["label"])}, Task())
    assert not np.array_equal(drawn(tmp_path / "a.png"), drawn(tmp_path / "b.png"))


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RunError, match="curves.png: cannot be written"):
        plot_run(tmp_path / "missing" / "curves.png", log(), {}, Task())
