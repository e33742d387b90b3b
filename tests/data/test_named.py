# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""Named sets: joining entries with molecules, on toy folders and on the real files."""

import gzip

import numpy as np
import pytest

from molrel.data.named import read_chchminer, read_ddinter2, read_zhangddi
from molrel.errors import InputError

DRUGS = "drug_id,smiles\nA,C\nB,CO\nC,OC\nD,\nE,nonsense\nF,CN\nG,?\n"


def folder(tmp_path, pairs, drugs=DRUGS):
    for name, text in (("drugs", drugs), ("pairs", pairs)):
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path


def smiles_pairs(dataset):
    return [
        tuple(dataset.molecules[s.ids[n]] for s in dataset.examples.sides)
        for n in range(len(dataset.examples))
    ]


def test_pairs_are_made_unique_by_molecule(tmp_path):
    rows = ["A,B,Major,A,1", "C,A,Unknown,A,1", "B,C,Minor,A,1", "F,B,Minor,A,1", "D,A,Major,A,0"]
    rows += ["E,B,Major,A,0"]
    path = folder(tmp_path, "\n".join(["drug_a,drug_b,level,atc_files,both_smiles", *rows]))
    d = read_ddinter2(path)
    # C is B (methanol): C-A repeats A-B and B-C is a molecule with itself.
    assert smiles_pairs(d) == [("C", "CO"), ("CN", "CO")]
    assert d.rows.tolist() == [2, 5]
    assert (d.examples.labels == 1).all()
    assert [(r.row, r.column) for r in d.rejected] == [(5, "smiles"), (6, "smiles")]
    assert d.rejected[0].reason.endswith("left out of 1 pairs")


def test_zeros_are_kept_only_where_they_mean_something(tmp_path):
    rows = ["A,B,1,train,0", "A,F,0,train,1", "F,A,1,test,1", "B,F,0,test,0"]
    path = folder(tmp_path, "\n".join(["drug_a,drug_b,label,split,pair_conflict", *rows]))
    assert smiles_pairs(read_chchminer(path)) == [("C", "CO"), ("CN", "C")]
    d = read_zhangddi(path)
    assert d.examples.labels.ravel().tolist() == [1, 0, 0]


def test_a_drug_that_is_not_listed_is_an_error(tmp_path):
    path = folder(tmp_path, "drug_a,drug_b,label\nA,B,1\nA,X,1\n")
    with pytest.raises(InputError, match="not in drugs.csv.gz") as caught:
        read_zhangddi(path)
    assert caught.value.row == 3


@pytest.mark.staged
@pytest.mark.parametrize(
    "name, max_atoms, molecules, pairs, positives, rejected",
    [
        pytest.param("zhangddi", 1000, 548, 149_878, 48_584, 0, marks=pytest.mark.slow),
        ("zhangddi", 100, 546, 148_785, 48_215, 2),
        pytest.param("ddinter2", 1000, 1519, 122_900, 122_900, 298, marks=pytest.mark.slow),
        ("ddinter2", 100, 1488, 120_162, 120_162, 328),
        ("chchminer", 1000, 949, 21_082, 21_082, 0),
        ("chchminer", 100, 941, 20_972, 20_972, 8),
    ],
)
def test_counts_of_the_public_sets(staged, name, max_atoms, molecules, pairs, positives, rejected):
    d = staged(name, max_atoms)
    assert len(d.molecules) == molecules
    assert len(d.examples) == len(d.rows) == pairs
    assert d.examples.labels.sum() == positives
    assert len(d.rejected) == rejected
    assert d.note
    ids = np.sort(np.stack([s.ids for s in d.examples.sides], 1), axis=1)
    assert (ids[:, 0] < ids[:, 1]).all() and len(np.unique(ids, axis=0)) == pairs


@pytest.mark.staged
def test_chchminer_as_shipped_would_give_the_label_away(staged):
    """Why its zeros are not loaded: all of them are between drugs of ZhangDDI."""
    zhang, chch = staged("zhangddi", 1000), staged("chchminer", 1000)
    known = set(zhang.molecules)
    inside = sum(a in known and b in known for a, b in smiles_pairs(chch))
    assert 0 < inside < len(chch.examples) / 3
