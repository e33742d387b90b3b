"""Morgan count fingerprints."""

from __future__ import annotations

from functools import cache

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator


@cache
def _generator(radius: int, bits: int):
    return rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)


def morgan_counts(molecule: Chem.Mol, radius: int = 2, bits: int = 2048) -> np.ndarray:
    """How often each circular substructure occurs (Rogers and Hahn, JCIM 50, 742 (2010)).

    Args:
      molecule: any molecule.
      radius: bonds around each atom; 2 is known as ECFP4.
      bits: length that the substructures are folded to.

    Returns:
      uint8 [bits], counts; more than 255 are given as 255.
    """
    counts = _generator(radius, bits).GetCountFingerprintAsNumPy(molecule)
    return np.minimum(counts, 255).astype(np.uint8)
