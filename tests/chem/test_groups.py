import numpy as np
import pytest
from chem_cases import ALL
from rdkit import Chem
from rdkit.Chem import Fragments

from molrel.chem.groups import EXAMPLES, GROUP_NAMES, match_groups, nested_groups

FULLERENE = (
    "c12c3c4c5c1c1c6c7c2c2c8c3c3c9c4c4c%10c5c5c1c1c6c6c%11c7c2c2c7c8c3c3c8c9c4c4c9c%10c5c5c1c1c6"
    "c6c%11c2c2c7c3c3c8c4c4c9c5c1c1c6c2c3c41"
)


def present(smiles):
    return {GROUP_NAMES[g] for g in match_groups(Chem.MolFromSmiles(smiles))[:, 0]}


def test_names_are_those_of_rdkit():
    assert len(GROUP_NAMES) == 85
    assert set(GROUP_NAMES) == {name for name in dir(Fragments) if name.startswith("fr_")}


@pytest.mark.parametrize("smiles", [*ALL, FULLERENE, "C" * 60 + "F" * 1])
def test_presence_is_that_of_rdkit(smiles):
    molecule = Chem.MolFromSmiles(smiles)
    assert present(smiles) == {n for n in GROUP_NAMES if getattr(Fragments, n)(molecule) > 0}


def test_presence_is_that_of_rdkit_where_every_group_occurs():
    counts = dict.fromkeys(GROUP_NAMES, 0)
    for smiles in EXAMPLES:
        molecule = Chem.MolFromSmiles(smiles)
        expected = {n for n in GROUP_NAMES if getattr(Fragments, n)(molecule) > 0}
        assert present(smiles) == expected
        for name in expected:
            counts[name] += 1
    assert min(counts.values()) >= 2


def test_atoms_of_aspirin():
    # C0 C1 O2 O3, ring 4-9, C10 O11 O12
    rows = match_groups(Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O"))
    atoms = {n: rows[rows[:, 0] == i, 1].tolist() for i, n in enumerate(GROUP_NAMES)}
    assert atoms["fr_benzene"] == [4, 5, 6, 7, 8, 9]
    assert atoms["fr_ester"] == [0, 1, 2, 3, 4]
    assert atoms["fr_C_O"] == [1, 2, 10, 11]
    assert atoms["fr_COO"] == [9, 10, 11, 12]
    assert atoms["fr_nitrile"] == []
    assert rows.dtype == np.int32
    assert rows.tolist() == sorted(map(list, {tuple(r) for r in rows.tolist()}))


def test_every_atom_of_a_very_symmetric_molecule_is_found():
    rows = match_groups(Chem.MolFromSmiles(FULLERENE))
    benzene = rows[rows[:, 0] == GROUP_NAMES.index("fr_benzene"), 1]
    assert benzene.tolist() == list(range(60))


def test_a_molecule_without_groups():
    assert match_groups(Chem.MolFromSmiles("[He]")).shape == (0, 2)


@pytest.mark.parametrize(
    ("f", "g", "nested"),
    [
        ("fr_COO", "fr_C_O", True),
        ("fr_COO", "fr_COO2", True),
        ("fr_C_O_noCOO", "fr_C_O", True),
        ("fr_phenol", "fr_benzene", True),
        ("fr_phenol", "fr_Ar_OH", True),
        ("fr_ester", "fr_ether", True),
        ("fr_priamide", "fr_amide", True),
        ("fr_methoxy", "fr_ether", True),
        ("fr_alkyl_halide", "fr_halogen", True),
        ("fr_pyridine", "fr_Ar_N", True),
        ("fr_Ar_NH", "fr_Nhpyrrole", True),
        ("fr_nitro_arom", "fr_nitro", True),
        ("fr_benzene", "fr_C_O", False),
        ("fr_ketone", "fr_COO", False),
        ("fr_ester", "fr_amide", False),
        ("fr_ether", "fr_Al_OH", False),
        ("fr_halogen", "fr_benzene", False),
        ("fr_pyridine", "fr_benzene", False),
        ("fr_NH2", "fr_NH1", False),
        ("fr_aniline", "fr_NH2", False),
    ],
)
def test_nested_groups(f, g, nested):
    f, g = GROUP_NAMES.index(f), GROUP_NAMES.index(g)
    assert nested_groups()[f, g] == nested_groups()[g, f] == nested


def test_nested_groups_is_a_cached_symmetric_relation():
    nested = nested_groups()
    assert nested.shape == (85, 85) and nested.dtype == bool and nested.diagonal().all()
    assert nested is nested_groups()
    # Few pairs: most groups remain each other's negatives.
    assert nested.mean() < 0.06
