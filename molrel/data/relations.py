"""Public sets of relations beyond drug interactions: co-crystals, herbs, solvation, spectra."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from molrel.data.cells import parse_cells
from molrel.data.facts import (
    ABSORPTION,
    CCGNET_NOTE,
    COCRYSTAL,
    COMBISOLV_EXP_NOTE,
    COMBISOLV_QM_NOTE,
    COMPATIBILITY,
    HERBIV_NOTE,
    SOLVATION,
    UVVIS_NOTE,
)
from molrel.data.formats import read_frame
from molrel.data.read import assemble
from molrel.data.types import Bag, Dataset, Examples, Rejection
from molrel.errors import InputError

SHORTEST_WAVELENGTH = 150.0


def read_ccgnet(folder: Path, max_atoms: int = 100) -> Dataset:
    """Co-crystals of CCGNet (Jiang et al., Nat. Commun. 12:5950, 2021).

    Args:
      folder: holds pairs.csv.gz.
      max_atoms: larger molecules are set aside, with their pairs.

    Raises:
      InputError: the file is missing or broken.
    """
    path, columns = folder / "pairs.csv.gz", ["smiles_a", "smiles_b"]
    frame = read_frame(path, [*columns, "label"])
    labels = np.asarray(frame["label"] == "1", np.float32)[:, None]
    found = _assemble("ccgnet", COCRYSTAL, frame, columns, labels, path, max_atoms, CCGNET_NOTE)
    ids = np.sort(np.stack([side.ids for side in found.examples.sides], axis=1), axis=1)
    _, first = np.unique(ids, axis=0, return_index=True)
    first = np.sort(first)
    kept = found.take(first[ids[first, 0] < ids[first, 1]])
    present = kept.examples.molecules()
    position = np.zeros(len(kept.molecules), np.int32)
    position[present] = np.arange(len(present))
    return replace(
        kept,
        molecules=tuple(kept.molecules[m] for m in present),
        examples=kept.examples.relabel(position),
    )


def read_combisolv(folder: Path, domain: str, max_atoms: int = 100) -> Dataset:
    """Solvation free energies of CombiSolv (Vermeire & Green, Chem. Eng. J. 418:129307, 2021).

    Args:
      folder: holds combisolv_qm and combisolv_exp.
      domain: "qm" (100,000 computed) or "exp" (8,780 measured).
      max_atoms: larger molecules are set aside, with their pairs.

    Raises:
      InputError: a file is missing or broken.
    """
    file, note = {
        "qm": ("combisolv_qm/combisolv_qm_100k.csv.gz", COMBISOLV_QM_NOTE),
        "exp": ("combisolv_exp/combisolv_exp_8780.csv.gz", COMBISOLV_EXP_NOTE),
    }[domain]
    path, columns = folder / file, ["solute_smiles", "solvent_smiles"]
    frame = read_frame(path, [*columns, "y"])
    labels = frame["y"].to_numpy(float).astype(np.float32)[:, None]
    name = f"combisolv/{domain}"
    return _assemble(name, SOLVATION, frame, columns, labels, path, max_atoms, note)


def read_uvvis(folder: Path, domain: str, max_atoms: int = 100) -> Dataset:
    """Absorption maxima of dyes in solvents (Greenman et al., Chem. Sci. 13:1152, 2022).

    Args:
      folder: holds lambda_max_abs.csv.gz.
      domain: one of the five compilations, such as "deep4chem".
      max_atoms: larger molecules are set aside, with their pairs.

    Raises:
      InputError: the file is missing or broken.
    """
    path, columns = folder / "lambda_max_abs.csv.gz", ["smiles", "solvent"]
    frame = read_frame(path, [*columns, "peakwavs_max", "source"])
    wavelength = frame["peakwavs_max"].to_numpy(float)
    keep = np.asarray(frame["source"] == domain) & (wavelength >= SHORTEST_WAVELENGTH)
    labels = wavelength[keep].astype(np.float32)[:, None]
    name = f"uvvis/{domain}"
    part = frame.loc[keep]
    return _assemble(name, ABSORPTION, part, columns, labels, path, max_atoms, UVVIS_NOTE)


def _assemble(name, task, frame, columns, labels, path, max_atoms, note) -> Dataset:
    """``assemble`` on the SMILES columns of a frame as ``read_frame`` returns it."""
    return assemble(
        name,
        task,
        frame[columns].to_numpy(object),
        labels,
        rows=frame.index.to_numpy(np.int64),
        columns=columns,
        path=path,
        max_atoms=max_atoms,
        note=note,
    )


def read_herbiv(folder: Path, max_atoms: int = 100) -> Dataset:
    """Herb pairs of HerbiV: two bags of ingredients.

    Args:
      folder: holds herb_pairs_derived.csv.gz, herb_ingredient.csv.gz, ingredients.csv.gz.
      max_atoms: larger ingredients are left out of their herbs.

    Raises:
      InputError: a file is missing or broken, or a herb of a pair has no ingredient.
    """
    path = folder / "herb_pairs_derived.csv.gz"
    pairs = read_frame(path, ["herb_a", "herb_b", "label"])
    pairs = pairs.loc[pairs["label"] != "-1"]
    listed = read_frame(folder / "ingredients.csv.gz", ["HVCID", "SMILES"])
    listed = listed.drop_duplicates("HVCID")
    parsed = parse_cells(listed["SMILES"].to_numpy(object), max_atoms)
    links = read_frame(folder / "herb_ingredient.csv.gz", ["HVMID", "HVCID"])
    position = pd.Index(listed["HVCID"]).get_indexer(np.asarray(links["HVCID"], object))
    molecule = np.where(position >= 0, parsed.ids[position], -1)
    usable = molecule >= 0
    bags = {
        str(herb): np.unique(ids)
        for herb, ids in pd.Series(molecule[usable]).groupby(np.asarray(links["HVMID"])[usable])
    }
    sides = [[bags.get(herb, []) for herb in pairs[c]] for c in ("herb_a", "herb_b")]
    empty = np.array([not (len(a) and len(b)) for a, b in zip(*sides)])
    kept = np.flatnonzero(~empty)
    if not len(kept):
        raise InputError("no pair of herbs has ingredients on both sides", path=path)
    present = np.unique(np.concatenate([s[i] for s in sides for i in kept]))
    rejected = tuple(
        Rejection(
            str(path),
            int(pairs.index[i]),
            "herb_a",
            str(pairs["herb_a"].iloc[i]),
            "a herb of the pair has no ingredient of a known structure",
        )
        for i in np.flatnonzero(empty)
    )
    return Dataset(
        name="herbiv",
        task=COMPATIBILITY,
        molecules=tuple(parsed.molecules[m] for m in present),
        examples=Examples(
            sides=tuple(_bag([np.searchsorted(present, s[i]) for i in kept]) for s in sides),
            labels=np.asarray(pairs["label"] == "1", np.float32)[kept, None],
            domain=np.zeros(len(kept), np.int32),
            weight=np.ones(len(kept), np.float32),
        ),
        rows=pairs.index.to_numpy(np.int64)[kept],
        rejected=rejected,
        note=HERBIV_NOTE,
    )


def _bag(members: list[np.ndarray]) -> Bag:
    sizes = [len(m) for m in members]
    return Bag(
        np.concatenate(members).astype(np.int32),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
    )
