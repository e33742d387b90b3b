"""The codes of Hu et al.: what has no code of its own in theirs has one here, on purpose."""

import numpy as np
import pytest

from molrel.chem.features import FeatureConfig, featurise
from molrel.chem.schemes import HU_SCHEME

CONFIG = FeatureConfig(scheme="hu", picture_size=16, max_atoms=500)


def codes(smiles):
    found = featurise(smiles, CONFIG)
    return found.atom_codes, found.bond_codes


def test_sizes_are_those_of_their_embeddings_and_one_more_for_the_unknown():
    assert HU_SCHEME.atom_sizes == (119, 4) and HU_SCHEME.bond_sizes == (6, 4)


def test_atomic_number_and_chirality():
    atoms, _ = codes("C[C@H](N)O")
    assert sorted(atoms[:, 0].tolist()) == [5, 5, 6, 7]  # Z - 1
    assert sorted(atoms[:, 1].tolist())[-1] in (1, 2)
    assert codes("*C")[0][:, 0].max() == 118  # a dummy atom


def test_bond_types_and_directions():
    bonds = codes("C/C=C/C#N")[1]
    assert set(bonds[:, 0].tolist()) == {0, 1, 2}
    assert set(bonds[:, 1].tolist()) >= {0, 1}
    assert set(codes("c1ccccc1")[1][:, 0].tolist()) == {3}


def test_dative_bonds_are_single():
    bonds = codes("[NH3]->[Cu]")[1]
    assert bonds.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("smiles", ["[He]", "[Na+].[Cl-]"])
def test_molecules_without_bonds(smiles):
    atoms, bonds = codes(smiles)
    assert len(atoms) and bonds.shape == (0, 2)
    assert featurise(smiles, CONFIG).bond_values.shape == (0, 0)


def test_a_giant():
    atoms, bonds = codes("C" * 492)
    assert atoms.shape == (492, 2) and bonds.shape == (982, 2)
    assert featurise("C" * 492, CONFIG).atom_values.shape == (492, 0)
    assert np.array_equal(np.unique(bonds[:, 0]), [0])
