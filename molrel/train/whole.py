"""Methods that learn from all examples at once, on the host: no steps, no batches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from molrel.data.table import MoleculeTable
from molrel.data.types import Examples
from molrel.methods.method import Method
from molrel.nn.trees import stack_padded
from molrel.train.checkpoint import RunState
from molrel.train.loop import Validate
from molrel.train.metrics_log import MetricsLog
from molrel.train.step import TrainState


def fit_whole(
    method: Method,
    table: MoleculeTable,
    examples: Examples,
    validate: Validate,
    *,
    seeds: Sequence[int],
    folder: Path | None,
) -> tuple[RunState, dict[str, float]]:
    """``loop.train`` of a method with a ``fit``. What is killed begins again, with the same end.

    Args:
      method, table, validate, seeds, folder: see ``loop.train``; of ``metrics.jsonl`` there is one
        line a seed, as of step 1.
      examples: all training examples of the source.

    Returns:
      (final state, cost), as ``loop.train``.
    """
    assert method.fit is not None
    started = time.perf_counter()
    fitted = [method.fit(seed, table, examples) for seed in seeds]
    seconds = time.perf_counter() - started
    params, state = stack_padded([tuple(variables) for variables in fitted])
    validations = validate(params, state)
    if folder is not None:
        with contextlib.closing(MetricsLog(folder / "metrics.jsonl", seeds)) as log:
            log.truncate(0)
            log.write(1, {}, validations)
    steps = jnp.ones(len(seeds), jnp.int32)
    run = RunState(
        train=TrainState(params, state, (), steps, jax.vmap(jax.random.key)(jnp.asarray(seeds))),
        best_params=params,
        best_state=state,
        best_value=jnp.asarray([v["selection"] for v in validations]),
        best_step=steps,
    )
    size = sum(np.size(x) for x in jax.tree.leaves(params)) / len(seeds)
    return run, {
        "steps": 1.0,
        "seconds": seconds,
        "compile_seconds": 0.0,
        "seconds_per_step": seconds / len(seeds),
        "n_parameters": float(size),
    }
