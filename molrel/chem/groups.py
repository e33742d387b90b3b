"""The 85 functional groups of ``rdkit.Chem.Fragments`` and the atoms that form them."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
from rdkit import Chem, RDConfig

# Far above the matches of any pattern in a molecule of some hundred atoms, so that no match
# is lost; RDKit's default of 1000 counts symmetry-equivalent matches too.
_MAX_MATCHES = 1_000_000


def _read_patterns() -> dict[str, str]:
    """Name -> SMARTS, from the table that ``rdkit.Chem.Fragments`` reads, in its order."""
    table = Path(RDConfig.RDDataDir) / "FragmentDescriptors.csv"
    with table.open(newline="") as lines:
        rows = [row for row in csv.reader(lines, delimiter="\t") if len(row) >= 3]
    return {
        row[0].replace("=", "_").replace("-", "_"): row[2]
        for row in rows
        if not row[0].startswith("#")
    }


GROUP_SMARTS: dict[str, str] = _read_patterns()
GROUP_NAMES: tuple[str, ...] = tuple(GROUP_SMARTS)


@cache
def _patterns() -> tuple[Chem.Mol, ...]:
    return tuple(Chem.MolFromSmarts(smarts) for smarts in GROUP_SMARTS.values())


def group_matches(molecule: Chem.Mol) -> list[list[frozenset[int]]]:
    """For each of the 85 groups, the atom sets of its distinct matches."""
    return [
        [
            frozenset(match)
            for match in molecule.GetSubstructMatches(pattern, maxMatches=_MAX_MATCHES)
        ]
        for pattern in _patterns()
    ]


def match_groups(molecule: Chem.Mol) -> np.ndarray:
    """Atoms of each functional group that the molecule has.

    Returns:
      int32 [G, 2], rows (index into ``GROUP_NAMES``, atom), sorted and unique. An atom
      belongs to a group if any match of the group's SMARTS contains it.
    """
    rows = [
        (group, atom)
        for group, matches in enumerate(group_matches(molecule))
        for atom in sorted(frozenset().union(*matches))
    ]
    return np.array(rows, np.int32).reshape(-1, 2)


# Small molecules in which each group occurs at least twice, in surroundings as different as
# its SMARTS allows: acid and salt, N-H and N-alkyl, open chain and ring, aryl and alkyl.
EXAMPLES: tuple[str, ...] = tuple(
    """
    CO CC(C)O CC(C)(C)O OCCO OC1CCCCC1 OC=C CCC(O)CO
    Oc1ccccc1 Oc1cccnc1 Oc1ccc(C)cc1 Oc1ccccc1CO Oc1ccccc1C(=O)O Oc1ccc2ccccc2c1
    COC COc1ccccc1 COC(C)=O CCOCC C1CCOC1 CC1CO1 C1CO1 COP(=O)(O)O
    CC=O O=Cc1ccccc1 CC(C)=O CC(=O)c1ccccc1 O=C1CCCCC1 CC(=O)C=C O=C1C=CCCC1 O=CN
    CC(=O)O CC(=O)[O-] O=C(O)c1ccccc1 [O-]C(=O)c1ccccc1 O=C(O)c1cccnc1 OC=O NCC(=O)O
    COC(C)=O CCOC(=O)c1ccccc1 O=C1CCCO1 O=C1CCCCO1 O=C1CCO1 O=C1OCC=C1
    CC(=O)N CC(=O)NC CC(=O)N(C)C NC(=O)c1ccccc1 CNC(=O)c1ccccc1 O=C1CCN1 CN1CCC1=O O=C1CCCN1
    CC(=O)NC(C)=O O=C1CCC(=O)N1 CN1C(=O)CCC1=O O=C1CC(=O)NC(=O)N1 CCC1(C)C(=O)NC(=O)N(C)C1=O
    NC(N)=O CNC(=O)NC CN(C)C(=O)N(C)C O=C1NCCN1 CNC(=O)OC CCOC(=O)NCC COC(N)=O CN(C)C(=O)OC
    CN CNC CN(C)C C[N+](C)(C)C CC[N+](CC)(CC)CC C[n+]1ccccc1 NCCO CC(C)N NC=C
    Nc1ccccc1 CNc1ccccc1 CN(C)c1ccccc1 Nc1ccc(C)cc1 Nc1cccnc1 NNc1ccccc1 NNC(=O)c1ccccc1
    NC(=N)c1ccccc1 CC(N)=N CC(=N)NC CN(C)C(C)=NC NC(N)=N CNC(=N)NC CN(C)C(=NC)N(C)C
    CC=NC CN=C(C)C CC=Nc1ccccc1 CC=NO CC(C)=NO CON=C(C)C CC(C)=NN CC=NNC CC=NN(C)C
    NN CNN CNNC CN(C)N(C)C CN=NC c1ccccc1N=Nc1ccccc1 CN=O O=Nc1ccccc1 CC(C)N=O
    CNO CN(C)O CON CN(C)OC C[N+](C)(C)[O-] C[N+](=O)[O-] CC[N+](=O)[O-]
    O=[N+]([O-])c1ccccc1 Cc1ccccc1[N+](=O)[O-] Cc1ccc([N+](=O)[O-])cc1 O=[N+]([O-])c1cccnc1
    C[N+]#N N#[N+]c1ccccc1 CN=[N+]=[N-] [N-]=[N+]=Nc1ccccc1 C[N-][N+]#N
    CC#N N#Cc1ccccc1 CN=C=O O=C=Nc1ccccc1 CN=C=S S=C=Nc1ccccc1 CSC#N N#CSc1ccccc1
    FC CCCl CCBr CCI Fc1ccccc1 Clc1ccccc1 Brc1cccnc1 FC(F)F ClC=C
    CS Sc1ccccc1 CSC CSc1ccccc1 C1CCSC1 CC(C)=S CC(N)=S CNC(=S)NC CS(C)(=O)=O
    CS(=O)(=O)c1ccccc1 C[S+2](C)([O-])[O-] CS(N)(=O)=O CNS(C)(=O)=O CN(C)S(C)(=O)=O
    NS(=O)(=O)c1ccccc1 CNS(=O)(=O)c1ccccc1 CS(N)(=O)=O
    C#C CC#C C#Cc1ccccc1 c1c[nH]cn1 Cn1ccnc1 c1ccc2[nH]cnc2c1 c1c[nH]cc1 c1ccc2[nH]ccc2c1
    c1cc[nH]c1 c1cn[nH]c1 Cn1cccn1 Cn1cccc1 c1ccoc1 Cc1ccco1 c1ccc2occc2c1 c1ccsc1 Cc1cccs1
    c1cscn1 Cc1nccs1 c1cocn1 Cc1ncco1 c1ccncc1 Cc1ccccn1 c1ccc2ncccc2c1 c1ncccn1 c1nnn[nH]1
    Cn1cnnn1 Cn1nnnc1C C1CCNCC1 CN1CCCCC1 CC(=O)N1CCCCC1 C1CNCCN1 CN1CCN(C)CC1
    C1COCCN1 CN1CCOCC1 CC(=O)N1CCOCC1 CN1CCCC1 CN1CCCCCC1
    CCCCC CCCCCCCC CCCCCCO CCCCCCCl CCCCCCN CCCCCCc1ccccc1 CCCCCCC(C)=O OCCCCCO NCCCCCN
    C1CC2CCC1C2 C1CCC2CCCCC2C1 C1CC2CCCC2C1 c1ccc2ccccc2c1 c1ccccc1 Cc1ccccc1 C1OC2CCC1O2
    CP(=O)(O)O OP(=O)(O)O CCOP(=O)(O)O CCOP(=O)(OCC)OCC COP(=O)(OC)OP(=O)(O)O
    [O-][P+](O)(O)OC C[P+]([O-])(O)O C[P+]([O-])(OC)OC CP(=O)(OC)OC
    C1C=CNC=C1 CN1C=CCC=C1 CC1=CCC=CN1 CN1C=CC=CC1 CC1C=CC=CN1
    O=C1CN=C(c2ccccc2)c2ccccc2N1 CN1C(=O)CN=C(c2ccccc2)c2ccccc21 C1CN=Cc2ccccc2N1
    C1CN=C(c2ccccc2)c2cc(Cl)ccc2N1 CC1CN=Cc2ccccc2N1C
    CC=CC CC(C)=CC CC1=CCCCC1 C=CCC C=CCc1ccccc1 CCc1ccccc1 CCCc1ccccc1 Cc1ccccn1
    CN(C)CC=O CN(C)CC=C CN(C)Cc1ccccc1 CCN(C)CC(=O)N CN(C)CCN CCN(CC)CC(C)=O
    COc1ccccc1 Nc1ccccc1 CC(=O)Nc1ccccc1 OCCN1CCCC1 OC(C)CN1CCCCC1 OCCNC(C)(C)C
    CC(O)CNC(C)(C)C OC(CNC(C)(C)C)c1ccccc1 OCCN1CCOCC1
    """.split()
)


@cache
def nested_groups() -> np.ndarray:
    """Which pairs of functional groups are nested, such as fr_COO and fr_C_O.

    Two groups are nested if having the one means having the other at the same place: over
    the molecules of ``EXAMPLES``, at least nine in ten matches of the one contain, or are
    contained in, a match of the other (not all, as isocyanates alone are a fr_C_O_noCOO
    without being a fr_C_O). ``EXAMPLES`` shows every group in varied surroundings and is part
    of the code, so the answer depends on no data set. RDKit can match SMARTS against SMARTS,
    but it does not look into recursive patterns, and so misses even fr_COO and fr_C_O.

    Returns:
      bool [85, 85], symmetric, True on the diagonal; read-only.
    """
    n = len(GROUP_NAMES)
    total, together = np.zeros(n), np.zeros((n, n))
    for smiles in EXAMPLES:
        matches = group_matches(Chem.MolFromSmiles(smiles))
        present = [g for g in range(n) if matches[g]]
        for f in present:
            total[f] += len(matches[f])
            for g in present:
                together[f, g] += sum(any(a <= b or b <= a for b in matches[g]) for a in matches[f])
    implies = together >= 0.9 * total[:, None]
    nested = implies | implies.T
    nested.setflags(write=False)
    return nested
