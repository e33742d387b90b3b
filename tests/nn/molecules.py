"""Real molecules gathered into a batch, for the tests of networks."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from molrel.chem.features import FeatureConfig, featurise
from molrel.data.batches import Budget, MoleculeSizes
from molrel.data.table import MoleculeTable, build_table
from molrel.nn.graph import Molecules, gather

CONFIG = FeatureConfig(picture_size=32)
# A salt, a single atom, a bond-less pair of atoms, a hypervalent and a crowded metal centre
# (more than four neighbours), rings, chains, charges.
SMILES = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "[He]",
    "CCO",
    "FS(F)(F)(F)(F)F",
    "[Na+].[Cl-]",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "F[P-](F)(F)(F)(F)F.CC[n+]1ccccc1",
    "C1CCCCC1CCNCC(F)(F)F",
)


def make_table(smiles=SMILES, n_groups: int = 85) -> MoleculeTable:
    """A table of the given SMILES with all fragment types and the first groups."""
    features = [featurise(s, CONFIG) for s in smiles]
    return build_table(features, CONFIG, type_map=np.arange(72), groups=np.arange(n_groups))


def exact_budget(table: MoleculeTable, ids, spare: int = 0) -> Budget:
    """The tightest budget for these molecules, with ``spare`` unused rows everywhere."""
    needed = MoleculeSizes(table).of(np.asarray(ids))
    return Budget(**{f.name: getattr(needed, f.name) + spare for f in fields(Budget)})


def make_batch(table: MoleculeTable, ids, spare: int = 0) -> Molecules:
    """Gathers molecules; ``spare`` adds padding molecules and padding rows of every kind."""
    padded = np.concatenate([ids, np.full(spare, table.padding_id)]).astype(np.int32)
    return gather(table, padded, exact_budget(table, ids, spare))
