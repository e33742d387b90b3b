import dataclasses
import errno
import os
import pwd
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from chem_cases import DRUGS, ODDITIES

import molrel
from molrel import machine
from molrel.chem import cache as module
from molrel.chem.cache import (
    cache_path,
    decode,
    default_cache,
    encode,
    featurise_all,
    featurise_each,
    load,
)
from molrel.chem.features import FeatureConfig, MoleculeFeatures, featurise
from molrel.chem.pictures import draw
from molrel.chem.smiles import MoleculeError, canonical_smiles, parse

CONFIG = FeatureConfig(picture_size=32, fingerprint_bits=64)
# More small molecules than it takes to use worker processes.
MANY = [tail + "C" * n for tail in ("", "O", "N", "Cl", "F", "S", "N#C") for n in range(1, 41)]


def same(a: MoleculeFeatures, b: MoleculeFeatures) -> bool:
    return encode(a) == encode(b)


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def computed(monkeypatch):
    """SMILES that are really computed, not read."""
    calls = []

    def counted(smiles, config):
        calls.append(smiles)
        return featurise(smiles, config)

    monkeypatch.setattr(module, "featurise", counted)
    return calls


def python(*arguments: str) -> subprocess.Popen:
    """Another process that can import the package."""
    root = str(Path(molrel.__path__[0]).parent)
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("smiles", [*DRUGS[:3], *ODDITIES])
def test_block_round_trip(smiles):
    features = featurise(smiles, CONFIG)
    again = decode(encode(features))
    for field in dataclasses.fields(MoleculeFeatures):
        a, b = getattr(features, field.name), getattr(again, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and np.array_equal(a, b)
            assert b.flags.aligned and not b.flags.writeable
        else:
            assert a == b and type(a) is type(b)


def test_each_molecule_is_computed_once(tmp_path, computed):
    asked = ["OCC", "CCO", "c1ccccc1", "CCO", "C(O)C"]
    first = featurise_all(asked, CONFIG, cache=tmp_path)
    assert [f.smiles for f in first] == ["CCO", "CCO", "c1ccccc1", "CCO", "CCO"]
    assert first[0] is first[1] is first[4]
    assert sorted(computed) == ["CCO", "c1ccccc1"]
    assert len(files(tmp_path)) == 2
    again = featurise_all(["c1ccccc1", "CCO", "N"], CONFIG, cache=tmp_path)
    assert sorted(computed) == ["CCO", "N", "c1ccccc1"]
    assert same(again[0], first[2]) and same(again[1], first[0])
    assert featurise_all([], CONFIG, cache=tmp_path) == []


def test_canonical_molecules_are_read_without_being_parsed(tmp_path, monkeypatch):
    smiles = [parse(s).smiles for s in DRUGS]
    fresh = featurise_all(smiles, CONFIG, cache=tmp_path)
    monkeypatch.setattr(module, "canonical_smiles", None)
    read = featurise_all(smiles, CONFIG, cache=tmp_path)
    assert all(map(same, fresh, read))
    with pytest.raises(TypeError):
        featurise_all(["OCCCCCCO"], CONFIG, cache=tmp_path)


def test_fresh_and_cached_features_are_the_same(tmp_path):
    fresh = featurise_all(DRUGS, CONFIG, cache=tmp_path)
    cached = featurise_all(DRUGS, CONFIG, cache=tmp_path)
    for smiles, a, b in zip(DRUGS, fresh, cached, strict=True):
        assert same(a, featurise(smiles, CONFIG)) and same(a, b)


def test_the_key_depends_on_all_that_features_depend_on(tmp_path, monkeypatch):
    paths = {
        cache_path(tmp_path, "CCO", CONFIG),
        cache_path(tmp_path, "CCN", CONFIG),
        *(
            cache_path(tmp_path, "CCO", dataclasses.replace(CONFIG, **{name: value}))
            for name, value in {
                "picture_size": 33,
                "max_atoms": 99,
                "fingerprint_radius": 3,
                "fingerprint_bits": 65,
            }.items()
        ),
    }
    monkeypatch.setattr(module, "FEATURISER_VERSION", -1)
    paths.add(cache_path(tmp_path, "CCO", CONFIG))
    monkeypatch.setattr(module.rdkit, "__version__", "0")
    paths.add(cache_path(tmp_path, "CCO", CONFIG))
    assert len(paths) == 8
    assert len({p.parent for p in paths}) > 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda block: b"",
        lambda block: block[:7],
        lambda block: block[:40],
        lambda block: block[:-1],
        lambda block: b"x" + block[1:],
        lambda block: block[:60] + bytes([block[60] ^ 255]) + block[61:],
        lambda block: block[:-3] + bytes([block[-3] ^ 1]) + block[-2:],
        lambda block: b"\x00" * len(block),
        lambda block: encode(featurise("CCN", CONFIG)),
    ],
)
def test_a_damaged_file_is_replaced(damage, tmp_path, computed):
    featurise_all(["CCO"], CONFIG, cache=tmp_path)
    path = cache_path(tmp_path, "CCO", CONFIG)
    good = path.read_bytes()
    path.write_bytes(damage(good))
    assert load(path, "CCO") is None
    again = featurise_all(["CCO"], CONFIG, cache=tmp_path)[0]
    assert again.smiles == "CCO" and path.read_bytes() == good
    assert len(computed) == 2


def test_every_truncation_is_noticed(tmp_path):
    block = encode(featurise("CCO", CONFIG))
    for length in range(len(block)):
        with pytest.raises(ValueError):
            decode(block[:length])


@pytest.fixture
def fresh_process():
    """As if nothing had been said and no folder been cleaned in this process."""
    machine.say_once.cache_clear()
    module._clean.cache_clear()


@pytest.mark.usefixtures("fresh_process")
def test_a_full_disk_is_said_once_and_nothing_is_lost(tmp_path, monkeypatch, computed, capsys):
    write, written = module._write, []

    def full_after_three(path, block):
        if len(written) == 3:
            path.write_bytes(block[:10])  # a disk fills up in the middle of a file
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, block)
        written.append(path)

    monkeypatch.setattr(module, "_write", full_after_three)
    for _ in range(2):
        features = featurise_all(DRUGS[:6], CONFIG, cache=tmp_path)
        assert [f.smiles for f in features] == [parse(s).smiles for s in DRUGS[:6]]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"molrel: {tmp_path}: ")
    assert "No space left on device" in line and "MOLREL_CACHE" in line
    assert len(files(tmp_path)) == 3 and not list(tmp_path.rglob("*.tmp"))
    monkeypatch.setattr(module, "_write", write)
    computed.clear()
    assert len(featurise_all(DRUGS[:6], CONFIG, cache=tmp_path)) == 6
    assert computed == [parse(s).smiles for s in DRUGS[3:6]]


@pytest.mark.usefixtures("fresh_process")
@pytest.mark.parametrize("place", ["file", "file/cache"])
def test_a_cache_folder_that_is_none_is_said_once(place, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for _ in range(2):
        assert len(featurise_all(["CCO", "CC"], CONFIG, cache=tmp_path / place)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / place}: molecule features cannot be kept there" in line
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.usefixtures("fresh_process")
@pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="root writes anywhere"
)
def test_a_read_only_cache_is_read_and_said_once(tmp_path):
    featurise_all(["CCO"], CONFIG, cache=tmp_path)
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = f"""
import sys
from pathlib import Path
from molrel.chem import cache
calls = []
original = cache.featurise
cache.featurise = lambda s, c: (calls.append(s), original(s, c))[1]
config = cache.FeatureConfig(picture_size=32, fingerprint_bits=64)
print(len(cache.featurise_all(["CCO", "CC", "CCC"], config, cache=Path({str(tmp_path)!r}))), calls)
"""
    done = unprivileged([sys.executable, "-c", code], tmp_path)
    assert done.stdout == "3 ['CC', 'CCC']\n", done.stderr
    assert len(done.stderr.splitlines()) == 1 and "Permission denied" in done.stderr


def unprivileged(command: list[str], folder: Path, **environment) -> subprocess.CompletedProcess:
    """Runs a command as a user who may not write everywhere, and who has no home folder."""
    if os.geteuid() == 0:
        for parent in folder.parents:  # pytest's own folders are closed to other users
            if any(above.name.startswith("pytest-of-") for above in (parent, *parent.parents)):
                parent.chmod(0o755)
        command = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", *command]
    root = str(Path(molrel.__path__[0]).parent)
    variables = {k: v for k, v in os.environ.items() if k not in ("HOME", "MOLREL_CACHE")}
    return subprocess.run(
        command,
        env={**variables, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("fresh_process")
def test_without_a_home_folder_nothing_is_kept_and_one_line_says_so(monkeypatch, capsys):
    monkeypatch.delenv("MOLREL_CACHE", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert default_cache() is None
    for _ in range(2):
        assert [f.smiles for f in featurise_all(["OCC"], CONFIG)] == ["CCO"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "no home folder" in line and "MOLREL_CACHE" in line


@pytest.mark.usefixtures("fresh_process")
def test_a_cache_named_by_the_user_needs_no_home_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    monkeypatch.setenv("MOLREL_CACHE", str(tmp_path))
    featurise_all(["OCC"], CONFIG)
    assert len(files(tmp_path)) == 1 and capsys.readouterr().err == ""


@pytest.mark.usefixtures("fresh_process")
def test_only_old_temporary_files_are_deleted(tmp_path):
    path = cache_path(tmp_path, "CCO", CONFIG)
    path.parent.mkdir()
    old, young = (path.with_name(f"{path.name}.1.{x}.tmp") for x in ("a", "b"))
    others = path.with_name("notes.tmp")
    for file in (old, young, others):
        file.write_bytes(b"half a block")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    os.utime(others, (two_days_ago, two_days_ago))
    featurise_all(["CCO"], CONFIG, cache=tmp_path)
    assert files(tmp_path) == sorted([path, young, others])


def test_an_interrupt_while_storing_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(path, block):
        path.write_bytes(block[:10])
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        featurise_all(["CCO"], CONFIG, cache=tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_molecules_that_fail_are_told_apart_from_the_others(workers, tmp_path, monkeypatch):
    # One cannot be read; one is too large, but only for whoever computes its features.
    monkeypatch.setattr(module, "canonical_smiles", lenient)
    smiles = [*MANY, "C1CC", "OCC", "C" * 101, "CCO"]
    features, failures = featurise_each(smiles, CONFIG, cache=tmp_path, workers=workers)
    assert failures == {
        "C1CC": "cannot be read as SMILES",
        "C" * 101: "has 101 atoms, more than 100",
    }
    assert list(features) == [s for s in dict.fromkeys(smiles) if s not in failures]
    assert features["OCC"] is features["CCO"]
    assert len(files(tmp_path)) == len({parse(s).smiles for s in features})
    with pytest.raises(MoleculeError, match="cannot be read as SMILES: 'C1CC'"):
        featurise_all(smiles, CONFIG, cache=tmp_path, workers=workers)


def lenient(text: str, max_atoms: int) -> str:
    return canonical_smiles(text, max_atoms + 1)


def test_a_molecule_whose_drawing_fails_costs_no_other(tmp_path, monkeypatch):
    def fails_for_two_atoms(molecule, size):
        if molecule.GetNumAtoms() == 2:
            raise RuntimeError("no\nway")
        return draw(molecule, size)

    monkeypatch.setattr("molrel.chem.features.draw", fails_for_two_atoms)
    features, failures = featurise_each(["CCO", "CC", "C"], CONFIG, cache=tmp_path)
    assert list(features) == ["CCO", "C"]
    assert failures == {"CC": "RDKit fails on it (RuntimeError: no way)"}


@pytest.mark.parametrize("bad", ["C1CC", "", "C" * 200, None])
def test_a_bad_molecule_is_named_and_the_good_ones_stay(unchecked, bad, tmp_path):
    featurise_all(["CCO"], CONFIG, cache=tmp_path)
    with pytest.raises(MoleculeError) as error:
        featurise_all(["CCO", bad], CONFIG, cache=tmp_path)
    assert str(bad)[:100] in str(error.value)
    assert len(files(tmp_path)) == 1


def test_worker_processes_give_what_one_process_gives(tmp_path):
    parallel = featurise_all(MANY, CONFIG, cache=tmp_path / "a", workers=2)
    serial = featurise_all(MANY, CONFIG, cache=tmp_path / "b", workers=1)
    assert [p.relative_to(tmp_path / "a") for p in files(tmp_path / "a")] == [
        p.relative_to(tmp_path / "b") for p in files(tmp_path / "b")
    ]
    assert len(files(tmp_path / "a")) == len({parse(s).smiles for s in MANY})
    assert all(same(a, b) for a, b in zip(parallel, serial, strict=True))


def test_workers_neither_run_the_calling_script_again_nor_import_jax(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
import sys
with open({str(tmp_path / "runs")!r}, "a") as log:
    log.write("run\\n")
from pathlib import Path
from molrel.chem import FeatureConfig, featurise_all
many = {MANY!r}
features = featurise_all(many, FeatureConfig(picture_size=32), cache=Path({str(tmp_path)!r}) / "c",
                         workers=2)
assert len(features) == len(many)
assert "jax" not in sys.modules
assert __file__ == {str(script)!r}
""")
    process = python(str(script))
    output = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert (tmp_path / "runs").read_text() == "run\n"
    assert output == ("", "")  # no progress bar where there is no terminal


def test_a_failure_in_a_worker_names_the_molecule(tmp_path, monkeypatch):
    # Too large only for the workers: the parent's check is made to let it through.
    monkeypatch.setattr(module, "canonical_smiles", lambda text, max_atoms: text)
    with pytest.raises(MoleculeError, match="more than 100: 'CCC"):
        featurise_all([*MANY, "C" * 101], CONFIG, cache=tmp_path, workers=2)
    # All others are kept.
    assert len(files(tmp_path)) == len(MANY)


def test_two_processes_share_one_folder(tmp_path):
    start = time.time() + 2.5
    script = f"""
import sys, time
from pathlib import Path
from molrel.chem import FeatureConfig, featurise_all
from molrel.chem.cache import encode
molecules = {MANY[:150]!r}
time.sleep(max(0, {start} - time.time()))
config = FeatureConfig(picture_size=32, fingerprint_bits=64)
features = featurise_all(molecules, config, cache=Path({str(tmp_path)!r}), workers=1)
import hashlib
print(hashlib.sha256(b"".join(map(encode, features))).hexdigest())
assert "jax" not in sys.modules
"""
    processes = [python("-c", script) for _ in range(2)]
    outputs = [p.communicate(timeout=60) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] != ""
    found = files(tmp_path)
    assert len(found) == 150 and all(p.suffix == ".features" for p in found)
    assert all(decode(p.read_bytes()) for p in found)


def test_progress_bar_on_request(tmp_path, capsys):
    featurise_all(["CCO"], CONFIG, cache=tmp_path / "a", progress=True)
    assert "featurise: 100%" in capsys.readouterr().err
    featurise_all(["CCO"], CONFIG, cache=tmp_path / "b", progress=False)
    featurise_all(["CCO"], CONFIG, cache=tmp_path / "c")
    assert capsys.readouterr().err == ""


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MOLREL_CACHE", str(tmp_path / "here"))
    assert default_cache() == tmp_path / "here"
    featurise_all(["CCO"], CONFIG)
    assert len(files(tmp_path / "here")) == 1
    monkeypatch.delenv("MOLREL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "molrel" / "features"


def test_an_empty_variable_keeps_no_features(monkeypatch, capsys):
    monkeypatch.setenv("MOLREL_CACHE", "")
    assert default_cache() is None
    assert len(featurise_all(["CCO"], CONFIG)) == 1
    assert capsys.readouterr().err == ""
