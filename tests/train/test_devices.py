"""Eight devices give the update of one; each case runs in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATH = os.pathsep.join([str(HERE.parent), str(HERE.parents[1])])


@pytest.mark.multidevice
@pytest.mark.parametrize(
    "case",
    ["ragged", *(pytest.param(c, marks=pytest.mark.slow) for c in ("experts", "empty", "seeds"))],
)
def test_eight_devices_equal_one(case):
    result = check(case)
    if case != "experts":
        assert {"adversarial_fragment", "prototype", "guidance"} <= {*result["names"]}
    assert "supervised" in result["names"]
    assert result["params"] < 1e-5, result
    assert result["terms"] < 1e-5, result


@pytest.mark.multidevice
def test_the_table_goes_to_every_device_once():
    for mode, found in check("table").items():
        assert found == {
            "devices": 8,
            "whole_on_each": True,
            "shared": True,
            "a_copy_would_be_noticed": True,
            "traces": 1,
        }, mode


def check(case):
    """What device_check.py says of a case."""
    done = subprocess.run(
        [sys.executable, str(HERE / "device_check.py"), case],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": PATH},
        cwd=HERE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
