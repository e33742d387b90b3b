import dataclasses

import numpy as np
import pytest
from chem_cases import ALL, DRUGS
from rdkit import Chem

from molrel.chem.features import (
    FeatureConfig,
    MoleculeFeatures,
    count_flags,
    expand,
    featurise,
)
from molrel.chem.schemes import CGIB_SCHEME
from molrel.chem.smiles import MoleculeError, parse
from molrel.errors import InputError

CONFIG = FeatureConfig()


def atoms(features):
    return expand(features.atom_codes, features.atom_values, CGIB_SCHEME.atom_sizes)


def bonds(features):
    return expand(features.bond_codes, features.bond_values, CGIB_SCHEME.bond_sizes)


def arrays(features: MoleculeFeatures):
    return {k: v for k, v in vars(features).items() if isinstance(v, np.ndarray)}


def assert_same(a: MoleculeFeatures, b: MoleculeFeatures):
    for field in dataclasses.fields(MoleculeFeatures):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, y, err_msg=field.name)
            assert x.dtype == y.dtype
        else:
            assert x == y, field.name


# Written by hand: [places of the ones among the 131 one-hot places], aromatic, atomic mass.
# Blocks start at 0 (atomic number - 1, unknown 100), 101 (total degree, unknown 107),
# 108 (charge -1, -2, 1, 2, 0, unknown), 114 (chiral tag), 119 (hydrogens), 125 (SP, SP2, ...).
ATOMS = {
    "CCO": [
        ([5, 105, 112, 114, 122, 127], 0, 12.011),
        ([5, 105, 112, 114, 121, 127], 0, 12.011),
        ([7, 103, 112, 114, 120, 127], 0, 15.999),
    ],
    "C#N": [
        ([5, 103, 112, 114, 120, 125], 0, 12.011),
        ([6, 102, 112, 114, 119, 125], 0, 14.007),
    ],
    "c1ccsc1": [
        ([5, 104, 112, 114, 120, 126], 1, 12.011),
        ([5, 104, 112, 114, 120, 126], 1, 12.011),
        ([5, 104, 112, 114, 120, 126], 1, 12.011),
        ([15, 103, 112, 114, 119, 126], 1, 32.067),
        ([5, 104, 112, 114, 120, 126], 1, 12.011),
    ],
    # Charges: -1, +1, +2 are known; +3 and -3 are not.
    "[OH-]": [([7, 102, 108, 114, 120, 127], 0, 15.999)],
    "[NH4+]": [([6, 105, 110, 114, 123, 127], 0, 14.007)],
    "[Zn+2]": [([29, 101, 111, 114, 119, 130], 0, 65.39)],
    "[Fe+3]": [([25, 101, 113, 114, 119, 126], 0, 55.845)],  # RDKit calls the bare ion SP2
    "[P-3]": [([14, 101, 113, 114, 119, 127], 0, 30.974)],
    # Elements beyond 100 and dummy atoms are unknown elements.
    "[Lr]": [([100, 101, 112, 114, 119, 130], 0, 262.0)],
    "*": [([100, 101, 112, 114, 119, 130], 0, 0.0)],
}


@pytest.mark.parametrize("smiles", ATOMS)
def test_atoms_against_a_table_written_by_hand(smiles):
    expanded = atoms(featurise(smiles, CONFIG))
    expected = np.zeros((len(ATOMS[smiles]), 133))
    for row, (ones, aromatic, mass) in zip(expected, ATOMS[smiles], strict=True):
        row[ones] = 1
        row[131:] = aromatic, mass / 100
    np.testing.assert_allclose(expanded, expected, atol=2e-5)


def test_rare_places_of_the_atom_features():
    sulfur = atoms(featurise("FS(F)(F)(F)(F)F", CONFIG))[1]
    assert sulfur[107] == 1 and sulfur[129] == 1  # degree 6 is unknown; SP3D2
    phosphorus = atoms(featurise("FP(F)(F)(F)F", CONFIG))[1]
    assert phosphorus[106] == 1 and phosphorus[128] == 1  # degree 5; SP3D
    left, right = (atoms(featurise(s, CONFIG)) for s in ("C[C@H](N)O", "C[C@@H](N)O"))
    # The two tags of a stereocentre, on the same atom, and nothing else that differs.
    assert sorted(np.flatnonzero((left != right).any(0)).tolist()) == [115, 116]


def test_bonds_against_a_table_written_by_hand():
    # F0/C1=C2/Cl3: blocks start at 0 (none, single, double, triple, aromatic) and
    # 5 (no stereo, any, Z, E, cis, trans, unknown); then conjugated, in ring.
    features = featurise("F/C=C/Cl", CONFIG)
    assert features.smiles == "F/C=C/Cl"
    expected = np.zeros((6, 14))
    expected[[0, 1, 4, 5], 1] = 1
    expected[[2, 3], 2] = 1
    expected[[0, 1, 4, 5], 5] = 1
    expected[[2, 3], 5 + 3] = 1
    # directed bonds by receiver: (1->0), (0->1), (2->1), (1->2), (3->2), (2->3)
    assert features.receivers.tolist() == [0, 1, 1, 2, 2, 3]
    assert features.senders.tolist() == [1, 0, 2, 1, 3, 2]
    np.testing.assert_array_equal(bonds(features), expected)


def test_more_bonds():
    ring = bonds(featurise("c1ccccc1", CONFIG))
    assert ring.shape == (12, 14)
    np.testing.assert_array_equal(ring, np.eye(14)[[4, 5, 12, 13]].sum(0)[None].repeat(12, 0))
    triple = bonds(featurise("C#N", CONFIG))
    np.testing.assert_array_equal(triple, np.eye(14)[[3, 5]].sum(0)[None].repeat(2, 0))
    z = bonds(featurise("F/C=C\\Cl", CONFIG))
    assert z[:, 5 + 2].sum() == 2 and z[:, 5 + 3].sum() == 0


def test_other_bond_types_have_no_one_hot_place():
    features = featurise("[NH3]->[Pt](Cl)Cl", CONFIG)
    none = features.bond_codes[:, 0] == -1
    assert none.sum() == 2
    expanded = bonds(features)
    assert (expanded[none, :5] == 0).all() and (expanded[~none, :5].sum(1) == 1).all()
    assert (expanded[:, 0] == 0).all()  # the place for "no bond"


def test_expand_of_code_minus_one_and_of_nothing():
    out = expand(np.array([[1, -1]]), np.array([[0.5]], np.float32), (3, 2))
    assert out.tolist() == [[0, 1, 0, 0, 0, 0.5]] and out.dtype == np.float32
    assert expand(np.zeros((0, 2), int), np.zeros((0, 2)), (5, 7)).shape == (0, 14)


@pytest.mark.parametrize("smiles", ALL)
def test_shapes_types_and_ranges(smiles):
    f = featurise(smiles, CONFIG)
    parsed = parse(smiles)
    assert (f.smiles, f.flags) == (parsed.smiles, parsed.flags)
    n, e = parsed.n_atoms, 2 * Chem.MolFromSmiles(smiles).GetNumBonds()
    fragments = len(f.fragment_type)
    expected = {
        "atom_codes": ((n, 6), np.int16),
        "atom_values": ((n, 2), np.float32),
        "bond_codes": ((e, 2), np.int16),
        "bond_values": ((e, 2), np.float32),
        "senders": ((e,), np.int32),
        "receivers": ((e,), np.int32),
        "fragment_of_atom": ((n,), np.int32),
        "fragment_type": ((fragments,), np.int16),
        "fragment_bonds": ((len(f.fragment_bonds), 2), np.int32),
        "group_atoms": ((len(f.group_atoms), 2), np.int32),
        "picture": ((64, 64, 3), np.uint8),
        "positions": ((n, 2), np.float32),
        "fingerprint": ((2048,), np.uint8),
    }
    assert {k: (v.shape, v.dtype) for k, v in arrays(f).items()} == expected
    assert all(not v.flags.writeable and v.flags.c_contiguous for v in arrays(f).values())
    assert all(np.isfinite(v).all() for v in arrays(f).values())
    assert atoms(f).shape == (n, 133) and bonds(f).shape == (e, 14)
    assert (atoms(f)[:, :131].sum(1) == 6).all()
    directed = list(zip(f.receivers.tolist(), f.senders.tolist(), strict=True))
    assert directed == sorted(set(directed)) == sorted((s, r) for r, s in directed)


@pytest.mark.parametrize("smiles", DRUGS)
def test_features_do_not_depend_on_the_spelling(smiles):
    reference = featurise(smiles, CONFIG)
    molecule = Chem.MolFromSmiles(smiles)
    for spelling in Chem.MolToRandomSmilesVect(molecule, 3, randomSeed=11):
        assert_same(featurise(spelling, CONFIG), reference)


def test_atoms_are_in_the_order_of_the_canonical_smiles():
    f = featurise("OCC", CONFIG)
    assert f.smiles == "CCO"
    assert f.atom_codes[:, 0].tolist() == [5, 5, 7]


def test_config_is_used():
    f = featurise("CCO", FeatureConfig(picture_size=96, fingerprint_bits=64, fingerprint_radius=0))
    assert f.picture.shape == (96, 96, 3) and f.fingerprint.shape == (64,)
    assert f.fingerprint.sum() == 3  # radius 0: one substructure an atom
    with pytest.raises(MoleculeError, match="has 3 atoms, more than 2: 'CCO'"):
        featurise("CCO", FeatureConfig(max_atoms=2))


@pytest.mark.parametrize(
    ("field", "value"), [("scheme", "other"), ("picture_size", 15), ("max_atoms", 0)]
)
def test_impossible_configs_are_refused(field, value):
    with pytest.raises(InputError, match=str(value)):
        FeatureConfig(**{field: value})


def test_any_failure_names_the_molecule(monkeypatch):
    with pytest.raises(MoleculeError, match="cannot be read as SMILES: 'C1CC'"):
        featurise("C1CC", CONFIG)

    def fail(*_):
        raise RuntimeError("invariant violated")

    monkeypatch.setattr("molrel.chem.features.draw", fail)
    with pytest.raises(MoleculeError, match="RuntimeError: invariant violated.*'OCC'"):
        featurise("OCC", CONFIG)


def test_count_flags():
    features = [featurise(s, CONFIG) for s in ("CCO", "[Na+].[Cl-]", "[He]", "C.C")]
    assert count_flags(features) == {"salt": 2, "metal": 1, "dative": 0, "bondless": 3}
    assert count_flags([]) == {"salt": 0, "metal": 0, "dative": 0, "bondless": 0}
