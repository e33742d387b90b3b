"""Domain separation: terms, which encoder sees which domain, and what is reconstructed."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problem import CONFIG, loss_of, make_problem

from molrel.data.batches import step_batches
from molrel.methods.batch import gather_batch
from molrel.methods.distrans import LossWeights, distrans
from molrel.methods.separation import SeparationConfig, SeparationWeights, composition
from molrel.train.step import unstack

WARMUP = 0.5
SETTING = SeparationConfig(
    width=16, depth=1, private_depth=1, discriminator_width=16, branches="graph", warmup=WARMUP
)
NAMES = list(SeparationWeights.__dataclass_fields__)
# Everything but the shared encoder, which is reached through the pair features alone; without
# it, gradients compile in a fraction of the time.
TRAINED = ("pair", "head", "pair_discriminator", "source_private", "target_private", "decoder")


@cache
def make_batch(target_label: float = np.nan):
    """Thirteen source and ten target pairs."""
    _, table, sampler, sizes, budget = make_problem(replace(CONFIG, branches="graph"))
    batch = unstack(step_batches(sampler, sizes, budget, seeds=(0,), step=0)[0], 0)
    batch = gather_batch(table, jax.tree.map(jnp.asarray, batch))
    labels = jnp.where(batch.domain[:, None] == 1, target_label, batch.labels)
    return batch.replace(labels=labels)  # pyright: ignore[reportAttributeAccessIssue]


@cache
def initial():
    return jax.jit(SETTING.build(None).init)(jax.random.key(0), make_batch()).params


def differentiated(loss):
    """Compiled (params, ...) -> ((total, terms), gradient of the trained parts)."""

    def of_trained(trained, params, *rest):
        total, (_, terms) = loss({**params, **trained}, *rest)
        return total, terms

    run = jax.jit(jax.value_and_grad(of_trained, has_aux=True))
    return lambda params, *rest: run({k: params[k] for k in TRAINED if k in params}, params, *rest)


@cache
def compiled():
    """(params, batch, progress, weights) -> ((total, terms), gradient)."""

    def loss(params, batch, progress, weights):
        setting = replace(SETTING, weights=SeparationWeights(**weights))
        return loss_of(setting.build(None), params, {}, batch, jax.random.key(1), progress)

    run = differentiated(loss)

    def with_weights(params, batch, progress, **weights: float):
        weights = weights or vars(SETTING.weights)
        return run(params, batch, progress, {**dict.fromkeys(NAMES, 0.0), **weights})

    return with_weights


def assert_finite(tree):
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(tree))


def assert_near(one, other):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), one, other)


def test_terms_are_named_and_weighted():
    found = compiled()(initial(), make_batch(), 1.0)
    assert_finite(found)
    (total, terms), _ = found
    assert set(terms) == {"supervised", "domain_accuracy", *NAMES}
    weighted = sum(getattr(SETTING.weights, name) * terms[name] for name in NAMES)
    assert total == pytest.approx(float(terms["supervised"] + weighted), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_term_without_weight_is_left_out(name):
    weights = SeparationWeights(**{**dict.fromkeys(NAMES, 0.0), name: 1.0})
    method = replace(SETTING, weights=weights).build(None)
    _, (_, terms) = jax.eval_shape(
        partial(loss_of, method), initial(), {}, make_batch(), jax.random.key(1), 1.0
    )
    accuracy = {"domain_accuracy"} if name == "similarity" else set()
    assert set(terms) == {"supervised", name} | accuracy


def test_labels_of_the_target_are_not_read():
    one, other = (compiled()(initial(), make_batch(label), 1.0) for label in (np.nan, 1.0))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("domain", [0, 1])
def test_each_private_encoder_learns_from_its_own_domain(domain):
    batch = make_batch()
    batch = batch.replace(mask=batch.mask & (batch.domain == domain))
    found = compiled()(initial(), batch, 1.0)
    assert_finite(found)
    grads = found[1]
    names = ("source_private", "target_private")
    norms = [float(optax.tree.norm(grads[name])) for name in names]
    assert norms[domain] > 1e-5 and norms[1 - domain] == 0


def test_padding_examples_do_not_count():
    batch = make_batch()
    # Five examples more, of garbage that is not marked as real.
    padded = batch.replace(
        **{
            name: jnp.concatenate([getattr(batch, name), getattr(batch, name)[:5]])
            for name in ("labels", "domain", "weight")
        },
        sides=tuple(jnp.concatenate([s, s[7:12]]) for s in batch.sides),
        mask=jnp.concatenate([batch.mask, jnp.zeros(5, bool)]),
    )
    assert_near(*(compiled()(initial(), b, 1.0) for b in (batch, padded)))


def test_similarity_is_the_pair_adversary_of_distrans():
    weights = LossWeights(0.0, 0.25, 0.0, 0.0, agreement=0.0, entropy=0.0)
    same = replace(CONFIG, branches="graph", weights=weights, weighting="uniform", warmup=WARMUP)
    method = distrans(same, None)
    # DisTrans judges fragments as well, though nothing is made of it here.
    shapes = jax.eval_shape(method.init, jax.random.key(0), make_batch()).params
    ones = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), shapes)
    run = differentiated(lambda p, b: loss_of(method, p, {}, b, jax.random.key(1), 0.6))
    shared = {**ones, **{k: v for k, v in initial().items() if k in ones}}
    (total, _), grads = run(shared, make_batch())
    (own, _), own_grads = compiled()(initial(), make_batch(), 0.6, similarity=0.25)
    assert own == pytest.approx(float(total), rel=1e-5)
    assert_near({name: own_grads[name] for name in grads}, grads)


def test_without_weights_it_is_source_only():
    off = SETTING.source_only()
    method = off.build(None)
    assert SETTING.adapts and SETTING.build(None).target
    assert not off.adapts and not method.target
    run = differentiated(lambda p, b: loss_of(method, p, {}, b, jax.random.key(1), 1.0))
    (total, terms), grads = run(initial(), make_batch())
    assert set(terms) == {"supervised"} and total == terms["supervised"]
    (same, _), others = compiled()(initial(), make_batch(), 1.0, similarity=0.0)
    assert_near((total, grads), (same, others))


@pytest.mark.slow
def test_a_few_steps_reduce_reconstruction_and_difference():
    run, batch, params = compiled(), make_batch(), initial()
    weights = {"reconstruction": 1.0, "difference": 1.0}
    optimiser = optax.adam(3e-3)
    (_, first), grads = run(params, batch, 1.0, **weights)
    opt_state = optimiser.init(grads)
    for _ in range(25):
        _, grads = run(params, batch, 1.0, **weights)
        with jax.numpy_dtype_promotion("standard"):  # see train/step.py
            updates, opt_state = optimiser.update(grads, opt_state)
        params = params | optax.apply_updates({k: params[k] for k in grads}, updates)
    (_, last), _ = run(params, batch, 1.0)
    for name in ("supervised", "reconstruction", "difference"):
        assert last[name] < first[name]


@pytest.mark.parametrize("progress", [0.4, 0.9])
def test_similarity_waits_for_the_warm_up(progress):
    grads = compiled()(initial(), make_batch(), progress, similarity=1.0)[1]
    alone = compiled()(initial(), make_batch(), progress, similarity=0.0)[1]
    moved = float(optax.tree.norm(optax.tree.sub(grads["pair"], alone["pair"])))
    assert float(optax.tree.norm(grads["pair_discriminator"])) > 1e-4
    assert moved < 1e-6 if progress < WARMUP else moved > 1e-5


def test_nothing_depends_on_the_order_of_the_pair():
    batch = make_batch()
    swapped = batch.replace(sides=batch.sides[::-1])
    assert_near(*(compiled()(initial(), b, 1.0) for b in (batch, swapped)))


def test_an_ordered_task_reconstructs_each_side():
    widths = [
        jax.eval_shape(
            SETTING.build(None, symmetric=symmetric).init, jax.random.key(0), make_batch()
        )
        .params["decoder"]["mlp"]["out"]["bias"]
        .shape[0]
        for symmetric in (True, False)
    ]
    n_features = make_batch().molecules.nodes.shape[1]
    assert widths == [n_features, 2 * n_features]


def test_composition_is_the_mean_atom_of_each_side():
    batch = make_batch()
    m, (a, b) = batch.molecules, batch.sides
    nodes, owner = np.asarray(m.nodes), np.asarray(m.node_molecule)
    means = np.stack([nodes[owner == u].mean(0) for u in range(int(m.mask.sum()))])
    real = np.asarray(batch.mask)
    expected = [means[np.asarray(side)[real, 0]] for side in (a, b)]
    found = composition(m, batch.sides, True)[real]
    np.testing.assert_allclose(found, expected[0] + expected[1], rtol=1e-5, atol=1e-6)
    found = composition(m, batch.sides, False)[real]
    np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-5, atol=1e-6)


def test_needs_and_defaults():
    assert SETTING.needs == frozenset() and SeparationConfig().needs == {"pictures"}
    assert SeparationConfig().weights == SeparationWeights(0.01, 0.05, 0.25)
