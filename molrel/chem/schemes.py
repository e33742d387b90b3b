"""How atoms and bonds become numbers: feature schemes as values."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from rdkit import Chem


@dataclass(frozen=True)
class Column:
    """One categorical property of an atom or bond.

    Attributes:
      name: what it is.
      choices: the known values; the code of a value is its place here.
      unknown: whether one more code, ``len(choices)``, stands for every other value.
        Without it other values get code -1, which is expanded to zeros.
      read: gives the value, of an atom or a bond.
    """

    name: str
    choices: tuple[Hashable, ...]
    unknown: bool
    read: Callable[[Any], Hashable]

    @property
    def size(self) -> int:
        """Length of the one-hot encoding."""
        return len(self.choices) + self.unknown

    def codes(self, items: Sequence[Any]) -> list[int]:
        """The code of each atom or bond."""
        places = {value: i for i, value in enumerate(self.choices)}
        other = len(self.choices) if self.unknown else -1
        return [places.get(self.read(item), other) for item in items]


@dataclass(frozen=True)
class Number:
    """One continuous or yes/no property of an atom or bond: its name and how to read it."""

    name: str
    read: Callable[[Any], float]


@dataclass(frozen=True)
class FeatureScheme:
    """How atoms and bonds become numbers.

    Attributes:
      name: how a ``FeatureConfig`` refers to it.
      atom_columns, bond_columns: categorical properties, in the order of the codes.
      atom_numbers, bond_numbers: further properties, in the order of the values.
    """

    name: str
    atom_columns: tuple[Column, ...]
    atom_numbers: tuple[Number, ...]
    bond_columns: tuple[Column, ...]
    bond_numbers: tuple[Number, ...]

    @property
    def atom_sizes(self) -> tuple[int, ...]:
        """One-hot length of each atom column."""
        return tuple(column.size for column in self.atom_columns)

    @property
    def bond_sizes(self) -> tuple[int, ...]:
        """One-hot length of each bond column."""
        return tuple(column.size for column in self.bond_columns)


_HYBRIDISATIONS = tuple(
    getattr(Chem.HybridizationType, name) for name in ("SP", "SP2", "SP3", "SP3D", "SP3D2")
)
_BOND_TYPES = tuple(
    getattr(Chem.BondType, name) for name in ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")
)

_DIRECTIONS = tuple(getattr(Chem.BondDir, name) for name in ("NONE", "ENDUPRIGHT", "ENDDOWNRIGHT"))

CGIB_SCHEME = FeatureScheme(
    name="cgib",
    atom_columns=(
        Column("atomic number", tuple(range(1, 101)), True, lambda a: a.GetAtomicNum()),
        Column("total degree", tuple(range(6)), True, lambda a: a.GetTotalDegree()),
        Column("formal charge", (-1, -2, 1, 2, 0), True, lambda a: a.GetFormalCharge()),
        Column("chiral tag", (0, 1, 2, 3), True, lambda a: int(a.GetChiralTag())),
        Column("hydrogens", tuple(range(5)), True, lambda a: a.GetTotalNumHs()),
        Column("hybridisation", _HYBRIDISATIONS, True, lambda a: a.GetHybridization()),
    ),
    atom_numbers=(
        Number("aromatic", lambda a: a.GetIsAromatic()),
        Number("mass / 100", lambda a: a.GetMass() * 0.01),
    ),
    bond_columns=(
        # The first place marks the absence of a bond, which no bond of a molecule has.
        Column("bond type", (None, *_BOND_TYPES), False, lambda b: b.GetBondType()),
        Column("stereo", tuple(range(6)), True, lambda b: int(b.GetStereo())),
    ),
    bond_numbers=(
        Number("conjugated", lambda b: b.GetIsConjugated()),
        Number("in ring", lambda b: b.IsInRing()),
    ),
)
"""133 atom and 14 bond features of CGIB (Lee et al., ICML 2023), after chemprop."""


def _bond_type(bond: Chem.Bond) -> Chem.BondType:
    """The bond's type, single for dative and other bonds that the four types leave out."""
    found = bond.GetBondType()
    return found if found in _BOND_TYPES else Chem.BondType.SINGLE


HU_SCHEME = FeatureScheme(
    name="hu",
    atom_columns=(
        Column("atomic number", tuple(range(1, 119)), True, lambda a: a.GetAtomicNum()),
        Column("chiral tag", (0, 1, 2), True, lambda a: int(a.GetChiralTag())),
    ),
    atom_numbers=(),
    bond_columns=(
        # The last two are no bonds of a molecule: loops that encoders add, and masked bonds.
        Column("bond type", (*_BOND_TYPES, "loop", "mask"), False, _bond_type),
        Column("direction", _DIRECTIONS, True, lambda b: b.GetBondDir()),
    ),
    bond_numbers=(),
)
"""The codes of Hu et al. (ICLR 2020, chem/loader.py), which have one embedding a code.

Theirs has no code for what is unknown here: dummy atoms, other chiral tags and other directions
have one of their own, and other types of bonds are single bonds.
"""

FEATURE_SCHEMES: dict[str, FeatureScheme] = {s.name: s for s in (CGIB_SCHEME, HU_SCHEME)}
