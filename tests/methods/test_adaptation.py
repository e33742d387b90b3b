"""Alignments on the encoder of DisTrans: terms, schedule, and what they have in common with it."""

from dataclasses import replace
from functools import cache, partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problem import CONFIG, loss_of, make_problem, problem

from molrel.data.batches import step_batches
from molrel.errors import InputError
from molrel.methods.adaptation import AdaptationConfig, Alignment
from molrel.methods.batch import gather_batch
from molrel.methods.distrans import LossWeights, distrans
from molrel.train.step import unstack

ALIGNMENTS = get_args(Alignment)
ADVERSARIAL = ("dann", "cdan", "cdan_e")
WARMUP = 0.5
# A weight at which the supervised loss does not matter: untrained features hardly spread, and
# deep CORAL is of the fourth order in their spread.
HUGE = 1e9
# An alignment reaches the encoder through the pair features alone, so gradients up to these
# tell everything, and compile in a fraction of the time.
TRAINED = ("pair", "head", "pair_discriminator", "joint_discriminator")
every = pytest.mark.parametrize("alignment", ALIGNMENTS)


def config(alignment: Alignment = "dann", **fields) -> AdaptationConfig:
    """Tiny, without pictures."""
    size = {"width": 16, "depth": 1, "discriminator_width": 16, "branches": "graph"}
    return AdaptationConfig(alignment, **{"weight": 0.5, "warmup": WARMUP, **size, **fields})


@cache
def make_batch(target_label: float = np.nan):
    """Thirteen source and ten target pairs."""
    _, table, sampler, sizes, budget = make_problem(replace(CONFIG, branches="graph"))
    batch = unstack(step_batches(sampler, sizes, budget, seeds=(0,), step=0)[0], 0)
    batch = gather_batch(table, jax.tree.map(jnp.asarray, batch))
    labels = jnp.where(batch.domain[:, None] == 1, target_label, batch.labels)
    return batch.replace(labels=labels)  # pyright: ignore[reportAttributeAccessIssue]


@cache
def params_of(network: str = "plain", kind: str = "binary", n_outputs: int = 1):
    """Of the shapes of the network, without compiling its ``init``."""
    setting = config("cdan" if network == "conditional" else "dann")
    method = setting.build(None, kind=kind, n_outputs=n_outputs, symmetric=True)
    shapes = jax.eval_shape(method.init, jax.random.key(0), make_batch()).params
    rng = np.random.default_rng(0)

    def draw(x):
        return jnp.asarray(rng.normal(size=x.shape) / max(x.shape[0] if x.shape else 1, 3) ** 0.5)

    return jax.tree.map(lambda x: draw(x).astype(x.dtype), shapes)


def params_for(alignment: Alignment, kind: str = "binary", n_outputs: int = 1):
    network = "conditional" if alignment in ("cdan", "cdan_e") else "plain"
    return params_of(network, kind, n_outputs)


def differentiated(loss):
    """Compiled (params, ...) -> ((total, terms), gradient of the trained parts)."""

    def of_trained(trained, params, *rest):
        total, (_, terms) = loss({**params, **trained}, *rest)
        return total, terms

    run = jax.jit(jax.value_and_grad(of_trained, has_aux=True))
    return lambda params, *rest: run({k: params[k] for k in TRAINED if k in params}, params, *rest)


@cache
def compiled(alignment: Alignment, kind: str = "binary", n_outputs: int = 1):
    """(params, batch, progress, weight) -> ((total, terms), gradient)."""

    def loss(params, batch, progress, weight):
        method = config(alignment, weight=weight).build(
            None, kind=kind, n_outputs=n_outputs, symmetric=True
        )
        return loss_of(method, params, {}, batch, jax.random.key(1), progress)

    run = differentiated(loss)
    return lambda params, batch, progress, weight=0.5: run(params, batch, progress, weight)


@cache
def source_only():
    """(params, batch) -> ((total, terms), gradient)."""
    method = config(weight=0.0).build(None)
    return differentiated(
        lambda params, batch: loss_of(method, params, {}, batch, jax.random.key(1), 1.0)
    )


def size(tree) -> float:
    return float(optax.tree.norm(tree))


def assert_near(one, other, tolerance: float = 1e-6):
    near = partial(np.testing.assert_allclose, rtol=10 * tolerance, atol=tolerance)
    jax.tree.map(near, one, other)


def assert_finite(tree):
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(tree))


@every
def test_terms_are_named_and_weighted(alignment):
    found = compiled(alignment)(params_for(alignment), make_batch(), 1.0)
    assert_finite(found)
    (total, terms), _ = found
    names = {"supervised", alignment}
    assert set(terms) == (names | {"domain_accuracy"} if alignment in ADVERSARIAL else names)
    assert terms[alignment] > 0
    rho = 1.0 if alignment in ADVERSARIAL else np.tanh(5)
    expected = terms["supervised"] + 0.5 * rho * terms[alignment]
    assert total == pytest.approx(float(expected), rel=1e-5)


@every
def test_labels_of_the_target_are_not_read(alignment):
    one, other = (
        compiled(alignment)(params_for(alignment), make_batch(label), 1.0)
        for label in (np.nan, 1.0)
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)


@every
def test_before_the_warm_up_ends_the_encoder_learns_from_the_source_alone(alignment):
    params, run = params_for(alignment), compiled(alignment)
    grads, later = (run(params, make_batch(), progress, HUGE)[1] for progress in (0.4, 0.9))
    alone = source_only()(params, make_batch())[1]
    for name in ("pair", "head"):
        assert_near(grads[name], alone[name])
    assert size(optax.tree.sub(later, grads)) > 1e-5
    if alignment in ADVERSARIAL:
        assert size(optax.tree.sub(later["pair"], alone["pair"])) > 1e-5
        assert size(grads[discriminator(alignment)]) > 1e-4


def discriminator(alignment: Alignment) -> str:
    return "pair_discriminator" if alignment == "dann" else "joint_discriminator"


def test_dann_is_the_pair_adversary_of_distrans_with_uniform_weighting():
    weights = LossWeights(0.0, 0.5, 0.0, 0.0, agreement=0.0, entropy=0.0)
    same = replace(CONFIG, branches="graph", weights=weights, weighting="uniform", warmup=WARMUP)
    method = distrans(same, problem()[1])
    params, batch = params_of(), make_batch()
    state = jax.eval_shape(method.init, jax.random.key(0), batch).state
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)
    run = differentiated(lambda p, b: loss_of(method, p, state, b, jax.random.key(1), 0.6))
    (total, terms), grads = run(params, batch)
    (own_total, own_terms), own_grads = compiled("dann")(params, batch, 0.6)
    assert_near(own_terms["dann"], terms["adversarial_pair"])
    assert_near(own_terms["domain_accuracy"], terms["pair_domain_accuracy"])
    assert_near((own_total, own_grads), (total, grads))


@every
def test_without_weight_nothing_looks_at_the_target(alignment):
    setting = config(alignment)
    assert setting.adapts and setting.build(None).target
    off = setting.source_only()
    assert off == replace(setting, weight=0.0)
    assert not off.adapts and not off.build(None).target


def test_without_weight_it_is_source_only():
    params, batch = params_of(), make_batch()
    (total, terms), grads = source_only()(params, batch)
    assert set(terms) == {"supervised"}
    (same, _), others = compiled("mk_mmd")(params, batch, 1.0, 0.0)
    assert_near((total, grads), (same, others))


@every
def test_a_few_steps_reduce_the_loss(alignment):
    # The discriminators alone: what is played against one another need not go down.
    chosen = [discriminator(alignment)] if alignment in ADVERSARIAL else ["pair", "head"]
    params, run, batch = params_for(alignment), compiled(alignment), make_batch()
    optimiser = optax.adam(1e-3)
    opt_state = optimiser.init({k: params[k] for k in chosen})
    totals = []
    for _ in range(10):
        (total, _), grads = run(params, batch, 1.0)
        totals.append(float(total))
        with jax.numpy_dtype_promotion("standard"):  # see train/step.py
            updates, opt_state = optimiser.update({k: grads[k] for k in chosen}, opt_state)
        moved = optax.apply_updates({k: params[k] for k in chosen}, updates)
        params = params | moved
    assert totals[-1] < totals[0]


@every
def test_the_encoder_goes_along_the_alignment_and_against_the_discriminator(alignment):
    params, batch, run = params_for(alignment), make_batch(), compiled(alignment)
    (_, terms), grads = run(params, batch, 1.0, HUGE)
    step = 1e-2 / size(grads["pair"])
    moved = jax.tree.map(lambda p, g: p - step * g, params["pair"], grads["pair"])
    after = run({**params, "pair": moved}, batch, 1.0)[0][1]
    assert (after[alignment] > terms[alignment]) == (alignment in ADVERSARIAL)


def test_score_does_not_depend_on_the_order_of_the_pair():
    batch, method = make_batch(), config("cdan").build(None)
    params, state = jax.jit(method.init)(jax.random.key(0), batch)

    @jax.jit
    def predict(sides):
        encoded = method.encode(params, state, batch.molecules)
        return method.predict(params, state, encoded, sides)

    a, b = batch.sides
    np.testing.assert_allclose(predict((a, b)), predict((b, a)), rtol=1e-4, atol=1e-5)


def test_a_regression_has_some_alignments():
    for alignment in ("mcc", "entropy", "cdan_e"):
        with pytest.raises(InputError, match=f"'{alignment}' is not defined for a regression"):
            config(alignment).build(None, kind="regression")
        config(alignment, weight=0.0).build(None, kind="regression")
    params = params_for("cdan", "regression")
    assert_finite(compiled("cdan", "regression")(params, make_batch(), 1.0))
    kernel = params["joint_discriminator"]["dense_0"]["kernel"]
    assert kernel.shape == (2 * 32, 16)  # [1, prediction] x z_ab


def test_more_than_two_classes():
    params = params_for("cdan_e", "multiclass", 3)
    assert_finite(compiled("cdan_e", "multiclass", 3)(params, make_batch(), 1.0))
    assert params["joint_discriminator"]["dense_0"]["kernel"].shape == (3 * 32, 16)


@every
def test_a_batch_without_target_has_finite_terms(alignment):
    batch = make_batch()
    batch = batch.replace(mask=batch.mask & (batch.domain == 0))
    found = compiled(alignment)(params_for(alignment), batch, 1.0)
    assert_finite(found)
    assert (found[0][1][alignment] > 0) == (alignment in ADVERSARIAL)


def test_needs_and_defaults():
    assert config().needs == frozenset()
    assert AdaptationConfig().needs == {"pictures"}
    assert AdaptationConfig().weight == 1.0
