"""Ablation of any config over a grid of options and seeds.

    python benchmarks/ablate.py configs/distrans_mixtures.py --seeds 5 \
        --grid method.weights.guidance=0,0.1,0.5 --grid method.reversal=0,1

Options whose values are numbers that enter the loss or the update as factors (loss weights,
lambda, temperature, learning rate) are arrays of one program: the whole grid times the seeds is
trained by it, mapped (vmap) on an accelerator and one after the other on a CPU, where that is
faster. Options that change shapes or the structure of the program (widths, weightings, dropout)
make an outer loop. Prints and writes a table with mean, spread over seeds and the paired
difference against the first point of the grid, and how much faster this was than separate runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from molrel.memory import enable_compilation_cache, keep_heap

keep_heap()
enable_compilation_cache()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from molrel.config import Experiment, check, with_options  # noqa: E402
from molrel.config_files import load_config_file  # noqa: E402
from molrel.data.types import Examples  # noqa: E402
from molrel.errors import InputError  # noqa: E402
from molrel.evaluate.bootstrap import intervals, paired_difference  # noqa: E402
from molrel.evaluate.markdown import cell, markdown_table  # noqa: E402
from molrel.experiment import make_fit  # noqa: E402
from molrel.prepare import Prepared, prepare  # noqa: E402
from molrel.reporting import setting_of, side_ids  # noqa: E402
from molrel.train.step import resolve_seeds_mode  # noqa: E402

# Numbers that the program is built around, and so cannot be arrays in it.
STRUCTURAL = ("warmup", "dropout", "prototype_decay", "clip")


@dataclass(frozen=True)
class Option:
    """One field and its values; ``array`` if one program can hold all of them."""

    name: str
    values: tuple[Any, ...]
    array: bool


def parse_option(text: str, config: Experiment) -> Option:
    """``field.name=a,b,c`` with values of the type that the field has.

    Raises:
      InputError: no such field, no value, or a value of another type.
    """
    name, _, listed = text.partition("=")
    section: Any = config
    for part in name.split("."):
        if not hasattr(section, part):
            with_options(config, {name: None})  # raises, with the nearest field
        section = getattr(section, part)
    values = []
    for word in filter(None, listed.split(",")):
        try:
            value = json.loads(word.lower() if word in ("True", "False") else word)
        except json.JSONDecodeError:
            value = word
        number = isinstance(section, float) and isinstance(value, (int, float))
        if not number and type(value) is not type(section):
            raise InputError(f"{name!r} is {section!r}, and cannot be {word!r}")
        values.append(float(value) if number else value)
    if not values:
        raise InputError(f"{text!r} gives no value", remedy="Write field.name=value,value")
    first, *_, last = name.split(".")
    array = isinstance(section, float) and first in ("method", "optimiser")
    array = array and last not in STRUCTURAL
    return Option(name, tuple(values), array)


def grid(options: Sequence[Option]) -> list[dict[str, Any]]:
    """Every combination of the values; one empty combination without options."""
    points = itertools.product(*(option.values for option in options))
    return [dict(zip([o.name for o in options], point, strict=True)) for point in points]


def train_grid(
    config: Experiment,
    prepared: Prepared,
    points: Sequence[Mapping[str, float]],
    examples: Examples,
) -> tuple[list[np.ndarray], float]:
    """Scores [S, N] of every point on the examples, and the seconds that training took."""
    fit, score = make_fit(config, prepared, varied=any(points))
    started = time.perf_counter()
    found, _ = fit(
        [seed for _ in points for seed in config.seeds],
        [point for point in points for _ in config.seeds],
    )
    seconds = time.perf_counter() - started
    scores = np.stack([score(*each.best, examples) for each in found])
    return list(scores.reshape(len(points), len(config.seeds), *scores.shape[1:])), seconds


def ablate(
    base: Experiment, options: Sequence[Option], replicates: int
) -> tuple[list[dict[str, Any]], str]:
    """Rows of the table, and a sentence on the time.

    Raises:
      InputError: an option changes the examples, of which paired differences are taken.
    """
    for option in options:
        if option.name.startswith("data."):
            raise InputError(
                f"{option.name!r} changes the examples, and differences are paired",
                remedy="Set it for the whole table, with --set",
            )
    outer = grid([o for o in options if not o.array])
    inner = grid([o for o in options if o.array])
    prepared = prepare(base, needs=base.method.needs)
    part = "target" if prepared.target is not None else "source-test"
    examples = prepared.target if prepared.target is not None else prepared.source["test"]
    labels = examples.labels
    clusters, _ = side_ids(examples, np.array(prepared.molecules, dtype=object))
    regression = prepared.task.kind == "regression"
    main, other = ("rmse", "r2") if regression else ("auroc", "ap")
    rows, spent, separate = [], 0.0, 0.0
    reference: np.ndarray | None = None
    # What the program is built for: a term that is off in it could not be on at any point.
    largest = {o.name: max(o.values) for o in options if o.array}
    made_for = base.features, base.method.needs
    for shape in outer:
        config = check(with_options(base, shape | largest))
        if made_for != (config.features, config.method.needs):
            made_for = config.features, config.method.needs
            prepared = prepare(config, needs=config.method.needs)
        scores, seconds = train_grid(config, prepared, inner, examples)
        spent += seconds
        # One run by itself, with its own compilation, is what each of these would have cost.
        jax.clear_caches()
        alone = with_options(replace(config, seeds=config.seeds[:1]), inner[0])
        separate += train_grid(alone, prepared, [{}], examples)[1] * len(inner) * len(base.seeds)
        for point, each in zip(inner, scores, strict=True):
            reference = each if reference is None else reference
            found = intervals([main, other], labels, each, clusters, replicates=replicates)
            per_seed = [
                intervals([main], labels, s[None], clusters, replicates=0)[main].mean for s in each
            ]
            row = {k: v for k, v in {**shape, **point}.items()}
            row |= {f"{part} {n}": cell(v._asdict()) for n, v in found.items()}
            row["sd over seeds"] = f"{np.std(per_seed, ddof=1):.3f}" if len(each) > 1 else ""
            if each is reference:
                row[f"{main} - first"] = ""
            else:
                difference = paired_difference(
                    main, labels, each, reference, clusters, replicates=replicates
                )
                row[f"{main} - first"] = cell(difference._asdict(), sign=True)
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    mode = resolve_seeds_mode(base.train.seeds_mode)
    count = len(inner) * len(base.seeds)
    cost = (
        f"{len(outer)} program(s) of {count} runs each ({mode}): {spent:.0f} s; as separate runs "
        f"{separate:.0f} s by the time of one, {separate / spent:.1f} times as long."
    )
    return rows, cost


def main() -> int:
    """Trains the grid and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--grid", action="append", default=[], metavar="FIELD=VALUE,VALUE")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--seeds", type=int, help="how many; the config's by default")
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--table", type=Path, help="written as .md and .csv")
    args = parser.parse_args()
    try:
        base = load_config_file(args.config)
        for each in args.set:
            option = parse_option(each, base)
            base = with_options(base, {option.name: option.values[0]})
        if args.seeds:
            base = replace(base, seeds=tuple(range(args.seeds)))
        options = [parse_option(each, base) for each in args.grid]
        rows, cost = ablate(check(base), options, args.replicates)
    except InputError as error:
        print(f"ablate: {error}", file=sys.stderr)
        return 2
    epochs = base.train.epochs
    length = f"{epochs} epochs" if epochs else f"{base.train.steps} steps"
    page = (
        f"`python benchmarks/ablate.py {shlex.join(sys.argv[1:])}`\n\n"
        f"{setting_of(base.data)}, {len(base.seeds)} seeds, {length}; mean over seeds, 95 % "
        "intervals clustered by molecule; differences are paired.\n"
        f"{cost}\n\n{markdown_table(rows)}"
    )
    if args.table:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.with_suffix(".md").write_text(page)
        pd.DataFrame(rows).to_csv(args.table.with_suffix(".csv"), index=False)
    print(page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
