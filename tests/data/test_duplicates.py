# pyright: reportArgumentType=false, reportCallIssue=false
"""The same molecules more than once."""

import numpy as np
import pytest

from molrel.data.duplicates import contradictions, settle_duplicates
from molrel.data.read import read_csv
from molrel.data.types import Task
from molrel.errors import InputError


def read(tmp_path, text, columns=("a", "b"), kind="binary", symmetric=True, labels=("y",)):
    path = tmp_path / "in.csv"
    path.write_text(text)
    task = Task(kind, symmetric=symmetric)
    return read_csv(path, smiles_columns=columns, label_columns=labels, task=task)


TEXT = "a,b,y\nC,CC,1\nN,O,1\nCC,C,0\nN,O,1\nC,O,0\nC,CC,1\n"


def test_contradictions_are_listed_with_rows_and_spellings_do_not_hide_them(tmp_path):
    d = read(tmp_path, "a,b,y\nOCC,N,1\nN,O,1\nCCO,N,0\nN,O,\nN,O,1\n", symmetric=False)
    frame = contradictions(d)
    assert frame.to_dict("list") == {
        "relation": [1, 1],
        "row": [2, 4],
        "smiles_a": ["CCO", "CCO"],
        "smiles_b": ["N", "N"],
        "y": [1, 0],
    }
    single = read(tmp_path, "s,y\nC,1\nCC,0\nC,0\n", columns=("s",))
    assert list(contradictions(single)) == ["relation", "row", "smiles", "y"]
    assert contradictions(single)["row"].tolist() == [2, 4]


def test_order_counts_where_the_task_has_roles(tmp_path):
    assert contradictions(read(tmp_path, TEXT))["row"].tolist() == [2, 4, 7]
    ordered = read(tmp_path, TEXT, symmetric=False)
    assert not len(contradictions(ordered))
    assert "different labels" not in settle_duplicates(ordered, "error").note


def test_keep_counts_them_and_warns_of_an_order_that_means_something(tmp_path):
    d = read(tmp_path, TEXT)
    kept = settle_duplicates(d, "keep")
    assert len(kept.examples) == 6
    assert "1 pairs occur more than once with different labels, in 3 rows" in kept.note
    assert "rows 2 and 4" in kept.note
    assert "1 pairs occur more than once with one label, in 2 rows" in kept.note
    assert "data.symmetric to False" in kept.note
    same_order = read(tmp_path, "a,b,y\nC,CC,1\nC,CC,0\nN,O,1\n")
    assert "data.symmetric" not in settle_duplicates(same_order, "keep").note


def test_drop_sets_every_contradictory_row_aside(tmp_path):
    d = settle_duplicates(read(tmp_path, TEXT + "x,C,1\n"), "drop")
    assert d.rows.tolist() == [3, 5, 6]
    assert [r.row for r in d.rejected] == [2, 4, 7, 8]
    assert "another label" in d.rejected[0].reason
    with pytest.raises(InputError, match="every example contradicts"):
        settle_duplicates(read(tmp_path, "a,b,y\nC,CC,1\nC,CC,0\n"), "drop")


def test_mean_makes_one_example_of_each_relation(tmp_path):
    d = settle_duplicates(read(tmp_path, TEXT), "mean")
    assert d.rows.tolist() == [2, 3, 6] and d.examples.labels.ravel().tolist() == [1, 1, 0]
    values = "a,b,y\nC,CC,1\nN,O,4\nCC,C,2\nC,CC,\nC,O,\n"
    d = settle_duplicates(read(tmp_path, values, kind="regression"), "mean")
    np.testing.assert_array_equal(d.examples.labels.ravel(), [1.5, 4, np.nan])


def test_error_names_two_rows(tmp_path):
    with pytest.raises(InputError, match="rows 2 and 4") as caught:
        settle_duplicates(read(tmp_path, TEXT), "error")
    assert caught.value.row == 4 and "data.duplicates" in caught.value.remedy


def test_several_labels_contradict_in_any_column(tmp_path):
    text = "s,u,v\nC,1,\nC,,0\nC,1,1\nN,0,1\nN,,1\n"
    d = read(tmp_path, text, columns=("s",), kind="multilabel", labels=("u", "v"))
    assert contradictions(d)["row"].tolist() == [2, 3, 4]
    merged = settle_duplicates(d, "mean")
    assert merged.examples.labels.tolist() == [[1, 0], [0, 1]]


def test_repeated_examples_of_one_label_leave_nothing_to_settle(tmp_path):
    d = read(tmp_path, "a,b,y\nC,CC,1\nN,O,0\n")
    for how in ("keep", "drop", "mean", "error"):
        assert settle_duplicates(d, how) == d
