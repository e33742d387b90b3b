"""How commands start, stop and print, tried in processes of their own."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest
from trained import train_flags, write_domains

from molrel import cli, data_commands

ROOT = Path(__file__).parents[1]
HEAVY = ("jax", "flax", "sklearn", "pandas", "matplotlib", "thermo", "rdkit", "scipy")


@contextmanager
def start(*arguments, python=(), stdout=subprocess.PIPE, **environment):
    """A process of ``python -m molrel``, which does not outlive the test."""
    process = subprocess.Popen(
        [sys.executable, *python, "-m", "molrel", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        text=True,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def python(code, **environment):
    """What a program prints; variables of the caches are those that are given."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "MOLREL_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- starting --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "list"),
        ("data", "info", "mixtures/hydrocarbons"),
        ("data", "info", "bace"),
        ("--help",),
        ("data", "--help"),
        ("--version",),
        ("train",),
        ("train", "no_such_preset"),
    ],
)
def test_commands_that_compute_nothing_import_nothing_that_takes_seconds(arguments):
    code = (
        "import sys; from molrel.cli import main;"
        f"main({list(arguments)}); print(sorted(set({HEAVY}) & sys.modules.keys()))"
    )
    assert python(code).splitlines()[-1] == "[]"


def test_the_version_is_that_of_the_installed_package(tmp_path):
    with start("--version") as process:
        assert process.communicate()[0] == f"molrel {version('molrel')}\n"
    (tmp_path / "molrel").symlink_to(ROOT / "molrel")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import molrel;"
    done = subprocess.run(  # without site-packages, and so without metadata
        [sys.executable, "-I", "-S", "-c", code + "print(molrel.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0+unknown\n"


FOLDER = "import os, molrel; print(os.environ.get('JAX_COMPILATION_CACHE_DIR'))"


def test_importing_the_package_keeps_compiled_programs(tmp_path):
    assert python(FOLDER, MOLREL_CACHE=str(tmp_path)).startswith(str(tmp_path / "jax"))
    assert python(FOLDER, MOLREL_CACHE="") == "None"
    mine = {"JAX_COMPILATION_CACHE_DIR": "/mine", "MOLREL_CACHE": str(tmp_path)}
    assert python(FOLDER, **mine) == "/mine"
    threshold = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
    code = f"import os, molrel; print(os.environ[{threshold!r}])"
    assert python(code, MOLREL_CACHE=str(tmp_path)) == "0.0"
    assert python(code, MOLREL_CACHE=str(tmp_path), **{threshold: "7"}) == "7"


RUN = """
import jax
{before}
from molrel.config import DataConfig, Experiment
from molrel.errors import InputError
from molrel.runner import run
from molrel.methods.siamese import SiameseConfig
print(jax.config.jax_compilation_cache_dir)
try:
    data = DataConfig(source="absent.csv", target="absent.csv")
    run(Experiment(data=data, method=SiameseConfig()), {folder!r})
except InputError:
    print(jax.config.jax_compilation_cache_dir)
"""


def test_a_run_keeps_compiled_programs_where_jax_was_imported_first(tmp_path):
    before, after = python(
        RUN.format(before="", folder=str(tmp_path / "run")), MOLREL_CACHE=str(tmp_path)
    ).splitlines()
    assert before == "None" and after.startswith(str(tmp_path / "jax"))
    mine = "jax.config.update('jax_compilation_cache_dir', '/mine')"
    found = python(
        RUN.format(before=mine, folder=str(tmp_path / "run")), MOLREL_CACHE=str(tmp_path)
    ).splitlines()
    assert found == ["/mine", "/mine"]


# ---- printing --------------------------------------------------------------------------------


def test_a_reader_that_has_seen_enough_is_no_error():
    with start("data", "list") as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


def test_training_that_loses_its_output_fails(tmp_path):
    with start(*train_flags(write_domains(tmp_path)), PYTHONUNBUFFERED="1") as process:
        process.stdout.close()
        assert process.stderr.read().endswith("molrel: standard output: Broken pipe\n")
        assert process.wait() == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line():
    with open("/dev/full", "w") as full, start("data", "list", stdout=full) as process:
        error = process.communicate()[1]
    assert process.returncode == 1
    assert re.fullmatch(r"molrel: .*No space left on device\n", error), error


@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_output_is_no_error(closed):
    command = f"exec {sys.executable} -m molrel data info mixtures {closed}>&-"
    done = subprocess.run(
        ["sh", "-c", command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == ""
    assert ("E-PPR78" in done.stdout) == (closed == "2")


def test_ascii_output_takes_every_name(tmp_path):
    folder = tmp_path / "µ-Ω"
    (folder / "moleculenet").mkdir(parents=True)
    (folder / "moleculenet/bace.csv.gz").touch()
    environment = {"PYTHONIOENCODING": "ascii", "MOLREL_DATA": str(folder)}
    with start("data", "info", "bace", **environment) as process:
        out, error = process.communicate()
    assert process.returncode == 0 and error == ""
    assert r"\xb5-\u03a9" in out
    with start("data", "info", "µ", **environment) as process:
        out, error = process.communicate()
    assert process.returncode == 2 and r"no data set '\xb5'" in error


# ---- stopping --------------------------------------------------------------------------------


def test_ctrl_c_during_imports_is_one_line():
    assert stopped_during_imports(signal.SIGINT) == (130, ["molrel: stopped"])
    assert stopped_during_imports(signal.SIGTERM) == (143, ["molrel: terminated"])


def stopped_during_imports(sent):
    """(exit code, what is printed) of a command that gets a signal before its first second."""
    with start("data", "list", python=("-X", "importtime")) as process:
        for line in process.stderr:
            if line.endswith("molrel.errors\n"):
                process.send_signal(sent)
                break
        _, error = process.communicate()
    printed = [line for line in error.splitlines() if not line.startswith("import time:")]
    return process.returncode, printed


@pytest.mark.parametrize("sent, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_training_that_is_stopped_advises_to_resume(tmp_path, sent, code):
    config = tmp_path / "slow.py"
    config.write_text(
        "import time\nprint('begun', flush=True)\nwhile True:\n    time.sleep(0.01)\n"
    )
    with start("train", config) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(sent)
        _, error = process.communicate()
    assert process.returncode == code
    assert len(error.splitlines()) == 1 and "--resume" in error


def test_the_callers_handler_of_sigterm_is_put_back():
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["--version"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


# ---- faults of ours --------------------------------------------------------------------------


def test_an_internal_error_is_its_kind_first_line_and_place(unchecked, monkeypatch, capsys):
    def fail():
        data_commands.info(None)  # pyright: ignore

    monkeypatch.setattr(data_commands, "list_sets", fail)
    monkeypatch.delenv("MOLREL_DEBUG", raising=False)
    assert cli.main(["data", "list"]) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"molrel: internal error: AttributeError: 'NoneType' object has no attribute 'partition', "
        r"at molrel/data/catalog\.py:\d+ \(MOLREL_DEBUG=1 shows the traceback\)\n",
        error,
    ), error
    monkeypatch.setenv("MOLREL_DEBUG", "1")
    with pytest.raises(AttributeError):
        cli.main(["data", "list"])


def test_of_a_message_of_many_lines_the_first_is_shown(monkeypatch, capsys):
    def fail():
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 3 bytes\n----")

    monkeypatch.setattr(data_commands, "list_sets", fail)
    assert cli.main(["data", "list"]) == 1
    error = capsys.readouterr().err
    assert "RuntimeError: RESOURCE_EXHAUSTED: Out of memory, at molrel/data_commands.py:" in error
    assert len(error.splitlines()) == 1


def test_a_config_file_may_end_the_program(tmp_path, capsys):
    for code, expected, error in (("'no luck'", 1, "molrel: no luck\n"), ("3", 3, ""), ("", 0, "")):
        (tmp_path / "c.py").write_text(f"import sys\nsys.exit({code})\n")
        assert cli.main(["train", str(tmp_path / "c.py")]) == expected
        assert capsys.readouterr().err == error


def test_running_out_of_memory_is_named(monkeypatch, capsys):
    def fail():
        raise MemoryError

    monkeypatch.setattr(data_commands, "list_sets", fail)
    assert cli.main(["data", "list"]) == 1
    assert capsys.readouterr().err == "molrel: not enough memory\n"
