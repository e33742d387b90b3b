"""Reading the structures of SD files."""

from __future__ import annotations

from rdkit import Chem, rdBase

from molrel.chem.smiles import MoleculeError


def smiles_of_block(block: str) -> str:
    """SMILES of a mol block (V2000 or V3000).

    Raises:
      MoleculeError: RDKit cannot read it, or it has no atoms.
    """
    with rdBase.BlockLogs():
        try:
            molecule = Chem.MolFromMolBlock(block)
            smiles = "" if molecule is None else Chem.MolToSmiles(molecule)
        except Exception as error:  # RDKit raises many kinds; each is a fault of this block
            raise MoleculeError(f"the structure cannot be read ({type(error).__name__})") from error
    if molecule is None:
        raise MoleculeError("the structure cannot be read")
    if not smiles:
        raise MoleculeError("the structure has no atoms")
    return smiles
