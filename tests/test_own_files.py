# pyright: reportArgumentType=false, reportCallIssue=false
"""What a run makes of a user's own files, up to the division of the source."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from molrel.cli import main
from molrel.config import DataConfig
from molrel.data.formats import SUFFIXES
from molrel.data.types import Task
from molrel.divide import divide
from molrel.errors import InputError
from molrel.runs import load_run
from molrel.sources import is_file, load_dataset

ONE = DataConfig(target=None, smiles_columns=("smiles",), label_column="y")


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


PARTS = (
    "smiles,y,part\nC,1,train\nCC,0,Training\nCCC,1,VAL\nCO,0,dev\nCN,1,Test\nCS,0,\nCF,1,train\n"
)


def test_a_split_column_divides_the_source(tmp_path):
    source = write(tmp_path / "in.csv", PARTS)
    data = replace(ONE, source=source, split="column", split_column="part")
    divided = divide(data, max_atoms=100)
    rows = {name: found.tolist() for name, found in divided.rows.items()}
    assert rows == {"train": [2, 3, 8], "valid": [4, 5], "test": [6]}
    assert "1 source examples without a value in 'part' were left out." in divided.notes


@pytest.mark.parametrize(
    "old, new, row, words",
    [
        ("VAL", "holdout", 4, "'holdout' names no part"),
        ("VAL", "", None, "no usable row is of the part valid"),
        (",part", ",other", 1, "no column 'part'"),
    ],
)
def test_a_wrong_split_column_is_an_error(tmp_path, old, new, row, words):
    text = PARTS.replace(old, new).replace("dev", "" if row is None else "dev")
    source = write(tmp_path / "in.csv", text)
    with pytest.raises(InputError, match=words) as caught:
        divide(replace(ONE, source=source, split="column", split_column="part"), max_atoms=100)
    assert caught.value.row == row and caught.value.column == "part"


def test_a_set_of_the_catalogue_has_no_split_column():
    with pytest.raises(InputError, match="catalogue has no split column"):
        divide(DataConfig(target=None, split="column"), max_atoms=100)


def test_negatives_are_drawn_in_each_part_of_a_split_column(tmp_path):
    names = [f"{'C' * n}{end}" for n in range(1, 9) for end in ("O", "N")]
    every = list(itertools.combinations(names, 2))[::3]
    parts = ["train", "train", "valid", "test"]
    rows = [f"{a},{b},1,{parts[i % 4]}" for i, (a, b) in enumerate(every)]
    pairs = write(tmp_path / "in.csv", "a,b,y,split\n" + "\n".join(rows) + "\n")
    divided = divide(DataConfig(pairs, None, ("a", "b"), "y", split="column"), max_atoms=100)
    for name, part in divided.parts.items():
        of_file = divided.rows[name] >= 0
        assert (part.labels[of_file] == 1).all() and (part.labels[~of_file] == 0).all()
        assert of_file.sum() == sum(row.endswith(name) for row in rows) == (~of_file).sum()


def test_several_label_columns_are_a_multilabel_task(tmp_path):
    source = write(tmp_path / "in.csv", "smiles,u,v\nCCO,0,1\nCCN,,0\nc1ccccc1,1,\n")
    found = load_dataset(source, replace(ONE, label_columns=("u", "v")))
    assert found.task == Task("multilabel", ("u", "v"), ("", ""))
    np.testing.assert_array_equal(found.examples.labels, [[0, 1], [np.nan, 0], [1, np.nan]])
    values = load_dataset(source, replace(ONE, label_columns=("u", "v"), kind="regression"))
    assert values.task.kind == "regression"
    with pytest.raises(InputError, match="one label column"):
        load_dataset(source, replace(ONE, label_columns=("u", "v"), kind="multiclass"))


def test_classes_of_the_source_number_those_of_the_target(tmp_path):
    rows = "".join(f"{'C' * n},{'abc'[n % 3]}\n" for n in range(1, 31))
    source = write(tmp_path / "source.csv", "smiles,y\n" + rows)
    target = write(tmp_path / "target.csv", "smiles,y\nO,c\nOO,b\nOCO,zzz\n")
    divided = divide(replace(ONE, source=source, target=target, kind="multiclass"), max_atoms=100)
    assert divided.source.task.classes == divided.target.task.classes == ("a", "b", "c")
    assert divided.target.examples.labels.ravel().tolist() == [2, 1]
    assert any("numbered from 0: a, b, c" in note for note in divided.notes)


def test_what_was_assumed_is_among_the_notes(tmp_path):
    rows = "".join(f"{'C' * n};{'active' if n % 2 else 'inactive'}\n" for n in range(1, 31))
    source = write(tmp_path / "in.csv", "# of 3 May\nsmiles;y\n" + rows + "C;inactive\n")
    (note,) = divide(replace(ONE, source=source), max_atoms=100).notes
    for words in ("semicolons", "above the header", "'active' is read as 1", "rows 3 and 33"):
        assert words in note


@pytest.mark.parametrize("kind, label", [("binary", "1"), ("regression", "5"), ("multiclass", "x")])
def test_one_label_throughout_is_nothing_to_learn(tmp_path, kind, label):
    source = write(
        tmp_path / "in.csv", "smiles,y\n" + "".join(f"{'C' * n},{label}\n" for n in range(1, 31))
    )
    with pytest.raises(InputError, match=f"every label that could be trained on is '?{label}'?"):
        divide(replace(ONE, source=source, kind=kind), max_atoms=100)


def test_overlap_and_discrepancy_read_no_labels(tmp_path, capsys):
    source = write(tmp_path / "a.tsv", "smiles_a\tsmiles_b\tlabel\nC\tCC\t5.1\nC\tO\t6.2\n")
    target = write(tmp_path / "b.csv", "smiles_a;smiles_b\nC;CC\nN;O\n")
    assert main(["data", "overlap", source, target]) == 0
    out = capsys.readouterr().out
    assert "pairs_shared: 1" in out and "pairs_source: 2" in out
    assert main(["data", "discrepancy", source, target]) == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mistyped_file_is_no_name_of_the_catalogue(tmp_path, suffix):
    address = str(tmp_path / f"pairs{suffix.upper()}")
    assert is_file(address)
    with pytest.raises(InputError, match="no such file"):
        load_dataset(address, ONE)


# ---- several classes, to the end ---------------------------------------------------------------


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory):
    """A run of three classes in words, with an unlabelled target."""
    folder = tmp_path_factory.mktemp("classes")
    chains = ["C" * n for n in range(1, 13)]
    kinds = {"alcohol": "O", "amine": "N", "thiol": "S"}
    rows = [f"{c}{end},{kind}" for kind, end in kinds.items() for c in chains]
    source = write(folder / "in.csv", "smiles,y\n" + "\n".join(rows) + "\n")
    target = write(folder / "target.csv", "smiles\nCC(C)O\nCC(C)N\n")
    flags = ["--data", source, "--target", target, "--smiles-columns", "smiles"]
    flags += ["--label-column", "y", "--kind", "multiclass", "--data.split", "random"]
    flags += ["--data.valid-fraction", "0.2", "--data.test-fraction", "0.3"]
    flags += ["--method.width", "16", "--method.depth", "2", "--train.epochs", "2", "--seeds", "0"]
    flags += ["--train.replicates", "5", "--out", str(folder / "run")]
    assert main(["train", "property_gin", *flags]) == 0
    return folder


def test_each_class_is_judged_against_the_others(three_classes):
    report = json.loads((three_classes / "run" / "report.json").read_text())
    ours = [r for r in report["rows"] if r["split"] == "source-test" and r["stratum"] == "all"]
    assert {"auroc", "ap", "brier"} <= {r["metric"] for r in ours}
    methods = {r["method"] for r in ours}
    assert {"property_gin", "morgan + random forest", "floor: prevalence"} <= methods
    frame = pd.read_csv(three_classes / "run" / "predictions.csv")
    assert set(frame["target"]) == {"alcohol", "amine", "thiol"}
    labelled = frame[frame["split"] == "source-test"].groupby("example")
    assert (labelled["label"].sum() == 1).all()
    np.testing.assert_allclose(labelled["mean"].sum(), 1, atol=1e-5)


def test_a_target_without_labels_has_a_score_of_every_class(three_classes):
    frame = pd.read_csv(three_classes / "run" / "predictions.csv")
    target = frame[frame["split"] == "target"]
    assert len(target) == 6 and target["label"].isna().all() and target["mean"].notna().all()


def test_predict_and_evaluate_of_classes(three_classes, capsys):
    new = write(three_classes / "new.csv", "smiles,y\nCC(C)O,alcohol\nCC(C)(C)N,amine\nx,thiol\n")
    out = three_classes / "out.tsv"
    command = ["predict", str(three_classes / "run"), "--input", new, "--output", str(out)]
    assert main(command) == 0
    scored = pd.read_csv(out, sep="\t")
    names = [f"score {c}" for c in ("alcohol", "amine", "thiol")]
    np.testing.assert_allclose(scored[names][:2].sum(axis=1), 1, atol=1e-6)
    assert scored[names].iloc[2].isna().all() and scored["error"][2]
    assert main(["evaluate", str(three_classes / "run"), "--data", new]) == 0
    assert "AUROC" in capsys.readouterr().out
    judged = load_run(three_classes / "run").evaluate(pd.read_csv(new), "y").set_index("metric")
    assert 0 <= judged["mean"]["accuracy"] <= 1 and judged["n_examples"]["accuracy"] == 2
