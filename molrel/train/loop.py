"""The training loop: flat, resumable bit for bit, one batch after the other."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from molrel.collectives import of_first_host
from molrel.data.batches import (
    Budget,
    MoleculeSizes,
    all_batches,
    choose_budget,
    molecules_of,
    shards,
    step_batches,
)
from molrel.data.sampler import Sampler
from molrel.data.table import MoleculeTable
from molrel.errors import RunError
from molrel.files import write_whole
from molrel.memory import release_free_memory
from molrel.methods.method import Method, Variables
from molrel.train.checkpoint import Checkpoints, RunState
from molrel.train.metrics_log import MetricsLog
from molrel.train.optimiser import make_optimiser
from molrel.train.settings import OptimiserConfig, TrainConfig
from molrel.train.step import Program, TrainState, compile_step, stack, unstack

Validate = Callable[[Any, Any], list[dict[str, float]]]


def count_devices(requested: int) -> int:
    """Devices to use: those asked for, or all accelerators, or one CPU device.

    On several hosts (``jax.distributed``) all devices of all of them.

    Raises:
      RunError: there are fewer.
    """
    available = jax.device_count()
    if jax.process_count() > 1 and requested in (0, available):
        return available
    if jax.process_count() > 1:
        raise RunError(f"{requested} devices asked for, and the hosts have {available} together")
    if requested > available:
        raise RunError(f"{requested} devices asked for, {available} found")
    return requested or (1 if jax.default_backend() == "cpu" else available)


def sample_budget(sampler: Sampler, sizes: MoleculeSizes, n_devices: int) -> Budget:
    """A budget from the sizes of 200 batches; of a fixed seed, so all runs share it."""
    samples = []
    for step in range(200 // n_devices):
        for part in shards(sampler, 0, step, n_devices):
            samples.append(molecules_of(part, sampler.apart)[0])
    return choose_budget(sizes, samples)


def train(
    method: Method,
    table: MoleculeTable,
    sampler: Sampler,
    validate: Validate,
    *,
    seeds: Sequence[int],
    config: TrainConfig,
    optimiser_config: OptimiserConfig,
    folder: Path | None,
    molecules: Sequence[str],
    resume: bool = False,
    options: Sequence[dict[str, float]] = (),
    program: Program | None = None,
) -> tuple[RunState, dict[str, float]]:
    """Trains all seeds together and returns the best parameters of each.

    Args:
      method: what is trained.
      table: all molecules of the run, on the device.
      sampler: draws the examples of a step.
      validate: (params, state) of all seeds, stacked -> metrics of each seed on the source
        validation set; ``selection`` is the one to maximise.
      seeds: one run each.
      config, optimiser_config: of the loop.
      folder: of the run; ``metrics.jsonl`` and ``checkpoints/`` are written there. None
        keeps everything in memory, as all processes but the first must.
      molecules: SMILES by id, for messages.
      resume: go on from the newest checkpoint, if there is one.
      options: of each seed's run; the same names for all (``compile_step``'s ``vary``).
      program: compiled before, to be used by several calls; its method, optimiser and
        number of steps must be these.

    Returns:
      (final run state, cost: steps done, seconds, compile_seconds, seconds_per_step,
      n_parameters).

    Raises:
      RunError: a loss is not finite; names step, seed, term and molecules.
    """
    # ---- set up -------------------------------------------------------------------------
    n_devices = count_devices(config.devices)
    sizes = MoleculeSizes(table)
    budget = sample_budget(sampler, sizes, n_devices)
    optimiser = make_optimiser(optimiser_config, config.steps)
    program = program or compile_step(
        method, optimiser, steps=config.steps, n_devices=n_devices, mode=config.seeds_mode
    )

    def batches(step: int):
        found = step_batches(sampler, sizes, budget, seeds=seeds, step=step, n_devices=n_devices)
        if jax.process_count() == 1:
            return found
        # Every host draws the same, and feeds the devices of its own.
        n = jax.local_device_count()
        own = slice(jax.process_index() * n, (jax.process_index() + 1) * n)
        return [jax.tree.map(lambda x: x[own], batch) for batch in found]

    run = _fresh_run(program, table, batches(0)[0], seeds, options, n_devices)
    done, files = 0, None
    with contextlib.ExitStack() as opened:
        if folder is not None:
            log, checkpoints = files = (
                opened.enter_context(
                    contextlib.closing(MetricsLog(folder / "metrics.jsonl", seeds))
                ),
                opened.enter_context(contextlib.closing(Checkpoints(folder / "checkpoints"))),
            )
            # ---- resume: this run's newest checkpoint, or from scratch ------------------
            latest = checkpoints.latest() if resume else None
            if latest is not None:
                done, run = latest, checkpoints.restore(run)
            log.truncate(done)
        if resume:
            done, run = of_first_host((done, run))
            done, run = int(done), jax.tree.map(jnp.asarray, run)
        if not done and method.start is not None:
            run = _start(method, run, table, sampler, budget, sizes)

        # ---- loop -----------------------------------------------------------------------
        bar = opened.enter_context(
            tqdm(
                total=config.steps,
                initial=done,
                disable=folder is None or not sys.stderr.isatty(),
                unit="step",
            )
        )
        pending: list[tuple[int, dict[str, jax.Array]]] = []
        started, compile_seconds, between, first = time.perf_counter(), 0.0, 0.0, done
        state, table = program.enter(run.train, table)
        for step in () if _ended(run, done, config).all() else range(done, config.steps):
            with _of_all_hosts():
                for batch in batches(step):
                    state, terms = program.step(state, table, batch)
                    pending.append((step, terms))
            if step == first:
                jax.block_until_ready(state)
                compile_seconds = time.perf_counter() - started
                release_free_memory()
            bar.update()
            if (step + 1) % config.evaluate_every and step + 1 != config.steps:
                continue

            # ---- log, validate, keep the best, save -------------------------------------
            jax.block_until_ready(state)
            paused = time.perf_counter()
            values = _finite_values(pending, sampler, seeds, molecules, folder)
            means = {name: np.mean([v[name] for v in values], axis=0) for name in values[0]}
            pending.clear()
            stacked = program.leave(state)
            plain = jax.device_get((stacked.params, stacked.state))
            _check_parameters(plain, step, seeds)
            validations = [
                {name: float(value) for name, value in each.items()}
                for each in of_first_host(validate(stacked.params, stacked.state))
            ]
            before = step // config.evaluate_every * config.evaluate_every
            ended = _ended(run, before, config)
            run = dataclasses.replace(run, train=stacked)
            run = _keep_best(run, plain, validations, step + 1, ended)
            if files is not None:
                log, checkpoints = files
                log.write(step + 1, means, validations)
                checkpoints.save(step + 1, run)
                release_free_memory()
                _tell(bar, step + 1, config.steps, means, validations)
            between += time.perf_counter() - paused
            if _ended(run, step + 1, config).all():
                break
    seconds = time.perf_counter() - started
    done = int(run.train.step[0])
    steady = max(1, done - first - 1)
    return run, {
        "steps": float(done),
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "seconds_per_step": (seconds - compile_seconds - between) / steady,
        "n_parameters": float(sum(x.size for x in jax.tree.leaves(run.train.params)) / len(seeds)),
    }


@contextlib.contextmanager
def _of_all_hosts() -> Iterator[None]:
    """Says what an error in a step that several hosts share most likely means."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        line = (str(error).strip().splitlines() or [""])[0][:200]
        raise RunError(
            f"a step that {jax.process_count()} hosts share has failed, most likely because one of "
            f"them has left ({line}). Start all of them again with --resume"
        ) from error


def _tell(bar: tqdm, step: int, steps: int, terms: dict, validations: list[dict]) -> None:
    """Progress of the loop: beside the bar on a terminal, as a plain line elsewhere."""
    loss = np.mean(terms["total"])
    valid = np.mean([v["selection"] for v in validations])
    bar.set_postfix(loss=f"{loss:.4f}", validation=f"{valid:.4f}")
    if bar.disable:
        print(f"step {step}/{steps}: loss {loss:.4f}, validation {valid:.4f}", flush=True)


def _fresh_run(program: Program, table, batch, seeds, options, n_devices: int) -> RunState:
    """Initial state of every seed, each from its own seed number alone."""
    single = jax.tree.map(lambda x: x[0, 0] if n_devices > 1 else x[0], batch)
    own = [{k: jnp.float32(v) for k, v in each.items()} for each in options or [{}] * len(seeds)]
    states: TrainState = stack(
        [
            dataclasses.replace(program.init(jnp.asarray(seed), table, single), options=each)
            for seed, each in zip(seeds, own, strict=True)
        ]
    )
    copy = jax.tree.map(jnp.copy, (states.params, states.state))
    return RunState(
        train=states,
        best_params=copy[0],
        best_state=copy[1],
        best_value=jnp.full(len(seeds), -jnp.inf),
        best_step=jnp.zeros(len(seeds), jnp.int32),
    )


def _start(
    method: Method,
    run: RunState,
    table: MoleculeTable,
    sampler: Sampler,
    budget: Budget,
    sizes: MoleculeSizes,
) -> RunState:
    """The state of every seed after the method's ``start``."""
    assert method.start is not None
    every = all_batches(sampler.every_labelled(), sampler.rows[0], budget, sizes)
    started = []
    for i in range(len(run.train.step)):
        state = unstack(run.train, i)
        key = jax.random.fold_in(state.key, np.iinfo(np.int32).max)  # no step has this number
        variables = method.start(key, Variables(state.params, state.state), table, every)
        started.append(dataclasses.replace(state, params=variables.params, state=variables.state))
    states = stack(started)
    best = jax.tree.map(jnp.copy, (states.params, states.state))
    return dataclasses.replace(run, train=states, best_params=best[0], best_state=best[1])


def _ended(run: RunState, step: int, config: TrainConfig) -> np.ndarray:
    """bool [S], seeds whose validation had not improved for ``patience`` validations after so many
    steps.

    Their best parameters stay, whatever follows while other seeds go on: a seed ends alike alone
    and among others.
    """
    if not config.patience:
        return np.zeros(len(run.best_step), bool)
    waited = step - np.asarray(run.best_step)
    return waited >= config.patience * config.evaluate_every


def _keep_best(
    run: RunState, plain: Any, validations: list[dict[str, float]], step: int, ended: np.ndarray
) -> RunState:
    """Replaces the best parameters of the seeds that have not ended and whose validation
    improved."""
    value = np.array([v["selection"] for v in validations], np.float32)
    better = np.nan_to_num(value, nan=-np.inf) > np.asarray(run.best_value)
    better &= ~ended

    def pick(new, old):
        old = np.asarray(old)
        return jnp.asarray(np.where(better.reshape(-1, *[1] * (old.ndim - 1)), new, old))

    return dataclasses.replace(
        run,
        best_params=jax.tree.map(pick, plain[0], run.best_params),
        best_state=jax.tree.map(pick, plain[1], run.best_state),
        best_value=pick(value, run.best_value),
        best_step=pick(np.full(len(value), step, np.int32), run.best_step),
    )


def _finite_values(
    pending: list[tuple[int, dict[str, jax.Array]]],
    sampler: Sampler,
    seeds: Sequence[int],
    molecules: Sequence[str],
    folder: Path | None,
) -> list[dict[str, np.ndarray]]:
    """Terms float64 [S] of every pending update.

    Raises:
      RunError: one of them is not finite.
    """
    found = []
    for step, terms in pending:
        values = {name: np.asarray(v, np.float64) for name, v in terms.items()}
        found.append(values)
        bad = [name for name, v in values.items() if not np.isfinite(v).all()]
        if not bad:
            continue
        # A single term that broke is named before the sums that it broke in turn.
        name = next((n for n in bad if n not in ("total", "gradient_norm")), bad[0])
        seed = seeds[int(np.flatnonzero(~np.isfinite(values[name]))[0])]
        batch = [molecules[int(i)] for i in sampler.examples(seed, step).molecules()]
        where = ""
        # What broke is the news, also where the list of molecules cannot be written.
        with contextlib.suppress(RunError):
            if folder is not None:
                path = folder / "failed_batch.txt"
                write_whole(path, "\n".join(batch) + "\n")
                where = f" are in {path}"
        raise RunError(
            f"step {step}, seed {seed}: the term {name!r} is {values[name].tolist()}. "
            f"The batch's {len(batch)} molecules{where}: {', '.join(batch[:5])}, ... "
            f"Lower optimiser.learning_rate or the weight of that term{BEGIN_AGAIN}"
        )
    return found


BEGIN_AGAIN = ", and begin again with --overwrite"


def _check_parameters(plain: Any, step: int, seeds: Sequence[int]) -> None:
    """Raises RunError if the last update broke a seed's parameters before any loss shows it."""
    for i, seed in enumerate(seeds):
        if not all(np.isfinite(x[i]).all() for x in jax.tree.leaves(plain)):
            raise RunError(
                f"step {step}, seed {seed}: the update made parameters that are not finite. "
                f"Lower optimiser.learning_rate{BEGIN_AGAIN}"
            )
