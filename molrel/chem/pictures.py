"""Drawings of molecules, and where in them each atom lies."""

from __future__ import annotations

import io
from types import ModuleType

import numpy as np
from rdkit import Chem

from molrel.errors import RunError


def _libraries() -> tuple[ModuleType, ModuleType]:
    """(rdkit.Chem.Draw.rdMolDraw2D, PIL.Image), imported only where something is drawn.

    RDKit draws with libraries of the system that small installations lack.

    Raises:
      RunError: one of them is missing.
    """
    try:
        from PIL import Image
        from rdkit.Chem.Draw import rdMolDraw2D
    except ImportError as error:
        raise RunError(
            f"molecules cannot be drawn, since a library is missing ({error}). RDKit draws with "
            "libraries of the system; on Debian and Ubuntu `apt install libxrender1 libx11-6 "
            "libxext6 libexpat1` brings them, and `pip install pillow` brings PIL"
        ) from error
    return rdMolDraw2D, Image


def _drawer(size: int):
    """A square canvas whose lines and letters stay legible at the given size."""
    rdMolDraw2D, _ = _libraries()
    drawer = rdMolDraw2D.MolDraw2DCairo(size, size)
    options = drawer.drawOptions()
    # At 64 pixels the default line of 2 fills small rings and the default smallest letter
    # covers its neighbours; one lone atom would otherwise fill the picture with its symbol.
    options.bondLineWidth = max(1, round(size / 112))
    options.scaleBondWidth = False
    options.minFontSize = 4 if size < 96 else 6
    options.maxFontSize = min(40, max(6, size // 6))
    # RDKit would frame atoms closer than 3 pixels in red, as a warning to a human reader.
    options.flagCloseContactsDist = -1
    options.prepareMolsBeforeDrawing = False
    options.includeMetadata = False
    return drawer


def _prepared(molecule: Chem.Mol) -> Chem.Mol:
    """A copy with 2-D coordinates, kekulised where RDKit can; atom order is unchanged."""
    rdMolDraw2D, _ = _libraries()
    try:
        return rdMolDraw2D.PrepareMolForDrawing(molecule, kekulize=True, addChiralHs=False)
    except Chem.KekulizeException:
        return rdMolDraw2D.PrepareMolForDrawing(molecule, kekulize=False, addChiralHs=False)


def draw(molecule: Chem.Mol, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Draws a molecule with RDKit: heteroatoms coloured, kekulised, no annotations.

    The drawing depends on the order of the atoms: pass a molecule in canonical order.

    Args:
      molecule: A atoms.
      size: width and height S in pixels.

    Returns:
      picture: uint8 [S, S, 3], RGB on white.
      positions: float32 [A, 2], (row, column) of each atom as a fraction of S, in [0, 1].

    Raises:
      RunError: a library to draw with is missing.
    """
    _, Image = _libraries()
    drawer = _drawer(size)
    drawer.DrawMolecule(_prepared(molecule))
    points = [drawer.GetDrawCoords(i) for i in range(molecule.GetNumAtoms())]
    drawer.FinishDrawing()
    with Image.open(io.BytesIO(drawer.GetDrawingText())) as image:
        picture = np.asarray(image.convert("RGB"), np.uint8)
    positions = np.array([[p.y, p.x] for p in points], np.float32).reshape(-1, 2) / size
    return picture, np.clip(positions, 0, 1)
