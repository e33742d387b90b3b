"""The examples, run from a folder outside the repository."""

import json
import runpy
from pathlib import Path

import pandas as pd
import pytest
from trained import ROOT

from molrel.cli import main

EXAMPLES = ROOT / "examples"
SHORT = ["--train.steps", "4", "--train.evaluate-every", "2", "--train.replicates", "5"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_an_atom_encoder_of_ones_own():
    config, run = EXAMPLES / "atom_encoder.py", Path("run")
    flags = ["--method.branches", "graph", "--method.atoms.steps", "1", "--seeds", "0"]
    assert main(["train", str(config), "--out", str(run), *flags, *SHORT]) == 0
    stored = json.loads((run / "config.json").read_text())["experiment"]["method"]
    assert stored["type"] == "molrel.methods.distrans:DisTransConfig"
    assert stored["atoms"] == {"type": "config.py:NeighboursConfig", "steps": 1}
    assert (run / "config.py").read_text() == config.read_text()
    Path("pairs.csv").write_text("smiles_a,smiles_b\nCCO,CCC\n")
    predict = ["predict", str(run), "--input", "pairs.csv", "--output", "scored.csv"]
    assert main(predict) == 2
    assert main([*predict, "--trust-code"]) == 0


def test_a_method_of_ones_own_is_trained_resumed_swept_and_predicts():
    config = str(EXAMPLES / "own_method.py")
    train = ["train", config, "--out", "run", "--seeds", "0", "1", *SHORT]
    assert main(train) == 0
    before = Path("run/predictions.csv").read_bytes()
    assert main([*train, "--resume"]) == 0
    assert Path("run/predictions.csv").read_bytes() == before
    Path("pairs.csv").write_text("smiles_a,smiles_b\nCCO,CCC\n")
    predict = ["predict", "run", "--input", "pairs.csv", "--output", "scored.csv"]
    assert main([*predict, "--trust-code"]) == 0
    assert 0 < pd.read_csv("scored.csv")["score"][0] < 1
    ablate = ["ablate", config, "--grid", "method.penalty=0,0.5", "--seeds", "2", "--out", "sweep"]
    assert main([*ablate, "--set", "train.steps=4", "--replicates", "5"]) == 0
    table = pd.read_csv("sweep/table.csv")
    assert table["method.penalty"].tolist() == [0.0, 0.5] and table["mean"].notna().all()
    assert table["difference"].isna().tolist() == [True, False]


def test_a_data_frame_is_enough(capsys):
    runpy.run_path(str(EXAMPLES / "from_frame.py"), run_name="__main__")
    assert Path("runs/from_frame/report.md").is_file()
    printed = capsys.readouterr().out
    assert "(3, 2, " in printed and "partner: " in printed


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_what_a_user_writes_is_short(path):
    code = [line for line in path.read_text().split('"""', 2)[2].splitlines() if line.strip()]
    assert len([line for line in code if not line.startswith(("import ", "from "))]) <= 25
