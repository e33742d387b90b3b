"""Properties of single molecules: MoleculeNet, MoleculeACE and the vendored opioid affinities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pandas as pd

from molrel.data.formats import read_frame
from molrel.data.opioids import RECEPTORS
from molrel.data.read import read_csv
from molrel.data.splits import TEST, TRAIN
from molrel.data.types import Dataset, Kind, Task

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


def read_moleculenet(name: str, folder: Path, max_atoms: int = 100) -> Dataset:
    """One set of MoleculeNet (Wu et al., Chem. Sci. 9:513, 2018).

    Missing labels are NaN. Rows of the same molecule are kept as separate examples.

    Args:
      name: key of ``MOLECULENET``.
      folder: holds ``name``.csv.gz.
      max_atoms: larger molecules are set aside; the largest (of sider) has 492.

    Raises:
      InputError: the file is missing or broken.
    """
    about, path = MOLECULENET[name], folder / f"{name}.csv.gz"
    targets = about.targets
    if not targets:
        left_out = {about.smiles, *about.others}
        targets = tuple(c for c in read_frame(path, [about.smiles]) if c not in left_out)
    found = read_csv(
        path,
        smiles_columns=(about.smiles,),
        label_columns=targets,
        task=about.task,
        max_atoms=max_atoms,
    )
    return replace(found, name=name, note=MOLECULENET_NOTE)


def read_moleculeace(folder: Path, domain: str, max_atoms: int = 100) -> Dataset:
    """One target of MoleculeACE (van Tilborg et al., J. Chem. Inf. Model. 62:5938, 2022).

    The data set has the benchmark's own division into training and test part, and marks the
    molecules with an activity ``cliff``.

    Args:
      folder: holds ``domain``.csv.gz.
      domain: one of ``MOLECULEACE_TARGETS``.
      max_atoms: larger molecules are set aside.

    Raises:
      InputError: the file is missing or broken.
    """
    path = folder / f"{domain}.csv.gz"
    (label,) = POTENCY.targets
    found = read_csv(
        path,
        smiles_columns=("smiles",),
        label_columns=(label,),
        task=POTENCY,
        max_atoms=max_atoms,
    )
    frame = read_frame(path, ["split", "cliff_mol"])
    cliff = np.asarray(frame.loc[found.rows, "cliff_mol"] == "1")
    return replace(
        found,
        name=f"moleculeace/{domain}",
        note=MOLECULEACE_NOTE,
        published=_published(frame, found.rows),
        marks={"cliff": cliff},
    )


def read_affinities(domain: str, max_atoms: int = 100) -> Dataset:
    """Affinities of the ligands of one opioid receptor, with MoleculeACE's division.

    Args:
      domain: "mu", "delta" or "kappa".
      max_atoms: larger molecules are set aside.
    """
    with as_file(files("molrel.data") / "vendored" / f"{RECEPTORS[domain]}_Ki.csv.gz") as path:
        found = read_csv(
            path,
            smiles_columns=("smiles",),
            label_columns=("pki",),
            task=AFFINITY,
            max_atoms=max_atoms,
        )
        frame = read_frame(path, ["split"])
    return replace(
        found,
        name=f"opioid_affinity/{domain}",
        task=AFFINITY,
        note=AFFINITY_NOTE,
        published=_published(frame, found.rows),
    )


def _published(frame: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
    """Part of each example from the column ``split`` ("train" or "test")."""
    return np.where(frame.loc[rows, "split"] == "test", TEST, TRAIN).astype(np.int8)
