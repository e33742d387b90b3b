"""What several seeds cost together: one vmapped program against a loop, step by step.

    python benchmarks/seeds.py configs/distrans_mixtures.py --seeds 4

One seed alone, all seeds looped and all seeds vmapped each do one training step in turn, on
the config's own data and batches, so drift of the machine's speed cancels. The losses of the
looped and the vmapped seeds must agree.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from molrel.memory import enable_compilation_cache, keep_heap

keep_heap()
enable_compilation_cache()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from rounds import in_turn, ratio_text  # noqa: E402

from molrel.config import Experiment  # noqa: E402
from molrel.config_files import load_config_file  # noqa: E402
from molrel.data.batches import IndexBatch, MoleculeSizes, step_batches  # noqa: E402
from molrel.evaluate.markdown import markdown_table  # noqa: E402
from molrel.methods.method import Method  # noqa: E402
from molrel.prepare import Prepared, prepare  # noqa: E402
from molrel.problem import make_problem  # noqa: E402
from molrel.train.loop import sample_budget  # noqa: E402
from molrel.train.step import compile_step, init_state, stack, unstack  # noqa: E402


def step_problem(
    config: Experiment, prepared: Prepared
) -> tuple[Method, optax.GradientTransformation, Callable[[Sequence[int], int], list[IndexBatch]]]:
    """Method, optimiser and batches(seeds, step) of an experiment on one device."""
    problem = make_problem(config, prepared)
    sampler = problem.sampler
    sizes = MoleculeSizes(prepared.table)
    budget = sample_budget(sampler, sizes, 1)

    def batches(seeds: Sequence[int], step: int) -> list[IndexBatch]:
        return step_batches(sampler, sizes, budget, seeds=seeds, step=step)

    return problem.method, problem.optimiser, batches


class Runner:
    """Some seeds in one mode, stepped on demand; ``losses`` holds [seeds] of each step."""

    def __init__(self, problem, table, steps, seeds, mode):
        method, optimiser, self.batches = problem
        self.seeds, self.losses = seeds, []
        first = unstack(self.batches(seeds, 0)[0], 0)
        init = jax.jit(lambda s: init_state(method, optimiser, table, first, s))
        self.program = compile_step(method, optimiser, steps=steps, mode=mode)
        states = stack([init(jnp.asarray(s)) for s in seeds])
        self.states, self.table = self.program.enter(states, table)

    def step(self) -> float:
        """Trains one step; its seconds."""
        batch = self.batches(self.seeds, len(self.losses))[0]
        started = time.perf_counter()
        self.states, terms = jax.block_until_ready(
            self.program.step(self.states, self.table, batch)
        )
        spent = time.perf_counter() - started
        self.losses.append(np.asarray(terms["total"]))
        return spent


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    config = load_config_file(args.config)
    prepared = prepare(config, needs=config.method.needs)
    problem = step_problem(config, prepared), prepared.table, config.train.steps
    seeds = tuple(range(args.seeds))
    runners = {
        "one seed": Runner(*problem, seeds[:1], "loop"),
        f"{args.seeds} seeds, loop": Runner(*problem, seeds, "loop"),
        f"{args.seeds} seeds, vmap": Runner(*problem, seeds, "vmap"),
    }
    seconds = in_turn({name: runner.step for name, runner in runners.items()}, args.rounds)
    _, looped, vmapped = (np.stack(runner.losses) for runner in runners.values())
    np.testing.assert_allclose(vmapped, looped, rtol=1e-3)
    rows = [
        {
            "step of": name,
            "median ms": round(float(np.median(spent)) * 1e3, 1),
            "times one seed": ratio_text(spent, seconds["one seed"]),
        }
        for name, spent in seconds.items()
    ]
    print(f"{args.config.name} on {jax.devices()[0].device_kind}, {args.rounds} rounds\n")
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
