# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""What two sets share, by hand and on the drug sets."""

import numpy as np
import pytest

from molrel.data.overlap import drop_shared_pairs, overlap
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


def test_regression_has_no_contradictions():
    task = Task("regression")
    found = overlap(
        dataset("a", [("C", "N")], [0.5], task), dataset("b", [("C", "N")], [0.7], task)
    )
    assert found["contradictory_labels"] is None and found["pairs_shared"] == 1


@pytest.mark.parametrize("joined", [False, True])
def test_shared_pairs_are_dropped_in_either_order(joined):
    source, target = join(SOURCE, TARGET) if joined else (SOURCE, TARGET)
    kept, dropped = drop_shared_pairs(source, target)
    assert dropped == 4 and kept.rows.tolist() == [5]
    assert kept.molecules == source.molecules
    again, none = drop_shared_pairs(kept, target)
    assert none == 0 and len(again.examples) == 1


@pytest.mark.staged
def test_zhangddi_and_ddinter_share_what_their_documentation_says(staged):
    source, target = staged("zhangddi", 1000), staged("ddinter2", 1000)
    found = overlap(source, target)
    assert found["molecules_shared"] == 539
    assert found["target_strata"] == {"new-new": 34400, "seen-new": 53240, "seen-seen": 35260}
    assert found["pairs_shared"] == 35260
    # Of these ZhangDDI calls 26,919 interactions and the rest not.
    assert found["contradictory_labels"] == 35260 - 26919
    kept, dropped = drop_shared_pairs(source, target)
    assert dropped == 35260 and overlap(kept, target)["pairs_shared"] == 0
