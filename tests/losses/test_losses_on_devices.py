"""Every loss on eight emulated devices with ragged counts = the same loss on one device.

The devices are emulated in a process of their own, which runs this file as a script.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_cases import Case, all_cases

import molrel
from molrel import collectives
from molrel.losses import adversarial, alignment

COUNTS = (5, 3, 5, 1, 4, 5, 0, 2)  # real rows on each device, all padded to the largest
CASES = {case.name: case for case in all_cases(n=sum(COUNTS))}
OFFSETS = np.concatenate([[0], np.cumsum(COUNTS)])
FINITE_GARBAGE = 1e3


def objective(case: Case, theta, rows, fixed, axis_name):
    """Share of the loss behind one layer with a parameter that all devices hold."""
    moved = {name: rows[name] + theta * jnp.tanh(rows[name]) for name in case.differentiable}
    return case.loss(**{**rows, **moved}, **fixed, axis_name=axis_name)


def shards(case: Case) -> dict[str, np.ndarray]:
    """Rows as [devices, largest count, ...], padded with garbage."""
    out = {}
    for name, array in case.rows.items():
        value = FINITE_GARBAGE if name in case.differentiable else case.padding[name]
        out[name] = np.full((len(COUNTS), max(COUNTS), *array.shape[1:]), value, array.dtype)
        for device, count in enumerate(COUNTS):
            out[name][device, :count] = array[OFFSETS[device] : OFFSETS[device] + count]
    return out


def on_devices(case: Case) -> dict:
    """Summed shares, summed gradient of theta, and the gradient of every real row."""

    def step(theta, rows):
        moving = {name: rows[name] for name in case.differentiable}

        def loss(theta, moving):
            return objective(case, theta, {**rows, **moving}, case.fixed, "devices")

        value, (of_theta, of_rows) = jax.value_and_grad(loss, argnums=(0, 1))(theta, moving)
        return collectives.reduce((value, of_theta), "devices"), of_rows

    run = jax.pmap(step, "devices", in_axes=(None, 0), out_axes=(None, 0))
    (value, of_theta), of_rows = run(jnp.float64(0.3), shards(case))
    real = np.arange(max(COUNTS))[None, :] < np.array(COUNTS)[:, None]
    return {
        "value": float(value),
        "theta": float(of_theta),
        "rows": {name: np.asarray(g)[real].tolist() for name, g in of_rows.items()},
        "padding": max(float(np.abs(np.asarray(g)[~real]).max()) for g in of_rows.values()),
    }


def mean_of_device_means(case: Case) -> float:
    """What a mean over the devices of their own losses would give."""
    alone = jax.vmap(lambda r: objective(case, 0.3, r, case.fixed, None))
    return float(alone({name: jnp.asarray(x) for name, x in shards(case).items()}).mean())


def molecules_held_by_several_devices() -> dict[str, list[float]]:
    """info_nce with copies on several devices, and with each molecule once on one device."""
    rng = np.random.default_rng(4)
    z = rng.normal(size=(2, 10, 4))
    ids = np.stack([rng.permutation(10)[:6] for _ in COUNTS]).astype(np.int32)
    weight = rng.integers(0, 3, ids.shape).astype(float)
    merged = np.bincount(ids.ravel(), weight.ravel(), 10)

    def loss(theta, ids, weight, z, axis_name):
        z_a, z_b = (x + theta * jnp.tanh(x) for x in z)
        return alignment.info_nce(
            z_a=z_a, z_b=z_b, ids=ids, weight=weight, temperature=0.2, axis_name=axis_name
        )

    def step(theta, ids, weight, z):
        share = jax.value_and_grad(loss)(theta, ids, weight, z[:, ids], "devices")
        return collectives.reduce(share, "devices")

    run = jax.pmap(step, "devices", in_axes=(None, 0, 0, None), out_axes=None)
    split = run(jnp.float64(0.3), ids, weight, z)
    once = jax.value_and_grad(loss)(
        jnp.float64(0.3), jnp.arange(10), jnp.asarray(merged), jnp.asarray(z), None
    )
    return {"split": [float(x) for x in split], "once": [float(x) for x in once]}


def accuracy() -> list[float]:
    """Domain accuracy, summed over the devices."""
    case = CASES["domain_cross_entropy"]
    run = jax.pmap(partial(adversarial.domain_accuracy, axis_name="devices"), "devices")
    return np.asarray(run(**shards(case))).tolist()


@pytest.fixture(scope="module")
def result() -> dict:
    environment = {
        **os.environ,
        "XLA_FLAGS": os.environ["XLA_FLAGS"]
        + f" --xla_force_host_platform_device_count={len(COUNTS)}",
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "PYTHONPATH": str(Path(molrel.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_eight_devices_are_one_device(result, name):
    case = CASES[name]
    with jax.enable_x64(True):
        rows = {key: jnp.asarray(x) for key, x in case.rows.items()}
        fixed = {key: jnp.asarray(x) for key, x in case.fixed.items()}
        moving = {key: rows[key] for key in case.differentiable}

        def loss(theta, moving):
            return objective(case, theta, {**rows, **moving}, fixed, None)

        value, (of_theta, of_rows) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(
            jnp.float64(0.3), moving
        )
    found = result["losses"][name]
    assert found["value"] == pytest.approx(float(value), rel=1e-11)
    assert found["theta"] == pytest.approx(float(of_theta), rel=1e-10)
    for key, gradient in of_rows.items():
        np.testing.assert_allclose(found["rows"][key], gradient, rtol=1e-10, atol=1e-12)
    assert found["padding"] == 0.0
    # the counts are ragged enough for the usual mistake to show
    assert abs(found["mean_of_means"] / float(value) - 1) > 0.01


def test_a_molecule_held_by_several_devices_counts_with_its_summed_weight(result):
    held = result["held"]
    np.testing.assert_allclose(held["split"], held["once"], rtol=1e-11)


def test_accuracy_is_that_of_all_devices(result):
    rows = CASES["domain_cross_entropy"].rows
    with jax.enable_x64(True):
        arrays: dict[str, Any] = {k: jnp.asarray(x) for k, x in rows.items()}
        whole = adversarial.domain_accuracy(**arrays)
    assert sum(result["accuracy"]) == pytest.approx(float(whole), rel=1e-12)


if __name__ == "__main__":
    losses = {
        name: {**on_devices(case), "mean_of_means": mean_of_device_means(case)}
        for name, case in CASES.items()
    }
    held = molecules_held_by_several_devices()
    print(json.dumps({"losses": losses, "held": held, "accuracy": accuracy()}))
