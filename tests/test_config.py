"""Configs as values: files, JSON and what is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from problem import every_method

from molrel.config import Experiment, check, with_options
from molrel.config_files import load_config_file
from molrel.config_json import from_json, to_json
from molrel.errors import InputError
from molrel.methods.distrans import DisTransConfig
from molrel.methods.topexpert import TopExpertConfig

ROOT = Path(__file__).parents[1]
USUAL = Experiment(method=DisTransConfig())
CONFIGS = sorted((ROOT / "configs").glob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_file_can_be_trained_with_and_survives_json(path):
    experiment = load_config_file(path)
    assert check(experiment) is experiment
    assert experiment.name == path.stem
    assert from_json(json.loads(json.dumps(to_json(experiment)))) == experiment


def test_source_only_is_distrans_without_adaptation():
    full, plain = (
        load_config_file(ROOT / "configs" / f"{n}_mixtures.py") for n in ("distrans", "source_only")
    )
    assert full.method.adapts and not plain.method.adapts
    assert replace(full.method, weights=plain.method.weights) == plain.method
    assert (full.data, full.features, full.optimiser, full.seeds) == (
        plain.data,
        plain.features,
        plain.optimiser,
        plain.seeds,
    )
    assert replace(full.train, baselines=False) == plain.train


@pytest.mark.parametrize(
    "text, row, words",
    [
        ("def get_config():\n    return Experiment()\n", 2, "NameError"),
        ("x = (\n", 1, "SyntaxError"),
        ("x = 1\n", None, "defines no get_config"),
        ("def get_config():\n    return 3\n", None, "must return"),
        (
            "from molrel.config import TrainConfig\n"
            "def get_config():\n    return TrainConfig(stepz=3)\n",
            3,
            "'steps'",
        ),
    ],
)
def test_a_wrong_config_file_is_one_error_with_its_line(tmp_path, text, row, words):
    path = tmp_path / "c.py"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        load_config_file(path)
    assert caught.value.path == path and caught.value.row == row


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda v: v | {"nam": 1}, "unknown config field 'nam'. Did you mean 'name'"),
        (lambda v: v | {"train": v["train"] | {"step": 1}}, "'train.step'.*'train.steps'"),
        (lambda v: v | {"version": 3}, "version 3"),
        (lambda v: v | {"name": 3}, "'name' cannot be 3"),
        (lambda v: v | {"train": 3}, "section 'train'"),
        (lambda v: v | {"method": v["method"] | {"weighting": "sideways"}}, "'method.weighting'"),
        (lambda v: [], "cannot be"),
    ],
)
def test_wrong_json_is_refused_by_field(change, words):
    with pytest.raises(InputError, match=words):
        from_json(change(to_json(USUAL)))


@pytest.mark.parametrize("seeds", [(), (1, 1), (-1,), (2**31,)])
def test_seeds_must_be_different_and_small(seeds):
    with pytest.raises(InputError, match="seeds"):
        check(replace(USUAL, seeds=seeds))


def test_help_lists_every_config_field():
    done = subprocess.run(
        [sys.executable, "-m", "molrel", "train", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    for flag in ("--optimiser.learning-rate", "--method.weights.guidance", "--seeds", "--resume"):
        assert flag in done.stdout


@pytest.mark.parametrize("method", every_method(), ids=lambda m: m.__name__)
def test_every_method_survives_json_and_is_named_in_it(method):
    experiment = Experiment(method=method())
    stored = json.loads(json.dumps(to_json(experiment)))
    assert stored["method"]["type"] == f"{method.__module__}:{method.__name__}"
    assert from_json(stored) == experiment
    assert not experiment.method.source_only().adapts


def test_an_unknown_method_is_refused():
    stored = to_json(USUAL)
    stored["method"]["type"] = "DisTrain"
    with pytest.raises(InputError, match="type cannot be 'DisTrain'"):
        from_json(stored)


def test_options_replace_nested_fields_and_nothing_else():
    base = USUAL
    changed = with_options(base, {"method.weights.guidance": 0.7, "train.steps": 3})
    assert changed.method.weights.guidance == 0.7 and changed.train.steps == 3
    restored = with_options(
        changed,
        {"method.weights.guidance": base.method.weights.guidance, "train.steps": base.train.steps},
    )
    assert restored == base
    with pytest.raises(InputError, match="unknown config field .*guidence.*'guidance'"):
        with_options(base, {"method.weights.guidence": 1.0})


@pytest.mark.parametrize(
    ("option", "value", "bounds"),
    [
        ("train.steps", 0, "at least 1"),
        ("data.valid_fraction", 1.0, "greater than 0 and less than 1"),
        ("optimiser.learning_rate", float("inf"), "at least 0 and finite"),
        ("optimiser.learning_rate", float("nan"), "at least 0 and finite"),
        ("method.width", 2**17, "at least 1 and at most 65536"),
        ("method.dropout", 1.0, "less than 1"),
        ("data.test_fraction", 0.95, "what data.valid_fraction leaves"),
        ("features.scheme", "hu", None),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_bounds(option, value, bounds):
    config = with_options(USUAL, {option: value})
    if bounds is None:
        assert check(config) is config
        return
    with pytest.raises(InputError, match=f"{option}.*{bounds}"):
        check(config)


def test_the_first_layout_named_methods_alone():
    stored = to_json(USUAL) | {"version": 1}
    stored["method"]["type"] = "DisTransConfig"
    assert from_json(stored) == USUAL


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan")])
def test_temperatures_are_positive_and_finite(value):
    for method in (DisTransConfig(temperature=value), TopExpertConfig(temperature=value)):
        with pytest.raises(InputError, match="method.temperature"):
            check(replace(USUAL, method=method))
