"""Two processes with two devices each are one process: the same numbers, and one run folder."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parents[1])]),
}


def start(processes, number, address, devices, *more):
    arguments = [processes, number, address, devices, *more]
    return subprocess.Popen(
        [sys.executable, str(HERE / "host_check.py"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        cwd=HERE,
    )


def free_address():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return f"localhost:{s.getsockname()[1]}"


def ended(process):
    """(what it found, everything that it printed)."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out[out.rindex("found ") + 6 :]), out


def two_hosts(*more):
    address = free_address()
    started = [start(2, i, address, 2, *more) for i in (0, 1)]
    try:
        return [ended(process) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.mark.multidevice
@pytest.mark.slow
def test_two_hosts_equal_one_process():
    (first, _), (second, _) = two_hosts()
    assert first == second and first["devices"] == 4
    for devices in (4, 1):
        alone, _ = ended(start(1, 0, "none", devices))
        assert alone["best_step"] == first["best_step"] == [4, 4]
        np.testing.assert_allclose(first["values"], alone["values"], rtol=0, atol=1e-9)


@pytest.mark.multidevice
@pytest.mark.slow
def test_the_first_of_two_hosts_writes_and_one_process_or_two_go_on(tmp_path):
    folder = tmp_path / "run"
    (first, _), (second, printed) = two_hosts(folder, 8)
    assert first["rows"] > 0 and second["rows"] == 0
    assert printed.strip().startswith("[Gloo]") or printed.startswith("found")
    assert (folder / "predictions.csv").exists() and (folder / "report.json").exists()
    assert logged(folder) == [4, 8]
    two_hosts(folder, 12)
    alone, _ = ended(start(1, 0, "none", 1, folder, 16))
    assert alone["rows"] == first["rows"]
    assert logged(folder) == [4, 8, 12, 16]


def logged(folder):
    """Steps of metrics.jsonl."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return sorted({json.loads(line)["step"] for line in lines})
