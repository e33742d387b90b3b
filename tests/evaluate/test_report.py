"""Rows of the report, and the files that a run leaves."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from molrel.data.types import Task
from molrel.errors import RunError
from molrel.evaluate import report
from molrel.evaluate.metrics import CLASSIFICATION, REGRESSION, classification_metrics
from molrel.evaluate.report import (
    evaluate_predictions,
    markdown_table,
    seed_scores,
    write_predictions,
    write_report,
)

KEYS = [
    "method",
    "setting",
    "split",
    "stratum",
    "metric",
    "mean",
    "low",
    "high",
    "n_seeds",
    "n_examples",
    "prevalence",
    "skipped",
]
REGRESSING = Task("regression", ("ln H",), ("ln(Pa)",), symmetric=False)


def predictions(n=300, n_seeds=2):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "molecule_a": rng.integers(0, 30, n),
            "molecule_b": rng.integers(30, 60, n),
            "smiles_a": "CCO",
            "label": rng.integers(0, 2, n).astype(float),
            "split": np.repeat(["source-valid", "source-test", "target"], n // 3),
            "stratum": np.where(np.arange(n) < 200, "seen-seen", "seen-new"),
        }
    )
    frame.loc[250:, "stratum"] = "new-new"
    for i in range(n_seeds):
        frame[f"score_{i}"] = rng.random(n)
    return frame


def evaluate(frame, task=None, **changes):
    settings = {"thresholds": 0.5, "replicates": 10} | changes
    return evaluate_predictions(
        frame, method="m", setting="a -> b", task=task or Task(), **settings
    )


def row_of(rows, split, stratum, metric):
    (row,) = [
        r for r in rows if (r["split"], r["stratum"], r["metric"]) == (split, stratum, metric)
    ]
    return row


def test_a_row_for_all_and_for_each_stratum_of_each_split():
    rows = evaluate(predictions())
    assert all(list(row) == KEYS for row in rows)
    found = list(dict.fromkeys((r["split"], r["stratum"], r["n_examples"]) for r in rows))
    assert found == [
        ("target", "all", 100),
        ("target", "new-new", 50),
        ("target", "seen-new", 50),
        ("source-test", "all", 100),
        ("source-test", "seen-seen", 100),
        ("source-valid", "all", 100),
        ("source-valid", "seen-seen", 100),
    ]
    assert len(rows) == 7 * len(CLASSIFICATION)
    assert {r["n_seeds"] for r in rows} == {2}


def test_values_are_those_of_the_metrics():
    frame = predictions()
    rows = evaluate(frame, thresholds=[0.3, 0.8])
    part = frame[frame["stratum"] == "new-new"]
    expected = np.mean(
        [
            classification_metrics(part["label"].to_numpy(), part[f"score_{i}"].to_numpy(), t)["f1"]
            for i, t in enumerate([0.3, 0.8])
        ]
    )
    row = row_of(rows, "target", "new-new", "f1")
    assert row["mean"] == pytest.approx(expected)
    assert row["prevalence"] == part["label"].mean()


def test_unknown_labels_are_not_counted():
    frame = predictions()
    frame.loc[200:209, "label"] = np.nan
    assert row_of(evaluate(frame), "target", "all", "auroc")["n_examples"] == 90
    frame.loc[200:, "label"] = np.nan
    assert {r["split"] for r in evaluate(frame)} == {"source-test", "source-valid"}


def test_regression_of_single_molecules():
    frame = predictions().drop(columns=["molecule_b"])
    rows = evaluate(frame, REGRESSING)
    assert {r["metric"] for r in rows} == set(REGRESSION)
    assert {r["prevalence"] for r in rows} == {None}


def test_seeds_stand_in_the_order_of_their_numbers():
    frame = pd.DataFrame({f"score_{i}": [float(i)] for i in (10, 2, 0)} | {"score_mean": [5.0]})
    assert seed_scores(frame).ravel().tolist() == [0, 2, 10]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_named(tmp_path, value):
    frame = predictions()
    frame.loc[[7, 9], "score_1"] = value
    with pytest.raises(RunError, match="score_1 of row 7 .*CCO.*2 of 300 rows"):
        evaluate(frame)
    with pytest.raises(RunError, match="score_1 of row 7"):
        write_predictions(tmp_path / "predictions.csv", frame)
    assert not list(tmp_path.iterdir())


def test_predictions_are_read_back_exactly(tmp_path):
    scores = [1 / 3, 1.23456789e-7, 1.0]
    frame = predictions(3, 1).assign(score_0=scores)
    write_predictions(tmp_path / "predictions.csv", frame)
    text = (tmp_path / "predictions.csv").read_text().splitlines()
    assert text[0] == "molecule_a,molecule_b,smiles_a,label,split,stratum,score_0"
    assert [float(line.split(",")[-1]) for line in text[1:]] == scores and text[-1][-2:] == ",1"
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.csv"]


def written(folder, rows, **changes):
    settings = {
        "title": "demo: a -> b",
        "notes": ["Labels are computed."],
        "overlap": {
            "pairs_shared": np.int64(3),
            "contradictory_labels": None,
            "target_strata": {"new-new": 1234},
        },
        "discrepancy": [{"compare": "a -> b", "kind": "groups", "js": 0.12345, "null_max": 0.1}],
        "rejected": {"cannot be parsed | empty": 2},
        "cost": {"seconds": 12.345, "n_parameters": 123456.0},
    } | changes
    write_report(folder, rows, **settings)
    return json.loads((folder / "report.json").read_text()), (folder / "report.md").read_text()


def difference(low):
    row = {"method": "m minus floor", "setting": "a -> b", "split": "target", "stratum": "all"}
    row |= {"metric": "auroc difference", "mean": 0.02, "low": low, "high": 0.04}
    return row | {"n_seeds": 2, "n_examples": 100, "prevalence": 0.5}


def test_json_is_valid_and_complete(tmp_path):
    rows = evaluate(predictions())
    rows[0] |= {"mean": math.nan, "low": np.float64("nan"), "high": math.inf}
    values, _ = written(tmp_path, rows)
    assert values.keys() >= {"rows", "overlap", "discrepancy", "rejected", "cost", "notes"}
    assert [values["rows"][0][k] for k in ("mean", "low", "high")] == [None] * 3
    assert values["rows"][1] == rows[1]
    assert values["overlap"]["pairs_shared"] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_markdown_says_what_a_reader_needs(tmp_path):
    rows = evaluate(predictions()) + [difference(0.01), difference(-0.01)]
    _, text = written(tmp_path, rows)
    row = row_of(rows, "target", "all", "auroc")
    value = f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert f"| m | {value} |" in text
    assert "100 labelled examples, prevalence 0." in text
    assert "| new-new (neither molecule trained on) | 50 |" in text
    assert "All examples belong to one stratum: seen-seen (both molecules trained on)." in text
    assert "| m minus floor | AUROC | +0.020 [+0.010, +0.040] | yes |" in text
    assert "| m minus floor | AUROC | +0.020 [-0.010, +0.040] | no |" in text
    assert "| a -> b | groups | 0.1235 | 0.1 |" in text
    assert "| target strata, new-new | 1,234 |" in text
    assert "contradictory" not in text
    assert "2 rows were set aside" in text and r"| cannot be parsed \| empty | 2 |" in text
    assert "| n parameters | 123,456 |" in text
    assert "- Labels are computed." in text


def test_every_table_has_lines_of_equal_width(tmp_path):
    _, text = written(tmp_path, evaluate(predictions()))
    for block in text.split("\n\n"):
        lines = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_markdown_without_target_overlap_or_rejections(tmp_path):
    frame = predictions()
    rows = evaluate(frame[frame["split"] != "target"], REGRESSING)
    options = {"overlap": None, "discrepancy": None, "rejected": {}, "notes": []}
    values, text = written(tmp_path, rows, **options)
    assert values["overlap"] is None and values["discrepancy"] is None
    assert "No row was set aside." in text and "RMSE" in text
    for absent in ("Target", "prevalence", "Notes", "domains share", "F1"):
        assert absent not in text


def test_undefined_metrics_and_skipped_replicates_are_said(tmp_path):
    frame = predictions()
    frame.loc[200:249, "label"] = 1.0
    _, text = written(tmp_path, evaluate(frame))
    assert "undefined" in text
    assert "In seen-new some bootstrap replicates held a single class" in text


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    write_predictions(tmp_path / "predictions.csv", predictions(3, 1))
    before = (tmp_path / "predictions.csv").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("molrel.files.os.fsync", full)
    with pytest.raises(RunError, match="cannot be written .No space left"):
        write_predictions(tmp_path / "predictions.csv", predictions(6, 1))
    assert (tmp_path / "predictions.csv").read_bytes() == before


def test_table_of_nothing_and_of_uneven_rows():
    assert markdown_table([]) == "(none)\n"
    table = markdown_table([{"a": 1, "b": True}, {"a": 1234567.8, "c": math.nan}])
    assert table.splitlines()[2:] == ["| 1 | True |  |", "| 1,234,567.8 |  | nan |"]


def test_of_several_targets_a_row_is_a_label_and_the_metrics_are_means():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (60, 3)).astype(float)
    labels[rng.random((60, 3)) < 0.2] = np.nan
    n, t = np.nonzero(~np.isnan(labels))
    scores = rng.random((2, 60, 3))
    frame = pd.DataFrame(
        {
            "molecule_a": n // 2,
            "example": n,
            "target": np.array(["x", "y", "z"], dtype=object)[t],
            "label": labels[n, t],
            "split": "source-test",
            "stratum": np.where(n < 40, "seen scaffold", "new scaffold"),
            **{f"score_{i}": s[n, t] for i, s in enumerate(scores)},
        }
    ).sample(frac=1, random_state=0)
    found = report.scored_of(frame)
    got_labels, got_scores, molecules = found.labels, found.scores, found.clusters
    np.testing.assert_array_equal(got_labels, labels)
    known = ~np.isnan(labels)
    np.testing.assert_array_equal(got_scores[:, known], scores[:, known])
    np.testing.assert_array_equal(molecules[:, 0], np.arange(60) // 2)
    task = Task("multilabel", ("x", "y", "z"), ("",) * 3)
    rows = [r for r in evaluate(frame, task) if r["stratum"] == "all"]
    assert {r["metric"] for r in rows} == {"auroc", "ap", "brier"} and rows[0]["n_examples"] == 60
    by_hand = np.mean(
        [
            classification_metrics(labels[:, t], scores[s, :, t], 0.5)["auroc"]
            for s in range(2)
            for t in range(3)
        ]
    )
    assert rows[0]["mean"] == pytest.approx(by_hand)
