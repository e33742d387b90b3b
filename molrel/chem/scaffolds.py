"""Murcko scaffolds."""

from __future__ import annotations

import functools

from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold

from molrel.chem.smiles import MoleculeError, guarded


def scaffold_of(molecule: Chem.Mol, *, chirality: bool = False) -> str:
    """Canonical SMILES of the Murcko scaffold, without stereochemistry unless asked for.

    Bemis and Murcko, J. Med. Chem. 39, 2887 (1996): ring systems and the chains between
    them. A molecule without rings has no scaffold: the result is "" for every one of them,
    and whoever splits by scaffold decides how that group is divided.
    """
    return MurckoScaffold.MurckoScaffoldSmiles(mol=molecule, includeChirality=chirality)


@functools.cache
def murcko_scaffold(smiles: str, *, chirality: bool = False) -> str:
    """``scaffold_of`` a SMILES; "" for a molecule without rings.

    Remembered, since splits, strata and numbers of scaffolds each ask for all molecules.

    Raises:
      MoleculeError: RDKit cannot read the SMILES, or fails on it; names the SMILES.
    """
    with guarded(smiles):
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None:
            raise MoleculeError("cannot be read as SMILES")
        return scaffold_of(molecule, chirality=chirality)
