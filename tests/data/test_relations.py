# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""Sets beyond drug pairs: on toy folders, and against the counts of the public files."""

import gzip

import numpy as np
import pytest

from molrel.data.named import read_ddinter2_class
from molrel.data.opioids import read_cliffs
from molrel.data.relations import read_ccgnet, read_combisolv, read_herbiv, read_uvvis
from molrel.errors import InputError


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()))
    return folder


def sides(dataset, n):
    return [
        sorted(dataset.molecules[i] for i in s.ids[s.offsets[n] : s.offsets[n + 1]])
        for s in dataset.examples.sides
    ]


def test_a_class_holds_its_own_drugs_and_unclassed_ones(tmp_path):
    drugs = "drug_id,smiles\np,C\nq,CC\nr,O\nx,N\ny,S\nz,P\n"
    # p, q: only file A. x: only file L. y: A and L always. z, r: in no file by themselves.
    rows = ["p,q,A", "p,z,A", "q,x,AL", "x,z,L", "y,z,AL", "p,y,AL", "r,p,A", "r,x,L"]
    header = "drug_a,drug_b,level,atc_files\n"
    pairs = header + "".join("{},{},Major,{}\n".format(*row.split(",")) for row in rows)
    folder = write(tmp_path, drugs=drugs, pairs=pairs)
    of = {x: read_ddinter2_class(folder, x) for x in "AL"}
    found = {x: [sides(d, n) for n in range(len(d.examples))] for x, d in of.items()}
    assert found["A"] == [[["C"], ["CC"]], [["C"], ["P"]], [["O"], ["C"]]]
    assert found["L"] == [[["N"], ["P"]], [["O"], ["N"]]]


def test_herbs_are_bags_of_their_readable_ingredients(tmp_path):
    folder = write(
        tmp_path,
        herb_pairs_derived="herb_a,herb_b,n_together,n_a,n_b,pmi,label\n"
        "h1,h2,3,5,5,1,1\nh1,h3,0,5,5,0,0\nh2,h3,1,5,5,0,-1\nh4,h1,0,5,5,0,0\n",
        herb_ingredient="HVMID,HVCID\nh1,c1\nh1,c2\nh2,c1\nh2,c4\nh3,c3\nh4,c4\n",
        ingredients="HVCID,Name,SMILES\nc1,a,C\nc1,again,C\nc2,b,CO\nc3,c,OC\nc4,d,nonsense\n",
    )
    d = read_herbiv(folder)
    assert [sides(d, n) for n in range(2)] == [[["C", "CO"], ["C"]], [["C", "CO"], ["CO"]]]
    assert d.examples.labels.ravel().tolist() == [1, 0] and d.rows.tolist() == [2, 3]
    assert [(r.row, "no ingredient" in r.reason) for r in d.rejected] == [(5, True)]
    write(tmp_path, herb_ingredient="HVMID,HVCID\nh1,c4\n")
    with pytest.raises(InputError, match="no pair of herbs"):
        read_herbiv(folder)


def test_co_crystals_are_unique_by_molecule(tmp_path):
    rows = "smiles_a,smiles_b,label\nC,CO,1\nOC,C,1\nC,C,1\nC,N,0\n"
    d = read_ccgnet(write(tmp_path, pairs=rows))
    assert [sides(d, n) for n in range(2)] == [[["C"], ["CO"]], [["C"], ["N"]]]
    assert d.examples.labels.ravel().tolist() == [1, 0]


def test_dyes_of_one_compilation_without_impossible_wavelengths(tmp_path):
    rows = "smiles,solvent,peakwavs_max,source\nC,O,350,x\nCC,O,0,x\nCCC,O,420,y\nN,CO,500,x\n"
    d = read_uvvis(write(tmp_path, lambda_max_abs=rows), "x")
    assert d.examples.labels.ravel().tolist() == [350, 500] and d.rows.tolist() == [2, 5]
    assert not d.task.symmetric and d.task.units == ("nm",)


def test_solute_comes_before_solvent(tmp_path):
    rows = "solvent_smiles,solute_smiles,y,split\nO,CC,-1.5,train\n"
    folder = write(tmp_path, **{"combisolv_qm/combisolv_qm_100k": rows})
    assert sides(read_combisolv(folder, "qm"), 0) == [["CC"], ["O"]]


@pytest.fixture(scope="module")
def cliffs():
    return {domain: read_cliffs(domain) for domain in ("delta", "kappa")}


def test_cliffs_are_similar_pairs_with_a_tenfold_difference(cliffs):
    from rdkit import DataStructs
    from rdkit.Chem import MolFromSmiles
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    counts = {n: (len(d.molecules), len(d.examples)) for n, d in cliffs.items()}
    assert counts == {"delta": (2425, 21606), "kappa": (2424, 26523)}
    d = cliffs["delta"]
    assert d.examples.labels.mean() == pytest.approx(0.289, abs=0.001)
    generator = GetMorganGenerator(radius=2, fpSize=2048)
    for n in range(0, len(d.examples), 1501):
        a, b = (generator.GetFingerprint(MolFromSmiles(s[0])) for s in sides(d, n))
        assert DataStructs.TanimotoSimilarity(a, b) >= 0.6
    ids = np.sort(np.stack([s.ids for s in d.examples.sides], 1), axis=1)
    assert (ids[:, 0] < ids[:, 1]).all() and len(np.unique(ids, axis=0)) == len(ids)


def test_cliffs_know_their_rows_and_what_was_set_aside():
    from molrel.chem.smiles import parse
    from molrel.data.opioids import _affinities

    d, (_, frame) = read_cliffs("delta", max_atoms=40), _affinities("delta")
    assert all("more than 40" in r.reason for r in d.rejected)
    assert len(d.rejected) == (frame["smiles"].map(lambda s: parse(s, 10**6).n_atoms) > 40).sum()
    assert frame.loc[d.rejected[0].row, "smiles"] == d.rejected[0].value
    for n in range(0, len(d.examples), 997):
        assert parse(frame.loc[d.rows[n], "smiles"]).smiles == sides(d, n)[0][0]


@pytest.mark.staged
@pytest.mark.parametrize(
    "address, molecules, examples, mean",
    [
        ("ddinter2_atc/A", 910, 23_335, 1.0),
        ("ddinter2_atc/L", 921, 31_198, 1.0),
        ("ccgnet", 4381, 7712, 0.8828),
        ("combisolv/exp", 1385, 8780, -5.4935),
        pytest.param("uvvis/dsscdb", 1951, 2246, 498.026, marks=pytest.mark.slow),
        pytest.param("herbiv", 4222, 14_083, 0.462, marks=pytest.mark.slow),
    ],
)
def test_counts_of_the_public_sets(staged, address, molecules, examples, mean):
    d = staged(address)
    assert len(d.molecules) == molecules and len(d.examples) == len(d.rows) == examples
    assert float(d.examples.labels.mean(dtype=np.float64)) == pytest.approx(mean, rel=1e-3)
    assert d.note and d.examples.molecules().tolist() == list(range(molecules))


@pytest.mark.staged
def test_hardly_a_pair_is_in_two_classes(staged):
    pairs = []
    for domain in "AL":
        d = staged(f"ddinter2_atc/{domain}")
        ids = np.stack([s.ids for s in d.examples.sides], axis=1)
        pairs.append({frozenset(d.molecules[i] for i in row) for row in ids})
    # Entries that differ by route only may be one molecule of two classes.
    assert len(pairs[0] & pairs[1]) < 0.01 * len(pairs[0])
