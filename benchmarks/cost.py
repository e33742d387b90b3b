"""What a training step of every method costs, side by side on one setting.

    python benchmarks/cost.py --preset cpu --setting mixtures --rounds 15

Every method trains on the setting's own batches, one step each in turn, so drift of the
machine's speed and work beside it meet all of them alike. Writes ``--out``.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from molrel.memory import enable_compilation_cache, keep_heap

keep_heap()
enable_compilation_cache()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from cells import make_stage  # noqa: E402
from cross_settings import PRESETS, SETTINGS, SHARED, entrants, experiment  # noqa: E402
from rounds import in_turn, ratio_text  # noqa: E402
from seeds import step_problem  # noqa: E402
from store import check_names  # noqa: E402

from molrel.data.batches import IndexBatch  # noqa: E402
from molrel.evaluate.markdown import markdown_table  # noqa: E402
from molrel.methods.method import MethodConfig  # noqa: E402
from molrel.train.step import init_state, make_step, unstack  # noqa: E402


@dataclass
class Runner:
    """One seed of one method, trained a step at a time.

    Attributes:
      step: compiled; (state, batch) -> (state, terms).
      batches: batches of a step.
      parameters: trained values.
      memory: bytes that a step needs beside the table: parameters, optimiser, temporaries.
    """

    step: Callable
    batches: Callable[[Sequence[int], int], list[IndexBatch]]
    state: object
    parameters: int
    memory: int
    number: int = 0

    def run(self) -> float:
        """Trains one step; its seconds."""
        batches = [unstack(batch, 0) for batch in self.batches([0], self.number)]
        started = time.perf_counter()
        for batch in batches:
            self.state, _ = jax.block_until_ready(self.step(self.state, batch))
        self.number += 1
        return time.perf_counter() - started


def make_runner(stage, method_config: MethodConfig) -> Runner:
    """Compiles the step of a method on a setting."""
    config = experiment(stage.preset, stage.setting, method_config)
    table = stage.prepared.table
    method, optimiser, batches = step_problem(config, stage.prepared)
    first = unstack(batches([0], 0)[0], 0)
    init = jax.jit(lambda t, b: init_state(method, optimiser, t, b, jnp.int32(0)))
    state = init(table, first)
    step = jax.jit(make_step(method, optimiser, steps=config.train.steps), donate_argnums=0)
    compiled = step.lower(state, table, first).compile()
    analysis = compiled.memory_analysis()
    table_bytes = sum(x.nbytes for x in jax.tree.leaves(table))
    return Runner(
        lambda s, b: compiled(s, table, b),
        batches,
        state,
        sum(x.size for x in jax.tree.leaves(state.params)),
        analysis.temp_size_in_bytes + analysis.argument_size_in_bytes - table_bytes,
    )


def main() -> None:
    """Prints and writes a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", choices=list(PRESETS), default="cpu")
    parser.add_argument("--setting", default="mixtures")
    parser.add_argument("--methods", nargs="+", metavar="NAME")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cost")
    args = parser.parse_args()
    preset = PRESETS[args.preset]
    known = {
        name: entrant.method
        for name, entrant in entrants(preset.width, preset.depth, preset.picture_encoder).items()
        if entrant.method is not None and entrant.family not in ("control", "ceiling")
    }
    check_names(parser, [args.setting], SETTINGS, "setting")
    check_names(parser, args.methods, known, "method")
    names = list(dict.fromkeys([SHARED, *(args.methods or known)]))
    stage = make_stage(preset, SETTINGS[args.setting], known["DisTrans"])
    runners = {}
    for name in names:
        runners[name] = make_runner(stage, known[name])
        print(f"compiled {name}", file=sys.stderr)
    seconds = in_turn({name: runner.run for name, runner in runners.items()}, args.rounds)
    rows = [
        {
            "method": name,
            "ms a step": f"{1e3 * np.median(spent):.1f}",
            f"times {SHARED}": ratio_text(spent, seconds[SHARED]),
            "parameters": f"{runners[name].parameters:,}",
            "memory of a step, MB": f"{runners[name].memory / 2**20:,.0f}",
        }
        for name, spent in seconds.items()
    ]
    text = (
        f"# What a step costs\n\n`python benchmarks/cost.py {shlex.join(sys.argv[1:])}`\n\n"
        f"Setting {args.setting}, preset {args.preset}, {jax.devices()[0].device_kind}, medians "
        f"of {args.rounds} rounds in which every method does one step in turn, one seed. Ratios "
        "are taken round by round. Memory holds parameters, optimiser, batch and temporaries, "
        f"not the features of the molecules.\n\n{markdown_table(rows)}"
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
