"""Run folders of earlier versions are read, and score what they scored.

A folder of a new version (config.json, best/ and predictions.csv of a finished run) is added with

    molrel train siamese --data pairs.csv --smiles-columns a b --label-column y --seeds 0 1 \\
        --method.width 8 --method.depth 1 --train.steps 6 --train.evaluate-every 3 --out run_VERSION

and none is ever changed.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from molrel.cli import main
from molrel.runs import load_run

RUNS = sorted((Path(__file__).parent / "golden").iterdir())


@pytest.mark.parametrize("folder", RUNS, ids=lambda p: p.name)
def test_an_earlier_run_scores_what_it_scored(folder, capsys):
    frame = pd.read_csv(folder / "predictions.csv")
    found = load_run(folder).predict(list(zip(frame["smiles_a"], frame["smiles_b"])))
    assert (found["error"] == "").all()
    np.testing.assert_allclose(found["score"], frame["mean"], atol=1e-5)
    np.testing.assert_allclose(found["spread"], frame["spread"], atol=1e-5)
    assert np.ptp(found["score"]) > 0.01
    assert main(["evaluate", str(folder)]) == 0
    assert "AUROC" in capsys.readouterr().out
