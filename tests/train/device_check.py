"""Run in a process of its own with 8 emulated devices: prints what it found as JSON.

python device_check.py ragged|empty|seeds|experts|table
"""

import json
import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_ENABLE_X64"] = "1"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from problem import make_expert_problem, make_problem  # noqa: E402

from molrel.data.batches import step_batches  # noqa: E402
from molrel.methods.method import LossOutput, Variables  # noqa: E402
from molrel.train.step import compile_step, init_state, stack, unstack  # noqa: E402

STEPS = 5


def to_float64(tree):
    """Casts floating leaves, so that rounding does not hide a wrong reduction."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def run(n_devices, mode, seeds, make=make_problem, **sizes_of_batch):
    """Final states and the terms of every step."""
    method, table, sampler, sizes, budget = make(**sizes_of_batch)
    table = to_float64(table)
    # Adam would turn the rounding of gradients that are 0 (before BatchNorm) into steps.
    optimiser = optax.adamw(1e-3) if make is make_problem else optax.sgd(0.1)
    first = step_batches(sampler, sizes, budget, seeds=seeds, step=0)[0]
    states = stack(
        [
            to_float64(init_state(method, optimiser, table, unstack(first, 0), jnp.asarray(s)))
            for s in seeds
        ]
    )
    program = compile_step(method, optimiser, steps=10, n_devices=n_devices, mode=mode)
    states, table = program.enter(states, table)
    terms = []
    for number in range(STEPS):
        batches = step_batches(
            sampler, sizes, budget, seeds=seeds, step=number, n_devices=n_devices
        )
        for batch in batches:
            states, found = program.step(states, table, batch)
            terms.append({k: np.asarray(v) for k, v in found.items()})
    states = program.leave(states)
    return jax.device_get((states.params, states.state)), terms


def difference(a, b):
    """Largest absolute difference over two pytrees."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.max(np.abs(x - y), initial=0)) for x, y in pairs)


def follow_the_table(mode):
    """Where the table of a step is, and whether a step copies it between devices."""
    method, table, sampler, sizes, budget = make_problem()
    table = jax.device_put(table, jax.devices()[0])
    seeds, traces = (0, 1), []

    # All that matters here is that it reads the table; it compiles in a moment.
    def init(key, batch):
        return Variables({"w": jax.random.normal(key)}, {})

    def loss(params, state, batch, context):
        traces.append(mode)
        value = params["w"] * jnp.sum(jnp.asarray(batch.molecules.pictures, jnp.float32))
        return LossOutput(value, state, {}, {})

    def batch(number):
        return step_batches(sampler, sizes, budget, seeds=seeds, step=number, n_devices=8)[0]

    one = jax.tree.map(lambda x: x[0, 0], batch(0))
    linear = method._replace(init=init, loss=loss)
    program = compile_step(linear, optax.adam(1e-3), steps=10, n_devices=8, mode=mode)
    states = stack([program.init(jnp.asarray(s), table, one) for s in seeds])
    carried, entered = program.enter(states, table)
    carried, _ = program.step(carried, entered, batch(0))
    with jax.transfer_guard_device_to_device("disallow"):
        for number in (1, 2):
            carried, _ = program.step(carried, entered, batch(number))
        n_traces = len(traces)
        try:
            program.step(carried, table, batch(3))
            noticed = False
        except Exception as error:  # jax raises its own kind for an argument that it must copy
            noticed = "Disallowed device-to-device transfer" in str(error)
    pairs = list(zip(jax.tree.leaves(table), jax.tree.leaves(entered), strict=True))
    return {
        "devices": min(len(x.sharding.device_set) for _, x in pairs),
        "whole_on_each": all(x.sharding.is_fully_replicated for _, x in pairs),
        # The first device keeps the buffers that it has.
        "shared": all(
            x.unsafe_buffer_pointer() == y.addressable_data(0).unsafe_buffer_pointer()
            for x, y in pairs
        ),
        "a_copy_would_be_noticed": noticed,
        "traces": n_traces,
    }


def main():
    """Prints {"params": worst difference, "terms": worst difference, "names": terms}, or of the
    case "table" what ``follow_the_table`` says of both modes."""
    assert jax.local_device_count() == 8
    case = sys.argv[1]
    if case == "table":
        print(json.dumps({mode: follow_the_table(mode) for mode in ("vmap", "loop")}))
        return
    if case == "seeds":
        several = run(8, "vmap", (0, 1, 2))
        single = [run(1, "loop", (s,)) for s in (0, 1, 2)]
        expected = (
            jax.tree.map(lambda *xs: np.concatenate(xs), *[s[0] for s in single]),
            [
                {k: np.concatenate([s[1][i][k] for s in single]) for k in single[0][1][i]}
                for i in range(STEPS)
            ],
        )
    elif case == "experts":
        several, expected = (run(n, "vmap", (0,), make_expert_problem) for n in (8, 1))
    else:
        # "empty": three examples on eight devices, so five devices hold none.
        counts = {"n_source": 2, "n_target": 1} if case == "empty" else {}
        several, expected = run(8, "vmap", (0,), **counts), run(1, "vmap", (0,), **counts)
    print(
        json.dumps(
            {
                "params": difference(several[0], expected[0]),
                "terms": difference(several[1], expected[1]),
                "names": sorted(several[1][0]),
            }
        )
    )


if __name__ == "__main__":
    main()
