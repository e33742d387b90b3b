import numpy as np
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

from molrel.chem.fingerprints import morgan_counts


def test_counts_of_a_chain():
    # Pentane, radius 0: two CH3 and three CH2.
    counts = morgan_counts(Chem.MolFromSmiles("CCCCC"), radius=0, bits=2048)
    assert sorted(counts[counts > 0].tolist()) == [2, 3]


def test_agrees_with_sparse_counts_and_saturates():
    molecule = Chem.MolFromSmiles("C" * 400)
    counts = morgan_counts(molecule, radius=2, bits=512)
    sparse = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=512)
    expected = np.zeros(512, int)
    for bit, count in sparse.GetCountFingerprint(molecule).GetNonzeroElements().items():
        expected[bit] = count
    assert expected.max() > 255
    assert counts.dtype == np.uint8 and counts.shape == (512,)
    assert np.array_equal(counts, np.minimum(expected, 255))
