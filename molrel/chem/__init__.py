"""SMILES to NumPy arrays, with RDKit. Nothing here imports JAX."""

from molrel.chem.cache import default_cache, featurise_all, featurise_each
from molrel.chem.features import (
    FeatureConfig,
    MoleculeFeatures,
    count_flags,
    expand,
    featurise,
)
from molrel.chem.fragments import TYPE_NAMES
from molrel.chem.groups import GROUP_NAMES, nested_groups
from molrel.chem.scaffolds import murcko_scaffold
from molrel.chem.schemes import CGIB_SCHEME, FEATURE_SCHEMES, HU_SCHEME, FeatureScheme
from molrel.chem.smiles import FLAGS, MoleculeError, Parsed, parse

__all__ = [
    "CGIB_SCHEME",
    "FEATURE_SCHEMES",
    "FLAGS",
    "GROUP_NAMES",
    "HU_SCHEME",
    "TYPE_NAMES",
    "FeatureConfig",
    "FeatureScheme",
    "MoleculeError",
    "MoleculeFeatures",
    "Parsed",
    "count_flags",
    "default_cache",
    "expand",
    "featurise",
    "featurise_all",
    "featurise_each",
    "murcko_scaffold",
    "nested_groups",
    "parse",
]
