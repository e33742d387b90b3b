"""Collectives on eight emulated devices, in a process of their own (run as a script there)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import molrel
from molrel import collectives

DEVICES = 8
ROWS = np.random.default_rng(0).normal(size=(DEVICES, 3, 2))


def angle_loss(parameter, rows, axis_name):
    """Nonlinear in a sum over devices, as the loss of two prototypes is."""
    moved = jnp.sin(parameter * rows)
    total = collectives.gather_sum(jnp.sum(moved, axis=0), axis_name)
    count = collectives.sum_counts(jnp.asarray(moved.shape[0], moved.dtype), axis_name)
    mean = total / count
    return collectives.share(mean[0] / jnp.sqrt(1 + mean @ mean), axis_name)


def row_loss(parameter, rows, axis_name):
    """Local rows against the rows of all devices."""
    moved = jnp.sin(parameter * rows)
    scores = moved @ collectives.gather_rows(moved, axis_name).T
    count = collectives.sum_counts(jnp.asarray(moved.shape[0], moved.dtype), axis_name)
    return jnp.sum(jax.nn.logsumexp(scores, axis=1)) / count


LOSSES = {"angle": angle_loss, "rows": row_loss}
PARAMETER = 0.7


def shares_and_gradients(loss, reduce, axis_name="devices"):
    """Per device: loss and gradient, after the reduction given."""
    grad = jax.value_and_grad(lambda p, r: loss(p, r, axis_name))
    return lambda parameter, rows: reduce(grad(parameter, rows))


def in_eight_devices() -> dict[str, list]:
    """Results of every collective, as lists; runs where eight devices are emulated."""
    axis = "devices"
    keys = jax.pmap(
        lambda _: jax.random.key_data(collectives.fold_in_device(jax.random.key(3), axis)),
        axis_name=axis,
    )(ROWS)
    out = {
        "axis_size": jax.pmap(lambda x: x[0, 0] * 0 + collectives.axis_size(axis), axis)(ROWS),
        "sum_counts": jax.pmap(lambda x: collectives.sum_counts(x, axis), axis)(ROWS),
        "sum_counts_int": jax.pmap(lambda x: collectives.sum_counts(x, axis), axis)(
            np.arange(DEVICES, dtype=np.int32)
        ),
        "gradient_of_counts": jax.pmap(
            jax.grad(lambda x: jnp.sum(collectives.sum_counts(x, axis) ** 2)), axis
        )(ROWS),
        "gather_rows": jax.pmap(lambda x: collectives.gather_rows(x, axis), axis)(ROWS),
        "gather_sum": jax.pmap(lambda x: collectives.gather_sum(x, axis), axis)(ROWS),
        "share": jax.pmap(lambda x: collectives.share(x, axis), axis)(ROWS),
        "reduce": jax.pmap(lambda x: collectives.reduce({"a": x, "b": [2 * x]}, axis), axis)(ROWS)[
            "b"
        ][0],
        "keys": keys,
    }
    for name, loss in LOSSES.items():
        step = shares_and_gradients(loss, lambda tree: collectives.reduce(tree, axis))
        out[f"{name} pmap"] = jax.pmap(step, axis, in_axes=(None, 0), out_axes=None)(
            PARAMETER, ROWS
        )
        seeds = jax.vmap(step, in_axes=(0, None))
        out[f"{name} pmap of vmap"] = jax.pmap(seeds, axis, in_axes=(None, 0), out_axes=None)(
            PARAMETER * jnp.arange(1.0, 4.0), ROWS
        )
        out[f"{name} shard_map"] = _shard_map(step)(PARAMETER, ROWS.reshape(-1, 2))
    wrong = jax.pmap(
        jax.grad(lambda p, r: jax.lax.psum(angle_loss(p, r, axis), axis)), axis, in_axes=(None, 0)
    )(PARAMETER, ROWS)
    out["differentiated through psum"] = jnp.sum(wrong)
    return jax.tree.map(lambda x: np.asarray(x).tolist(), out)


def _shard_map(step):
    spec = jax.sharding.PartitionSpec
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("devices",))
    return jax.jit(
        jax.shard_map(
            step,
            mesh=mesh,
            in_specs=(spec(), spec("devices")),
            out_specs=spec(),
            check_vma=False,
        )
    )


@pytest.fixture(scope="module")
def result() -> dict:
    environment = {
        **os.environ,
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + f" --xla_force_host_platform_device_count={DEVICES}",
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "PYTHONPATH": str(Path(molrel.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_sums_gathers_and_shares(result):
    np.testing.assert_array_equal(result["axis_size"], np.full(DEVICES, DEVICES))
    total = np.broadcast_to(ROWS.sum(axis=0), ROWS.shape)
    np.testing.assert_allclose(result["sum_counts"], total, rtol=1e-12)
    np.testing.assert_allclose(result["gather_sum"], total, rtol=1e-12)
    np.testing.assert_allclose(result["reduce"], 2 * total, rtol=1e-12)
    np.testing.assert_array_equal(result["sum_counts_int"], np.full(DEVICES, 28))
    np.testing.assert_array_equal(result["share"], ROWS / DEVICES)
    everything = ROWS.reshape(-1, 2)
    np.testing.assert_array_equal(result["gather_rows"], np.stack([everything] * DEVICES))


def test_counts_are_constants(result):
    np.testing.assert_array_equal(result["gradient_of_counts"], np.zeros_like(ROWS))


def test_every_device_has_its_own_key(result):
    keys = np.array(result["keys"])
    assert len(np.unique(keys, axis=0)) == DEVICES


def expected(loss, parameter):
    """Loss and gradient of the one-device formula on all rows."""
    with jax.enable_x64(True):
        return jax.value_and_grad(loss)(
            jnp.float64(parameter), jnp.asarray(ROWS.reshape(-1, 2)), None
        )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("way", ["pmap", "shard_map"])
def test_summed_shares_are_the_loss_and_its_gradient(result, name, way):
    np.testing.assert_allclose(
        result[f"{name} {way}"], expected(LOSSES[name], PARAMETER), rtol=1e-12
    )


@pytest.mark.parametrize("name", LOSSES)
def test_seeds_inside_devices(result, name):
    one_by_one = np.transpose([expected(LOSSES[name], PARAMETER * i) for i in (1, 2, 3)])
    np.testing.assert_allclose(result[f"{name} pmap of vmap"], one_by_one, rtol=1e-12)


def test_differentiating_through_psum_counts_every_device(result):
    # The mistake that this module is there to prevent; it shows that the tests above can fail.
    gradient = expected(angle_loss, PARAMETER)[1]
    assert result["differentiated through psum"] == pytest.approx(DEVICES * float(gradient))


def test_plain_identities_without_an_axis():
    x = jnp.arange(6.0).reshape(3, 2)
    key = jax.random.key(0)
    for function in (
        collectives.sum_counts,
        collectives.gather_rows,
        collectives.gather_sum,
        collectives.share,
        collectives.reduce,
    ):
        np.testing.assert_array_equal(function(x, None), x)
    assert collectives.axis_size(None) == 1
    assert collectives.fold_in_device(key, None) is key
    np.testing.assert_array_equal(
        jax.grad(lambda x: collectives.sum_counts(jnp.asarray(x), None))(2.0), 0.0
    )


if __name__ == "__main__":
    print(json.dumps(in_eight_devices()))
