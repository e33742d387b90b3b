"""Properties of single molecules: MoleculeNet, MoleculeACE and the vendored opioid affinities."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pandas as pd

from molrel.data.facts import (
    AFFINITY,
    AFFINITY_NOTE,
    MOLECULEACE_NOTE,
    MOLECULENET,
    MOLECULENET_NOTE,
    POTENCY,
)
from molrel.data.formats import read_frame
from molrel.data.opioids import RECEPTORS
from molrel.data.read import read_csv
from molrel.data.splits import TEST, TRAIN
from molrel.data.types import Dataset


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
