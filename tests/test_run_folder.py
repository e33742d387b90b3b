"""What a run folder is, who may write to it, and what is believed of one that is read."""

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest
from trained import ROOT, train_flags, write_domains

from molrel import files, run_record
from molrel.cli import main
from molrel.config_files import load_config_file
from molrel.config_json import CONFIG_FILE, to_json
from molrel.errors import InputError, RunError
from molrel.files import LOCK
from molrel.inference import predict_csv
from molrel.run_folder import save_best
from molrel.run_record import WRITTEN, _commit, claim, numbers, read_record
from molrel.runs import load_run

CONFIG = load_config_file(ROOT / "configs" / "test.py")


def tree(folder):
    """Path -> content of every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def begin(folder, config=CONFIG, **more):
    """The folder of a run that was begun: its record, and some of what it writes."""
    folder.mkdir(exist_ok=True)
    record = {"experiment": to_json(config), "environment": {"numbers": numbers()}, **more}
    (folder / "config.json").write_text(json.dumps(record))
    for name in ("tensorboard", "checkpoints", "best"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("of the run")
    return folder


def allowed(folder, config=CONFIG, *, resume=False, overwrite=False, **more):
    return claim(config, folder, resume=resume, overwrite=overwrite, **more)


# ---- whose folder it is ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [["tensorboard/", "best/", "report.md"], ["notes.txt"], [".git/"]]
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path, names, resume):
    for name in names:
        if name.endswith("/"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "mine").write_text("mine")
        else:
            (tmp_path / name).write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="not a run's"):
        allowed(tmp_path, resume=resume)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", WRITTEN)
def test_even_overwriting_replaces_nothing_that_no_run_wrote(tmp_path, name):
    (tmp_path / name).write_text("{}" if name.endswith("json") else "mine")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="not a run's"):
        allowed(tmp_path, overwrite=True)
    assert tree(tmp_path) == before


def test_overwriting_removes_the_run_and_keeps_other_files(tmp_path):
    begin(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert allowed(tmp_path, overwrite=True) is None
    assert set(tree(tmp_path)) == {"notes.txt"}


def test_what_a_killed_run_left_before_its_record_is_no_obstacle(tmp_path):
    (tmp_path / LOCK).touch()
    (tmp_path / ".molrel-abc.tmp").write_text("half a record")
    assert allowed(tmp_path) is None and allowed(tmp_path, resume=True) is None


def test_a_run_killed_after_any_of_its_first_files_goes_on(tmp_path, monkeypatch):
    flags = [*train_flags(write_domains(tmp_path)), "--resume"]

    def die(path, content):
        files.write_whole(path, content)
        written.append(path.name)
        if len(written) == 1 or path.name == CONFIG_FILE:
            raise KeyboardInterrupt

    monkeypatch.setattr(run_record, "write_whole", die)
    written = []
    assert main(flags) == 130 and len(written) == 1
    # A second start must come as far as the first one, and further.
    written = ["", ""]
    assert main(flags) == 130 and written[-1] == CONFIG_FILE


@pytest.mark.parametrize("text", ["{", "[1]", '{"name": "my project"}', "\\xff", "[" * 100_000])
def test_the_config_of_another_project_is_said_to_be_that(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError) as error:
        allowed(tmp_path, resume=True)
    assert "not a run's" in str(error.value) and "Delete" not in str(error.value)
    with pytest.raises(InputError, match="not a run folder"):
        load_run(tmp_path)


def test_a_second_job_with_the_same_folder_is_refused(tmp_path, capsys):
    write_domains(tmp_path)
    (tmp_path / "run").mkdir()
    program = (
        "import sys, time; from pathlib import Path; from molrel.files import only_one\n"
        "with only_one(Path(sys.argv[1])):\n"
        "    print('mine', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None and other.stdout.readline()
            assert main(train_flags(tmp_path)) == 2
            assert "another process" in capsys.readouterr().err
        finally:
            other.kill()
    assert [p.name for p in (tmp_path / "run").iterdir()] == [LOCK]


def test_links_in_a_run_folder_are_neither_followed_nor_removed(tmp_path):
    begin(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "best")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").write_text("mine")
    (tmp_path / "run" / "best").symlink_to(tmp_path / "there")
    for how in ({"resume": True}, {"overwrite": True}, {}):
        with pytest.raises(InputError, match="symbolic link"):
            allowed(tmp_path / "run", **how)
    assert (tmp_path / "there" / "mine").read_text() == "mine"


# ---- what may be continued -------------------------------------------------------------------


def changed(**fields):
    return replace(CONFIG, **{k: replace(getattr(CONFIG, k), **v) for k, v in fields.items()})


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        changed(train={"replicates": 7, "baselines": True}),
        changed(train={"steps": CONFIG.train.steps + 1}),
        changed(data={"source": "/elsewhere/source.csv"}),
        replace(CONFIG, name="another"),
    ],
)
def test_what_does_not_touch_the_steps_done_may_change(tmp_path, config):
    begin(tmp_path)
    assert allowed(tmp_path, config, resume=True) is not None
    with pytest.raises(InputError, match="already holds a run"):
        allowed(tmp_path, config)


@pytest.mark.parametrize(
    "config, name",
    [
        (changed(train={"steps": CONFIG.train.steps - 1}), "train.steps"),
        (changed(train={"valid_examples": 7}), "train.valid_examples"),
        (changed(data={"split_seed": 7}), "data.split_seed"),
        (changed(method={"width": 8}), "method.width"),
        (replace(CONFIG, seeds=(1, 0)), "seeds"),
    ],
)
def test_what_touches_training_may_not_change(tmp_path, config, name):
    begin(tmp_path)
    with pytest.raises(InputError, match=name):
        allowed(tmp_path, config, resume=True)


def test_a_run_is_not_continued_with_other_settings_of_jax(tmp_path):
    begin(tmp_path)
    for setting in ("jax_enable_x64", "jax_threefry_partitionable"):
        before = getattr(jax.config, setting)
        jax.config.update(setting, not before)
        try:
            with pytest.raises(InputError, match=f"{setting} was {before} and is {not before}"):
                allowed(tmp_path, resume=True)
        finally:
            jax.config.update(setting, before)
    assert allowed(tmp_path, resume=True) is not None


# ---- what a run is, is read from its record --------------------------------------------------


def edit(run, **values):
    path = run / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_run_says_where_its_data_are_and_which_columns_it_reads(trained):
    record = read_record(trained / "run")
    assert record is not None
    data = record["experiment"]["data"]
    assert data["source"] == str(trained / "source.csv") and record["columns"] == ["a", "b"]
    assert data["target"] == str(trained / "target.csv")
    assert record["environment"]["numbers"]["jax_enable_x64"] is False
    assert record["environment"]["molrel"]


def test_a_file_called_like_a_set_of_the_catalogue_does_not_replace_it(tmp_path, monkeypatch):
    from molrel.config import DataConfig
    from molrel.sources import is_file, load_dataset, with_full_paths

    (tmp_path / "mixtures").mkdir()
    (tmp_path / "mixtures" / "hydrocarbons").write_text(
        "smiles_a,smiles_b,label\nC,CC,1\nC,CCC,0\n"
    )
    (tmp_path / "pairs").write_text("smiles_a,smiles_b,label\nC,CC,1\nC,CCC,0\n")
    monkeypatch.chdir(tmp_path)
    found = load_dataset("mixtures/hydrocarbons", DataConfig())
    assert len(found.examples) > 10_000 and "./mixtures/hydrocarbons" in found.note
    assert len(load_dataset("./mixtures/hydrocarbons", DataConfig()).examples) == 2
    assert is_file("pairs") and not is_file("zhangddi") and not is_file("mixtures/none")
    full = with_full_paths(DataConfig(source="pairs", target="./zhangddi"))
    assert (full.source, full.target) == (str(tmp_path / "pairs"), str(tmp_path / "zhangddi"))
    named = DataConfig(source="zhangddi", target=None)
    assert with_full_paths(named) == named


def test_a_run_scores_and_judges_alike_from_any_folder(trained, tmp_path, monkeypatch):
    from molrel.inference import evaluate_run

    rows = evaluate_run(trained / "run", data=str(trained / "target.csv"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source.csv").write_text("something else\n")
    assert evaluate_run(trained / "run", data=str(trained / "target.csv")) == rows


@pytest.mark.parametrize(
    "values",
    [
        {"label_mean": []},
        {"label_mean": [0.0, 0.0]},
        {"label_scale": [0.0]},
        {"label_scale": [float("nan")]},
        {"label_mean": "0"},
        {"sides": 3},
        {"sides": "2"},
        {"columns": [1, 2]},
        {"task": {"kind": "evil", "targets": ["y"], "units": [""]}},
        {"task": {"targets": ["y"]}},
        {"task": 5},
        {"task": {"kind": "binary", "targets": ["y"], "units": [""], "n_classes": 10**30}},
    ],
)
def test_a_record_that_cannot_be_is_damaged(trained, tmp_path, values):
    shutil.copytree(trained / "run", tmp_path / "run")
    edit(tmp_path / "run", **values)
    with pytest.raises(InputError, match="damaged"):
        load_run(tmp_path / "run")


@pytest.mark.parametrize(
    "section, field, value",
    [
        (None, "seeds", []),
        (None, "seeds", list(range(100_000))),
        (None, "seeds", [0.5, 1]),
        (None, "seeds", [True, False]),
        ("method", "width", -5),
        ("method", "width", 10**9),
        ("method", "width", 16.0),
        ("method", "type", ["DisTransConfig"]),
        ("features", "fingerprint_bits", 0),
        ("features", "scheme", 7),
        ("data", "smiles_columns", [1, 2]),
        ("data", "smiles_columns", "ab"),
        ("data", "symmetric", 1),
        ("train", "steps", True),
        ("train", "seeds_mode", "evil"),
    ],
)
def test_the_config_of_a_record_is_checked_like_one_s_own(trained, tmp_path, section, field, value):
    shutil.copytree(trained / "run", tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    record = json.loads(path.read_text())
    (record["experiment"] if section is None else record["experiment"][section])[field] = value
    path.write_text(json.dumps(record))
    with pytest.raises(InputError) as error:
        load_run(tmp_path / "run")
    assert field in str(error.value) and len(str(error.value)) < 1000


def test_deep_nesting_is_damage(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text('{"experiment": ' + "[" * 100_000)
    with pytest.raises(InputError, match="damaged"):
        load_run(tmp_path / "run")


# ---- parameters ------------------------------------------------------------------------------


def test_a_flipped_bit_or_a_zeroed_block_in_the_parameters_is_noticed(trained, tmp_path):
    rng = random.Random(0)
    for _ in range(30):
        run = tmp_path / "run"
        shutil.copytree(trained / "run", run)
        files = sorted(p for p in (run / "best").rglob("*") if p.stat().st_size and p.is_file())
        # By size, since most of the bytes are the parameters themselves.
        path = rng.choices(files, [p.stat().st_size for p in files])[0]
        before = path.read_bytes()
        content = bytearray(before)
        place = rng.randrange(len(content))
        if rng.random() < 0.5:
            content[place] ^= 1 << rng.randrange(8)
        else:
            content[place : place + 512] = bytes(min(512, len(content) - place))
        path.write_bytes(content)
        if bytes(content) != before:
            with pytest.raises(InputError, match="best: .*--resume"):
                load_run(run)
        shutil.rmtree(run)


def with_parameters(trained, run, change):
    """A copy of a run with other parameters, which are those of its record."""
    shutil.copytree(trained / "run", run)
    best = change(load_run(run).best)
    record = read_record(run)
    assert record is not None
    save_best(best, record, run)
    return run


def test_rows_without_a_score_say_why(trained, tmp_path):
    def break_seed_1(best):
        params = [x.copy() for x in jax.tree.leaves(best["params"])]
        for x in params:
            x[1] = np.nan
        return best | {"params": jax.tree.unflatten(jax.tree.structure(best["params"]), params)}

    run = with_parameters(trained, tmp_path / "run", break_seed_1)
    (tmp_path / "in.csv").write_text("a,b\nCCO,CCN\nxx,CC\n")
    with pytest.raises(RunError, match="seed 1"):
        predict_csv(run, tmp_path / "in.csv", tmp_path / "out.csv")
    out = pd.read_csv(tmp_path / "out.csv")
    assert out["score"].isna().all() and out["spread"].isna().all()
    assert "parameters of seed 1" in out["error"][0] and out["error"][1].startswith("a: ")


def test_parameters_are_replaced_when_they_differ_and_kept_when_they_do_not(trained, tmp_path):
    run = with_parameters(trained, tmp_path / "run", lambda best: best)
    inode = (run / "best").stat().st_ino
    record = read_record(run)
    assert record is not None
    best = load_run(run).best
    save_best(best, record, run)
    assert (run / "best").stat().st_ino == inode
    other = jax.tree.map(lambda x: x * 2, best)
    save_best(other, record, run)
    assert (run / "best").stat().st_ino != inode
    for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(load_run(run).best), strict=True):
        np.testing.assert_array_equal(a, b)
    # Damaged ones are written again although the record says that they are the same.
    for path in (run / "best").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError):
        load_run(run)
    save_best(other, record, run)
    load_run(run)
    assert not [p.name for p in run.iterdir() if p.name.startswith(".molrel")]


@pytest.mark.parametrize("damage", ["cut short", "zeroed", "a digit"])
def test_damaged_predictions_are_noticed_by_all_who_read_them(trained, tmp_path, damage):
    from molrel.inference import evaluate_run
    from molrel.run_folder import read_predictions

    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    content = (run / "predictions.csv").read_bytes()
    lines = content.splitlines(keepends=True)
    (run / "predictions.csv").write_bytes(
        {
            "cut short": b"".join(lines[:-3]),
            "zeroed": content[:-40] + bytes(30) + content[-10:],
            "a digit": content.replace(b",0.5", b",0.4", 1),
        }[damage]
    )
    for read in (read_predictions, evaluate_run):
        with pytest.raises(InputError, match="predictions.csv: .*--resume"):
            read(run)


# ---- where it came from ----------------------------------------------------------------------


def test_the_commit_is_that_of_the_package_s_own_checkout_or_none(tmp_path, monkeypatch):
    found = _commit()
    assert found is None or len(found) == 40
    # Installed into a folder of another repository.
    package = tmp_path / "site-packages" / "molrel"
    package.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr("molrel.run_record.__file__", str(package / "run_record.py"))
    assert _commit() is None
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))  # without git
    assert _commit() is None


# ---- outputs of predict ----------------------------------------------------------------------


def test_an_output_is_packed_as_its_name_says(trained, tmp_path):
    (tmp_path / "in.csv").write_text("a,b\nCCO,CCN\nCCO,CCC\n")
    predict_csv(trained / "run", tmp_path / "in.csv", tmp_path / "plain.csv")
    plain = pd.read_csv(tmp_path / "plain.csv")
    for name in ("x.csv.gz", "x.csv.bz2", "x.csv.xz", "x.csv.zip"):
        predict_csv(trained / "run", tmp_path / "in.csv", tmp_path / name)
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / name), plain)
        assert (tmp_path / name).read_bytes()[:2] != b"a,"


def test_saturated_scores_keep_their_order(trained, tmp_path):
    def louder(best):
        return best | {"params": jax.tree.map(lambda x: x * 1.5, best["params"])}

    run = with_parameters(trained, tmp_path / "run", louder)
    rows = [f"{'C' * i},{'C' * j}O" for i in range(1, 12) for j in range(1, 12)]
    (tmp_path / "in.csv").write_text("a,b\n" + "\n".join(rows) + "\n")
    predict_csv(run, tmp_path / "in.csv", tmp_path / "out.csv")
    written = pd.read_csv(tmp_path / "out.csv")["score"]
    loaded = load_run(run)
    assert os.path.exists(tmp_path / "out.csv") and len(loaded.config.seeds) == 2
    assert written.nunique() > 0.9 * len(rows)
