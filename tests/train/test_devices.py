"""Eight devices give the update of one; each case runs in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.multidevice
@pytest.mark.parametrize(
    "case",
    ["ragged", "experts", *(pytest.param(c, marks=pytest.mark.slow) for c in ("empty", "seeds"))],
)
def test_eight_devices_equal_one(case):
    done = subprocess.run(
        [sys.executable, str(HERE / "device_check.py"), case],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parent)},
        cwd=HERE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    if case != "experts":
        assert {"adversarial_fragment", "prototype", "guidance"} <= {*result["names"]}
    assert "supervised" in result["names"]
    assert result["params"] < 1e-5, result
    assert result["terms"] < 1e-5, result
