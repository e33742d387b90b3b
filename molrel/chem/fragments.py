"""BRICS fragments, their graph and their coarse types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rdkit import Chem
from rdkit.Chem import BRICS

_KINDS = ("aromatic ring", "aliphatic ring", "chain")
_SIZES = ((1, "1-2 atoms"), (3, "3-5 atoms"), (6, "6-9 atoms"), (10, "10 or more atoms"))
_HETEROATOMS = ("no heteroatom", "N", "O", "S/P", "halogen", "mixed")
_CLASS_OF_ELEMENT = {7: 1, 8: 2, 15: 3, 16: 3, 9: 4, 17: 4, 35: 4, 53: 4, 85: 4}
_MIXED = _HETEROATOMS.index("mixed")

TYPE_NAMES: tuple[str, ...] = tuple(
    f"{kind}, {size}, {hetero}" for kind in _KINDS for _, size in _SIZES for hetero in _HETEROATOMS
)


def brics_fragments(molecule: Chem.Mol) -> tuple[np.ndarray, np.ndarray]:
    """Cuts every BRICS bond at once (Degen et al., ChemMedChem 3, 1503 (2008)).

    No rule is applied again to the pieces, and no ring bond is ever cut. Components that
    are not bonded to each other are separate fragments.

    Returns:
      fragment_of_atom: int32 [A], fragments numbered by their first atom.
      fragment_bonds: int32 [B, 2], the two fragments that each cut bond joined, lower
        number first, sorted. As no ring is cut, two fragments share at most one cut bond.
    """
    pairs = sorted(tuple(sorted(atoms)) for atoms, _ in BRICS.FindBRICSBonds(molecule))
    pieces = molecule
    if pairs:
        cuts = [molecule.GetBondBetweenAtoms(*pair).GetIdx() for pair in pairs]
        pieces = Chem.FragmentOnBonds(molecule, cuts, addDummies=False)
    fragment_of_atom = np.zeros(molecule.GetNumAtoms(), np.int32)
    for number, atoms in enumerate(sorted(Chem.GetMolFrags(pieces), key=min)):
        fragment_of_atom[list(atoms)] = number
    joined = fragment_of_atom[np.array(pairs, int).reshape(-1, 2)]
    bonds = np.sort(joined, axis=1)
    return fragment_of_atom, bonds[np.lexsort(bonds.T[::-1])].astype(np.int32)


def fragment_types(molecule: Chem.Mol, fragment_of_atom: np.ndarray) -> np.ndarray:
    """Coarse type of each fragment, an index into ``TYPE_NAMES``.

    A type is the kind (aromatic ring if any atom is aromatic, else aliphatic ring if any
    atom is in a ring, else chain), the number of heavy atoms, and the class that holds more
    than half of the fragment's heteroatoms (atoms other than carbon and hydrogen). Where no
    class does, or elements outside N, O, S, P and the halogens do, it is "mixed".

    Args:
      molecule: A atoms.
      fragment_of_atom: int [A].

    Returns:
      int16 [F].
    """
    members: list[list[Chem.Atom]] = [[] for _ in range(int(fragment_of_atom.max()) + 1)]
    for atom, fragment in zip(molecule.GetAtoms(), fragment_of_atom, strict=True):
        members[fragment].append(atom)
    return np.array([_type_of(atoms) for atoms in members], np.int16)


def _type_of(atoms: Sequence[Chem.Atom]) -> int:
    """Index into ``TYPE_NAMES`` of the fragment made of these atoms."""
    if any(atom.GetIsAromatic() for atom in atoms):
        kind = 0
    else:
        kind = 1 if any(atom.IsInRing() for atom in atoms) else 2
    heavy = [atom.GetAtomicNum() for atom in atoms if atom.GetAtomicNum() != 1]
    # A fragment of hydrogen alone (H2, a proton) has no heavy atom: the smallest size.
    size = max(sum(len(heavy) >= least for least, _ in _SIZES) - 1, 0)
    hetero = _main_heteroatom([number for number in heavy if number != 6])
    return (kind * len(_SIZES) + size) * len(_HETEROATOMS) + hetero


def _main_heteroatom(numbers: Sequence[int]) -> int:
    """Index into ``_HETEROATOMS`` for the atomic numbers of a fragment's heteroatoms."""
    if not numbers:
        return 0
    classes = np.bincount([_CLASS_OF_ELEMENT.get(n, _MIXED) for n in numbers])
    return int(classes.argmax()) if 2 * classes.max() > len(numbers) else _MIXED
