"""What it costs to copy the molecule table to every device at every step.

    python benchmarks/replication.py --devices 8 --megabytes 1 40 400

On emulated CPU devices, in turn: a step over the table of one device, which is copied to the
others each time, and a step over the table that ``Program.enter`` placed on all of them before.
The method reads a few pictures of the table, so next to nothing but the copy takes time.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("--devices", type=int, default=8)
parser.add_argument("--megabytes", type=int, nargs="+", default=[1, 40, 400])
parser.add_argument("--rounds", type=int, default=15)
args = parser.parse_args()
# Before JAX is imported, as it asks for.
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={args.devices}"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from rounds import in_turn, ratio_text  # noqa: E402

from molrel.chem.features import FeatureConfig, featurise  # noqa: E402
from molrel.data.batches import MoleculeSizes, index_batch, round_up  # noqa: E402
from molrel.data.table import MoleculeTable  # noqa: E402
from molrel.data.types import Examples  # noqa: E402
from molrel.evaluate.markdown import markdown_table  # noqa: E402
from molrel.methods.method import LossOutput, Method, Variables  # noqa: E402
from molrel.prepare import molecule_table  # noqa: E402
from molrel.train.step import compile_step, stack  # noqa: E402

COPIED, ONCE = "copied at every step", "replicated once"


def small_table() -> MoleculeTable:
    """Two molecules."""
    config = FeatureConfig(picture_size=16)
    return molecule_table([featurise(s, config) for s in ("CCO", "CCN")], config, None, ())


def linear_method() -> Method:
    """A method that reads the labels and pictures of the batch, and nothing else."""

    def init(key, batch):
        return Variables({"w": jnp.zeros(())}, {})

    def loss(params, state, batch, context):
        predicted = params["w"] * jnp.mean(batch.molecules.pictures.astype(jnp.float32))
        value = jnp.sum(batch.weight * (predicted - batch.labels[:, 0]) ** 2)
        return LossOutput(value, state, {}, {})

    return Method(init, loss)


def main() -> None:
    """Prints a Markdown table."""
    assert args.devices > 1, "one device copies nothing"
    small = small_table()
    sizes = MoleculeSizes(small)
    examples = Examples.pairs(np.array([[0, 1]]), np.zeros(1, np.float32))
    one = index_batch(examples, 1, round_up(sizes.of(np.arange(2))), sizes, (1, 1))
    batch = jax.tree.map(lambda x: np.stack([x[None]] * args.devices), one)
    program = compile_step(
        linear_method(), optax.sgd(0.1), steps=1000, n_devices=args.devices, mode="vmap"
    )

    def runner(table: Any, carried: Any) -> Callable[[], float]:
        def step() -> float:
            nonlocal carried
            # The first step also pays for giving back what the other one's last step copied.
            for _ in range(2):
                started = time.perf_counter()
                carried, _ = jax.block_until_ready(program.step(carried, table, batch))
            return time.perf_counter() - started

        return step

    rows = []
    for megabytes in args.megabytes:
        blank = jnp.zeros((megabytes * 2**20 // (64 * 64 * 3), 64, 64, 3), jnp.uint8)
        table = jax.device_put(small.replace(pictures=blank), jax.devices()[0])
        steps = {}
        for name in (COPIED, ONCE):
            states = stack([program.init(jnp.asarray(0), small, one)])
            carried, entered = program.enter(states, table)
            steps[name] = runner(table if name == COPIED else entered, carried)
        seconds = in_turn(steps, args.rounds)
        rows.append(
            {"table, MB": megabytes}
            | {f"{name}, ms": f"{1e3 * np.median(s):.2f}" for name, s in seconds.items()}
            | {"ratio": ratio_text(seconds[COPIED], seconds[ONCE])}
        )
    print(f"{args.devices} emulated devices, medians of {args.rounds} rounds, every second step\n")
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
