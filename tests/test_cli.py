"""The command line as a user meets it: what it leaves, what it prints, how it fails."""

import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from trained import (
    BAD_ROWS,
    HYDROCARBONS,
    ROOT,
    pairs,
    train_flags,
    train_tiny,
    write_domains,
    write_pairs,
)

from molrel.cli import main


def fails(capsys, code, *arguments, words=()):
    """Runs a command that must fail with one clear line, and returns that line."""
    assert main([str(a) for a in arguments]) == code
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error and "internal error" not in error
    assert len(error.splitlines()) == 1 and error.startswith("molrel: "), error
    for word in words:
        assert str(word) in error, error
    return error


# ---- what a run leaves -----------------------------------------------------------------------


def test_a_run_leaves_what_it_promises(trained):
    run = trained / "run"
    names = {p.name for p in run.iterdir()}
    assert names >= {
        *("config.json", "metrics.jsonl", "tensorboard", "checkpoints", "best"),
        *("predictions.csv", "report.md", "report.json", "curves.png", "rejected.csv"),
    }
    assert not [p for p in run.rglob("*") if "tmp" in p.name]
    report = json.loads((run / "report.json").read_text())
    assert set(report) >= {"rows", "overlap", "discrepancy", "rejected", "cost"}
    assert set(report["cost"]) >= {"seconds", "compile_seconds", "peak_memory_mb", "n_parameters"}
    strata = {row["stratum"] for row in report["rows"] if row["split"] == "target"}
    assert strata == {"all", "seen-seen", "seen-new", "new-new"}
    config = json.loads((run / "config.json").read_text())
    assert config["experiment"]["optimiser"]["learning_rate"] == 3e-3
    assert config["experiment"]["seeds"] == [0, 1]
    assert config["environment"]["packages"]["jax"]


def test_bad_rows_are_set_aside_and_good_ones_kept(trained):
    rejected = pd.read_csv(trained / "run" / "rejected.csv")
    assert len(rejected) == len(BAD_ROWS)
    first = len(pairs(HYDROCARBONS, 2)) + 2
    assert list(rejected["row"]) == [first, first + 1, first + 2]
    assert rejected["reason"].str.len().min() > 5


def test_every_term_of_the_method_is_logged_for_every_seed(trained):
    lines = (trained / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(r["step"], r["seed"]) for r in rows] == [(s, i) for s in (2, 4, 6) for i in (0, 1)]
    assert set(rows[0]["terms"]) >= {"total", "supervised", "adversarial_fragment", "prototype"}


@pytest.mark.slow
def test_a_source_alone_is_trained_on(tmp_path, capsys):
    write_domains(tmp_path)
    flags = [f for f in train_flags(tmp_path) if f not in ("--target", f"{tmp_path}/target.csv")]
    assert main(flags) == 0
    assert "adaptation terms are switched off" in capsys.readouterr().out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {row["split"] for row in report["rows"]} == {"source-valid", "source-test"}
    assert main(["evaluate", str(tmp_path / "run")]) == 0


def test_a_target_without_labels_is_scored_and_not_judged(tmp_path, capsys):
    write_domains(tmp_path)
    rows = [row.rpartition(",")[0] for row in pairs(["CCO", "CCN", "CCS", "CO"])]
    write_pairs(tmp_path / "target.csv", rows, header="a,b")
    assert main(train_flags(tmp_path)) == 0
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    target = predictions[predictions["split"] == "target"]
    assert len(target) == len(rows) and target["label"].isna().all()
    assert target["mean"].between(0, 1).all()
    assert "source-test, all strata" in capsys.readouterr().out


# ---- evaluate and data -----------------------------------------------------------------------


def test_evaluate_prints_the_table_of_the_report(trained, capsys):
    assert main(["evaluate", str(trained / "run"), "--split", "new-new"]) == 0
    former = capsys.readouterr().out
    assert main(["evaluate", str(trained / "run"), "--stratum", "new-new"]) == 0
    out = capsys.readouterr().out
    assert out == former
    report = json.loads((trained / "run" / "report.json").read_text())
    row = next(
        r
        for r in report["rows"]
        if (r["method"], r["stratum"], r["metric"]) == ("test", "new-new", "auroc")
    )
    assert f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" in out
    assert "seen-seen" not in out


def test_evaluate_on_the_target_file_gives_the_scores_of_the_run(trained):
    from molrel.inference import evaluate_run

    own = evaluate_run(trained / "run")
    again = evaluate_run(trained / "run", data=str(trained / "target.csv"))
    pick = {(r["stratum"], r["metric"]): r["mean"] for r in own}
    found = {(r["stratum"], r["metric"]): r["mean"] for r in again if r["method"] == "test"}
    assert found.keys() == pick.keys()
    for key, value in pick.items():
        assert found[key] == pytest.approx(value, abs=1e-5), key
    assert any(r["method"].startswith("floor") for r in again)


def test_evaluate_on_molecules_that_the_run_never_met(trained, capsys):
    write_pairs(trained / "other.csv", pairs(["CCF", "CCBr", "COC", "CCCl"]))
    assert main(["evaluate", str(trained / "run"), "--data", str(trained / "other.csv")]) == 0
    assert "stratum new-new: 10 labelled" in capsys.readouterr().out


def test_data_commands_read_csv_files_and_the_catalogue(trained, capsys):
    files = [str(trained / f"{n}.csv") for n in ("source", "target")]
    assert main(["data", "overlap", *files, "--smiles-columns", "a", "b"]) == 0
    assert "molecule" in capsys.readouterr().out
    assert main(["data", "discrepancy", *files, "--smiles-columns", "a", "b"]) == 0
    assert "functional groups" in capsys.readouterr().out
    assert main(["data", "list"]) == 0
    assert "mixtures/hydrocarbons" in capsys.readouterr().out
    assert main(["data", "info", "mixtures/heteroatoms"]) == 0
    out = capsys.readouterr().out
    assert "computed, not measured" in out and "examples of" not in out
    assert main(["data", "info", "mixtures/heteroatoms", "--count"]) == 0
    assert "mixtures/heteroatoms: 10,883 examples of" in capsys.readouterr().out


# ---- wrong input -----------------------------------------------------------------------------


WRONG_FILES = {
    "missing column": ("a,c,y\nC,CC,1\n", ["row 1", "'b'"]),
    "empty": ("", ["empty"]),
    "not UTF-8": (b"a,b,y\nC,\xff,1\n", ["row 2", "UTF-8"]),
    "one side missing": ("a,b,y\nC,,1\nCC,,0\n", ["row 2", "'b'"]),
    "label": ("a,b,y\nC,CC,2\n", ["row 2", "'y'", "0 or 1"]),
    "all rows bad": ("a,b,y\nxx,C,1\nyy,C,0\n", ["none of the 2 rows"]),
    "one class": ("a,b,y\n" + "\n".join(f"{'C' * i},CC,0" for i in range(1, 30)), ["label"]),
    "too few": ("a,b,y\nC,CC,0\nCC,C,1\n", ["too few"]),
}


@pytest.mark.parametrize("problem", WRONG_FILES)
@pytest.mark.parametrize("name", ["source", "target"])
def test_a_wrong_file_is_one_error_that_names_it(tmp_path, capsys, name, problem):
    if name == "target" and problem in ("one class", "too few"):
        return  # a target may have few examples, or one class
    content, words = WRONG_FILES[problem]
    write_domains(tmp_path)
    path = tmp_path / f"{name}.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    fails(capsys, 2, *train_flags(tmp_path), words=[path, *words])


def test_a_finished_run_is_not_overwritten(trained, capsys):
    before = (trained / "run" / "predictions.csv").read_bytes()
    fails(capsys, 2, *train_flags(trained), words=["already holds a run", "--resume"])
    assert (trained / "run" / "predictions.csv").read_bytes() == before


def test_resuming_with_another_config_is_refused_and_named(trained, capsys):
    flags = [*train_flags(trained), "--resume", "--method.width", "8"]
    fails(capsys, 2, *flags, words=["another config", "method.width", trained / "run"])


@pytest.mark.slow
def test_resuming_with_changed_data_is_refused(tmp_path, capsys):
    train_tiny(tmp_path)
    with (tmp_path / "source.csv").open("a") as file:
        file.write("CCCC,CCCCC,1\n")
    flags = [*train_flags(tmp_path), "--resume"]
    fails(capsys, 2, *flags, words=["other data", tmp_path / "run"])
    other = ("--data", tmp_path / "target.csv")
    fails(capsys, 2, "evaluate", tmp_path / "run", *other, words=["changed", "source.csv"])


def test_a_target_of_which_nothing_is_left_is_an_error(tmp_path):
    from molrel.config import DataConfig
    from molrel.divide import divide
    from molrel.errors import InputError

    write_domains(tmp_path)
    write_pairs(tmp_path / "target.csv", ["CCCCCC,C=CCC,0"])
    files = {name: str(tmp_path / f"{name}.csv") for name in ("source", "target")}
    left = []
    for seed in range(8):  # the pair belongs to one of the two by lot
        data = DataConfig(**files, smiles_columns=("a", "b"), label_column="y", split_seed=seed)
        try:
            left.append(len(divide(data, max_atoms=100).target.examples))
        except InputError as error:
            left.append(0)
            assert "target.csv" in str(error) and "left to the source" in str(error)
    assert set(left) == {0, 1}


def test_measured_values_and_roles_of_files(tmp_path, capsys):
    for name, molecules in (
        ("source", HYDROCARBONS),
        ("target", HYDROCARBONS[:2] + ["CCO", "CCN"]),
    ):
        rows = [f"{a},{b},{len(a) - 0.5 * len(b)}" for a in molecules for b in molecules]
        write_pairs(tmp_path / f"{name}.csv", rows)
    fails(capsys, 2, *train_flags(tmp_path), words=["0 or 1", "data.kind", "regression"])
    flags = [*train_flags(tmp_path), "--data.kind", "regression", "--data.no-symmetric"]
    assert main(flags) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {"rmse", "spearman"} <= {row["metric"] for row in report["rows"]}
    task = json.loads((tmp_path / "run" / "config.json").read_text())["task"]
    assert task["kind"] == "regression" and not task["symmetric"]
    write_pairs(tmp_path / "other.csv", ["CCF,CCBr,-1.5", "COC,CCF,2.5", "CCF,COC,0.5"])
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "other.csv")]) == 0
    assert "RMSE" in capsys.readouterr().out


def test_an_unknown_flag_is_named_with_its_nearest_neighbour(trained, capsys):
    assert main([*train_flags(trained, "x"), "--optimizer.learning-rate", "1"]) == 2
    assert "optimiser.learning-rate" in capsys.readouterr().err


@pytest.mark.parametrize(
    "field, value",
    [("train.steps", "0"), ("method.width", "0"), ("optimiser.learning-rate", "-1")],
)
def test_an_impossible_value_is_refused_before_any_work(trained, capsys, field, value):
    words = [field.replace("-", "_"), value]
    fails(capsys, 2, *train_flags(trained, "x"), f"--{field}", value, words=words)
    assert not (trained / "x").exists()


def test_a_run_to_compare_with_must_exist_before_training_starts(trained, capsys):
    flags = [*train_flags(trained, "x"), "--compare", str(trained / "none")]
    fails(capsys, 2, *flags, words=["predictions", trained / "none"])


@pytest.mark.parametrize("damage", ["truncated", "deleted"])
def test_damaged_parameters_are_named(trained, tmp_path, capsys, damage):
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    for file in (f for f in (run / "best").rglob("*") if f.is_file()):
        if damage == "truncated":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        else:
            file.unlink()
    arguments = ["predict", run, "--input", trained / "source.csv", "--output", tmp_path / "o.csv"]
    fails(capsys, 2, *arguments, words=[run / "best", "resume"])
    assert not (tmp_path / "o.csv").exists()


def test_a_truncated_checkpoint_is_named_and_the_one_before_still_works(trained, tmp_path, capsys):
    shutil.copytree(trained / "run", tmp_path / "run")
    for name in ("source.csv", "target.csv"):
        shutil.copy(trained / name, tmp_path)
    flags = [f.replace(str(trained), str(tmp_path)) for f in train_flags(trained)]
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace(str(trained), str(tmp_path)))
    newest = tmp_path / "run" / "checkpoints" / "6"
    for file in (f for f in newest.rglob("*") if f.is_file()):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    fails(capsys, 2, *flags, "--resume", words=[newest, "Delete this folder"])
    shutil.rmtree(newest)
    assert main([*flags, "--resume"]) == 0
    own, again = (pd.read_csv(f / "run" / "predictions.csv") for f in (trained, tmp_path))
    pd.testing.assert_frame_equal(own, again)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["train", "none.py"], ["no such config file", "none.py"]),
        (["evaluate", "none"], ["config.json", "none"]),
        (["data", "info", "mixture"], ["mixture", "mixtures"]),
        (["data"], ["list"]),
        (["data", "lst"], ["Did you mean list"]),
        (["train", "nothing"], ["no preset", "distrans_mixtures"]),
    ],
)
def test_wrong_commands_are_one_error(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    fails(capsys, 2, *arguments, words=words)


def test_a_full_disk_costs_the_caches_and_then_the_run(tmp_path):
    """/dev/full cannot be a folder, so a small file-size limit stands in for the disk.

    Caches are done without, with one line each; what cannot be done without is named.
    """
    write_domains(tmp_path)
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300));"
        "from molrel.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", program, *train_flags(tmp_path)],
        capture_output=True,
        text=True,
        env=environment | {"MOLREL_CACHE": str(tmp_path / "cache")},
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("molrel: ")]
    assert len(lines) == 3, done.stderr
    programs, features, last = lines
    assert str(tmp_path / "cache" / "jax") in programs and "cannot be kept" in programs
    assert f"{tmp_path / 'cache'}: molecule features cannot be kept" in features
    assert str(tmp_path / "run") in last and "File too large" in last
