"""Sets of properties: every row of the files, missing labels, duplicates, giants."""

import numpy as np
import pytest
from rdkit.Chem import MolFromSmiles

from molrel.data import catalog, facts
from molrel.data.splits import TEST, TRAIN
from molrel.errors import InputError

# rows that parse, unique molecules, rejected rows, targets
SIZES = {
    "bbbp": (2039, 1975, 11, 1),
    "bace": (1513, 1513, 0, 1),
    "clintox": (1487, 1461, 4, 2),
    "sider": (1427, 1427, 0, 27),
    "tox21": (7823, 7823, 8, 12),
    "esol": (1128, 1117, 0, 1),
    "freesolv": (642, 642, 0, 1),
    "lipophilicity": (4200, 4200, 0, 1),
}


@pytest.mark.staged
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (SIZES[n][0] > 4000)) for n in SIZES]
)
def test_moleculenet_keeps_every_row_that_parses(staged, name):
    found = staged(name, max_atoms=500)
    n_rows, n_molecules, n_rejected, n_targets = SIZES[name]
    assert found.examples.labels.shape == (n_rows, n_targets) == (n_rows, len(found.task.targets))
    assert (len(found.molecules), len(found.rejected)) == (n_molecules, n_rejected)
    assert len(found.examples.sides) == 1 and (np.diff(found.rows) > 0).all()
    if found.task.kind != "regression":
        assert set(np.unique(found.examples.labels[~np.isnan(found.examples.labels)])) == {0, 1}


@pytest.mark.staged
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n_rows", "n_targets"), [("toxcast", 8597, 617), ("hiv", 41120, 1), ("muv", 93127, 17)]
)
def test_the_large_sets_load(staged, name, n_rows, n_targets):
    found = staged(name, max_atoms=500)
    assert found.examples.labels.shape == (n_rows, n_targets)


@pytest.mark.staged
def test_missing_labels_are_nan(staged):
    labels = staged("tox21", max_atoms=500).examples.labels
    assert np.isnan(labels).mean() == pytest.approx(0.17, abs=0.005)
    assert not np.isnan(staged("sider", max_atoms=500).examples.labels).any()


@pytest.mark.staged
def test_rows_of_one_molecule_with_other_labels_stay(staged):
    found = staged("clintox", max_atoms=500)
    ids, labels = found.examples.sides[0].ids, found.examples.labels
    repeated = np.flatnonzero(np.bincount(ids) > 1)
    different = [m for m in repeated if len(np.unique(labels[ids == m], axis=0)) > 1]
    assert len(repeated) >= 19 and len(different) >= 19


@pytest.mark.staged
def test_giants_and_molecules_without_bonds_of_sider(staged):
    found = staged("sider", max_atoms=500)
    molecules = [MolFromSmiles(s) for s in found.molecules]
    assert max(m.GetNumAtoms() for m in molecules) == 492
    assert sum(m.GetNumBonds() == 0 for m in molecules) == 31
    reasons = {r.reason for r in staged("sider").rejected}  # with the usual limit of 100 atoms
    assert reasons and all("more than 100" in reason for reason in reasons)


@pytest.mark.staged
def test_moleculeace_has_its_own_division_and_marks_cliffs(staged):
    found = staged("moleculeace/CHEMBL2835_Ki")
    assert found.published is not None
    assert np.bincount(found.published).tolist() == [489, 0, 126]
    assert found.marks["cliff"].sum() == 60
    part = found.take(found.published == TEST)
    assert len(part.marks["cliff"]) == len(part.examples) == 126
    assert part.published is not None and (part.published == TEST).all()


def test_opioid_affinities_need_no_download():
    found = catalog.load("opioid_affinity/delta")
    assert found.published is not None
    assert set(np.unique(found.published)) == {TRAIN, TEST}
    assert found.task.targets == ("pKi",) and 5 < found.examples.labels.mean() < 8


def test_a_domain_with_a_file_of_its_own_needs_no_other(tmp_path, monkeypatch):
    entry = catalog.describe("moleculeace")
    assert list(entry.needed("CHEMBL204_Ki")) == ["moleculeace/CHEMBL204_Ki.csv.gz"]
    assert len(entry.needed()) == len(facts.MOLECULEACE_TARGETS) == 25
    monkeypatch.setenv("MOLREL_DATA", str(tmp_path))
    with pytest.raises(InputError, match="CHEMBL204_Ki.csv.gz") as caught:
        catalog.load("moleculeace/CHEMBL204_Ki")
    assert "CHEMBL233" not in str(caught.value)
