# pyright: reportArgumentType=false, reportCallIssue=false
"""Labels as people write them: words, classes, bounds, several columns, and mistakes."""

import numpy as np
import pytest

from molrel.data.read import read_csv
from molrel.data.types import Task
from molrel.errors import InputError


def read(tmp_path, labels, kind="binary", separator=",", columns=("y",), **options):
    """A file of one molecule a row with the given label cells (rows of cells for several)."""
    path = tmp_path / "in.csv"
    rows = [[cell] if isinstance(cell, str) else cell for cell in labels]
    lines = [separator.join(["smiles", *columns])]
    lines += [separator.join(["C" * (i + 1), *row]) for i, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_csv(
        path, smiles_columns=("smiles",), label_columns=columns, task=Task(kind), **options
    )


def error_of(tmp_path, labels, kind="binary", **options) -> InputError:
    with pytest.raises(InputError) as caught:
        read(tmp_path, labels, kind, **options)
    return caught.value


# ---- binary ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "zero, one",
    [
        ("False", "True"),
        ("false", "TRUE"),
        ("F", "T"),
        ("no", "Yes"),
        ("n", "y"),
        ("inactive", "active"),
        ("negative", "positive"),
        ("-1", "1"),
        ("-1.0", "+1"),
        ("\N{MINUS SIGN}1", "1"),
        ("-", "+"),
        ("non-toxic", "toxic"),
        ("insoluble", "soluble"),
        ("not toxic", "toxic"),
        ("impermeable", "permeable"),
    ],
)
def test_pairs_of_words_that_say_which_is_one(tmp_path, zero, one):
    d = read(tmp_path, [one, zero, zero, "", one])
    np.testing.assert_array_equal(d.examples.labels.ravel(), [1, 0, 0, np.nan, 1])
    assert d.task.classes == (zero, one)
    assert f"{one!r} is read as 1 and {zero!r} as 0" in d.note


@pytest.mark.parametrize("zero, one", [("0", "1"), ("0.0", "1.0"), ("0", "1.")])
def test_zero_and_one_need_no_word(tmp_path, zero, one):
    d = read(tmp_path, [one, zero, "-", "n/a"])
    np.testing.assert_array_equal(d.examples.labels.ravel(), [1, 0, np.nan, np.nan])
    assert d.task.classes == () and d.note == "" and d.rejected == ()


def test_other_words_need_to_be_told(tmp_path):
    error = error_of(tmp_path, ["agonist", "antagonist", "agonist"])
    assert "'agonist' and 'antagonist'" in str(error) and "--data.positive" in error.remedy
    d = read(tmp_path, ["agonist", "antagonist", "Agonist"], positive="AGONIST")
    assert d.examples.labels.ravel().tolist() == [1, 0, 1]
    assert "'agonist' is read as 1 and 'antagonist' as 0" in d.note
    turned = read(tmp_path, ["active", "inactive"], positive="inactive")
    assert turned.examples.labels.ravel().tolist() == [0, 1]
    numbers = read(tmp_path, ["1", "2", "2"], positive="2")
    assert numbers.examples.labels.ravel().tolist() == [0, 1, 1]


def test_a_positive_that_no_cell_has_or_several_others_are_errors(tmp_path):
    assert "no label is 'activ'" in str(
        error_of(tmp_path, ["active", "inactive"], positive="activ")
    )
    error = error_of(tmp_path, ["high", "low", "medium"], positive="high")
    assert "'low', 'medium'" in str(error)


def test_a_third_word_among_many_sets_its_row_aside(tmp_path):
    labels = ["active", "inactive", "inconclusive", "active", "inactive"]
    for options in ({}, {"positive": "active"}):
        d = read(tmp_path, labels, **options)
        assert d.examples.labels.ravel().tolist() == [1, 0, 1, 0]
        assert [(r.row, r.value) for r in d.rejected] == [(4, "inconclusive")]
        assert "1 row was set aside" in d.note and "row 4" in d.note
    d = read(tmp_path, ["0", "1", "1", "-1"])
    assert d.examples.labels.ravel().tolist() == [0, 1, 1] and len(d.rejected) == 1


def test_one_class_keeps_its_meaning(tmp_path):
    assert read(tmp_path, ["1", "1"]).examples.labels.ravel().tolist() == [1, 1]
    assert read(tmp_path, ["active"]).examples.labels.ravel().tolist() == [1]
    assert read(tmp_path, ["inactive"]).examples.labels.ravel().tolist() == [0]


def test_measured_values_in_a_binary_column_are_an_error_that_names_the_kind(tmp_path):
    error = error_of(tmp_path, ["5.1", "6.2", "1", "7.7"])
    assert "'5.1' is not 0 or 1 (3 such rows)" in str(error) and error.row == 2
    assert "data.kind" in error.remedy
    like = error_of(tmp_path, ["5.1", "6.2"], like=Task())
    assert "data.kind" not in like.remedy, "the kind of a run is settled"


def test_words_of_the_source_hold_for_other_files(tmp_path):
    like = Task(classes=("antagonist", "agonist"))
    d = read(tmp_path, ["Antagonist", "", "0", "1"], like=like)
    np.testing.assert_array_equal(d.examples.labels.ravel(), [0, np.nan, 0, 1])


# ---- several columns -------------------------------------------------------------------------


def test_several_columns_with_missing_cells(tmp_path):
    rows = [["0", "1", ""], ["", "0", "1"], ["1", "", "0"], ["0", "0", ""]]
    columns = ("NR-AR", "NR-AhR", "SR-p53")
    d = read(tmp_path, rows, "multilabel", columns=columns)
    nan = np.nan
    np.testing.assert_array_equal(
        d.examples.labels, [[0, 1, nan], [nan, 0, 1], [1, nan, 0], [0, 0, nan]]
    )
    assert d.task.targets == columns and d.rejected == ()


def test_an_unusable_cell_of_several_columns_costs_the_cell_alone(tmp_path):
    rows = [["0", "1"], ["yes?", "0"], ["1", "1"], ["1", "0"]]
    d = read(tmp_path, rows, "multilabel", columns=("u", "v"))
    np.testing.assert_array_equal(d.examples.labels, [[0, 1], [np.nan, 0], [1, 1], [1, 0]])
    assert d.rejected == () and "1 cell counts as missing" in d.note and "row 3" in d.note


def test_label_columns_that_a_target_lacks_are_missing(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("smiles,u\nC,1\nCC,0\n")
    options = {"smiles_columns": ("smiles",), "task": Task("multilabel")}
    d = read_csv(path, label_columns=("u", "v"), unlabelled=True, **options)
    np.testing.assert_array_equal(d.examples.labels, [[1, np.nan], [0, np.nan]])
    assert "no column 'v'" in d.note
    with pytest.raises(InputError, match="no column 'v'"):
        read_csv(path, label_columns=("u", "v"), **options)


# ---- classes ---------------------------------------------------------------------------------


def test_classes_in_words_are_numbered_in_order_and_named(tmp_path):
    d = read(tmp_path, ["low", "high", "medium", "", "low"], "multiclass")
    assert d.task.classes == ("high", "low", "medium") and d.task.n_outputs == 3
    np.testing.assert_array_equal(d.examples.labels.ravel(), [1, 0, 2, np.nan, 1])
    assert "numbered from 0: high, low, medium" in d.note


def test_class_numbers_may_have_gaps(tmp_path):
    d = read(tmp_path, ["1", "10", "2.0", "2"], "multiclass")
    assert d.task.classes == ("1", "2", "10")
    assert d.examples.labels.ravel().tolist() == [0, 2, 1, 1]
    plain = read(tmp_path, ["0", "1", "2", "2"], "multiclass")
    assert plain.note == "" and plain.examples.labels.ravel().tolist() == [0, 1, 2, 2]


def test_classes_of_the_source_hold_for_other_files(tmp_path):
    like = Task("multiclass", n_classes=3, classes=("a", "b", "c"))
    d = read(tmp_path, ["c", "b", "x", "c"], "multiclass", like=like)
    assert d.task.classes == ("a", "b", "c") and d.task.n_classes == 3
    assert d.examples.labels.ravel().tolist() == [2, 1, 2]
    assert "not one of the classes" in d.rejected[0].reason


def test_numbers_of_classes_without_names_stay_what_they_are(tmp_path):
    like = Task("multiclass", n_classes=86)
    d = read(tmp_path, ["3", "47", "85", "86"], "multiclass", like=like)
    assert d.examples.labels.ravel().tolist() == [3, 47, 85]
    assert "not one of the classes" in d.rejected[0].reason


def test_what_differs_in_every_row_is_no_class(tmp_path):
    error = error_of(tmp_path, [f"id{i}" for i in range(40)], "multiclass")
    assert "40 different labels in 40 rows are no classes" in str(error)


# ---- measured values -------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [">10000", "<5", "~3", ">= 7", "\u22653", "<<1", "ca. 5"])
def test_bounds_are_set_aside_or_stripped_and_said(tmp_path, cell):
    d = read(tmp_path, [cell, "12", cell, "8"], "regression")
    assert d.examples.labels.ravel().tolist() == [12, 8]
    assert [r.row for r in d.rejected] == [2, 4] and "bound" in d.rejected[0].reason
    assert "2 rows were set aside" in d.note
    stripped = read(tmp_path, [cell, "12", cell, "8"], "regression", qualifiers="strip")
    number = float("".join(c for c in cell if c.isdigit()))
    assert stripped.examples.labels.ravel().tolist() == [number, 12, number, 8]
    assert "2 labels of 'y' were bounds or estimates" in stripped.note


def test_mostly_bounds_are_no_wrong_column_but_only_bounds_are_an_error(tmp_path):
    d = read(tmp_path, [">1", ">1", ">1", "2"], "regression")
    assert d.examples.labels.ravel().tolist() == [2]
    assert "data.qualifiers" in error_of(tmp_path, [">1", "<2"], "regression").remedy


def test_decimal_commas_between_semicolons(tmp_path):
    d = read(tmp_path, ["12,5", "-3,25e-1", "4"], "regression", separator=";")
    assert d.examples.labels.ravel().tolist() == [12.5, -0.325, 4]
    assert "comma" in d.note and "decimal point" in d.note
    # Beside points a comma may divide thousands.
    mixed = read(tmp_path, ["12.5", "1,250", "4.1"], "regression", separator=";")
    assert mixed.examples.labels.ravel().tolist() == [12.5, 4.1]
    assert "write a decimal point" in mixed.rejected[0].reason
    quoted = read(tmp_path, ['"12,5"', "3", "4"], "regression")
    assert quoted.examples.labels.ravel().tolist() == [3, 4]


def test_minus_signs_and_equals_signs(tmp_path):
    d = read(tmp_path, ["\N{MINUS SIGN}3.5", "=4", "+.5", "6."], "regression")
    assert d.examples.labels.ravel().tolist() == [-3.5, 4, 0.5, 6]


def test_labels_keep_more_than_float32(tmp_path):
    d = read(tmp_path, [f"{10**8 + i}" for i in range(5)], "regression")
    assert d.examples.labels.dtype == np.float64
    assert d.examples.labels.ravel().tolist() == [10**8 + i for i in range(5)]


@pytest.mark.parametrize("value", ["1e30", "-1e9", "123456"])
def test_labels_far_from_the_others_are_named_and_kept(tmp_path, value):
    labels = [f"{i / 10}" for i in range(20)]
    d = read(tmp_path, [*labels, value], "regression")
    assert len(d.examples) == 21
    assert "1 label of 'y' lies more than 1,000 spreads" in d.note and "row 22" in d.note
    assert read(tmp_path, [*labels, "300"], "regression").note == ""
    sparse = read(tmp_path, [*["0"] * 30, "1", "2", value], "regression")
    assert "row 34" in sparse.note, "where most labels are equal"


def test_most_labels_unreadable_is_the_wrong_column(tmp_path):
    error = error_of(tmp_path, ["3", "high", "low"], "regression")
    assert "'high' is not a finite number (2 such rows)" in str(error) and error.row == 3
    assert "Is this the label column?" in error.remedy
