"""Run folders of earlier versions are read, and score what they scored or say why not.

A folder of a new version (config.json, best/ and predictions.csv of a finished run) is added with

    molrel train siamese --data pairs.csv --smiles-columns a b --label-column y --seeds 0 1 \\
        --method.width 8 --method.depth 1 --train.steps 60 --train.evaluate-every 20 \\
        --train.source-molecules 6 --out run_VERSION

and none is ever changed.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from molrel.cli import main
from molrel.errors import InputError
from molrel.runs import load_run

RUNS = sorted((Path(__file__).parent / "golden").iterdir())


OTHER_NETWORKS = {"run_0.1.0"}  # written before molecules were normalised across one another


@pytest.mark.parametrize("folder", RUNS, ids=lambda p: p.name)
def test_an_earlier_run_scores_what_it_scored(folder, capsys):
    frame = pd.read_csv(folder / "predictions.csv")
    pairs = list(zip(frame["smiles_a"], frame["smiles_b"]))
    assert main(["evaluate", str(folder)]) == 0
    assert "AUROC" in capsys.readouterr().out
    if folder.name in OTHER_NETWORKS:
        with pytest.raises(InputError, match=r"molrel 0\.1\.0, whose network .* train again"):
            load_run(folder).predict(pairs)
        with pytest.raises(InputError, match=r"molrel 0\.1\.0"):
            load_run(folder).embed(["CCO"])
        return
    found = load_run(folder).predict(pairs)
    assert (found["error"] == "").all()
    np.testing.assert_allclose(found["score"], frame["mean"], atol=1e-5)
    np.testing.assert_allclose(found["spread"], frame["spread"], atol=1e-5)
    assert np.ptp(found["score"]) > 0.01
