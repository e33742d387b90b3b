"""Tasks of the catalogue's sets, and what must be said of their labels.

They stand apart from the readers, so that the catalogue can be listed without pandas,
scikit-learn and RDKit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from molrel.data.types import Kind, Task

# Built in: computed from the packages thermo and chemicals.

MIXING = Task("binary", ("k_ij > 0.01",), ("",), symmetric=True)
HENRY = Task("regression", ("ln H",), ("ln(Pa)",), symmetric=False)
MIXTURES_NOTE = (
    "Labels are computed, not measured: binary interaction parameters k_ij of the E-PPR78 "
    "group-contribution equation of state, cut at 0.01."
)
HENRY_COMPUTED_NOTE = (
    "Labels are computed, not measured: Henry's constants of a volume-translated "
    "Peng-Robinson equation of state without interaction parameters."
)
HENRY_WATER_NOTE = (
    "Compiled Henry's constants in water (Sander): measured values together with the "
    "compilation's own estimates; which is which is not marked."
)

# Opioid receptors.

CLIFF = Task("binary", ("activity cliff",), ("",), symmetric=True)
CLIFFS_NOTE = (
    "Pairs of ligands with Tanimoto similarity of at least 0.6 (Morgan, radius 2, 2048 bits); "
    "1 = their measured pKi differ by at least 1. Activities: ChEMBL by way of MoleculeACE."
)

# Drug interactions.

INTERACTION = Task("binary", ("interaction",), ("",), symmetric=True)
INTERACTION_TYPE = Task("multiclass", ("type",), ("",), symmetric=False, n_classes=86)

ZHANGDDI_NOTE = (
    "All pairs of the drugs; label 0 means that no interaction is recorded, not that there is "
    "none: 18,282 of the 101,294 zeros are positives in DrugBank."
)
CHCHMINER_NOTE = (
    "Positives only: the negatives that circulate with this set were all drawn among drugs "
    "that are also in ZhangDDI, so that a drug's name gives the label away."
)
DDIBENCH_NOTE = (
    "All pairs interact; the label is one of DrugBank's 86 types. The split by structural "
    "clusters of drugs is DDI-Ben's own."
)
DDINTER2_NOTE = (
    "Positives only (8 of the 14 ATC download files), pairs of severity 'Unknown' included; "
    "entries that differ by route only are one molecule."
)

# Other relations.

COCRYSTAL = Task("binary", ("co-crystal",), ("",), symmetric=True)
COMPATIBILITY = Task("binary", ("used together",), ("",), symmetric=True)
SOLVATION = Task("regression", ("solvation free energy",), ("kcal/mol",), symmetric=False)
ABSORPTION = Task("regression", ("absorption maximum",), ("nm",), symmetric=False)

CCGNET_NOTE = "Negatives are failed experiments (12 %); pairs by molecule, in either order."
HERBIV_NOTE = (
    "Herb pairs derived from 6,191 classical formulas: 1 = together in at least two and more "
    "often than by chance, 0 = never together though each is common; pairs seen together but "
    "rarely are left out. A herb is the bag of its ingredients."
)
COMBISOLV_QM_NOTE = "Labels are computed (COSMOtherm), not measured."
COMBISOLV_EXP_NOTE = "Measured solvation free energies (MNSol, FreeSolv, CompSol, Abraham)."
UVVIS_NOTE = "Measured absorption maxima; values under 150 nm are taken for errors and left out."

# Properties of single molecules.

MOLECULENET_NOTE = (
    "Rows of the same molecule stay, also where their labels contradict one another; a split "
    "by scaffold never divides them."
)
MOLECULEACE_NOTE = (
    "Labels are pKi or pEC50. A cliff molecule has a similar one (Tanimoto similarity of ECFP4 "
    "or of generic scaffolds, or Levenshtein similarity, of at least 0.9) with more than tenfold "
    "higher or lower potency."
)
AFFINITY_NOTE = "Measured pKi (ChEMBL by way of MoleculeACE)."
MOLECULEACE_TARGETS = (
    *("CHEMBL1862_Ki", "CHEMBL1871_Ki", "CHEMBL2034_Ki", "CHEMBL204_Ki", "CHEMBL2147_Ki"),
    *("CHEMBL214_Ki", "CHEMBL218_EC50", "CHEMBL228_Ki", "CHEMBL231_Ki", "CHEMBL233_Ki"),
    *("CHEMBL234_Ki", "CHEMBL235_EC50", "CHEMBL236_Ki", "CHEMBL237_EC50", "CHEMBL237_Ki"),
    *("CHEMBL238_Ki", "CHEMBL244_Ki", "CHEMBL264_Ki", "CHEMBL2835_Ki", "CHEMBL287_Ki"),
    *("CHEMBL2971_Ki", "CHEMBL3979_EC50", "CHEMBL4005_Ki", "CHEMBL4616_EC50", "CHEMBL4792_Ki"),
)
AFFINITY = Task("regression", ("pKi",), ("log10(1/M)",))
POTENCY = Task("regression", ("y [pEC50/pKi]",), ("log10(1/M)",))


@dataclass(frozen=True)
class MoleculeNetSet:
    """One CSV file of MoleculeNet.

    Attributes:
      kind: of the task.
      targets: label columns; without any, every column is a label but SMILES and ``others``.
      units: of the targets of a regression.
      smiles: column of the molecules.
      others: columns that are no labels.
    """

    kind: Kind
    targets: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    smiles: str = "smiles"
    others: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """The task as far as it is known without the file."""
        return Task(self.kind, self.targets, self.units or ("",) * len(self.targets))


MOLECULENET: Mapping[str, MoleculeNetSet] = {
    "bbbp": MoleculeNetSet("binary", ("p_np",)),
    "bace": MoleculeNetSet("binary", ("Class",), smiles="mol"),
    "hiv": MoleculeNetSet("binary", ("HIV_active",)),
    "clintox": MoleculeNetSet("multilabel", ("FDA_APPROVED", "CT_TOX")),
    "sider": MoleculeNetSet("multilabel"),
    "tox21": MoleculeNetSet("multilabel", others=("mol_id",)),
    "toxcast": MoleculeNetSet("multilabel"),
    "muv": MoleculeNetSet("multilabel", others=("mol_id",)),
    "esol": MoleculeNetSet(
        "regression", ("measured log solubility in mols per litre",), ("log10(mol/l)",)
    ),
    "freesolv": MoleculeNetSet("regression", ("expt",), ("kcal/mol",)),
    "lipophilicity": MoleculeNetSet("regression", ("exp",), ("log10",)),
}
