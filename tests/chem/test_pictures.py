import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from chem_cases import ALL
from rdkit import Chem

import molrel
from molrel.chem import FeatureConfig, featurise_all
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


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("rdkit.Chem.Draw", "PIL")):
            raise ImportError("libXrender.so.1: cannot open shared object file")

sys.meta_path.insert(0, Missing())
from pathlib import Path
import molrel.chem
from molrel.chem import FeatureConfig, MoleculeError, featurise_all, parse
from molrel.errors import RunError
assert not any(name.startswith("rdkit.Chem.Draw") for name in sys.modules)
config, cache = FeatureConfig(picture_size=32), Path(sys.argv[1])
assert featurise_all(["CCO"], config, cache=cache)[0].picture.any()
for many in (["CC"], ["C" * n + x + "C" * m for n in range(1, 9) for x in "ONS" for m in range(9)]):
    try:
        featurise_all(many, config, cache=cache, workers=2)
    except RunError as error:
        print(error)
"""


def test_the_libraries_to_draw_with_are_needed_to_draw_alone(tmp_path):
    featurise_all(["CCO"], FeatureConfig(picture_size=32), cache=tmp_path)
    # Worker processes lack them too.
    (tmp_path / "sitecustomize.py").write_text(WITHOUT.partition("from pathlib")[0])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path)],
        env={
            **os.environ,
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(molrel.__path__[0]).parent}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == second
    assert "libXrender.so.1: cannot open" in first and "apt install libxrender1" in first
