"""The cross-domain benchmark: resumable cells, keys, no target labels in training, tables."""

import json
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import cells
import cross_settings
import numpy as np
import pandas as pd
import pytest
import store

from molrel import baselines, problem
from molrel.data.types import Examples, Task
from molrel.errors import InputError, RunError
from molrel.train.settings import TrainConfig

SCRIPT = Path(cells.__file__).with_name("cross_domain.py")
PRESET = replace(
    cross_settings.PRESETS["smoke"],
    train=TrainConfig(steps=3, evaluate_every=3, valid_examples=100),
    evaluated=200,
)
SETTING = replace(cross_settings.SETTINGS["mixtures"], source_examples=16, target_examples=8)
NETWORKS = cross_settings.entrants(8, 1)


@pytest.fixture(scope="module")
def stage():
    return cells.make_stage(PRESET, SETTING, NETWORKS["DisTrans"].method)


def job(name, tmp_path, seeds=(0,)):
    entrant = NETWORKS[name]
    if getattr(entrant.method, "branches", "") == "both":
        entrant = replace(entrant, method=replace(entrant.method, branches="graph"))
    if hasattr(entrant.method, "prototype_ready"):  # so that few steps reach the guidance
        entrant = replace(entrant, method=replace(entrant.method, prototype_ready=1))
    return cells.Job(name, entrant, {s: tmp_path / f"{name}-{s}.json" for s in seeds})


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        for name, entrant in NETWORKS.items()
        if entrant.method is not None and entrant.family not in ("control", "ceiling")
    ],
)
def test_target_labels_change_no_trained_parameter(name, stage, tmp_path, monkeypatch):
    target = stage.prepared.target
    flipped = target.replace(labels=1 - target.labels[::-1])
    other = replace(stage, prepared=replace(stage.prepared, target=flipped))
    assert (flipped.labels != target.labels).any()
    trained = []
    monkeypatch.setattr(problem, "train", remember(problem.train, trained))
    found = [cells.train_seeds(s, job(name, tmp_path))[0] for s in (stage, other)]
    n_trials = len(cross_settings.TRIALS)
    assert len(trained) == 2 * n_trials
    for ours, others in zip(trained[:n_trials], trained[n_trials:], strict=True):
        for a, b in zip(ours, others, strict=True):
            np.testing.assert_array_equal(a, b)
    assert found[0][1]["trials"] == found[1][1]["trials"]
    for part, scores in found[0][0].items():
        np.testing.assert_array_equal(scores, found[1][0][part])


def remember(train, kept):
    """``train``, whose final states are kept as lists of arrays."""

    def wrapped(*args, **settings):
        import jax

        final, cost = train(*args, **settings)
        leaves = jax.tree.leaves((final.train.params, final.best_params, final.best_state))
        kept.append([np.asarray(leaf) for leaf in leaves])
        return final, cost

    return wrapped


def test_a_trial_that_diverges_is_not_chosen(stage, tmp_path, monkeypatch):
    def fit(seeds, options):
        if options[0]["optimiser.learning_rate"] in diverging:
            raise RunError("a loss is not finite")
        cost = {"n_parameters": 1, "seconds_per_step": 0.0}
        return [problem.Fitted(({}, {}), ({}, {}), 0.7)] * len(seeds), cost

    fit.scores = lambda variables, examples: np.zeros(len(examples))
    monkeypatch.setattr(cells, "Fit", lambda config, prepared, grid: fit)
    rates = [t["optimiser.learning_rate"] for t in cross_settings.TRIALS]
    diverging = rates[:1]
    found = cells.train_seeds(stage, job("siamese GIN", tmp_path, seeds=(0, 1)))
    assert [t["selection"] for t in found[1][1]["trials"]] == [None, 0.7]
    diverging = rates
    with pytest.raises(RunError, match="no trial"):
        cells.train_seeds(stage, job("siamese GIN", tmp_path))


@pytest.mark.slow
def test_the_ceiling_does_read_them(stage, tmp_path):
    target = stage.prepared.target
    flipped = replace(
        stage, prepared=replace(stage.prepared, target=target.replace(labels=1 - target.labels))
    )
    name = "target-supervised (ceiling)"
    a, b = (cells.train_seeds(s, job(name, tmp_path))[0][0] for s in (stage, flipped))
    assert (a["target"] != b["target"]).any()
    assert len(a["target"]) == 200 and np.isfinite(a["target"]).all()


def test_a_cell_is_one_file_and_has_its_own_key(stage, tmp_path):
    made = job("Morgan + linear", tmp_path)
    cells.run_job(stage, made)
    cell = json.loads(made.paths[0].read_text())
    assert len(cell["trials"]) == len(cross_settings.TRIALS) and not made.missing
    assert len(cell["scores"]["target"]) == 200
    entrant = NETWORKS["siamese GIN"]
    other = replace(entrant, method=replace(entrant.method, width=9))
    keys = {
        cells.cell_key(PRESET, SETTING, entrant, "siamese GIN", 0),
        cells.cell_key(PRESET, SETTING, entrant, "siamese GIN", 1),
        cells.cell_key(PRESET, SETTING, other, "siamese GIN", 0),
        cells.cell_key(replace(PRESET, evaluated=9), SETTING, entrant, "siamese GIN", 0),
        cells.cell_key(PRESET, cross_settings.SETTINGS["henry"], entrant, "siamese GIN", 0),
    }
    assert len(keys) == 5


def test_floors_of_every_kind_of_task(stage):
    names = [n for n, e in NETWORKS.items() if e.family == "floor"]
    task = replace(stage.prepared.task, kind="regression")
    values = replace(stage, prepared=replace(stage.prepared, task=task))
    for each, defined in ((stage, 5), (values, 4)):
        found = []
        for name in names:
            try:
                found.append(cells.floor_of(each, name))
            except InputError as error:
                assert "is no floor of" in str(error)
        assert len(found) == defined
        for scores in found:
            assert all(len(s) == len(each.parts[p]) for p, s in scores.items())
    assert np.std(cells.degree_prior(stage)) > 0


def test_floors_of_classes_are_those_of_each_class_against_the_others():
    known = Examples.pairs(np.array([[0, 1], [0, 2], [1, 2], [3, 4]]), np.array([0.0, 2.0, 2, 1]))
    asked = Examples.pairs(np.array([[2, 0], [3, 1]]), np.zeros(2))
    found = baselines.floors(known, asked, Task("multiclass", n_classes=3))
    np.testing.assert_allclose(found["floor: prevalence"], [[0.25, 0.25, 0.5]] * 2)
    np.testing.assert_allclose(
        found["floor: source-label copier"], [[0, 0, 1], [0.25, 0.25, 0.5]], atol=1e-7
    )


def test_floors_know_the_roles_of_molecules_where_the_sides_have_roles():
    known = Examples.pairs(np.array([[0, 1], [2, 0]]), np.array([0.0, 4.0]))
    asked = Examples.pairs(np.array([[0, 1], [1, 0], [0, 3], [3, 0]]), np.zeros(4))
    ordered = baselines.floors(known, asked, Task("regression", symmetric=False))
    np.testing.assert_allclose(ordered["floor: source-label copier"], [0, 2, 2, 2])
    # (sum of labels in that role + 2) / (number + 1), averaged over the sides
    np.testing.assert_allclose(ordered["floor: molecule means"], [1, 2.5, 1.5, 2.5])
    either = baselines.floors(known, asked, Task("regression"))
    np.testing.assert_allclose(either["floor: source-label copier"], [0, 0, 2, 2])


def test_scores_are_kept_to_five_digits():
    values = np.array([0.0, -1.23456789e-4, 123456.0])
    assert store.rounded(values) == [0.0, -1.2346e-4, 123460.0]


def script(tmp_path, *arguments):
    """The script's smoke preset in a process of its own; what it printed."""
    out = ["--cells", str(tmp_path / "cells"), "--out", str(tmp_path / "t")]
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--preset", "smoke", *out, *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_script_computes_resumes_and_writes_tables(tmp_path):
    methods = ["floor: prevalence", "Morgan + linear"]
    setting, folder = cross_settings.SETTINGS["mixtures"], tmp_path / "cells" / "smoke"
    cells.work("smoke", setting, methods[:1], [0], folder)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*-0-*.json")}
    arguments = ["--settings", "mixtures", "--seeds", "1", "--workers", "1", "--methods"]
    assert "1 cells to compute" in script(tmp_path, *arguments, *methods)
    assert all(p.stat().st_mtime_ns == t for p, t in before.items()) and len(before) == 1
    table = pd.read_csv(tmp_path / "t.csv")
    assert set(table["method"]) == set(methods)
    floor = table[(table["method"] == methods[0]) & (table["metric"] == "auroc")]
    assert floor[floor["stratum"] == "all"]["mean"].eq(0.5).all()
    page = (tmp_path / "t.md").read_text()
    assert "\n2 cells. " in page and "mixtures/hydrocarbons -> mixtures/heteroatoms" in page


def test_a_table_takes_in_settings_that_were_computed_elsewhere(tmp_path):
    def write(rows, preset="cpu", add=True):
        rows = [{"setting": name, "mean": value} for name, value in rows]
        order = ["a", "b", "c"]
        return store.write_frame(rows, tmp_path / "t.csv", "setting", order, preset, add=add)

    write([("c", 1.0), ("a", 2.0)])
    frame = write([("b", 1 / 3), ("c", 4.0)])
    assert frame["setting"].tolist() == ["a", "b", "c"]
    assert frame["mean"].tolist() == [2.0, 0.3333333, 4.0]
    pd.testing.assert_frame_equal(frame, pd.read_csv(tmp_path / "t.csv"))
    with pytest.raises(InputError, match=r"t\.csv is of the preset cpu"):
        write([("a", 1.0)], preset="smoke")
    assert len(write([("a", 1.0)], preset="smoke", add=False)) == 1


@pytest.mark.parametrize(
    ("preset", "given", "table"),
    [("cpu", None, "results/t"), ("smoke", None, "results/t_smoke"), ("smoke", "mine", "mine")],
)
def test_only_the_preset_of_the_kept_table_replaces_it(preset, given, table):
    args = Namespace(preset=preset, cells=Path("runs/t"), out=given and Path(given))
    store.place(args, Path("results/t"))
    assert (args.out, args.cells) == (Path(table), Path("runs/t") / preset)


@pytest.mark.slow
def test_the_whole_smoke_preset(tmp_path):
    script(tmp_path, "--seeds", "1")
    table, smoke = pd.read_csv(tmp_path / "t.csv"), cross_settings.PRESETS["smoke"]
    assert set(table["setting"]) == set(smoke.settings or ())
    assert set(table["method"]) == set(smoke.methods or ())
    page = (tmp_path / "t.md").read_text()
    assert "\n14 cells. " in page and "Fewer seeds" not in page
    assert "## Cost" in page and (tmp_path / "t.png").is_file()


def test_unknown_names_are_refused():
    refused = subprocess.run(
        [sys.executable, str(SCRIPT), "--settings", "nowhere"], capture_output=True, text=True
    )
    assert refused.returncode == 2 and "no setting is called 'nowhere'" in refused.stderr
