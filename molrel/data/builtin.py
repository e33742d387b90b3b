"""Data sets that need no download: they come with the packages ``thermo`` and ``chemicals``.

Both packages are MIT-licensed. Only their data files are read; they are not imported, which
would take seconds.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from molrel.data.facts import (
    HENRY,
    HENRY_COMPUTED_NOTE,
    HENRY_WATER_NOTE,
    MIXING,
    MIXTURES_NOTE,
)
from molrel.data.read import assemble
from molrel.data.types import Dataset, Rejection, Task
from molrel.errors import InputError

TEMPERATURE = 298.15
WATER = "7732-18-5"
# H2, N2, CO, O2, CH4: above their critical temperature at 298.15 K, so no solvents there.
SUPERCRITICAL = ("1333-74-0", "7727-37-9", "630-08-0", "7782-44-7", "74-82-8")


def read_mixtures(domain: str, max_atoms: int = 100) -> Dataset:
    """Pairs of molecules labelled by whether their interaction parameter exceeds 0.01.

    Source: k_ij of E-PPR78 (Jaubert & Mutelet, Fluid Phase Equilib. 224:285, 2004) for all
    87,990 pairs of 420 molecules. Pairs with |k_ij| > 0.3 are left out: nearly all are of
    four molecules (water, hydrogen, phenanthrene and C40) for which the model fails.

    Args:
      domain: "hydrocarbons" (both molecules are of C and H only) or "heteroatoms" (exactly
        one is; the other is CO2, N2, H2, H2S, CO, O2, Ar, water or a thiol). Pairs
        without a hydrocarbon are in neither.
      max_atoms: larger molecules are set aside.

    Returns:
      A symmetric binary data set; ``rows`` count the entries of the JSON file from 1.

    Raises:
      InputError: unknown domain, or a package or file is missing.
    """
    n_hydrocarbons = {"hydrocarbons": 2, "heteroatoms": 1}.get(domain)
    if n_hydrocarbons is None:
        raise InputError(f"mixtures has no domain {domain!r}")
    path = package_folder("thermo") / "Interaction Parameters" / "eppr78_common.json"
    names, values = _pairs(path)
    k_ij = np.array([v["kij"] for v in values], np.float64)
    smiles = smiles_by_cas(frozenset(names.ravel()))
    is_hydrocarbon = {cas: hydrocarbon(text) for cas, text in smiles.items()}
    count = sum(np.array([is_hydrocarbon.get(cas, False) for cas in side], int) for side in names.T)
    keep = np.flatnonzero((np.abs(k_ij) <= 0.3) & (count == n_hydrocarbons))
    labels = (k_ij > 0.01).astype(np.float32)
    note = MIXTURES_NOTE
    return _build(f"mixtures/{domain}", MIXING, names, labels, keep, path, max_atoms, note)


def read_henry(domain: str, max_atoms: int = 100) -> Dataset:
    """ln of Henry's constant at 298.15 K, solute first, solvent second.

    Conventions, as read off the files and ``thermo``'s use of them
    (``GibbsExcess.lnHenry_matrix``, ``InteractionParameterDB.get_ip_asymmetric_matrix``):

    - A key is "solute solvent"; the constant is H = lim f/x (fugacity over the solute's
      mole fraction) in Pa, so a *large* value is a *badly* soluble solute.
    - ln(H/Pa) = A + B/T + C ln T + D T + E/T^2 + F T^2, T in K. The computed file has
      E = 1 throughout, the exponent of the DIPPR form D T^E that it was fitted in, not a
      coefficient; read as E/T^2 it adds 1e-5 and is harmless.
    - Check: O2 in water gives 4.3e9 Pa and CO2 1.5e8 Pa (handbooks: 4.4e9 and 1.6e8). The
      computed constants are within a factor of about two in non-polar solvents (O2 in
      hexane 3.1e7, N2 in hexane 7.8e7 Pa) but far off in water (O2 3.6e10, CO2 4.4e9 Pa),
      for want of interaction parameters: source and target differ in their labels, too.

    Computed constants in solvents that are supercritical at 298.15 K (H2, N2, CO, O2, CH4)
    are extrapolated fits without physical meaning (down to ln H = -80) and are left out.
    Solutes that ``chemicals`` has no structure for are set aside in ``rejected``.

    Args:
      domain: "computed" (many solvents) or "water" (Sander's compilation).
      max_atoms: larger molecules are set aside.

    Returns:
      A regression data set, not symmetric; ``rows`` count the entries of the file from 1.

    Raises:
      InputError: unknown domain, or a package or file is missing.
    """
    files = {
        "computed": ("PRTranslated_best_henry_T_dep.json", HENRY_COMPUTED_NOTE),
        "water": ("Sander_henry_const.json", HENRY_WATER_NOTE),
    }
    if domain not in files:
        raise InputError(f"henry has no domain {domain!r}")
    name, note = files[domain]
    path = package_folder("thermo") / "Interaction Parameters" / name
    names, values = _pairs(path)
    coefficients = np.array([[v[c] for c in "ABCDEF"] for v in values], np.float64)
    keep = np.flatnonzero(~np.isin(names[:, 1], SUPERCRITICAL))
    labels = ln_henry(coefficients).astype(np.float32)
    return _build(f"henry/{domain}", HENRY, names, labels, keep, path, max_atoms, note)


def ln_henry(coefficients: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """ln(H/Pa), float64 [N], from coefficients A..F [N, 6]; see ``read_henry``."""
    t = temperature
    return coefficients @ np.array([1, 1 / t, np.log(t), t, 1 / t**2, t**2])


def hydrocarbon(smiles: str) -> bool:
    """Whether a molecule is made of carbon and hydrogen only (and has carbon)."""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        return False
    elements = {atom.GetAtomicNum() for atom in molecule.GetAtoms()}
    return 6 in elements and elements <= {1, 6}


def package_folder(name: str) -> Path:
    """Folder of an installed package, which is not imported.

    Raises:
      InputError: it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"the package {name!r} is not installed",
            remedy='Install it: pip install "molrel[demo]"',
        )
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def smiles_by_cas(numbers: frozenset[str]) -> dict[str, str]:
    """SMILES of CAS registry numbers; unknown ones are left out.

    The identifier tables of ``chemicals`` are searched in the order in which the package
    prefers them; the first that has a number wins.

    Raises:
      InputError: a table is missing.
    """
    folder = package_folder("chemicals") / "Identifiers"
    found: dict[str, str] = {}
    for table in (
        "chemical identifiers pubchem small.tsv",
        "chemical identifiers example user db.tsv",
        "Inorganic db.tsv",
        "chemical identifiers pubchem large.tsv",
    ):
        wanted = numbers - found.keys()
        if not wanted:
            break
        for line in _read(folder / table).split("\n"):
            # PubChem number, CAS number, formula, mass, SMILES, InChI, ...
            fields = line.split("\t", 5)
            if len(fields) > 4 and fields[1] in wanted:
                found.setdefault(fields[1], fields[4])
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot read the file: {error.strerror}",
            path=path,
            remedy="Install the versions of requirements.txt",
        ) from error


@cache
def _pairs(path: Path) -> tuple[np.ndarray, list[dict[str, float]]]:
    """CAS numbers, str object [N, 2], and values of a thermo interaction file."""
    data = json.loads(_read(path))["data"]
    return np.array([key.split(" ") for key in data], dtype=object), list(data.values())


def _build(
    name: str,
    task: Task,
    cas: np.ndarray,
    labels: np.ndarray,
    keep: np.ndarray,
    path: Path,
    max_atoms: int,
    note: str,
) -> Dataset:
    """Data set of the entries in keep; those without a structure are set aside."""
    columns = ("solute", "solvent") if task is HENRY else ("first", "second")
    smiles = smiles_by_cas(frozenset(cas[keep].ravel()))
    known = np.array([[number in smiles for number in row] for row in cas[keep]], bool)
    nameless = tuple(
        Rejection(str(path), int(n) + 1, columns[side], str(cas[n, side]), "no structure is known")
        for n, side in zip(keep, known.argmin(axis=1), strict=True)
        if cas[n, side] not in smiles
    )
    keep = keep[known.all(axis=1)]
    dataset = assemble(
        name,
        task,
        np.array([[smiles[number] for number in row] for row in cas[keep]], dtype=object),
        labels[keep, None],
        rows=keep + 1,
        columns=columns,
        path=path,
        max_atoms=max_atoms,
        note=note,
    )
    rejected = sorted(nameless + dataset.rejected, key=lambda r: r.row)
    return replace(dataset, rejected=tuple(rejected))
