"""Run in processes of their own, each with emulated devices: prints what they found as JSON.

python host_check.py PROCESSES ID ADDRESS DEVICES [FOLDER STEPS]

Without a folder two seeds are trained in float64, in memory; with one, the preset ``test`` is run,
or resumed, for so many steps.
"""

import hashlib
import json
import os
import sys

PROCESSES, NUMBER, ADDRESS, DEVICES = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
FOLDER = sys.argv[5] if len(sys.argv) > 5 else None
os.environ["JAX_ENABLE_X64"] = str(int(FOLDER is None))
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"

import jax  # noqa: E402

if PROCESSES > 1:
    jax.distributed.initialize(ADDRESS, PROCESSES, NUMBER)

from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from problem import CONFIG, SOURCE, TARGET, make_problem  # noqa: E402

from molrel.train.loop import train  # noqa: E402
from molrel.train.settings import OptimiserConfig, TrainConfig  # noqa: E402


def to_float64(tree):
    """Casts floating leaves, so that rounding does not hide a wrong reduction."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def main():
    """Trains two seeds over all devices; prints what they are, and digests of the parameters."""
    method, table, sampler, *_ = make_problem(replace(CONFIG, branches="graph"))
    init = method.init
    method = method._replace(init=lambda key, batch: to_float64(init(key, batch)))
    steps = iter(range(100))

    def validate(params, state):
        # Each host measures something of its own; the first one's counts.
        return [{"selection": 0.1 * next(steps) * (1 - 2 * NUMBER)} for _ in range(2)]

    run, _ = train(
        method,
        table,
        sampler,
        validate,
        seeds=(0, 1),
        config=TrainConfig(steps=4, evaluate_every=2, devices=jax.device_count()),
        optimiser_config=OptimiserConfig(learning_rate=1e-2),
        folder=None,
        molecules=SOURCE + TARGET,
    )
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(run.best_params)])
    found = {
        "devices": jax.device_count(),
        "best_step": run.best_step.tolist(),
        "digest": hashlib.sha256(flat.tobytes()).hexdigest(),
        "values": flat[:: max(1, len(flat) // 500)].tolist(),
    }
    print("found " + json.dumps(found))


def run_or_resume(folder: Path, steps: int):
    """Prints how many rows the report has."""
    import molrel

    config = molrel.load_preset("test")
    config = replace(config, train=replace(config.train, steps=steps))
    rows = molrel.run(config, folder, resume=(folder / "config.json").exists() and steps > 8)
    print("found " + json.dumps({"rows": len(rows)}))


if __name__ == "__main__":
    if FOLDER is None:
        main()
    else:
        run_or_resume(Path(FOLDER), int(sys.argv[6]))
