"""Opioid receptor affinities, vendored: small measured sets that need no download.

Pairs of similar molecules with very different affinity are activity cliffs. The three
receptors are three domains with related, and partly the same, molecules.
"""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np
import pandas as pd
from rdkit import DataStructs
from rdkit.Chem import MolFromSmiles
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

from molrel.data.cells import parse_cells
from molrel.data.facts import CLIFF, CLIFFS_NOTE
from molrel.data.formats import read_frame
from molrel.data.read import unusable
from molrel.data.types import Dataset, Examples

RECEPTORS = {"mu": "CHEMBL233", "delta": "CHEMBL236", "kappa": "CHEMBL237"}
SIMILARITY = 0.6
DIFFERENCE = 1.0


def read_cliffs(domain: str, max_atoms: int = 100) -> Dataset:
    """Activity cliffs among the ligands of one opioid receptor.

    A cliff is a pair of similar molecules with a tenfold difference in affinity, after
    Stumpfe & Bajorath, J. Med. Chem. 55:2932 (2012); data of van Tilborg et al., J. Chem.
    Inf. Model. 62:5938 (2022).

    Args:
      domain: "mu", "delta" or "kappa".
      max_atoms: larger molecules are set aside.

    Returns:
      A symmetric binary data set; ``rows`` are those of the first molecule of each pair.
    """
    path, frame = _affinities(domain)
    cells, rows = frame[["smiles"]].to_numpy(object), frame.index.to_numpy(np.int64)
    parsed = parse_cells(cells, max_atoms)
    of_row = parsed.ids[:, 0]
    known = pd.Series(frame["pki"].to_numpy(float)).groupby(of_row).median()
    affinity = known.reindex(range(len(parsed.molecules))).to_numpy(float)
    generator = GetMorganGenerator(radius=2, fpSize=2048)
    prints = [generator.GetFingerprint(MolFromSmiles(s)) for s in parsed.molecules]
    pairs = [
        (i, j)
        for i in range(1, len(prints))
        for j in np.flatnonzero(
            np.array(DataStructs.BulkTanimotoSimilarity(prints[i], prints[:i])) >= SIMILARITY
        )
    ]
    ids = np.array(pairs, np.int32).reshape(-1, 2)
    labels = np.abs(affinity[ids[:, 0]] - affinity[ids[:, 1]]) >= DIFFERENCE
    # Molecules are numbered in the order of their first row.
    good = of_row >= 0
    first = rows[good][np.unique(of_row[good], return_index=True)[1]]
    examples, present = Examples.pairs(ids, labels.astype(np.float32)).compact()
    return Dataset(
        name=f"opioid_cliffs/{domain}",
        task=CLIFF,
        molecules=tuple(parsed.molecules[m] for m in present),
        examples=examples,
        rows=first[ids[:, 0]],
        rejected=unusable(parsed, cells, rows=rows, columns=["smiles"], path=path),
        note=CLIFFS_NOTE,
    )


def _affinities(domain: str) -> tuple[str, pd.DataFrame]:
    """(file; smiles, pki and split) of one receptor's ligands."""
    with as_file(files("molrel.data") / "vendored" / f"{RECEPTORS[domain]}_Ki.csv.gz") as path:
        return path.name, read_frame(path, ["smiles", "pki", "split"])
