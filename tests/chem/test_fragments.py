import numpy as np
import pytest
from chem_cases import ALL
from rdkit import Chem
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from molrel.chem.fragments import TYPE_NAMES, brics_fragments, fragment_types


def fragments(smiles):
    molecule = Chem.MolFromSmiles(smiles)
    of_atom, bonds = brics_fragments(molecule)
    names = [TYPE_NAMES[t] for t in fragment_types(molecule, of_atom)]
    return of_atom.tolist(), bonds.tolist(), names


def test_aspirin():
    # Cut between the ester oxygen and its carbonyl and ring, and between ring and acid.
    of_atom, bonds, names = fragments("CC(=O)Oc1ccccc1C(=O)O")
    assert of_atom == [0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3]
    assert bonds == [[0, 1], [1, 2], [2, 3]]
    assert names == [
        "chain, 3-5 atoms, O",
        "chain, 1-2 atoms, O",
        "aromatic ring, 6-9 atoms, no heteroatom",
        "chain, 3-5 atoms, O",
    ]


def test_cuts_are_made_once_and_not_inside_the_pieces():
    # Cut again, the piece CC(=O)N of the amide would lose its nitrogen's other side.
    of_atom, bonds, _ = fragments("CCCOCCC(=O)c1ccccc1")
    assert of_atom == [0, 0, 0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3]
    assert bonds == [[0, 1], [1, 2], [2, 3]]


@pytest.mark.parametrize(
    ("smiles", "names"),
    [
        ("[Na+].[Cl-]", ["chain, 1-2 atoms, mixed", "chain, 1-2 atoms, halogen"]),
        ("C1CCCCCCCCC1", ["aliphatic ring, 10 or more atoms, no heteroatom"]),
        ("c1ccc2[nH]ccc2c1", ["aromatic ring, 6-9 atoms, N"]),
        ("C1CS1", ["aliphatic ring, 3-5 atoms, S/P"]),
        ("NO", ["chain, 1-2 atoms, mixed"]),
        ("C[N+](=O)[O-]", ["chain, 3-5 atoms, O"]),
        ("[H][H]", ["chain, 1-2 atoms, no heteroatom"]),
        ("FC(F)(F)O", ["chain, 3-5 atoms, halogen"]),
    ],
)
def test_types(smiles, names):
    assert fragments(smiles)[2] == names


def test_there_are_72_different_types():
    assert len(TYPE_NAMES) == len(set(TYPE_NAMES)) == 3 * 4 * 6


@pytest.mark.parametrize("smiles", ALL)
def test_fragments_partition_the_molecule_and_keep_rings_whole(smiles):
    molecule = Chem.MolFromSmiles(smiles)
    of_atom, bonds = brics_fragments(molecule)
    types = fragment_types(molecule, of_atom)
    n = of_atom.max() + 1
    assert len(of_atom) == molecule.GetNumAtoms() and types.shape == (n,)
    assert types.dtype == np.int16 and of_atom.dtype == bonds.dtype == np.int32
    first = [of_atom.tolist().index(f) for f in range(n)]
    assert first == sorted(first)
    crossing = []
    for bond in molecule.GetBonds():
        ends = sorted((of_atom[bond.GetBeginAtomIdx()], of_atom[bond.GetEndAtomIdx()]))
        if ends[0] != ends[1]:
            assert not bond.IsInRing()
            crossing.append([int(e) for e in ends])
    assert sorted(crossing) == bonds.tolist()
    # A forest with one tree for each component of the molecule.
    graph = coo_array((np.ones(len(bonds)), bonds.T), shape=(n, n))
    components = connected_components(graph, directed=False)[0]
    assert components == len(Chem.GetMolFrags(molecule)) == n - len(bonds)
