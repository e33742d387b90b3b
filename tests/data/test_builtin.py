# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""The built-in sets: counts, units and sanity of what they mean."""

import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from molrel.data import builtin
from molrel.data.builtin import hydrocarbon, ln_henry, package_folder
from molrel.errors import InputError

read_mixtures, read_henry = cache(builtin.read_mixtures), cache(builtin.read_henry)


def find(dataset, first, second):
    """Labels of the examples of two SMILES in this order of sides."""
    sides = [np.array(dataset.molecules, object)[s.ids] for s in dataset.examples.sides]
    rows = (sides[0] == first) & (sides[1] == second)
    return dataset.examples.labels[rows, 0].tolist()


def test_mixtures_have_the_counts_that_are_published_with_molrel():
    hydrocarbons, heteroatoms = read_mixtures("hydrocarbons"), read_mixtures("heteroatoms")
    assert (len(hydrocarbons.examples), len(hydrocarbons.molecules)) == (75_073, 389)
    assert (len(heteroatoms.examples), len(heteroatoms.molecules)) == (10_883, 419)
    assert hydrocarbons.examples.labels.sum() == 21_743  # 29.0 %
    assert heteroatoms.examples.labels.sum() == 5_612  # 51.6 %
    for d in (hydrocarbons, heteroatoms):
        assert d.task.symmetric and d.task.kind == "binary" and not d.rejected
        assert "computed" in d.note
        pairs = np.sort(np.stack([s.ids for s in d.examples.sides], 1), axis=1)
        assert len(np.unique(pairs, axis=0)) == len(pairs)
        assert len(np.unique(d.rows)) == len(d.rows)


def test_mixture_domains_are_what_they_are_called():
    d = read_mixtures("heteroatoms")
    flags = np.array([hydrocarbon(s) for s in d.molecules])
    assert (~flags).sum() == 30
    assert (sum(flags[s.ids].astype(int) for s in d.examples.sides) == 1).all()
    assert all(hydrocarbon(s) for s in read_mixtures("hydrocarbons").molecules)


def test_a_known_mixture():
    # E-PPR78: methane-butane 0.0203, ethane-butane 0.0003.
    d = read_mixtures("hydrocarbons")
    assert find(d, "C", "CCCC") + find(d, "CCCC", "C") == [1]
    assert find(d, "CC", "CCCC") + find(d, "CCCC", "CC") == [0]


@pytest.mark.parametrize(
    "smiles, expected",
    [
        ("C", True),
        ("c1ccccc1", True),
        ("[2H]C", True),
        ("[HH]", False),
        ("CO", False),
        ("?", False),
    ],
)
def test_hydrocarbons(smiles, expected):
    assert hydrocarbon(smiles) is expected


def test_henry_in_water_agrees_with_handbooks():
    """Handbook values of H in GPa at 298.15 K; most are known to about 10 %."""
    water = read_henry("water")
    for smiles, gigapascal in [("O=O", 4.4), ("N#N", 8.6), ("C", 4.0), ("O=C=O", 0.163)]:
        (value,) = find(water, smiles, "O")
        assert np.exp(value) / 1e9 == pytest.approx(gigapascal, rel=0.15)
    # Ammonia dissolves far better than oxygen: a small constant.
    assert find(water, "N", "O")[0] < find(water, "O=O", "O")[0] - 9


def test_henry_of_the_equation_of_state():
    computed = read_henry("computed")
    # N2 and CO2 in hexane: about 7.2e7 and 8.5e6 Pa.
    assert np.exp(find(computed, "N#N", "CCCCCC")[0]) == pytest.approx(7.2e7, rel=0.25)
    assert np.exp(find(computed, "O=C=O", "CCCCCC")[0]) == pytest.approx(8.5e6, rel=0.25)
    # Sides are (solute, solvent): benzene is only ever a solvent.
    assert find(computed, "O=O", "c1ccccc1") and not find(computed, "c1ccccc1", "O")


def test_henry_counts():
    computed, water = read_henry("computed"), read_henry("water")
    assert (len(computed.examples), len(computed.rejected)) == (19_536, 494)
    assert (len(water.examples), len(water.rejected)) == (3_669, 738)
    solvents = {water.molecules[i] for i in water.examples.sides[1].ids}
    assert solvents == {"O"}
    for d in (computed, water):
        assert d.task.kind == "regression" and not d.task.symmetric
        assert np.isfinite(d.examples.labels).all()
    # Extrapolated constants reached -80 and 62.
    assert 0 < computed.examples.labels.min() and computed.examples.labels.max() < 37
    assert {r.reason for r in water.rejected} == {"no structure is known"}
    assert [r.row for r in water.rejected] == sorted(r.row for r in water.rejected)


def test_temperature_dependence_has_the_documented_form():
    t = 300.0
    terms = [1, 1 / t, np.log(t), t, 1 / t**2, t**2]
    for i, term in enumerate(terms):
        assert ln_henry(np.eye(6)[i : i + 1], t)[0] == pytest.approx(term)


def test_unknown_domains_and_packages():
    for read in (read_mixtures, read_henry):
        with pytest.raises(InputError, match="no domain 'x'"):
            read("x")
    with pytest.raises(InputError, match=r"pip install .molrel\[demo\]"):
        package_folder("no_such_package")


def test_data_packages_are_read_without_being_imported():
    """Importing ``thermo`` takes many seconds."""
    code = (
        "import sys; from molrel.data import catalog; catalog.load('mixtures/hydrocarbons');"
        "print('thermo' in sys.modules, 'chemicals' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]
