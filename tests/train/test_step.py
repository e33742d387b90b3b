"""The step: seeds as an axis, no retrace, learning, and what a target label can reach."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problem import CONFIG, loss_of, make_problem

from molrel.data.batches import step_batches
from molrel.data.sampler import Sampler
from molrel.methods.batch import gather_batch
from molrel.train.step import compile_step, init_state, make_step, stack, unstack

GRID = ((0.0, 1e-3), (0.9, 1e-2))
OPTIMISER = optax.adamw(1e-3)


def setup(seeds=(0, 1), **kwargs):
    method, table, sampler, sizes, budget = make_problem(**kwargs)

    def batch(step):
        return step_batches(sampler, sizes, budget, seeds=seeds, step=step)[0]

    states = stack(
        [init_state(method, OPTIMISER, table, unstack(batch(0), 0), jnp.asarray(s)) for s in seeds]
    )
    return method, table, batch, states


def test_vmapped_seeds_equal_looped_seeds():
    losses, finals = {}, {}
    graph = replace(CONFIG, branches="graph")  # pictures would only take longer to compile
    for mode in ("vmap", "loop"):
        method, table, batch, states = setup(config=graph)
        program = compile_step(method, OPTIMISER, steps=10, mode=mode)
        carried, entered = program.enter(states, table)
        losses[mode] = []
        for number in range(4):
            carried, terms = program.step(carried, entered, batch(number))
            losses[mode].append(terms["total"])
        finals[mode] = program.leave(carried)
    np.testing.assert_allclose(losses["vmap"], losses["loop"], rtol=2e-4)
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), f) for f in finals.values()]
    assert shapes[0] == shapes[1]
    assert not np.allclose(losses["vmap"][0][0], losses["vmap"][0][1]), "seeds are the same"


def test_step_is_traced_once_over_ragged_batches():
    method, table, batch, states = setup((0,))
    traced = chex.assert_max_traces(make_step(method, OPTIMISER, steps=10), n=1)
    step = jax.jit(traced)
    state = unstack(states, 0)
    for number in range(6):
        state, _ = step(state, table, unstack(batch(number), 0))
    assert int(state.step) == 6


def test_loss_falls_on_a_fixed_batch():
    method, table, batch, states = setup((0,))
    step = compile_step(method, optax.adamw(3e-3), steps=100, mode="vmap").step
    states = states.replace(opt_state=jax.vmap(optax.adamw(3e-3).init)(states.params))
    fixed, values = batch(0), []
    for _ in range(60):
        states, terms = step(states, table, fixed)
        values.append(float(terms["supervised"][0]))
    assert values[-1] < 0.5 * values[0]


def test_padding_of_the_batch_changes_neither_loss_nor_gradient():
    method, table, sampler, sizes, budget = make_problem(replace(CONFIG, branches="graph"))
    examples = sampler.examples(0, 0)
    from molrel.data.batches import index_batch

    results = []
    for rows in (len(examples), len(examples) + 9):
        batch = index_batch(examples, rows, budget, sizes, (1, 1))
        gathered = gather_batch(table, jax.tree.map(jnp.asarray, batch))
        if not results:
            variables = jax.jit(method.init)(jax.random.key(0), gathered)

        def value(params, variables=variables, gathered=gathered):
            return loss_of(method, params, variables.state, gathered, jax.random.key(1), 0.5)[0]

        results.append(jax.jit(jax.value_and_grad(value))(variables.params))
    for a, b in zip(*map(jax.tree.leaves, results)):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_target_labels_cannot_change_a_parameter():
    finals = []
    for label in (0.0, 1.0):
        method, table, sampler, sizes, budget = make_problem()
        target = sampler.target.replace(labels=np.full_like(sampler.target.labels, label))
        sampler = Sampler(sampler.source, target, n_source=13, n_target=10)
        batch = step_batches(sampler, sizes, budget, seeds=(0,), step=0)[0]
        if not finals:
            state = init_state(method, OPTIMISER, table, unstack(batch, 0), jnp.asarray(0))
            step = jax.jit(make_step(method, OPTIMISER, steps=10))
        finals.append(step(state, table, unstack(batch, 0))[0])
    for a, b in zip(*(jax.tree.leaves(f.params) for f in finals)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("weighting", "branches"),
    [
        pytest.param("signed", "graph", marks=pytest.mark.slow),
        pytest.param("up", "picture", marks=pytest.mark.slow),
        ("up", "both"),
    ],
)
def test_every_variant_takes_a_finite_step(weighting, branches):
    config = replace(CONFIG, weighting=weighting, branches=branches, dropout=0.1)
    method, table, batch, states = setup((0,), config=config)
    state, terms = jax.jit(make_step(method, OPTIMISER, steps=10))(
        unstack(states, 0), table, unstack(batch(0), 0)
    )
    assert all(np.isfinite(v) for v in terms.values()), terms
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


@pytest.mark.slow
def test_runs_that_differ_in_options_share_a_program_and_equal_runs_of_their_own():
    config = replace(CONFIG, branches="graph")

    def method_and_optimiser(weight, rate):
        changed = replace(config, weights=replace(config.weights, guidance=weight))
        optimiser = optax.chain(optax.adam(1.0), optax.scale(rate))
        return make_problem(changed)[0], optimiser

    method, optimiser = method_and_optimiser(0.2, 1e-3)
    _, table, sampler, sizes, budget = make_problem(config)
    batch = step_batches(sampler, sizes, budget, seeds=(0, 0), step=0)[0]
    options = [{"guidance": jnp.float32(g), "rate": jnp.float32(r)} for g, r in GRID]
    program = compile_step(
        method,
        optimiser,
        steps=10,
        mode="vmap",
        vary=lambda o: method_and_optimiser(o["guidance"], o["rate"]),
    )
    first = program.init(jnp.asarray(0), table, unstack(batch, 0))
    states = stack([replace(first, options=each) for each in options])
    carried, table = program.enter(states, table)
    for _ in range(2):
        carried, together = program.step(carried, table, batch)
    alone = []
    for weight, rate in GRID:
        step = jax.jit(make_step(*method_and_optimiser(weight, rate), steps=10))
        state = first
        for _ in range(2):
            state, terms = step(state, table, unstack(batch, 0))
        alone.append(terms["total"])
    assert abs(alone[0] - alone[1]) > 1e-3
    np.testing.assert_allclose(together["total"], alone, rtol=2e-4)
