"""Domains by clusters of scaffolds: disjoint, complete, always the same, and far apart."""

import numpy as np
import pytest

from molrel.chem.scaffolds import murcko_scaffold
from molrel.data.catalog import load
from molrel.data.domains import scaffold_clusters
from molrel.data.types import Dataset, Examples, Task

RINGS = ("c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCOCC1", "c1ccsc1", "C1CCNC1")
MOLECULES = tuple(f"{chain}{ring}" for ring in RINGS for chain in ("C", "CC", "CCC", "N", "O")) + (
    "CCCC",
    "CCO",
)


@pytest.fixture(scope="module")
def dataset():
    n = len(MOLECULES)
    pairs = np.stack(np.triu_indices(n, 1), axis=1)
    labels = (pairs.sum(1) % 2).astype(np.float32)
    return Dataset("made", Task(), MOLECULES, Examples.pairs(pairs, labels), np.arange(len(pairs)))


def test_domains_share_no_molecule_and_no_scaffold(dataset):
    a, b = (scaffold_clusters(dataset, d) for d in "ab")
    assert not set(a.molecules) & set(b.molecules)
    assert set(a.molecules) | set(b.molecules) == set(MOLECULES)
    frames = [{murcko_scaffold(s) or s for s in part.molecules} for part in (a, b)]
    assert not frames[0] & frames[1]
    assert len(a.molecules) >= 0.5 * len(MOLECULES)


def test_examples_keep_their_molecules_labels_and_rows(dataset):
    a = scaffold_clusters(dataset, "a")
    n = len(a.molecules)
    assert len(a.examples) == n * (n - 1) // 2 == len(a.rows)
    for i in (0, len(a.rows) - 1):
        original = dataset.examples.take(a.rows[i : i + 1])
        assert a.examples.labels[i] == original.labels[0]
        for mine, theirs in zip(a.examples.sides, original.sides, strict=True):
            assert a.molecules[mine.ids[i]] == dataset.molecules[theirs.ids[0]]


def test_the_division_is_always_the_same(dataset):
    assert scaffold_clusters(dataset, "b").molecules == scaffold_clusters(dataset, "b").molecules


@pytest.mark.slow
@pytest.mark.staged
def test_zhangddi_clusters():
    a, b = load("zhangddi_clusters/a"), load("zhangddi_clusters/b")
    assert (len(a.molecules), len(b.molecules)) == (350, 196)
    assert (len(a.examples), len(b.examples)) == (350 * 349 // 2, 196 * 195 // 2)


@pytest.mark.slow
@pytest.mark.staged
def test_ddibench():
    train, test = load("ddibench/train"), load("ddibench/test")
    assert train.task.kind == "multiclass" and train.task.n_outputs == 86
    assert (len(train.examples), len(test.examples)) == (115_135, 37_796)
    labels = np.concatenate([train.examples.labels, test.examples.labels])
    assert set(np.unique(labels)) <= set(range(86)) and len(np.unique(labels)) == 84
    # S2 pairs are of two drugs that no training pair has.
    known = set(train.molecules)
    new = np.array([s not in known for s in test.molecules])
    both = np.all([new[side.ids] for side in test.examples.sides], axis=0)
    assert both.sum() == 953
