"""Reading SMILES: canonical form, identity and peculiarities of a molecule."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from rdkit import Chem, rdBase
from rdkit.Chem import rdqueries

from molrel.errors import InputError, RunError

FLAGS = ("salt", "metal", "dative", "bondless")

_DATIVE = {
    Chem.BondType.DATIVE,
    Chem.BondType.DATIVEONE,
    Chem.BondType.DATIVEL,
    Chem.BondType.DATIVER,
}
_METAL = rdqueries.MAtomQueryAtom()

_BRACKETS = re.compile(r"\[[^\[\]]*\]")
_NUMBERS = re.compile(r"([#H:+-]?)0*(\d+)")
# What a number in brackets is by the sign before it, and the largest that RDKit stores as it is.
_LARGEST = {
    "": ("isotope", 2**16 - 1),
    "#": ("atomic number", 118),
    "H": ("hydrogen count", 127),
    "+": ("charge", 127),
    "-": ("charge", 127),
    ":": ("atom map number", 2**31 - 1),
}
_ORGANIC = re.compile(r"Cl|Br|[BCNOPSFIbcnops*]")
_HYDROGENS = re.compile(r"\[\d*(?:H(?![a-z])|#0*1(?!\d))")
_CLOSURES = re.compile(r"%\(\d*\)|%\d\d|\d")
_MOST_HYDROGENS = 127
_MOST_CLOSURES = 8


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


@contextmanager
def guarded(smiles: str = "") -> Iterator[None]:
    """Silences RDKit, and makes any failure of it a failure of the one molecule at hand.

    Args:
      smiles: named in the error, unless the caller does that.

    Raises:
      MoleculeError: RDKit raised something, be it an error of C++, Boost or Python. What is
        no fault of the molecule passes: ``InputError``, ``RunError`` and a lack of memory.
    """
    with rdBase.BlockLogs():
        try:
            yield
        except MoleculeError as error:
            if smiles and not error.smiles:
                raise MoleculeError(error.reason, smiles) from error
            raise
        except (InputError, RunError, MemoryError):
            raise
        except Exception as error:
            # RDKit goes on with the place in its code and the versions of its libraries.
            said = " ".join(str(error).partition("Violation occurred")[0].split())[:200]
            reason = f"RDKit fails on it ({': '.join(filter(None, (type(error).__name__, said)))})"
            raise MoleculeError(reason, smiles) from error


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
      MoleculeError: empty, unreadable, no atoms, or too large, or RDKit fails on it; its text
        is the reason.
    """
    with guarded():
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
    with guarded():
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
    _check_numbers(text)
    _check_sizes(text, max_atoms)
    return text


def _check_numbers(text: str) -> None:
    """Refuses numbers in brackets that RDKit would not store: it keeps their last bits.

    ``[CH256]`` would be read as ``[C]``, ``[65536C]`` as ``C`` and ``[CH4+200]`` as
    ``[CH4-56]``.
    """
    for atom in _BRACKETS.findall(text):
        for sign, digits in _NUMBERS.findall(atom):
            what, largest = _LARGEST[sign]
            if len(digits) > 10 or int(digits) > largest:
                shown = atom if len(atom) <= 40 else atom[:40] + "..."
                raise MoleculeError(f"the {what} of {shown} is larger than {largest}")


def _check_sizes(text: str, max_atoms: int) -> None:
    """Refuses by its text what would take RDKit seconds to read, only to be refused then.

    Atoms are counted without the hydrogens written out, which RDKit takes into their
    neighbours. RDKit counts those in eight bits, and its search for rings takes the cube of
    the number of bonds.
    """
    bare = _BRACKETS.sub("", text)
    hydrogens = len(_HYDROGENS.findall(text))
    atoms = len(_ORGANIC.findall(bare)) + len(_BRACKETS.findall(text)) - hydrogens
    if atoms > max_atoms:
        raise MoleculeError(f"has {atoms} atoms, more than {max_atoms}")
    closures = len(_CLOSURES.findall(bare))
    if closures > max(_MOST_CLOSURES * max_atoms, 100):
        raise MoleculeError(
            f"has {closures} ring closure digits, more than {_MOST_CLOSURES} for each of "
            f"{max_atoms} atoms"
        )
    if hydrogens > _MOST_HYDROGENS:
        unchecked = Chem.MolFromSmiles(text, sanitize=False)
        for atom in () if unchecked is None else unchecked.GetAtoms():
            if atom.GetDegree() + atom.GetNumExplicitHs() > _MOST_HYDROGENS:
                raise MoleculeError(f"an atom has more than {_MOST_HYDROGENS} neighbours")


def _read(text: str) -> Chem.Mol:
    """RDKit's molecule, or MoleculeError with the chemical problem where there is one."""
    molecule = Chem.MolFromSmiles(text)
    if molecule is not None:
        return molecule
    unchecked = Chem.MolFromSmiles(text, sanitize=False)
    if unchecked is None:
        raise MoleculeError("cannot be read as SMILES")
    try:
        problems = Chem.DetectChemistryProblems(unchecked)
    except RuntimeError:  # it stumbles over a few of them itself
        problems = ()
    why = f" ({' '.join(problems[0].Message().split())})" if problems else ""
    raise MoleculeError(f"is not a valid molecule{why}")


def inchikey_of(smiles: str) -> str:
    """``inchikey`` of a canonical SMILES.

    Raises:
      MoleculeError: RDKit cannot read it; names the SMILES.
    """
    with guarded(smiles):
        return inchikey(_read(smiles), smiles)


def inchikey(molecule: Chem.Mol, canonical: str) -> str:
    """Standard InChIKey, or ``smiles:`` and the canonical SMILES where there is none."""
    try:
        key = Chem.MolToInchiKey(molecule)
    except RuntimeError:  # InChI gives up on the molecule in its own way
        key = ""
    return key or f"smiles:{canonical}"


def find_flags(molecule: Chem.Mol) -> tuple[str, ...]:
    """Those of ``FLAGS`` that hold for the molecule, in that order."""
    present = {
        "salt": len(Chem.GetMolFrags(molecule)) > 1,
        "metal": bool(molecule.GetAtomsMatchingQuery(_METAL)),
        "dative": any(bond.GetBondType() in _DATIVE for bond in molecule.GetBonds()),
        "bondless": any(atom.GetDegree() == 0 for atom in molecule.GetAtoms()),
    }
    return tuple(name for name in FLAGS if present[name])
