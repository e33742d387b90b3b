"""Everything that is computed of one molecule, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from rdkit import Chem

from molrel.chem.fingerprints import morgan_counts
from molrel.chem.fragments import brics_fragments, fragment_types
from molrel.chem.groups import match_groups
from molrel.chem.pictures import draw
from molrel.chem.scaffolds import scaffold_of
from molrel.chem.schemes import FEATURE_SCHEMES, Column, Number
from molrel.chem.smiles import FLAGS, canonicalise, find_flags, guarded
from molrel.errors import InputError


@dataclass(frozen=True)
class FeatureConfig:
    """What is computed of each molecule."""

    scheme: str = "cgib"
    """Name of the atom and bond features."""
    picture_size: int = 64
    """Width and height of the drawing in pixels; 224 is customary on accelerators, 0 draws
    nothing. Methods that look at no picture are given none (``drawn_for``)."""
    max_atoms: int = 100
    """Larger molecules are refused."""
    fingerprint_radius: int = 2
    """Of the Morgan fingerprint, in bonds."""
    fingerprint_bits: int = 2048
    """Length of the Morgan fingerprint."""

    def __post_init__(self):
        if self.scheme not in FEATURE_SCHEMES:
            raise InputError(
                f"no feature scheme is called {self.scheme!r}",
                remedy=f"Schemes: {sorted(FEATURE_SCHEMES)}",
            )
        smallest = {"max_atoms": 1, "fingerprint_radius": 0}
        if self.picture_size:
            smallest["picture_size"] = 16
        for name, least in {**smallest, "fingerprint_bits": 1}.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")

    def drawn_for(self, needs: Collection[str]) -> FeatureConfig:
        """The same without a drawing, unless "pictures" are among what a method needs."""
        return self if "pictures" in needs else replace(self, picture_size=0)


@dataclass(frozen=True, eq=False)
class MoleculeFeatures:
    """One molecule with A atoms, E directed bonds and F fragments; arrays are read-only.

    Atoms are in the order of the canonical SMILES, so nothing depends on how the molecule
    was written.

    Attributes:
      smiles: canonical SMILES.
      scaffold: Murcko scaffold SMILES, "" for a molecule without rings.
      flags: see ``smiles.Parsed``.
      atom_codes: int16 [A, Ca], one code for each categorical column of the scheme.
      atom_values: float32 [A, Fa].
      bond_codes: int16 [E, Cb]; bond_values: float32 [E, Fb].
      senders, receivers: int32 [E], both directions of each bond, sorted by receiver,
        then sender.
      fragment_of_atom: int32 [A]; fragment_type: int16 [F], index into
        ``fragments.TYPE_NAMES``; fragment_bonds: int32 [B, 2], one row for each cut bond.
      group_atoms: int32 [G, 2], rows (index into ``groups.GROUP_NAMES``, atom), sorted.
      picture: uint8 [S, S, 3]; positions: float32 [A, 2], (row, column) in [0, 1], zeros
        where nothing is drawn.
      fingerprint: uint8 [bits], Morgan counts, at most 255.
    """

    smiles: str
    scaffold: str
    flags: tuple[str, ...]
    atom_codes: np.ndarray
    atom_values: np.ndarray
    bond_codes: np.ndarray
    bond_values: np.ndarray
    senders: np.ndarray
    receivers: np.ndarray
    fragment_of_atom: np.ndarray
    fragment_type: np.ndarray
    fragment_bonds: np.ndarray
    group_atoms: np.ndarray
    picture: np.ndarray
    positions: np.ndarray
    fingerprint: np.ndarray

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)


def featurise(smiles: str, config: FeatureConfig) -> MoleculeFeatures:
    """Computes the features of one molecule, however it is written.

    Raises:
      MoleculeError: the SMILES cannot be used, or RDKit fails on it; names the SMILES.
    """
    with guarded(str(smiles)):
        return _featurise(*canonicalise(smiles, config.max_atoms), config)


def _featurise(molecule: Chem.Mol, canonical: str, config: FeatureConfig) -> MoleculeFeatures:
    """The features of a molecule whose atoms are in canonical order."""
    scheme = FEATURE_SCHEMES[config.scheme]
    atom_codes, atom_values = _encode(
        list(molecule.GetAtoms()), scheme.atom_columns, scheme.atom_numbers
    )
    senders, receivers, bonds = _directed_bonds(molecule)
    bond_codes, bond_values = _encode(bonds, scheme.bond_columns, scheme.bond_numbers)
    fragment_of_atom, fragment_bonds = brics_fragments(molecule)
    picture = np.zeros((0, 0, 3), np.uint8)
    positions = np.zeros((molecule.GetNumAtoms(), 2), np.float32)
    if config.picture_size:
        picture, positions = draw(molecule, config.picture_size)
    return MoleculeFeatures(
        smiles=canonical,
        scaffold=scaffold_of(molecule),
        flags=find_flags(molecule),
        atom_codes=atom_codes,
        atom_values=atom_values,
        bond_codes=bond_codes,
        bond_values=bond_values,
        senders=senders,
        receivers=receivers,
        fragment_of_atom=fragment_of_atom,
        fragment_type=fragment_types(molecule, fragment_of_atom),
        fragment_bonds=fragment_bonds,
        group_atoms=match_groups(molecule),
        picture=picture,
        positions=positions,
        fingerprint=morgan_counts(molecule, config.fingerprint_radius, config.fingerprint_bits),
    )


def _encode(
    items: Sequence[Any], columns: Sequence[Column], numbers: Sequence[Number]
) -> tuple[np.ndarray, np.ndarray]:
    """(int16 [n, columns] codes, float32 [n, numbers] values) of n atoms or bonds."""
    codes = np.array([column.codes(items) for column in columns], np.int16)
    values = np.array([[number.read(item) for item in items] for number in numbers], np.float32)
    return codes.T.copy(), values.reshape(len(numbers), len(items)).T.copy()


def _directed_bonds(molecule: Chem.Mol) -> tuple[np.ndarray, np.ndarray, list[Chem.Bond]]:
    """(senders int32 [E], receivers int32 [E], bonds), sorted by receiver, then sender."""
    directed = []
    for bond in molecule.GetBonds():
        begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        directed += [(begin, end, bond), (end, begin, bond)]
    directed.sort(key=lambda row: (row[0], row[1]))
    ends = np.array([row[:2] for row in directed], np.int32).reshape(-1, 2)
    return ends[:, 1].copy(), ends[:, 0].copy(), [row[2] for row in directed]


def expand(codes: np.ndarray, values: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """One-hot encodes each code column and appends the values.

    Args:
      codes: int [n, C], -1 gives zeros.
      values: float [n, V].
      sizes: C one-hot lengths.

    Returns:
      float32 [n, sum(sizes) + V].
    """
    one_hots = [codes[:, i, None] == np.arange(size) for i, size in enumerate(sizes)]
    return np.concatenate([*one_hots, values], axis=1).astype(np.float32)


def count_flags(features: Sequence[MoleculeFeatures]) -> dict[str, int]:
    """Number of molecules with each flag, in the order of ``smiles.FLAGS``."""
    return {flag: sum(flag in f.flags for f in features) for flag in FLAGS}
