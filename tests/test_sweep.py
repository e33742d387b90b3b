"""Options times seeds: the same numbers mapped, looped, apart and after a kill."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from trained import HETERO, HYDROCARBONS, pairs

from molrel import sweeps
from molrel.config import Experiment, parse_grid
from molrel.config_files import load_config_file
from molrel.data.read import from_frame
from molrel.errors import InputError
from molrel.evaluate.bootstrap import paired_difference
from molrel.methods.classical import ForestConfig
from molrel.methods.distrans import DisTransConfig, LossWeights
from molrel.prepare import prepare
from molrel.problem import Fit
from molrel.sweeps import Sweep, sweep
from molrel.train.settings import TrainConfig

OFF = LossWeights(**{f.name: 0.0 for f in fields(LossWeights)})
METHOD = DisTransConfig(
    width=8, depth=1, branches="graph", discriminator_width=8, weights=OFF, warmup=0.0
)
CONFIG = Experiment(
    name="tiny",
    method=METHOD,
    train=TrainConfig(
        steps=3, evaluate_every=2, source_examples=16, target_examples=8, seeds_mode="loop"
    ),
    seeds=(0, 1),
)
GRID = {"method.weights.adversarial_pair": (0.0, 2.0), "method.weighting": ("up", "uniform")}


def dataset(molecules, repeats=1):
    rows = [row.split(",") for row in pairs(molecules, repeats)]
    frame = pd.DataFrame(rows, columns=["a", "b", "y"])
    return from_frame(frame, smiles=("a", "b"), labels="y")


@pytest.fixture(scope="module")
def data():
    return {"source": dataset(HYDROCARBONS, 2), "target": dataset(HETERO + HYDROCARBONS[:3])}


@pytest.fixture(scope="module")
def looped(data):
    return sweep(CONFIG, GRID, **data)


def test_mapped_equals_looped_and_each_run_alone(data, looped):
    assert looped.scores.shape[:2] == (4, 2)
    mapped_config = replace(CONFIG, train=replace(CONFIG.train, seeds_mode="vmap"))
    mapped = sweep(mapped_config, GRID, **data)
    np.testing.assert_allclose(mapped.scores, looped.scores, atol=1e-6)
    np.testing.assert_allclose(mapped.selection, looped.selection, atol=1e-6)
    alone = sweep(CONFIG, {k: v[1:] for k, v in GRID.items()}, seeds=(1,), **data)
    np.testing.assert_allclose(alone.scores[0, 0], looped.scores[3, 1], atol=1e-6)


def test_a_weight_whose_base_is_zero_reads_the_target(data, looped):
    plain, adapted = looped.scores[0], looped.scores[2]
    assert looped.points[0]["method.weights.adversarial_pair"] == 0.0
    assert np.abs(plain - adapted).max() > 1e-5
    # The point at 0 is what the base trains without a grid.
    base = sweep(CONFIG, **data)
    assert base.points == ({},)
    # A batch without target examples is another batch: the numbers need not be the same.
    assert base.scores.shape == (1, *plain.shape)


def test_a_program_refuses_options_that_it_was_not_built_for(data):
    prepared = prepare(CONFIG, needs=(), **data)
    fit = Fit(CONFIG, prepared, {"method.weights.guidance": (0.0, 0.5)})
    assert fit.problem.method.target
    with pytest.raises(InputError, match="built for the options"):
        fit([0], [{"method.weights.entropy": 0.5}])
    with pytest.raises(InputError, match="same in all runs"):
        Fit(CONFIG, prepared, {"method.width": (8, 16)})


def test_a_killed_sweep_goes_on_where_it_stood(data, looped, tmp_path, monkeypatch):
    folder, trained = tmp_path / "sweep", []
    usual = sweeps.Fit.__call__

    def dies(self, seeds, options=()):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append((tuple(seeds), tuple(options)))
        return usual(self, seeds, options)

    monkeypatch.setattr(sweeps.Fit, "__call__", dies)
    with pytest.raises(KeyboardInterrupt):
        sweep(CONFIG, GRID, folder=folder, **data)
    assert len(list(folder.glob("point_*.npz"))) == 3
    trained.clear()
    monkeypatch.setattr(sweeps.Fit, "__call__", lambda *a: (trained.append(a), usual(*a))[1])
    again = sweep(CONFIG, GRID, folder=folder, **data)
    assert len(trained) == 5
    np.testing.assert_array_equal(again.scores, looped.scores)
    # More seeds are added; another grid or config is refused.
    more = sweep(CONFIG, GRID, seeds=(0, 1, 2), folder=folder, **data)
    np.testing.assert_array_equal(more.scores[:, :2], looped.scores)
    with pytest.raises(InputError, match="another config, grid or data"):
        sweep(CONFIG, {"method.reversal": (0.0, 1.0)}, folder=folder, **data)


def test_a_table_has_paired_intervals(looped):
    table = looped.table(replicates=50)
    assert list(table)[:2] == list(GRID) and len(table) == 4
    assert table["difference"].isna().tolist() == [True, False, False, False]
    row = table.iloc[2]
    assert row["diff_low"] <= row["difference"] <= row["diff_high"]
    assert row["difference"] == pytest.approx(row["mean"] - table["mean"][0])
    known = looped.table(metric="ap", against=2, stratum="new-new", replicates=5)
    assert known["difference"].isna().tolist() == [False, False, True, False]
    for wrong in ({"metric": "rmse"}, {"stratum": "nowhere"}, {"against": 4}):
        with pytest.raises(InputError):
            looped.table(**wrong)


def test_seeds_that_are_pairs_are_drawn_together():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(0, 2, 60), rng.integers(0, 12, (60, 2))
    base = rng.normal(size=(6, 60)) * np.linspace(0.2, 3, 6)[:, None] + labels
    other = base + 0.01 * rng.normal(size=base.shape)
    widths = []
    for together in (True, False):
        found = paired_difference(
            "auroc", labels, base, other, clusters, replicates=100, pair_seeds=together
        )
        widths.append(found.high - found.low)
    assert widths[0] < 0.5 * widths[1]
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference("auroc", labels, base, other[:3], clusters, pair_seeds=True)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"data.split_seed": (0, 1)}, "changes the examples"),
        ({"features.max_atoms": (50, 100)}, "changes the examples"),
        ({"method.weights.guidence": (0.1,)}, "guidance"),
        ({"method.warmup": (0.0, 1.0)}, "method.warmup"),
        ({"method.reversal": ()}, "no value"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_before_training(data, grid, words):
    with pytest.raises(InputError, match=words):
        sweep(CONFIG, grid, **data)


def test_values_on_the_command_line_have_the_type_of_their_field():
    assert parse_grid(CONFIG, "method.reversal=0,1") == ("method.reversal", (0.0, 1.0))
    assert parse_grid(CONFIG, "method.weighting=up,down")[1] == ("up", "down")
    assert parse_grid(CONFIG, "method.permute_groups=True,false")[1] == (True, False)
    for text in ("method.width=1.5", "method.reversal=", "method.reversal=big", "nothing=1"):
        with pytest.raises(InputError):
            parse_grid(CONFIG, text)


def test_a_preset_can_be_swept_by_its_name(tmp_path):
    from molrel.presets import path_of

    config = load_config_file(path_of("test"))
    assert parse_grid(config, "method.weights.guidance=0,0.1")[1] == (0.0, 0.1)


def test_a_sweep_of_a_source_alone_is_that_of_a_run_of_it(data):
    """No target of the config stands in for the one that is not there."""
    source = {"source": data["source"]}
    found = sweep(replace(CONFIG, method=replace(METHOD, weights=LossWeights())), **source)
    assert found.part == "source-test" and found.scores.shape[2] == len(found.labels)
    with pytest.raises(InputError, match="there is none"):
        sweep(CONFIG, {"method.weights.adversarial_pair": (0.0, 2.0)}, **source)


def test_a_forest_is_swept_over_its_own_options_and_refuses_those_of_steps(data):
    forest = replace(CONFIG, method=ForestConfig(trees=3))
    result = sweep(forest, {"method.leaf": (1, 20)}, **data)
    assert result.scores.shape[:2] == (2, len(CONFIG.seeds))
    assert (result.scores[0] != result.scores[1]).any()
    with pytest.raises(InputError, match="has no steps"):
        sweep(forest, {"optimiser.learning_rate": (1e-3, 1e-2)}, **data)
    balanced = replace(forest, data=replace(forest.data, balance=True))
    with pytest.raises(InputError, match="all examples at once"):
        sweep(balanced, **data)


def test_the_accuracy_of_several_classes_is_that_of_the_most_probable_one():
    rng = np.random.default_rng(0)
    labels, scores = np.eye(10)[rng.integers(0, 10, 60)], rng.random((1, 2, 60, 10))
    clusters, points = rng.integers(0, 9, (60, 2)), ({"method.width": 8},)
    found = Sweep(
        points,
        (0, 1),
        scores,
        np.zeros((1, 2)),
        labels,
        clusters,
        np.full(60, "x"),
        "multiclass",
        "target",
    )
    right = (scores[0].argmax(-1) == labels.argmax(-1)).mean()
    assert found.table("accuracy")["mean"][0] == pytest.approx(right)
    with pytest.raises(InputError, match="no metric"):
        found.table("f1")
