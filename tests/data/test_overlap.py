# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""What two sets share, by hand and on the drug sets."""

from dataclasses import replace

import numpy as np
import pytest

from molrel.data.overlap import divide_shared_pairs, overlap
from molrel.data.types import Dataset, Examples, Task, join

BUTENE = ("C/C=C/C", "C/C=C\\C")


def dataset(name, pairs, labels, task=None):
    molecules = tuple(dict.fromkeys(s for pair in pairs for s in pair))
    ids = np.array([[molecules.index(s) for s in pair] for pair in pairs])
    examples = Examples.pairs(ids, labels)
    return Dataset(name, task or Task(), molecules, examples, np.arange(len(pairs)) + 2)


SOURCE = dataset(
    "s",
    [("C", "CC"), ("CC", "C"), ("CC", "O"), ("N", BUTENE[0]), ("O", "N")],
    [1, 0, 1, 1, np.nan],
)
TARGET = dataset(
    "t", [("CC", "C"), ("O", "CC"), ("S", BUTENE[1]), ("N", "O"), ("S", "C")], [1, 0, 1, 0, 0]
)


@pytest.mark.parametrize("joined", [False, True])
def test_counts_by_hand(joined):
    source, target = join(SOURCE, TARGET) if joined else (SOURCE, TARGET)
    assert overlap(source, target) == {
        "molecules_source": 5,
        "molecules_target": 6,
        "molecules_shared": 4,
        "connectivity_shared": 5,
        "pairs_source": 4,
        "pairs_target": 5,
        "pairs_shared": 3,
        # C-CC is 1 and 0 in the source, CC-O 1 against 0; the missing label contradicts none.
        "contradictory_labels": 2,
        "repeated_contradictions": {"source": 1, "target": 0},
        "target_strata": {"new-new": 1, "seen-new": 1, "seen-seen": 3},
    }


def test_the_same_molecule_written_otherwise_is_the_same():
    a = dataset("a", [("CC(=O)[O-]", "C")], [1])
    b = dataset("b", [("C", "C(C)(=O)[O-]")], [1])
    found = overlap(a, b)
    assert found["molecules_shared"] == 2 and found["pairs_shared"] == 1


def test_drawn_negatives_are_no_data():
    drawn = np.array([2, 3, -1, 4, -1])
    listed = TARGET.take(drawn >= 0)
    assert overlap(SOURCE, replace(TARGET, rows=drawn)) == overlap(SOURCE, listed)


def test_regression_has_no_contradictions():
    task = Task("regression")
    found = overlap(
        dataset("a", [("C", "N")], [0.5], task), dataset("b", [("C", "N")], [0.7], task)
    )
    assert found["contradictory_labels"] is None and found["pairs_shared"] == 1


def random_set(name, molecules, count, seed):
    """Labelled pairs of the given molecules, without repetition."""
    rng = np.random.default_rng(seed)
    pairs = [(a, b) for a in molecules for b in molecules if a < b]
    chosen = [pairs[i] for i in rng.permutation(len(pairs))[:count]]
    flipped = [p[::-1] if rng.random() < 0.5 else p for p in chosen]
    return dataset(name, flipped, rng.integers(0, 2, count).astype(float))


def smiles_pairs(d):
    ids = np.stack([side.ids for side in d.examples.sides], axis=1)
    return {frozenset((d.molecules[a], d.molecules[b])) for a, b in ids}


CHAINS = ["C" * n for n in range(1, 31)]


@pytest.mark.parametrize("joined", [False, True])
def test_each_shared_pair_is_left_to_one_domain(joined):
    a, b = random_set("s", CHAINS[:20], 150, 0), random_set("t", CHAINS[10:], 150, 1)
    source, target = join(a, b) if joined else (a, b)
    new_source, new_target, left_out = divide_shared_pairs(source, target, seed=0)
    assert left_out == (150 - len(new_source.examples), 150 - len(new_target.examples))
    assert not smiles_pairs(new_source) & smiles_pairs(new_target)
    both = set(CHAINS[10:20])
    for before, after in ((a, new_source), (b, new_target)):
        gone = smiles_pairs(before) - smiles_pairs(after)
        assert gone and all(pair <= both for pair in gone)
        inside = [pair for pair in smiles_pairs(before) if pair <= both]
        assert 0.2 < len(gone) / len(inside) < 0.8


def test_what_stays_in_the_source_does_not_depend_on_what_the_target_lists():
    """Else the target's positives could be read off the pairs that the source lacks."""
    source = random_set("s", CHAINS, 435, 0)
    kept = []
    for seed in (1, 2):
        target = random_set("t", CHAINS, 200, seed)
        kept.append(smiles_pairs(divide_shared_pairs(source, target, seed=0)[0]))
    assert kept[0] == kept[1] and len(kept[0]) < 300


def test_domains_without_a_common_pair_stay_whole():
    a, b = random_set("s", CHAINS[:10], 30, 0), random_set("t", CHAINS[10:], 30, 1)
    source, target, left_out = divide_shared_pairs(a, b, seed=0)
    assert left_out == (0, 0) and len(source.examples) == len(target.examples) == 30


@pytest.mark.staged
def test_zhangddi_and_ddinter_share_what_their_documentation_says(staged):
    source, target = staged("zhangddi", 1000), staged("ddinter2", 1000)
    found = overlap(source, target)
    assert found["molecules_shared"] == 539
    assert found["target_strata"] == {"new-new": 34400, "seen-new": 53240, "seen-seen": 35260}
    assert found["pairs_shared"] == 35260
    # Of these ZhangDDI calls 26,919 interactions and the rest not.
    assert found["contradictory_labels"] == 35260 - 26919
    kept_source, kept_target, _ = divide_shared_pairs(source, target, seed=0)
    assert overlap(kept_source, kept_target)["pairs_shared"] == 0
    # The source keeps its share of interactions, which the target's positives do not change.
    assert abs(kept_source.examples.labels.mean() - source.examples.labels.mean()) < 0.01
