"""Scoring the rows of a file: every row comes back, in order, the good ones with a score."""

import csv
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from molrel.cli import main
from molrel.errors import InputError
from molrel.inference import predict_csv
from molrel.runs import load_run

ROWS = [
    # id, a, b, note, whether it can be scored
    ("1", "CCO", "CCN", "good", True),
    ("2", "CCN", "CCO", "swapped", True),
    ("3", "", "CC", "one side empty", False),
    ("4", "CCO", "CCN", "duplicate", True),
    ("5", "not smiles", "CC", "bad", False),
    ("6", "OCC", "NCC", "another spelling, swapped", True),
    ("7", "[Na+].[Cl-]", "CC", "salt", True),
    ("8", "C" * 101, "CC", "too large", False),
    ("9", "C", "C", "with itself", True),
    ("10", "", "", "empty", False),
    ("11", "CC(=O)O[Pt]", "c1ccccc1", 'metal, "quoted"', True),
]


def write(path, rows, header=("id", "a", "b", "note")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def scored(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    write(folder / "in.csv", [r[:4] for r in ROWS])
    counts = predict_csv(trained / "run", folder / "in.csv", folder / "out.csv")
    with (folder / "out.csv").open(newline="", encoding="utf-8") as file:
        return counts, list(csv.DictReader(file))


def test_rows_order_and_other_columns_are_kept(scored):
    counts, rows = scored
    assert [tuple(r[c] for c in ("id", "a", "b", "note")) for r in rows] == [r[:4] for r in ROWS]
    assert list(rows[0]) == ["id", "a", "b", "note", "score", "spread", "error"]
    assert counts == {"scored": 7, "failed": 4}


def test_bad_rows_have_a_reason_and_good_ones_a_score(scored):
    for row, (*_, good) in zip(scored[1], ROWS):
        if good:
            assert 0 < float(row["score"]) < 1 and float(row["spread"]) >= 0 and not row["error"]
        else:
            assert row["score"] == "" and row["spread"] == ""
            assert row["error"].startswith(("a: ", "b: "))
    assert "b: " in scored[1][9]["error"], "both sides of an empty row are named"


def test_order_of_the_pair_spelling_and_repetition_do_not_matter(scored):
    scores = [row["score"] for row in scored[1]]
    assert scores[0] == scores[1] == scores[3] == scores[5]
    assert len({s for s in scores if s}) > 1


def test_score_is_the_mean_over_seeds_and_does_not_depend_on_the_other_rows(trained, tmp_path):
    predictions = pd.read_csv(trained / "run" / "predictions.csv")
    target = predictions[predictions["split"] == "target"].reset_index()
    some = target.iloc[::7]
    rows = [(str(i), r.smiles_a, r.smiles_b, "") for i, r in enumerate(some.itertuples())]
    write(tmp_path / "in.csv", rows)
    predict_csv(trained / "run", tmp_path / "in.csv", tmp_path / "out.csv")
    out = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_allclose(out["score"], some["mean"], rtol=2e-5)
    np.testing.assert_allclose(out["spread"], some["spread"], atol=2e-5)
    np.testing.assert_allclose(some[["score_0", "score_1"]].mean(axis=1), some["mean"], atol=2e-6)


@pytest.mark.parametrize(
    "rows, header, options, words",
    [
        ([("1", "xx", "C", "")], None, {}, "none of the 1 rows"),
        ([("1", "C", "C", "")], ("id", "a", "c", "note"), {}, "no column 'b'"),
        ([("1", "C", "C", "")], ("id", "a", "b", "score"), {}, "already has a column"),
        ([("1", "C", "C", "")], None, {"smiles_columns": ("a",)}, "takes 2 molecules"),
        ([], None, {}, "no rows"),
    ],
)
def test_what_cannot_be_scored_leaves_no_output(trained, tmp_path, rows, header, options, words):
    path = write(tmp_path / "in.csv", rows, header or ("id", "a", "b", "note"))
    (tmp_path / "out.csv").write_text("earlier result\n")
    with pytest.raises(InputError, match=words):
        predict_csv(trained / "run", path, tmp_path / "out.csv", **options)
    assert (tmp_path / "out.csv").read_text() == "earlier result\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_an_output_that_cannot_be_written_is_found_before_the_work(trained, tmp_path, monkeypatch):
    path = write(tmp_path / "in.csv", [r[:4] for r in ROWS])
    monkeypatch.setattr("molrel.runs.Run.score_rows", lambda *_: pytest.fail("worked first"))
    for output in (tmp_path, tmp_path / "none" / "out.csv"):
        with pytest.raises(InputError):
            predict_csv(trained / "run", path, output)


def test_a_malformed_row_keeps_its_place_and_the_others_are_scored(trained, tmp_path):
    (tmp_path / "in.csv").write_text(
        "# exported\nid;a;b;note\n1;CCO;CCN;x\n2;CCO;CCN\n3;CCO;CCN;x;y\n"
        '4;CCO;"CCN;x\n5;CCN;CCO;x\n'
    )
    counts = predict_csv(trained / "run", tmp_path / "in.csv", tmp_path / "out.csv")
    assert counts == {"scored": 2, "failed": 3}
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["id"] for r in rows] == ["1", "2", "3", "4", "5"]
    assert [r["a"] for r in rows] == ["CCO", "CCO", "CCO", "CCO", "CCN"]
    assert [bool(r["score"]) for r in rows] == [True, False, False, False, True]
    assert rows[0]["score"] == rows[4]["score"]
    for row, words in zip(rows[1:4], ("3 cells where", "5 cells where", "mark is not closed")):
        assert words in row["error"]


CELLS = st.sampled_from(["C", "CCO", "c1ccccc1", "", "xx", '"', "C C", "[Fe+2]", "é", "\t", "1,2"])


@settings(
    max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8))
def test_any_table_is_scored_row_by_row_or_refused(trained, tmp_path, table):
    path = write(tmp_path / "in.csv", table, ("a", "b", "other"))
    try:
        counts = predict_csv(trained / "run", path, tmp_path / "out.csv")
    except InputError as error:
        assert str(path) in str(error)
        return
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert [[c.strip() for c in r[:3]] for r in rows] == [[c.strip() for c in r] for r in table]
    assert counts["scored"] == sum(bool(r[3]) for r in rows)
    assert all(bool(r[3]) != bool(r[5]) for r in rows)


# ---- embed, and rows in memory ---------------------------------------------------------------


def test_embeddings_are_one_vector_a_molecule_and_seed(trained, tmp_path):
    (tmp_path / "in.csv").write_text("name,smiles\nx,CCO\ny,C1CC\nz,OCC\n")
    command = ["embed", str(trained / "run"), "--input", str(tmp_path / "in.csv")]
    assert main([*command, "--output", str(tmp_path / "z.npz")]) == 0
    with np.load(tmp_path / "z.npz", allow_pickle=False) as found:
        assert found["smiles"].tolist() == ["CCO", "C1CC", "OCC"]
        assert found["seeds"].tolist() == [0, 1]
        z = found["z"]
    assert z.shape[:2] == (2, 3) and z.dtype == np.float32
    assert np.isnan(z[:, 1]).all() and np.isfinite(z[:, [0, 2]]).all()
    np.testing.assert_array_equal(z[:, 0], z[:, 2])
    run = load_run(trained / "run")
    np.testing.assert_allclose(run.embed(["CCCC", "CCO"])[:, 1], z[:, 0], atol=1e-5)
    with pytest.raises(InputError, match="none of the molecules"):
        run.embed(["C1CC"])


def test_rows_in_memory_are_scored_as_those_of_a_file(trained, tmp_path):
    run = load_run(trained / "run")
    rows = [("CCO", "CCN"), ("C1CC", "CCO"), ("CCC", "CCO")]
    found = run.predict(rows)
    assert (found["error"] != "").tolist() == [False, True, False]
    frame = pd.DataFrame(rows, columns=["a", "b"], index=[7, 7, 9]).assign(more=1)
    again = run.predict(frame)
    assert again.index.tolist() == [7, 7, 9] and again["more"].tolist() == [1, 1, 1]
    np.testing.assert_array_equal(again["score"], found["score"])
    frame.to_csv(tmp_path / "in.csv", index=False)
    predict_csv(trained / "run", tmp_path / "in.csv", tmp_path / "out.csv")
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["score"], found["score"])
    for wrong in ([], [("CCO",)], frame[["a"]]):
        with pytest.raises(InputError):
            run.predict(wrong)


def test_labelled_rows_in_memory_are_judged_as_those_of_the_runs_own_report(trained, tmp_path):
    run = load_run(trained / "run")
    own = pd.read_csv(trained / "run" / "predictions.csv").query("split == 'target'")
    frame = own.rename(columns={"smiles_a": "a", "smiles_b": "b", "label": "y"})
    found = run.evaluate(frame[["a", "b", "y"]], "y").set_index("metric")
    rows = json.loads((trained / "run" / "report.json").read_text())["rows"]
    reported = {
        r["metric"]: r["mean"]
        for r in rows
        if (r["method"], r["split"], r["stratum"]) == (run.config.name, "target", "all")
    }
    assert sorted(found.index) == sorted(reported) and (found["n_examples"] == len(own)).all()
    np.testing.assert_allclose(found["mean"], [reported[m] for m in found.index], atol=1e-4)
    assert (found["low"] <= found["high"]).all()
    with pytest.raises(InputError, match="no such column|no column"):
        run.evaluate(frame[["a", "b"]], "y")


def test_labels_that_are_not_the_runs_are_refused(trained):
    run = load_run(trained / "run")
    frame = pd.DataFrame({"a": ["CCO", "CC"], "b": ["CCN", "CCC"], "y": [1, 0], "z": [0, 1]})
    with pytest.raises(InputError, match="are not the run's"):
        run.evaluate(frame, ["y", "z"])
    several = replace(run, task=replace(run.task, kind="multilabel", targets=("y", "z")))
    with pytest.raises(InputError, match="are not the run's"):
        several.evaluate(frame, "z")
    with pytest.raises(InputError, match="no row has a label|none"):
        run.evaluate(frame.assign(y=np.nan), "y")
