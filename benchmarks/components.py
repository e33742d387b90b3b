"""What a training step costs by component: one seed, each in turn, on the preset's own batches.

    MOLREL_DATA=data python benchmarks/components.py distrans_ddi --rounds 15

Encoders and pair head are run forward and backward. Draw and packing are host work, in NumPy.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from molrel.memory import enable_compilation_cache, keep_heap

keep_heap()
enable_compilation_cache()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from rounds import in_turn  # noqa: E402
from seeds import step_problem  # noqa: E402

from molrel.evaluate.markdown import markdown_table  # noqa: E402
from molrel.methods.batch import gather_batch  # noqa: E402
from molrel.nn.two_view import TwoViewNetwork  # noqa: E402
from molrel.prepare import prepare  # noqa: E402
from molrel.presets import load_preset  # noqa: E402
from molrel.train.step import init_state, make_step, unstack  # noqa: E402


def differentiated(function: Callable[[Any], Any], at: Any) -> Callable[[], float]:
    """Runs the gradient of the sum of squares of what a function gives; its seconds."""

    def value(x):
        leaves = [y for y in jax.tree.leaves(function(x)) if jnp.issubdtype(y.dtype, jnp.floating)]
        return sum(jnp.sum(y * y) for y in leaves)

    compiled = jax.jit(jax.grad(value, allow_int=True)).lower(at).compile()
    return lambda: timed(lambda: jax.block_until_ready(compiled(at)))


def timed(run: Callable[[], Any]) -> float:
    """Seconds of a call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("preset", help="of a method with graph, picture and Morgan counts")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/components.md")
    args = parser.parse_args()
    config = load_preset(args.preset)
    prepared = prepare(config, needs=("pictures", "fingerprints"))
    method, optimiser, batches = step_problem(config, prepared)
    table, task = prepared.table, prepared.task
    index = unstack(batches([0], 0)[0], 0)
    batch = jax.block_until_ready(jax.jit(gather_batch)(table, index))
    state = jax.jit(lambda t, b: init_state(method, optimiser, t, b, jnp.int32(0)))(table, index)
    step = jax.jit(make_step(method, optimiser, steps=config.train.steps))
    step = step.lower(state, table, index).compile()
    gather = jax.jit(gather_batch).lower(table, index).compile()

    def view(**fields: Any) -> Callable[[], float]:
        of = replace(config.method, **fields)
        network = TwoViewNetwork(**of.size(task.n_outputs, task.symmetric))
        variables = jax.jit(network.init)(jax.random.key(0), batch.molecules, batch.sides)
        rest = {k: v for k, v in variables.items() if k != "params"}

        def encode(params):
            return network.apply(
                {"params": params, **rest},
                batch.molecules,
                True,
                method="encode",
                mutable=["batch_stats"],
            )[0]

        return differentiated(encode, variables["params"])

    encoded = jax.jit(method.encode)(state.params, state.state, batch.molecules)

    def relate(at):
        return method.predict(at[0], state.state, at[1], batch.sides)

    n_molecules = int((index.molecules < table.padding_id).sum())
    parts = {
        "draw and pack, on the host": lambda: timed(lambda: batches([0], 1)),
        f"gather {n_molecules} molecules": lambda: timed(
            lambda: jax.block_until_ready(gather(table, index))
        ),
        "encode the graph": view(branches="graph", fingerprints=False),
        "encode the graph and Morgan counts": view(branches="graph", fingerprints=True),
        "encode the picture": view(branches="picture", fingerprints=False),
        f"pair head of {int(index.mask.sum()):,} examples": differentiated(
            relate, (state.params, encoded)
        ),
        "the whole step on the device": lambda: timed(
            lambda: jax.block_until_ready(step(state, table, index))
        ),
    }
    seconds = in_turn(parts, args.rounds)
    rows = [
        {"component": name, "ms": f"{1e3 * np.median(spent):.1f}"}
        for name, spent in seconds.items()
    ]
    text = (
        f"# What a step costs by component\n\n`python benchmarks/components.py "
        f"{shlex.join(sys.argv[1:])}`\n\nPreset {args.preset}, one seed, "
        f"{jax.devices()[0].device_kind}, medians of {args.rounds} rounds in turn.\n\n"
        f"{markdown_table(rows)}"
    )
    args.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
