"""The property benchmark: keys, floors, resumption and the table."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import property_cells
import property_settings
import property_tables
import pytest
import store

from molrel.data import catalog
from molrel.errors import InputError
from molrel.methods.molecule import MoleculeGNNConfig
from molrel.methods.topexpert import TopExpertConfig

SCRIPT = Path(property_cells.__file__).with_name("property.py")
PRESET = property_settings.PRESETS["smoke"]
SET = "opioid_affinity/delta"


def test_names_are_settings():
    for preset in property_settings.PRESETS.values():
        for name in preset.methods:
            if name in property_settings.FLOORS:
                continue
            config = property_settings.experiment(preset, "bace", name)
            assert isinstance(config.method, MoleculeGNNConfig | TopExpertConfig)
            assert (config.method.width, config.method.depth) == (preset.width, preset.depth)
    released = property_settings.network(PRESET, "GCN, TopExpert")
    annealed = property_settings.network(PRESET, "GCN, TopExpert annealed")
    assert released == TopExpertConfig(convolution="gcn", width=16, depth=2)
    assert (annealed.final_temperature, annealed.weights.alignment) == (0.1, 0.1)
    paper = property_settings.PRESETS["paper"]
    rates = [
        property_settings.experiment(paper, "bace", name).optimiser.learning_rate
        for name in ("GIN", "GIN, TopExpert", "GIN, TopExpert annealed")
    ]
    assert rates == [1e-3, 1e-4, 1e-3]


def test_keys_differ_where_figures_do():
    base = (PRESET, SET, "GIN", 0)
    changed = [
        (replace(PRESET, width=17), SET, "GIN", 0),
        (PRESET, "bace", "GIN", 0),
        (PRESET, SET, "GCN", 0),
        (PRESET, SET, "GIN, TopExpert", 0),
        (PRESET, SET, "GIN", 1),
        (PRESET, SET, "ECFP + SVM", 0),
    ]
    keys = {property_cells.cell_key(*each) for each in (base, *changed)}
    assert len(keys) == 1 + len(changed)
    assert property_cells.cell_key(*base) == property_cells.cell_key(*base)


@pytest.mark.slow
def test_script_computes_resumes_and_writes_the_table(tmp_path):
    folder = tmp_path / "cells" / "smoke"
    property_cells.work(PRESET, SET, ["floor: mean label"], [0, 1], folder)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("floor*-0-*.json")}
    command = [sys.executable, str(SCRIPT), "--preset", "smoke", "--workers", "1", "--seeds", "2"]
    command += ["--cells", str(tmp_path / "cells"), "--out", str(tmp_path / "t"), "--methods"]
    command += ["floor: mean label", "ECFP + SVM", "GIN"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "3 cells to compute" in done.stdout
    assert all(p.stat().st_mtime_ns == t for p, t in before.items()) and len(before) == 1
    table = pd.read_csv(tmp_path / "t.csv").set_index(["method", "stratum", "epoch", "metric"])
    means = table["mean"]
    assert means["ECFP + SVM", "all", "best", "rmse"] < 0.75
    assert means["floor: mean label", "all", "best", "rmse"] > 1.2
    assert np.isfinite(table.loc[("GIN", "all", "last", "rmse"), "sd"])
    assert ("GIN", "new scaffold", "best", "rmse") in table.index
    page = (tmp_path / "t.md").read_text()
    assert "\n4 cells. " in page and "published split (" in page and "## Cost" in page


def test_more_sets_than_methods_turn_the_table():
    def row(name, method, mean, sd=0.04):
        return {"set": name, "method": method, "mean": mean, "sd": sd}

    rows = [row("b", "GIN", 0.5), row("b", "SVM", 0.25, np.nan), row("a", "GIN", 0.75)]
    lines = property_tables.wide(pd.DataFrame(rows), 100).splitlines()
    assert lines[0] == "| method | b | a | mean |"
    assert lines[2:] == ["| GIN | 50.0 ± 4.0 | 75.0 ± 4.0 | 62.5 |", "| SVM | 25.0 |  |  |"]
    lines = property_tables.wide(pd.DataFrame([*rows, row("c", "GIN", 1.0)]), 1).splitlines()
    assert lines[0] == "| set | GIN | SVM |"
    assert lines[2] == "| b | 0.500 ± 0.040 | 0.250 |"
    assert lines[-1] == "| mean | 0.750 |  |"


def test_unknown_names_are_refused():
    refused = subprocess.run(
        [sys.executable, str(SCRIPT), "--sets", "nowhere"], capture_output=True, text=True
    )
    assert refused.returncode == 2 and "no set is called 'nowhere'" in refused.stderr


def floor_values(tmp_path, set_name, method, n_seeds):
    """Mean over seeds of the main metric of a floor, in its table."""
    try:
        catalog.load(set_name, max_atoms=500)
    except InputError as error:
        pytest.skip(str(error))
    property_cells.work(PRESET, set_name, [method], range(n_seeds), tmp_path)
    about = json.loads(property_cells.about_path(tmp_path, set_name).read_text())
    (job,) = property_cells.jobs(PRESET, set_name, [method], range(n_seeds), tmp_path)
    rows = property_tables.method_rows(about, store.read_cells(job.paths), [], 5)
    main = property_tables.main_metric(about["kind"])
    return {r["stratum"]: r["mean"] for r in rows if r["metric"] == main}


@pytest.mark.staged
@pytest.mark.parametrize(
    ("set_name", "published"),
    [
        ("bace", 0.846),
        pytest.param("bbbp", 0.694, marks=pytest.mark.slow),
        pytest.param("clintox", 0.696, marks=pytest.mark.slow),
        pytest.param("sider", 0.635, marks=pytest.mark.slow),
        pytest.param("tox21", 0.712, marks=pytest.mark.slow),
    ],
)
def test_the_forest_is_as_good_as_elsewhere(tmp_path, set_name, published):
    """Within two points: set, labels, split and metric are those of other people."""
    found = floor_values(tmp_path, set_name, "ECFP + random forest", 2)
    assert found["all"] == pytest.approx(published, abs=0.02)


@pytest.mark.staged
def test_the_support_vector_machine_is_as_good_as_elsewhere(tmp_path):
    found = floor_values(tmp_path, "moleculeace/CHEMBL2835_Ki", "ECFP + SVM", 1)
    assert found["all"] == pytest.approx(0.420, abs=0.02)
    assert found["cliff"] == pytest.approx(0.743, abs=0.03)
