"""Single molecules from config to report: splits, strata, several targets, use of the run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig, Experiment, check
from molrel.config_files import load_config_file
from molrel.data import catalog
from molrel.data.splits import TEST
from molrel.divide import divide
from molrel.errors import InputError
from molrel.evaluate.selection import selection_metrics
from molrel.inference import evaluate_run, predict_csv
from molrel.methods.molecule import MoleculeGNNConfig
from molrel.methods.siamese import SiameseConfig
from molrel.methods.topexpert import TopExpertConfig
from molrel.prepare import prepare
from molrel.runner import run
from molrel.train.settings import OptimiserConfig, TrainConfig

CONFIGS = Path(__file__).parents[1] / "configs"
FEATURES = FeatureConfig(scheme="hu", picture_size=16, max_atoms=500)
RECEPTOR = Experiment(
    name="receptor",
    data=DataConfig(source="opioid_affinity/delta", target=None, split="published"),
    features=FEATURES,
    method=MoleculeGNNConfig(width=16, depth=2),
    optimiser=OptimiserConfig(learning_rate=1e-2, clip=0.0, schedule="constant"),
    train=TrainConfig(epochs=2, source_examples=512, evaluate_every=1, replicates=5),
    seeds=(0, 1),
)


def staged_or_skip(name):
    try:
        return catalog.load(name, max_atoms=500)
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def receptor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("receptor") / "run"
    return folder, run(RECEPTOR, folder)


def test_a_regression_of_single_molecules_is_trained_and_reported(receptor):
    folder, rows = receptor
    found = {(r["method"], r["split"], r["stratum"], r["metric"]): r["mean"] for r in rows}
    assert found["receptor", "source-test", "all", "rmse"] < 1.6
    assert found["morgan + random forest", "source-test", "all", "r2"] > 0.5
    assert {s for _, _, s, _ in found} >= {"seen scaffold", "new scaffold"}
    notes = json.loads((folder / "report.json").read_text())["notes"]
    assert any("published" in note for note in notes)
    assert not any("DisTrans" in note or "target's pairs" in note for note in notes)
    assert (folder / "curves.png").stat().st_size > 20_000
    frame = pd.read_csv(folder / "predictions.csv")
    assert set(frame["split"]) == {"source-valid", "source-test"} and "smiles_b" not in frame


def test_epochs_are_counted_in_steps(receptor):
    lines = (receptor[0] / "metrics.jsonl").read_text().splitlines()
    steps = sorted({json.loads(line)["step"] for line in lines})
    n_train = len(divide(RECEPTOR.data, max_atoms=500).parts["train"])
    each = -(-n_train // 512)
    assert steps == [each, 2 * each]


def test_such_a_run_scores_files_and_other_sets(receptor, tmp_path):
    folder = receptor[0]
    (tmp_path / "in.csv").write_text("smiles\nCCO\nnot smiles\nc1ccccc1\n")
    with pytest.raises(InputError, match="1 molecules a row"):
        predict_csv(folder, tmp_path / "in.csv", tmp_path / "out.csv", ["smiles", "other"])
    counts = predict_csv(folder, tmp_path / "in.csv", tmp_path / "out.csv")
    assert counts == {"scored": 2, "failed": 1}
    rows = evaluate_run(folder, data="opioid_affinity/kappa")
    assert {r["stratum"] for r in rows} == {"all", "seen scaffold", "new scaffold"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experts": 0}, "method.experts"),
        ({"gate_width": 0}, "method.gate_width"),
        ({"temperature": 0.0}, "method.temperature"),
        ({"final_temperature": -1.0}, "method.final_temperature"),
        ({"dropout": 1.0}, "method.dropout"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    config = replace(RECEPTOR, method=replace(TopExpertConfig(), **changes))
    with pytest.raises(InputError, match=message):
        check(config)
    with pytest.raises(InputError, match="features.scheme"):
        check(replace(RECEPTOR, features=FeatureConfig()))


def test_methods_of_pairs_refuse_single_molecules(tmp_path):
    config = replace(RECEPTOR, method=SiameseConfig(), features=FeatureConfig())
    with pytest.raises(InputError, match="takes examples of 2 molecules"):
        run(config, tmp_path / "run")


def test_published_split_and_what_cannot_be_split():
    published = catalog.load("opioid_affinity/delta", max_atoms=500).published
    assert published is not None
    divided = divide(RECEPTOR.data, max_atoms=500)
    assert len(divided.parts["test"]) == (published == TEST).sum()
    for split, source, message in (
        ("published", "mixtures/hydrocarbons", "do not divide"),
        ("deterministic_scaffold", "mixtures/hydrocarbons", "single molecules"),
    ):
        data = DataConfig(source=source, target=None, split=split)
        with pytest.raises(InputError, match=message):
            divide(data, max_atoms=500)


@pytest.mark.staged
def test_cliffs_follow_their_examples():
    staged_or_skip("moleculeace/CHEMBL2835_Ki")
    data = DataConfig(source="moleculeace/CHEMBL2835_Ki", target=None, split="published")
    divided = divide(data, max_atoms=500)
    sizes = {name: len(part) for name, part in divided.parts.items()}
    assert {name: len(m["cliff"]) for name, m in divided.marks.items()} == sizes
    assert sum(m["cliff"].sum() for m in divided.marks.values()) == 60


@pytest.mark.slow
@pytest.mark.staged
def test_several_targets_from_config_to_report_and_file(tmp_path):
    staged_or_skip("clintox")
    config = load_config_file(CONFIGS / "topexpert.py")
    config = replace(
        config,
        data=replace(config.data, source="clintox"),
        method=TopExpertConfig(width=16, depth=2),
        train=replace(config.train, epochs=1, replicates=5),
        seeds=(0,),
    )
    rows = run(config, tmp_path / "run")
    metrics = {r["metric"] for r in rows if r["method"] == config.name}
    assert metrics == {"auroc", "ap", "brier"}
    forest = [r for r in rows if r["method"] == "morgan + random forest"]
    assert next(r for r in forest if r["metric"] == "auroc")["n_examples"] == 149
    frame = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert set(frame["target"]) == {"FDA_APPROVED", "CT_TOX"}
    (tmp_path / "in.csv").write_text("smiles,name\nCCO,a\nc1ccccc1,b\n")
    predict_csv(tmp_path / "run", tmp_path / "in.csv", tmp_path / "out.csv")
    columns = list(pd.read_csv(tmp_path / "out.csv"))
    assert columns[:4] == ["smiles", "name", "score FDA_APPROVED", "spread FDA_APPROVED"]
    with pytest.raises(InputError, match="targets"):
        evaluate_run(tmp_path / "run", data="sider")


@pytest.mark.staged
def test_scaffolds_of_valid_and_test_have_no_number():
    staged_or_skip("bace")
    config = load_config_file(CONFIGS / "topexpert.py")
    prepared = prepare(config, needs=config.method.needs)
    numbers = np.asarray(prepared.table.scaffolds)
    train_ids = prepared.source["train"].sides[0].ids
    assert (numbers[train_ids] >= 0).all() and prepared.table.n_scaffolds == 436
    for part in ("valid", "test"):
        assert (numbers[prepared.source[part].sides[0].ids] == -1).all()


def test_selection_is_the_mean_over_defined_targets():
    labels = np.array([[0, 1, 0], [1, 1, np.nan], [0, 1, 1], [1, 1, 0]], float)
    scores = np.array([[0.1, 0.5, 0.2], [0.9, 0.5, 0.1], [0.2, 0.5, 0.9], [0.8, 0.5, 0.95]])
    found = selection_metrics(labels, scores, "multilabel")
    assert found["selection"] == found["auroc"] == pytest.approx((1 + 0.5) / 2)
    regression = selection_metrics(labels[:, :2], scores[:, :2], "regression")
    rmse = np.sqrt(((labels - scores)[:, :2] ** 2).mean(0)).mean()
    assert regression["selection"] == pytest.approx(-rmse)
