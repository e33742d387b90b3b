"""Public drug-drug interaction sets, read from a folder of id lists and pair lists.

Each set is ``drugs.csv.gz`` (id, SMILES) and ``pairs.csv.gz`` (two ids, label). Pairs are
made unique by molecule, in either order, since several entries may be one molecule.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from molrel.data.cells import parse_cells
from molrel.data.domains import scaffold_clusters
from molrel.data.facts import (
    CHCHMINER_NOTE,
    DDIBENCH_NOTE,
    DDINTER2_NOTE,
    INTERACTION,
    INTERACTION_TYPE,
    ZHANGDDI_NOTE,
)
from molrel.data.formats import read_frame
from molrel.data.types import Dataset, Examples, Rejection, Task
from molrel.errors import InputError


def read_zhangddi(folder: Path, max_atoms: int = 100) -> Dataset:
    """ZhangDDI (Zhang et al., BMC Bioinformatics 18:18, 2017): the whole upper triangle.

    Args:
      folder: holds drugs.csv.gz and pairs.csv.gz.
      max_atoms: larger molecules are set aside, with their pairs.

    Raises:
      InputError: a file is missing or broken.
    """
    path = folder / "pairs.csv.gz"
    pairs = read_frame(path, ["drug_a", "drug_b", "label"])
    labels = np.asarray(pairs["label"] == "1", np.float32)
    return _by_molecule("zhangddi", path, pairs, labels, max_atoms, ZHANGDDI_NOTE)


def read_chchminer(folder: Path, max_atoms: int = 100) -> Dataset:
    """ChChMiner (BioSNAP, via MIRACLE), positives only.

    Every shipped negative has both drugs in ZhangDDI, and every pair with another drug is
    positive; so the shipped zeros are left out and negatives must be drawn anew over all
    drugs (``negatives.sample_negatives``). Of pairs that are listed with both labels the
    positive stands: it is a record, the zero only a draw.

    Args and Raises: as for ``read_zhangddi``.
    """
    path = folder / "pairs.csv.gz"
    pairs = read_frame(path, ["drug_a", "drug_b", "label"])
    pairs = pairs.loc[pairs["label"] == "1", ["drug_a", "drug_b"]]
    labels = np.ones(len(pairs), np.float32)
    return _by_molecule("chchminer", path, pairs, labels, max_atoms, CHCHMINER_NOTE)


def read_ddinter2(folder: Path, max_atoms: int = 100) -> Dataset:
    """DDInter 2.0 (Tian et al., Nucleic Acids Res. 53:D1356, 2025), positives only.

    Pairs of every severity level are interactions, "Unknown" included (its severity is not
    known). Pairs whose two entries are one molecule are left out.

    Args and Raises: as for ``read_zhangddi``.
    """
    path = folder / "pairs.csv.gz"
    pairs = read_frame(path, ["drug_a", "drug_b", "level", "both_smiles"])
    labels = np.ones(len(pairs), np.float32)
    return _by_molecule("ddinter2", path, pairs, labels, max_atoms, DDINTER2_NOTE)


def read_ddinter2_class(folder: Path, domain: str, max_atoms: int = 100) -> Dataset:
    """The part of DDInter 2.0 that belongs to one ATC class (first letter), positives only.

    DDInter publishes one file a class, with every pair of every drug of that class. A drug is
    of the classes whose file holds all of its pairs; drugs of several classes are dropped. A
    pair belongs to a class if one drug is of it and the other is of it or of no class with a
    file, so no pair and no classified drug is in two domains.

    Args:
      folder: holds drugs.csv.gz and pairs.csv.gz.
      domain: letter of the class.
      max_atoms: larger molecules are set aside, with their pairs.

    Raises:
      InputError: a file is missing or broken.
    """
    path = folder / "pairs.csv.gz"
    pairs = read_frame(path, ["drug_a", "drug_b", "level", "atc_files"])
    classes = _classes(pairs)
    ends = np.array([[classes[drug] for drug in pairs[c]] for c in ("drug_a", "drug_b")])
    inside = (ends == domain).any(axis=0) & np.isin(ends, [domain, ""]).all(axis=0)
    pairs = pairs.loc[inside]
    labels = np.ones(len(pairs), np.float32)
    note = f"{DDINTER2_NOTE} Drugs of ATC class {domain} with one another and with unclassed drugs."
    return _by_molecule(f"ddinter2_atc/{domain}", path, pairs, labels, max_atoms, note)


def read_zhangddi_cluster(folder: Path, domain: str, max_atoms: int = 100) -> Dataset:
    """One of the two scaffold-cluster domains of ZhangDDI (``domains.scaffold_clusters``).

    Args and Raises: as for ``read_zhangddi``; domain is "a" (the larger) or "b".
    """
    part = scaffold_clusters(read_zhangddi(folder, max_atoms), domain)
    note = f"{ZHANGDDI_NOTE} Domain {domain} of two that share no drug and no scaffold cluster."
    return replace(part, name=f"zhangddi_clusters/{domain}", note=note)


def read_ddibench(folder: Path, domain: str, max_atoms: int = 100) -> Dataset:
    """DDI-Ben's cluster split of DrugBank's 86 interaction types (Shen et al., 2025).

    Drugs are clustered by structure: the test parts hold pairs of known drugs (S0), of a known
    and a new (S1) and of two new drugs (S2). Pairs are directed and all interact; the label is
    the type. A pair of several types stands once for each.

    Args:
      folder: holds drugs.csv.gz and cluster.csv.gz.
      domain: "train" or "test" (S0, S1 and S2 together).
      max_atoms: larger molecules are set aside, with their pairs.

    Raises:
      InputError: a file is missing or broken.
    """
    path = folder / "cluster.csv.gz"
    pairs = read_frame(path, ["drug_a", "drug_b", "type", "split"])
    pairs = pairs.loc[pairs["split"].str.startswith(domain)]
    labels = pairs["type"].to_numpy(np.float32)
    return _by_molecule(
        f"ddibench/{domain}", path, pairs, labels, max_atoms, DDIBENCH_NOTE, task=INTERACTION_TYPE
    )


def _classes(pairs: pd.DataFrame) -> dict[str, str]:
    """Drug -> its one ATC letter, "" for none with a file, "several" for more than one."""
    common: dict[str, set[str]] = {}
    for column in ("drug_a", "drug_b"):
        for drug, letters in zip(pairs[column], pairs["atc_files"], strict=True):
            letters = set(letters) - set("; ")
            common[drug] = common.get(drug, letters) & letters
    return {
        drug: "several" if len(letters) > 1 else "".join(letters)
        for drug, letters in common.items()
    }


def _by_molecule(
    name: str,
    path: Path,
    pairs: pd.DataFrame,
    labels: np.ndarray,
    max_atoms: int,
    note: str,
    task: Task = INTERACTION,
) -> Dataset:
    """Joins the pairs of a file with the molecules of drugs.csv.gz beside it.

    Of the repeated pairs of a symmetric task the first stays, and pairs of a molecule with
    itself are left out.
    """
    listing = path.with_name("drugs.csv.gz")
    drugs = read_frame(listing, ["drug_id", "smiles"])
    parsed = parse_cells(drugs["smiles"].to_numpy(object), max_atoms)
    listed = pd.Index(drugs["drug_id"])
    entries = np.stack(
        [listed.get_indexer(np.asarray(pairs[c], object)) for c in ("drug_a", "drug_b")], axis=1
    )
    unknown = (entries < 0).any(axis=1)
    if unknown.any():
        raise InputError(
            "a drug of this pair is not in drugs.csv.gz",
            path=path,
            row=int(pairs.index[unknown.argmax()]),
            remedy="Get both files from the same source",
        )
    ids = parsed.ids[entries]
    low, high = ids.min(axis=1), ids.max(axis=1)
    keep = np.flatnonzero(low >= 0)
    if task.symmetric:
        keep = keep[low[keep] < high[keep]]
        code = low[keep].astype(np.int64) * len(parsed.molecules) + high[keep]
        _, first = np.unique(code, return_index=True)
        keep = keep[np.sort(first)]
    examples, present = Examples.pairs(ids[keep], labels[keep]).compact()
    return Dataset(
        name=name,
        task=task,
        molecules=tuple(parsed.molecules[m] for m in present),
        examples=examples,
        rows=pairs.index.to_numpy(np.int64)[keep],
        rejected=_rejected_drugs(listing, drugs, parsed.reasons, entries),
        note=note,
    )


def _rejected_drugs(
    path: Path, drugs: pd.DataFrame, reasons: dict[str, str], entries: np.ndarray
) -> tuple[Rejection, ...]:
    """One rejection for each unusable entry that occurs in pairs, not for each pair."""
    n_pairs = np.bincount(entries.ravel(), minlength=len(drugs))
    return tuple(
        Rejection(str(path), int(row), "smiles", text, f"{reasons[text]}; left out of {n} pairs")
        for row, text, n in zip(drugs.index, drugs["smiles"], n_pairs, strict=True)
        if n and text in reasons
    )
