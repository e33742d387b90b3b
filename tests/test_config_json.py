"""A run folder is data: nothing that its JSON names is executed, unless it is trusted."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from trained import ROOT

from molrel.config import Experiment
from molrel.config_files import load_config_file
from molrel.config_json import Types, from_json, to_json, type_path
from molrel.errors import InputError
from molrel.methods.distrans import DisTransConfig
from molrel.runs import load_run

USUAL = Experiment(method=DisTransConfig())
OWN = """
from dataclasses import dataclass, field
from pathlib import Path

from molrel.config import Experiment
from molrel.methods.distrans import DisTransConfig
from molrel.methods.method import Wrapper

Path({mark!r}).touch()


@dataclass(frozen=True)
class Mine(Wrapper):
    base: DisTransConfig = field(default_factory=DisTransConfig)
    weight: float = 0.5

    def build(self, knowledge, **task):
        return self.base.build(knowledge, **task)


def get_config():
    return Experiment(method=Mine())
"""


def own_config(folder: Path) -> tuple[Path, Path]:
    """(config file with a method of its own, file that it makes when it is executed)."""
    mark = folder / "executed"
    path = folder / "mine.py"
    path.write_text(OWN.format(mark=str(mark)))
    return path, mark


def folder_of(tmp_path, kind, **change) -> Path:
    """A run folder with this type of method, and a module of the user's on the path."""
    folder = tmp_path / "run"
    folder.mkdir()
    stored = to_json(USUAL)
    stored["method"] = {"type": kind} | change
    record = {"experiment": stored, "environment": {}, "task": {}, "label_mean": [0.0]}
    (folder / "config.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize(
    "kind",
    [
        "os:system",
        "subprocess:Popen",
        "evil:Mine",
        "config.py:Mine",
        "../evil.py:Mine",
        "/evil.py:Mine",
        "evil",
        "evil:Mine.__init__",
        "molrel.cli:main",
        "molrel.cli:os",
        "molrel.config:DataConfig",
        "molrel.methods.method:SourceOnlyConfig",
        "molrel..evil:Mine",
        "molrel.evil:Mine",
        "",
        3,
        None,
        ["evil:Mine"],
        {"type": "evil:Mine"},
    ],
)
def test_a_hostile_type_executes_nothing(tmp_path, monkeypatch, kind):
    mark = tmp_path / "executed"
    for place in (tmp_path / "evil.py", tmp_path / "run.py"):
        place.write_text(OWN.format(mark=str(mark)))
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = folder_of(tmp_path, kind)
    (folder / "config.py").write_text(OWN.format(mark=str(mark)))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        load_run(folder)
    assert str(folder) in str(caught.value)
    assert not mark.exists() and sorted(tmp_path.rglob("*")) == before
    assert "evil" not in sys.modules


@pytest.mark.parametrize("kind", ["os:system", "os:path", "evil:get_config", "evil:Path"])
def test_even_trusted_types_must_be_config_classes(tmp_path, monkeypatch, kind):
    (tmp_path / "evil.py").write_text(OWN.format(mark=str(tmp_path / "executed")))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    with pytest.raises(InputError, match="no frozen dataclass"):
        load_run(folder_of(tmp_path, kind), trust_code=True)
    monkeypatch.delitem(sys.modules, "evil", raising=False)


def test_a_trusted_folder_s_own_file_is_not_followed_out_of_it(tmp_path):
    path, mark = own_config(tmp_path)
    folder = folder_of(tmp_path, "config.py:Mine")
    (folder / "config.py").symlink_to(path)
    with pytest.raises(InputError):
        load_run(folder, trust_code=True)
    assert not mark.exists()


def test_a_section_takes_no_other_type_than_its_field(tmp_path):
    stored = to_json(USUAL)
    stored["train"]["type"] = "molrel.methods.distrans:LossWeights"
    with pytest.raises(InputError, match="'train' cannot be LossWeights"):
        from_json(stored)


def test_a_method_of_a_config_file_survives_json_where_it_is_trusted(tmp_path):
    path, mark = own_config(tmp_path)
    config = load_config_file(path)
    stored = json.loads(json.dumps(to_json(config)))
    assert stored["method"]["type"] == "config.py:Mine"
    mark.unlink()
    with pytest.raises(InputError, match="--trust-code"):
        from_json(stored)
    (tmp_path / "config.py").write_text(path.read_text())
    assert not mark.exists()
    again = from_json(stored, types_=Types(True, tmp_path))
    assert mark.exists() and again.method.weight == 0.5
    assert again.method.base == DisTransConfig()


def test_a_class_inside_a_function_is_refused_before_training():
    @dataclass(frozen=True)
    class Local(DisTransConfig):
        pass

    with pytest.raises(InputError, match="not read again"):
        to_json(replace(USUAL, method=Local()))


def test_a_module_that_is_not_there_says_what_to_do():
    stored = to_json(USUAL)
    stored["method"]["type"] = "not_installed_anywhere:Mine"
    with pytest.raises(InputError, match="PYTHONPATH"):
        from_json(stored, types_=Types(trust=True))


def test_types_are_import_paths():
    assert type_path(DisTransConfig) == "molrel.methods.distrans:DisTransConfig"
    assert load_config_file(ROOT / "configs" / "test.py").method.__class__ is DisTransConfig
