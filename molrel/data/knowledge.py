"""What is known of both domains without any label: fragment types, their discrepancy, and
the functional groups that both domains have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from molrel.chem.features import MoleculeFeatures
from molrel.chem.groups import GROUP_NAMES, nested_groups
from molrel.data.discrepancy import Discrepancy, substructure_discrepancy


@dataclass(frozen=True)
class DomainKnowledge:
    """Label-free statistics of a source and a target domain.

    Attributes:
      discrepancy: of the substructures, with its permutation null.
      groups: int [G], indices into ``GROUP_NAMES`` of the groups with enough carriers in
        both domains.
      group_weight: float32 [G], sqrt(min(carriers in source, carriers in target)), mean 1.
      exclude: bool [G, G], True at (f, g) where g is nested with f and so is no negative.
    """

    discrepancy: Discrepancy
    groups: np.ndarray
    group_weight: np.ndarray
    exclude: np.ndarray

    @property
    def n_types(self) -> int:
        """Number of merged fragment types."""
        return int(self.discrepancy.type_map.max()) + 1


def carriers(features: Sequence[MoleculeFeatures], molecules: np.ndarray) -> np.ndarray:
    """int [85], number of the given molecules that have each functional group."""
    counts = np.zeros(len(GROUP_NAMES), int)
    for m in molecules:
        counts[np.unique(features[m].group_atoms[:, 0])] += 1
    return counts


def domain_knowledge(
    features: Sequence[MoleculeFeatures],
    source: np.ndarray,
    target: np.ndarray,
    *,
    min_carriers: int = 10,
    seed: int = 0,
) -> DomainKnowledge:
    """Compares the molecules of two domains; no label is read.

    Args:
      features: of all molecules.
      source, target: int, ids of the molecules of each domain (they may overlap).
      min_carriers: molecules that must have a group in each domain for it to be aligned.
      seed: of the permutation null.
    """
    discrepancy = substructure_discrepancy(
        [f.fragment_type for f in features],
        [f.fragment_bonds for f in features],
        source,
        target,
        seed=seed,
    )
    fewest = np.minimum(carriers(features, source), carriers(features, target))
    groups = np.flatnonzero(fewest >= min_carriers)
    weight = np.sqrt(fewest[groups]).astype(np.float32)
    return DomainKnowledge(
        discrepancy=discrepancy,
        groups=groups,
        group_weight=weight / weight.mean() if len(groups) else weight,
        exclude=nested_groups()[np.ix_(groups, groups)] & ~np.eye(len(groups), dtype=bool),
    )
