"""The environment computes right, is the one that was tested, and is used as intended."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "molrel").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(("dtype", "n"), [("float64", 16_385), ("float32", 32_769)])
def test_jitted_matrix_vector_products_are_right(dtype, n):
    # jax-ml/jax#39103: jax 0.10.2 gets the last row wrong in float64, and most in float32. The
    # squared length of row i of (i, 0, 0) is i * i: 16,384 squared is 268,435,456.
    with jax.enable_x64(dtype == "float64"):
        rows = np.zeros((n, 3), dtype)
        rows[:, 0] = np.arange(n)

        def squared_length(row):
            return jnp.sum(jnp.square(jnp.eye(3, dtype=dtype) @ row))

        got = jax.jit(jax.vmap(squared_length))(rows)
        np.testing.assert_allclose(
            got,
            np.arange(n, dtype=np.float64) ** 2,
            rtol=1e-6,
            err_msg=f"jax {version('jax')} computes wrong results on this machine",
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 49, 50, 51, 64, 299])
def test_arctan_is_right(n, dtype):
    # jax-ml/jax#39352: jnp.arctan is wrong from 50 elements on with 0.10.2 on some CPUs.
    with jax.enable_x64(dtype == "float64"):
        x = np.linspace(-4, 4, n, dtype=dtype)
        np.testing.assert_allclose(jax.jit(jnp.arctan)(x), np.arctan(x), rtol=1e-5, atol=1e-6)


def requirements(lines: list[str]) -> dict[str, Requirement]:
    """Requirements that hold for this interpreter, by name."""
    lines = [line.partition(" #")[0].strip() for line in lines]
    parsed = [Requirement(line) for line in lines if line and line[0] not in "#-"]
    return {
        re.sub(r"[-_.]+", "-", r.name).lower(): r
        for r in parsed
        if r.marker is None or r.marker.evaluate()
    }


def pinned(name: str) -> dict[str, Requirement]:
    return requirements((ROOT / name).read_text().splitlines())


EXTRAS = PROJECT["optional-dependencies"]
# What the package asks for, and what its built-in sets come with.
RANGES = requirements([*PROJECT["dependencies"], *EXTRAS["demo"]])


@pytest.mark.parametrize("name", RANGES)
def test_installed_versions_are_in_range(name):
    assert RANGES[name].specifier.contains(version(name), prereleases=True), (
        f"{name} {version(name)} is outside {RANGES[name]}"
    )


@pytest.mark.parametrize("bad", ["0.10.2", "0.11.0", "0.11.1", "0.12.0", "0.12.0.1"])
def test_faulty_and_untested_versions_of_jax_are_excluded(bad):
    assert not RANGES["jax"].specifier.contains(bad)
    assert not RANGES["jaxlib"].specifier.contains(bad)


def inside(pin: SpecifierSet, allowed: SpecifierSet) -> bool:
    """Whether each version that is written in a pin lies in the range."""
    return all(allowed.contains(s.version, prereleases=True) for s in pin if s.operator != "<")


def test_pins_agree_with_the_ranges():
    pins = pinned("requirements.txt")
    assert pins.keys() <= RANGES.keys(), "requirements.txt pins what the package does not ask for"
    assert RANGES.keys() <= pins.keys(), "requirements.txt does not pin all that is asked for"
    for name, pin in pins.items():
        assert inside(pin.specifier, RANGES[name].specifier), f"{pin} against {RANGES[name]}"


def test_tools_agree_with_the_extra():
    tools = requirements(EXTRAS["dev"])
    pins = pinned("requirements-dev.txt")
    assert pins.keys() == tools.keys()
    for name, pin in pins.items():
        assert inside(pin.specifier, tools[name].specifier), f"{pin} against {tools[name]}"


def test_every_folder_of_the_package_is_installed():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for path in PACKAGE} | {ROOT / "molrel/data/vendored"}
    present = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(named) == present | {"molrel.configs"}
    assert not (ROOT / "molrel/configs").exists()


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_jraph_is_imported_in_one_place():
    users = [str(path.relative_to(ROOT)) for path in PACKAGE if "jraph" in imported(path)]
    assert users == ["molrel/nn/graph.py"]


def test_everything_imported_is_asked_for():
    # Import names that differ from the name of the distribution.
    distributions = {"sklearn": "scikit-learn", "PIL": "pillow", "orbax": "orbax-checkpoint"}
    optional = {"tensorboardX", "flatbuffers", "safetensors", "pyarrow"}  # extras
    names = set().union(*map(imported, PACKAGE)) - set(sys.stdlib_module_names)
    names -= {"molrel"} | optional
    assert {distributions.get(name, name).lower() for name in names} <= RANGES.keys()


@pytest.mark.parametrize(
    "module",
    ["molrel", "molrel.chem", "molrel.chem.cache", "molrel.data.catalog", "molrel.commands"],
)
def test_import_does_not_load_jax(module):
    # Featurising starts worker processes, which ought to be small; the command line and the
    # package must set up the process before JAX starts.
    code = f"import sys, {module}; print(sorted({{'jax', 'flax', 'sklearn'}} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
