import numpy as np
import pytest
from chem_cases import ALL
from rdkit import Chem

from molrel.chem.pictures import draw


def drawn(smiles, size):
    return draw(Chem.MolFromSmiles(smiles), size)


def darkest(picture, positions, radius):
    """Smallest channel value within radius pixels of each position."""
    size = len(picture)
    ink = picture.min(axis=-1)
    centres = np.clip((positions * size).astype(int), 0, size - 1)
    windows = [
        ink[max(0, r - radius) : r + radius + 1, max(0, c - radius) : c + radius + 1]
        for r, c in centres
    ]
    return np.array([window.min() for window in windows])


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("smiles", ALL)
def test_every_molecule_has_ink_at_its_atoms(smiles, size):
    picture, positions = drawn(smiles, size)
    assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
    assert positions.shape == (Chem.MolFromSmiles(smiles).GetNumAtoms(), 2)
    assert positions.dtype == np.float32
    assert positions.min() >= 0 and positions.max() <= 1
    assert (darkest(picture, positions, max(2, size // 28)) < 200).all()
    # Background is white, and there is background.
    assert (picture == 255).all(axis=-1).mean() > 0.5


def test_positions_are_row_then_column():
    # The chlorine is the only green thing: its label must lie where its position says.
    for smiles in ("CCCCCCCl", "Clc1ccc(CCCCC)cc1", "CC(C)(C)CC(Cl)C"):
        picture, positions = drawn(smiles, 224)
        signed = picture.astype(int)
        green = (signed[..., 1] - signed[..., 0] > 60) & (signed[..., 1] - signed[..., 2] > 60)
        centre = np.argwhere(green).mean(axis=0) / 224
        chlorine = [a.GetSymbol() for a in Chem.MolFromSmiles(smiles).GetAtoms()].index("Cl")
        assert np.abs(centre - positions[chlorine]).max() < 0.08
        others = np.delete(positions, chlorine, axis=0)
        assert (np.linalg.norm(others - centre, axis=1) > 0.08).all()


def test_mirroring_positions_does_not_fit():
    # The check above can fail: an asymmetric molecule's transposed positions miss the ink.
    picture, positions = drawn("CC(C)CCCOc1ccc(Cl)cc1", 224)
    assert (darkest(picture, positions[:, ::-1], 8) > 200).any()


def test_heteroatoms_are_coloured_and_rings_kekulised():
    def colours(smiles):
        flat = drawn(smiles, 224)[0].reshape(-1, 3).astype(int)
        return (flat.max(1) - flat.min(1) > 100).any()

    assert colours("CO") and colours("CN") and not colours("CCC")
    benzene, cyclohexane = drawn("c1ccccc1", 224)[0], drawn("C1CCCCC1", 224)[0]
    assert (benzene < 128).sum() > 1.2 * (cyclohexane < 128).sum()


def test_crowded_atoms_are_not_framed_in_red():
    picture = drawn("C" * 100, 64)[0].astype(int)
    assert picture.min() < 150
    assert (picture.max(-1) == picture.min(-1)).all()


def test_drawing_is_repeatable():
    first, again = drawn("CC(=O)Oc1ccccc1C(=O)O", 64), drawn("CC(=O)Oc1ccccc1C(=O)O", 64)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
