"""The config files that come with the package, and what ``molrel train`` takes for a config."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from problem import every_method

from molrel import presets, runner
from molrel.cli import main
from molrel.config import check
from molrel.data import catalog
from molrel.errors import InputError

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_can_be_trained_with_and_says_of_its_set_what_the_catalogue_says(name):
    config = presets.load_preset(name)
    assert check(config).name == name
    entry = catalog.describe(config.data.source)
    assert config.data.symmetric == entry.task.symmetric
    assert config.data.kind == entry.task.kind
    assert len(config.data.smiles_columns) == len(entry.columns)
    assert len(entry.columns) in config.method.takes_sides


def test_every_method_has_a_preset():
    present = {type(presets.load_preset(name).method) for name in presets.names()}
    assert present >= set(every_method())


@pytest.mark.parametrize(
    "name, preset",
    [
        ("cgib", "cgib"),
        ("CGIB", "cgib"),
        ("ssi-ddi", "ssi_ddi"),
        ("SSIDDI", "ssi_ddi"),
        ("distrans", "distrans_mixtures"),
        ("topexpert", "topexpert"),
    ],
)
def test_methods_are_found_by_their_usual_names(name, preset):
    assert presets.path_of(name) == presets.folder() / f"{preset}.py"


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match="no preset is called 'cgbi'. Did you mean cgib") as caught:
        presets.find("cgbi")
    assert "siamese" in str(caught.value) and "./my_config.py" in str(caught.value)


def test_what_is_a_path_and_what_a_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert presets.find("cgib") == presets.folder() / "cgib.py"
    (tmp_path / "cgib").touch()
    (tmp_path / "own").touch()
    assert presets.find("own") == Path("own") and capsys.readouterr().out == ""
    assert presets.find("cgib") == Path("cgib")
    assert "the file ./cgib" in capsys.readouterr().out
    for path in ("./cgib", "cgib.py", "configs/cgib", "/configs/cgib.py"):
        assert presets.find(path) == Path(path)


def fails(capsys, *arguments):
    assert main(["train", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and error.startswith("molrel: ")
    return error


def test_training_without_a_config_names_the_presets(capsys):
    for arguments in ((), ("--data", "pairs.csv"), ("--method",)):
        assert "distrans_mixtures, fingerprint_mlp" in fails(capsys, *arguments)


def test_two_configs_are_refused(capsys):
    assert "'test' and --method cgib" in fails(capsys, "test", "--method", "cgib")


@pytest.mark.parametrize(
    "name, text, command",
    [
        (
            "ddi.csv",
            "id,drug_a,drug_b,label\n1,CCO,CCN,1\n2,CO,,0\n",
            "distrans_mixtures --data ddi.csv --smiles-columns drug_a drug_b --label-column label",
        ),
        (
            "of one.tsv",
            "mol\tname\ty 1\nCCO\tethanol\t1.5\n",
            "property_gin --data 'of one.tsv' --smiles-columns mol --label-column 'y 1' "
            "--data.kind regression",
        ),
        (
            "odd.sdf",
            "\n",
            "distrans_mixtures --data odd.sdf --smiles-columns COLUMN_A COLUMN_B "
            "--label-column LABEL",
        ),
    ],
)
def test_a_data_file_in_place_of_a_config_is_answered_with_a_command(
    tmp_path, monkeypatch, capsys, name, text, command
):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text)
    assert fails(capsys, name).endswith(f"For example: molrel train {command}\n")


def test_a_data_file_that_is_missing_is_no_config_either(capsys):
    assert "missing.csv: is neither a config file nor there" in fails(capsys, "missing.csv")


# ---- flags -----------------------------------------------------------------------------------


@pytest.fixture
def configured(monkeypatch):
    """What ``molrel train`` would train with the flags that are given."""

    def configure(*flags):
        calls = []
        monkeypatch.setattr(runner, "run", lambda *args, **kwargs: calls.append((args, kwargs)))
        assert main(["train", *flags]) == 0
        ((config, folder), options), *_ = calls
        return config, folder, options

    return configure


def test_a_preset_is_named_first_or_by_method(configured):
    for flags in (("cgib",), ("--method", "cgib"), ("--method=CGIB",)):
        config, folder, options = configured(*flags, "--seeds", "5", "--overwrite")
        assert config.name == "cgib" and config.seeds == (5,) and folder == Path("runs/cgib")
        assert options["overwrite"] and not options["resume"]


def test_flags_may_be_spelled_with_underscores(configured):
    config, _, _ = configured(
        *("test", "--data", "x.csv", "--smiles_columns", "a", "b", "--label_column=c_d"),
        *("--data.min_carriers", "3", "--method.discriminator_width", "8"),
    )
    assert config.data.smiles_columns == ("a", "b") and config.data.label_column == "c_d"
    assert config.data.min_carriers == 3 and config.method.discriminator_width == 8
    assert config.data.source == "x.csv" and config.data.target is None


def test_a_files_kind_and_order_are_those_of_the_set_whose_place_it_takes(configured, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "from molrel.config import DataConfig, Experiment\n"
        "from molrel.methods.siamese import SiameseConfig\n"
        "def get_config():\n"
        "    data = DataConfig(source='henry/computed', target='henry/water')\n"
        "    return Experiment(data=data, method=SiameseConfig())\n"
    )
    for config in ("cigin_combisolv", str(own)):
        data = configured(config, "--data", "solubility.csv")[0].data
        assert (data.kind, data.symmetric) == ("regression", False)
        data = configured(config, "--target", "measured.csv")[0].data
        assert (data.kind, data.symmetric) == ("regression", False)
        flags = ("--data.kind", "binary", "--data.symmetric")
        data = configured(config, "--data=x.csv", *flags)[0].data
        assert (data.kind, data.symmetric) == ("binary", True)
    data = configured("distrans_mixtures", "--data", "x.csv")[0].data
    assert (data.kind, data.symmetric) == ("binary", True)


def test_workers_are_passed_on(configured, monkeypatch, capsys):
    monkeypatch.setenv("MOLREL_WORKERS", "7")
    configured("test", "--workers", "3")
    assert os.environ["MOLREL_WORKERS"] == "3"
    assert "workers is 0" in fails(capsys, "test", "--workers", "0")


# ---- the installed package -------------------------------------------------------------------


@pytest.mark.slow
def test_the_wheel_trains_a_preset_in_an_empty_folder(tmp_path):
    def pip(*arguments):
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    # Of a copy, as a build leaves files in the folder that a later one would take up.
    for name in ("molrel", "configs"):
        shutil.copytree(ROOT / name, tmp_path / "source" / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    built = pip("wheel", "--no-deps", "-w", str(tmp_path), str(tmp_path / "source"))
    if "ConnectionError" in built.stderr or "No matching distribution" in built.stderr:
        pytest.skip("the package index, which has the build tools, cannot be reached")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = pip("install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel))
    assert installed.returncode == 0, installed.stderr
    (tmp_path / "empty").mkdir()
    flags = "--seeds 0 --train.steps 4 --train.evaluate-every 2 --train.replicates 5"
    done = subprocess.run(
        [sys.executable, "-m", "molrel", "train", "fingerprint_mlp", *flags.split()],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path / "empty",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "empty/runs/fingerprint_mlp/report.md").is_file()
    assert [p.name for p in (tmp_path / "empty").iterdir()] == ["runs"]
    code = "import molrel.presets as p; print(p.__file__, p.folder(), *p.names())"
    out = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path / "empty",
    ).stdout.split()
    assert all(path.startswith(str(tmp_path / "site" / "molrel")) for path in out[:2])
    assert out[2:] == presets.names()
