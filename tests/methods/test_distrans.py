"""DisTrans as a whole: symmetry, schedule, who is reversed, what the prototypes do."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problem import CONFIG, loss_of, make_problem

from molrel.data.batches import step_batches
from molrel.errors import InputError
from molrel.methods.batch import gather_batch
from molrel.methods.distrans import LossWeights
from molrel.train.step import unstack

ADVERSARIAL = LossWeights(1.0, 1.0, 0.0, 0.0, 0.0, 0.0)


def make_setting(config=CONFIG):
    """(gathered batch, variables) of one seed."""
    method, table, sampler, sizes, budget = make_problem(config)
    batch = unstack(step_batches(sampler, sizes, budget, seeds=(0,), step=0)[0], 0)
    batch = gather_batch(table, jax.tree.map(jnp.asarray, batch))
    variables = jax.jit(method.init)(jax.random.key(0), batch)
    return batch, variables


@pytest.fixture(scope="module")
def setting():
    return make_setting()


@pytest.fixture(scope="module")
def graph_setting():
    """Without pictures, which compiles in a fraction of the time."""
    return make_setting(replace(CONFIG, branches="graph"))


def adaptation_loss(setting, config):
    """(params, progress) -> the loss without its supervised part."""
    batch, variables = setting
    method = make_problem(config)[0]

    def value(params, progress):
        total, (_, terms) = loss_of(
            method, params, variables.state, batch, jax.random.key(1), progress
        )
        return total - terms["supervised"]

    return jax.jit(jax.value_and_grad(value))


def test_score_does_not_depend_on_the_order_of_the_pair(setting):
    batch, (params, state) = setting
    method = make_problem()[0]
    encoded = method.encode(params, state, batch.molecules)
    a, b = batch.sides
    forward = method.predict(params, state, encoded, (a, b))
    backward = method.predict(params, state, encoded, (b, a))
    np.testing.assert_allclose(forward, backward, atol=1e-5)


def test_warm_up_trains_the_discriminators_and_leaves_the_encoder_alone(graph_setting):
    _, variables = graph_setting
    config = replace(CONFIG, weights=ADVERSARIAL, warmup=0.5, branches="graph")
    loss = adaptation_loss(graph_setting, config)
    before, after = (
        {
            name: float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(part))))
            for name, part in loss(variables.params, progress)[1].items()
        }
        for progress in (0.4, 0.9)
    )
    assert before["fragment_discriminator"] > 1e-4 and before["pair_discriminator"] > 1e-4
    assert before["atoms"] < 1e-7 and before["pair"] < 1e-7
    assert after["atoms"] > 1e-5 and after["pair"] > 1e-5


def test_the_encoder_goes_against_the_discriminators(graph_setting):
    _, variables = graph_setting
    config = replace(CONFIG, weights=ADVERSARIAL, weighting="uniform", branches="graph")
    loss = adaptation_loss(graph_setting, config)
    value, grads = loss(variables.params, 1.0)

    def after_step(names):
        moved = {
            k: jax.tree.map(lambda p, g: p - 0.02 * g, v, grads[k]) if k in names else v
            for k, v in variables.params.items()
        }
        return float(loss(moved, 1.0)[0])

    discriminators = {"fragment_discriminator", "pair_discriminator"}
    assert after_step(discriminators) < float(value)
    assert after_step(set(variables.params) - discriminators) > float(value)


@pytest.fixture(scope="module")
def loss():
    return jax.jit(partial(loss_of, make_problem()[0]))


def test_prototypes_move_towards_the_batch_and_stay_unit_vectors(setting, loss):
    batch, variables = setting
    state = variables.state
    for _ in range(3):
        _, (state, terms) = loss(variables.params, state, batch, jax.random.key(1), 1.0)
    norms = np.linalg.norm(state["prototypes"], axis=-1)
    seen = np.asarray(state["updates"]) > 0
    np.testing.assert_allclose(norms[seen], 1.0, atol=1e-5)
    assert state["updates"].max() == 3
    assert np.isfinite(terms["prototype"]) and terms["guidance"] > 0


def test_every_weighted_term_is_logged(setting, loss):
    batch, variables = setting
    _, (_, terms) = loss(variables.params, variables.state, batch, jax.random.key(1), 1.0)
    assert {"supervised", *LossWeights.__dataclass_fields__} <= set(terms)


def test_a_regression_has_no_entropy():
    config = replace(CONFIG, weights=LossWeights(entropy=0.1))
    assert config.build(None, kind="multiclass", n_outputs=3).target
    with pytest.raises(InputError, match="not defined for a regression"):
        config.build(None, kind="regression")


def test_source_only_reads_no_target(setting):
    batch, variables = setting
    off = LossWeights(*[0.0] * 4, agreement=0.0, entropy=0.0)
    method = make_problem(replace(CONFIG, weights=off))[0]
    assert not method.target
    total, (_, terms) = jax.jit(partial(loss_of, method))(
        variables.params, variables.state, batch, jax.random.key(1), 1.0
    )
    assert set(terms) == {"supervised"} and total == terms["supervised"]
