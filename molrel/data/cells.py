"""Cells of SMILES: each different text is read once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from molrel.chem.smiles import MoleculeError, canonical_smiles


@dataclass(frozen=True)
class ParsedColumn:
    """Molecules behind text cells, each different text parsed once.

    Attributes:
      molecules: canonical SMILES of the M unique molecules, in order of first appearance.
      ids: int32, of the shape of the cells, index into ``molecules``; -1 where unusable.
      reasons: why the text of an unusable cell is unusable.
    """

    molecules: tuple[str, ...]
    ids: np.ndarray
    reasons: dict[str, str]


def parse_cells(cells: np.ndarray, max_atoms: int = 100) -> ParsedColumn:
    """Parses an array of SMILES text (object, any shape)."""
    codes, texts = pd.factorize(cells.ravel())
    known: dict[str, int] = {}
    reasons: dict[str, str] = {}
    of_text = np.full(len(texts), -1, np.int32)
    for i, text in enumerate(texts):
        try:
            if not text:
                raise MoleculeError("the cell is empty")
            of_text[i] = known.setdefault(canonical_smiles(text, max_atoms), len(known))
        except MoleculeError as error:
            reasons[text] = str(error) + _extension_advice(text)
    return ParsedColumn(tuple(known), of_text[codes].reshape(cells.shape), reasons)


def _extension_advice(text: str) -> str:
    """What to do about a SMILES with a CXSMILES extension behind a blank; else ""."""
    smiles, blank, extension = text.partition(" ")
    if not (blank and extension.lstrip().startswith("|")):
        return ""
    return f". The CXSMILES extension is not read: write {smiles[:60]!r} if it can be left out"
