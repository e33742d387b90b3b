"""Reading SMILES: canonical form, identity and peculiarities of a molecule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rdkit import Chem, rdBase
from rdkit.Chem import rdqueries

from molrel.errors import InputError

FLAGS = ("salt", "metal", "dative", "bondless")

_DATIVE = {
    Chem.BondType.DATIVE,
    Chem.BondType.DATIVEONE,
    Chem.BondType.DATIVEL,
    Chem.BondType.DATIVER,
}
_METAL = rdqueries.MAtomQueryAtom()


class MoleculeError(InputError):
    """A molecule that cannot be used.

    Attributes:
      reason: what is wrong with it, in one phrase without a full stop.
      smiles: the offending SMILES, "" where the caller knows it anyway.
    """

    def __init__(self, reason: str, smiles: str = ""):
        super().__init__(reason)
        self.reason, self.smiles = reason, smiles
        self.args = (reason, smiles)  # so that it survives the way back from a worker process

    def __str__(self) -> str:
        shown = self.smiles if len(self.smiles) <= 200 else self.smiles[:200] + "..."
        return f"{self.reason}: {shown!r}" if self.smiles else self.reason


@dataclass(frozen=True)
class Parsed:
    """What is known of a molecule from its SMILES alone.

    Attributes:
      smiles: canonical SMILES, without atom map numbers; a fixed point of ``parse``.
      inchikey: standard InChIKey. Where InChI cannot express the molecule (dummy atoms)
        it is ``smiles:`` and the canonical SMILES, so that two such molecules never
        look identical.
      n_atoms: atoms of the molecular graph: heavy atoms, and the hydrogens that RDKit
        keeps as atoms (isotopes, H2, bare protons and hydrides).
      flags: those of ``FLAGS`` that hold. "salt": more than one component; "metal": a
        metal atom; "dative": a dative bond; "bondless": an atom without any bond.
    """

    smiles: str
    inchikey: str
    n_atoms: int
    flags: tuple[str, ...]


def parse(smiles: str, max_atoms: int = 100) -> Parsed:
    """Reads one molecule; salts, metals, dative bonds and single atoms are kept and flagged.

    White space around the SMILES is ignored. White space inside it is an error: a name or
    CXSMILES extension behind the SMILES is not read, because ``CCO CCN`` is more often two
    molecules in one cell than a molecule called CCN.

    Args:
      smiles: one molecule; components are separated by dots.
      max_atoms: largest number of atoms allowed (see ``Parsed.n_atoms``).

    Raises:
      MoleculeError: empty, unreadable, no atoms, or too large; its text is the reason.
    """
    with rdBase.BlockLogs():
        molecule, canonical = canonicalise(smiles, max_atoms)
        return Parsed(
            smiles=canonical,
            inchikey=inchikey(molecule, canonical),
            n_atoms=molecule.GetNumAtoms(),
            flags=find_flags(molecule),
        )


@lru_cache(maxsize=2**17)
def canonical_smiles(smiles: str, max_atoms: int = 100) -> str:
    """``parse(smiles, max_atoms).smiles`` in half the time, and remembered.

    Two domains of one file, and source and target, have molecules in common.

    Raises:
      MoleculeError: as ``parse``.
    """
    with rdBase.BlockLogs():
        return canonicalise(smiles, max_atoms)[1]


def canonicalise(smiles: str, max_atoms: int = 100) -> tuple[Chem.Mol, str]:
    """(molecule with atoms in the order of its canonical SMILES, that SMILES).

    RDKit's canonical SMILES is in rare cases not its own canonical SMILES. So it is read
    and written until it repeats; should it cycle, the smallest string of the cycle is taken.
    Either way the result is a fixed point of this function.

    Raises:
      MoleculeError: as ``parse``.
    """
    molecule = _read(_checked(smiles, max_atoms))
    if molecule.GetNumAtoms() == 0:
        raise MoleculeError("has no atoms")
    if molecule.GetNumAtoms() > max_atoms:
        raise MoleculeError(f"has {molecule.GetNumAtoms()} atoms, more than {max_atoms}")
    # An atom map numbers atoms for a reaction; it is no part of what the molecule is.
    for atom in molecule.GetAtoms():
        atom.SetAtomMapNum(0)
    seen: list[str] = []
    text = Chem.MolToSmiles(molecule)
    while text not in seen:
        seen.append(text)
        molecule = Chem.MolFromSmiles(text)
        if molecule is None:
            raise MoleculeError(f"RDKit cannot read back its canonical form {text}")
        text = Chem.MolToSmiles(molecule)
    canonical = min(seen[seen.index(text) :])
    return Chem.MolFromSmiles(canonical), canonical


def _checked(smiles: str, max_atoms: int) -> str:
    """The string without surrounding white space, if it can be SMILES at all."""
    if not isinstance(smiles, str) or not smiles.strip():
        raise MoleculeError("is empty")
    text = smiles.strip()
    # An atom with isotope, charge, map number and ring closures takes under 100 characters.
    longest = 100 * max_atoms + 1000
    if len(text) > longest:
        raise MoleculeError(
            f"is {len(text)} characters long; {max_atoms} atoms need at most {longest}"
        )
    if any(character.isspace() for character in text):
        raise MoleculeError(
            "has white space inside; give the SMILES alone, without a name or CXSMILES extension"
        )
    strange = [c for c in text if not (c.isascii() and c.isprintable())]
    if strange:
        raise MoleculeError(f"has the character {ascii(strange[0])}, which is not part of SMILES")
    return text


def _read(text: str) -> Chem.Mol:
    """RDKit's molecule, or MoleculeError with the chemical problem where there is one."""
    molecule = Chem.MolFromSmiles(text)
    if molecule is not None:
        return molecule
    unchecked = Chem.MolFromSmiles(text, sanitize=False)
    problems = Chem.DetectChemistryProblems(unchecked) if unchecked is not None else ()
    if problems:
        raise MoleculeError(f"is not a valid molecule ({problems[0].Message()})")
    raise MoleculeError("cannot be read as SMILES")


def inchikey(molecule: Chem.Mol, canonical: str) -> str:
    """Standard InChIKey, or ``smiles:`` and the canonical SMILES where there is none."""
    return Chem.MolToInchiKey(molecule) or f"smiles:{canonical}"


def find_flags(molecule: Chem.Mol) -> tuple[str, ...]:
    """Those of ``FLAGS`` that hold for the molecule, in that order."""
    present = {
        "salt": len(Chem.GetMolFrags(molecule)) > 1,
        "metal": bool(molecule.GetAtomsMatchingQuery(_METAL)),
        "dative": any(bond.GetBondType() in _DATIVE for bond in molecule.GetBonds()),
        "bondless": any(atom.GetDegree() == 0 for atom in molecule.GetAtoms()),
    }
    return tuple(name for name in FLAGS if present[name])
