"""TopExpert: what its gate may see, what one expert is, and that all of it learns."""

from dataclasses import fields, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problem import loss_of
from sklearn.metrics import roc_auc_score

from molrel.chem.features import FeatureConfig, featurise
from molrel.data.batches import Budget, MoleculeSizes, all_batches, step_batches
from molrel.data.sampler import Sampler
from molrel.data.table import build_table
from molrel.data.types import Bag, Examples
from molrel.errors import NotDefined
from molrel.losses import experts
from molrel.methods.batch import gather_batch
from molrel.methods.molecule import MoleculeGNNConfig
from molrel.methods.topexpert import ExpertWeights, TopExpertConfig, fixed_gate, mix
from molrel.nn.graph import gather
from molrel.prepare import training_scaffolds
from molrel.train.loop import train
from molrel.train.settings import OptimiserConfig, TrainConfig
from molrel.train.step import compile_step, stack, unstack

CONFIG = FeatureConfig(scheme="hu", picture_size=16)
SMILES = (
    *("CCO", "CCN", "c1ccccc1", "Cc1ccccc1", "Oc1ccccc1", "C1CCCCC1", "CC1CCCCC1", "[He]"),
    *("c1ccncc1", "Cc1ccncc1", "CC(=O)O", "CCCl", "C=CC", "CCS", "FS(F)(F)(F)(F)F", "NCC(=O)O"),
)
N = len(SMILES)
FEATURES = [featurise(s, CONFIG) for s in SMILES]
TRAINED = np.arange(N) < 12
SMALL = TopExpertConfig(width=16, depth=2, dropout=0.0, gate_width=8)
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, (12, 2)).astype(np.float32)
LABELS[3, 0] = LABELS[7, 1] = np.nan


@pytest.fixture(scope="module")
def table():
    return build_table(
        FEATURES,
        CONFIG,
        type_map=np.arange(72),
        groups=np.zeros(0, int),
        pictures=False,
        scaffolds=training_scaffolds(FEATURES, TRAINED),
    )


def properties(labels=LABELS, ids=None):
    ids = np.arange(len(labels)) if ids is None else ids
    n = len(labels)
    return Examples((Bag.singles(ids),), labels, np.zeros(n, np.int32), np.ones(n, np.float32))


def budget_of(sizes, spare=0):
    exact = sizes.of(np.arange(N))
    return Budget(**{f.name: getattr(exact, f.name) + spare for f in fields(Budget)})


def index_batches(table, examples, rows, spare=0):
    sizes = MoleculeSizes(table)
    return all_batches(examples, rows, budget_of(sizes, spare), sizes)


def built(config, n_outputs=2, kind="multilabel"):
    return config.build(None, kind=kind, n_outputs=n_outputs, symmetric=True)


def compiled_loss(method, variables, batch):
    return jax.jit(partial(loss_of, method))(*variables, batch, jax.random.key(7), 0.5)


def test_one_expert_is_the_single_head(table):
    """With equal weights and one target, one expert predicts and is trained as the single head."""
    single = built(MoleculeGNNConfig(width=16, depth=2, dropout=0.0), 1, "binary")
    none = ExpertWeights(clustering=0.0, alignment=0.0)
    one = built(replace(SMALL, experts=1, weights=none), 1, "binary")
    batch = gather_batch(table, index_batches(table, properties(LABELS[:, 1:]), 12)[0])
    head, expert = (m.init(jax.random.key(0), batch) for m in (single, one))
    params = {**expert.params, "body": {**expert.params["body"], "atoms": head.params["atoms"]}}
    params |= {"kernel": head.params["head"]["kernel"], "bias": head.params["head"]["bias"]}
    expert = expert._replace(params=params)
    ours, theirs = compiled_loss(one, expert, batch), compiled_loss(single, head, batch)
    assert float(ours[0]) == pytest.approx(float(theirs[0]), rel=1e-5)
    logits = [
        m.predict(*v, m.encode(*v, batch.molecules), batch.sides)
        for m, v in ((one, expert), (single, head))
    ]
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-5)


def test_probabilities_are_mixed_and_not_logits():
    logits = RNG.normal(size=(5, 2, 3)).astype(np.float32) * 4
    q = RNG.dirichlet(np.ones(3), 5).astype(np.float32)
    mixed = np.einsum("ntk,nk->nt", 1 / (1 + np.exp(-logits)), q)
    found = 1 / (1 + np.exp(-np.asarray(mix("multilabel", logits, q))))
    np.testing.assert_allclose(found, mixed, rtol=1e-4)
    values = np.einsum("ntk,nk->nt", logits, q)
    np.testing.assert_allclose(mix("regression", logits, q), values, rtol=1e-5, atol=1e-6)
    far = np.asarray(mix("binary", np.full((1, 1, 3), 300.0, np.float32), q[:1]))
    assert np.isfinite(far).all() and far > 100


def test_only_scaffolds_of_training_molecules_are_numbered():
    found = training_scaffolds(FEATURES, TRAINED)
    by_scaffold = {}
    for f, number in zip(FEATURES, found, strict=True):
        by_scaffold.setdefault(f.scaffold, set()).add(int(number))
    assert by_scaffold == {"": {0}, "c1ccccc1": {1}, "C1CCCCC1": {2}, "c1ccncc1": {3}}
    fewer = training_scaffolds(FEATURES, np.arange(N) < 8)
    assert set(fewer[8:10]) == {-1} and fewer.max() == 2
    assert (training_scaffolds(FEATURES, None) == -1).all()


def test_no_other_scaffold_reaches_the_alignment(table):
    """Its gradient is 0 for scaffolds that the batch does not hold."""
    method = built(SMALL)
    batch = gather_batch(table, index_batches(table, properties(LABELS[:8]), 8)[0])
    variables = method.init(jax.random.key(0), batch)
    assert variables.params["scaffolds"].shape == (4, 8)

    def loss(params):
        return loss_of(method, params, variables.state, batch, jax.random.key(1), 0.0)[0]

    gradient = jax.jit(jax.grad(loss))(variables.params)["scaffolds"]
    assert np.abs(gradient[:3]).max() > 0 and not np.asarray(gradient[3]).any()


def test_padding_changes_neither_loss_nor_gradient_nor_state(table, monkeypatch):
    """Gate, clusters and statistics ignore padded graphs and examples."""
    # The draws of the gate have the shape of the batch; without them all must be the same.
    monkeypatch.setattr(experts, "gumbel_softmax", lambda key, q, temperature: q)
    method = built(SMALL)
    tight, loose = (
        gather_batch(table, index_batches(table, properties(), rows, spare)[0])
        for rows, spare in ((12, 0), (17, 6))
    )
    variables = method.init(jax.random.key(0), tight)

    def run(batch):
        def loss(params):
            return loss_of(method, params, variables.state, batch, jax.random.key(1), 0.0)

        return jax.value_and_grad(loss, has_aux=True)(variables.params)

    a, b = jax.jit(run)(tight), jax.jit(run)(loose)
    assert {"clustering", "alignment", "supervised"} <= set(a[0][1][1])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=5e-4, atol=2e-5), a, b)


def test_centroids_start_in_the_middle_of_clusters(table):
    method = built(SMALL)
    batches = index_batches(table, properties(), 5)
    batch = gather_batch(table, batches[0])
    assert sum(int(b.mask.sum()) for b in batches) == 12
    before = method.init(jax.random.key(0), batch)
    assert method.start is not None
    after = method.start(jax.random.key(1), before, table, batches)
    changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), before.params, after.params)
    assert changed.pop("centroids") and not any(jax.tree.leaves(changed))
    # Gate embeddings of real examples, in training mode batch by batch (without dropout here).
    network = SMALL.network(2, True)
    points = []
    for index in batches:
        b = gather_batch(table, index)
        weight = b.occurrences(0)
        (_, z), _ = network.apply(
            {"params": before.params, **before.state},
            b.molecules,
            b.sides,
            weight,
            b.mask,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        points.append(np.asarray(z)[index.mask])
    points, centroids = np.concatenate(points), np.asarray(after.params["centroids"])
    nearest = ((points[:, None] - centroids[None]) ** 2).sum(-1).argmin(1)
    for i, centroid in enumerate(centroids):
        middle = points[nearest == i].mean(0)
        np.testing.assert_allclose(centroid, middle, rtol=1e-3, atol=1e-4)
    again = method.start(jax.random.key(1), before, table, batches)
    np.testing.assert_array_equal(again.params["centroids"], centroids)


def test_temperature_falls_geometrically(table, monkeypatch):
    seen = []

    def draw(key, q, temperature):
        seen.append(float(temperature))
        return q

    monkeypatch.setattr(experts, "gumbel_softmax", draw)
    method = built(replace(SMALL, final_temperature=0.1))
    batch = gather_batch(table, index_batches(table, properties(), 12)[0])
    variables = method.init(jax.random.key(0), batch)
    for progress in (0.0, 0.5, 1.0):
        loss_of(method, *variables, batch, jax.random.key(0), progress)
    np.testing.assert_allclose(seen, [10, 1, 0.1], rtol=1e-5)


@pytest.mark.parametrize("gate", ["learned", pytest.param("equal", marks=pytest.mark.slow)])
@pytest.mark.parametrize("sides", [1, 2])
def test_learns_properties_and_pairs(table, gate, sides):
    config = replace(SMALL, gate=gate, final_temperature=0.1, fan="inputs")
    if sides == 1:
        examples = properties(RNG.permutation(12)[:, None] % 2 * np.float32(1))
    else:
        pairs = np.stack(np.triu_indices(12, 1), axis=1)[:48]
        examples = Examples.pairs(pairs, RNG.permutation(48) % 2 * np.float32(1))
    method = built(config, 1, "binary")
    sampler = Sampler(examples, None, n_source=len(examples), n_target=0)
    train_config = TrainConfig(steps=150, source_examples=len(examples), evaluate_every=150)

    def validate(params, state):
        return [{"selection": 0.0}]

    final, _ = train(
        method,
        table,
        sampler,
        validate,
        seeds=(0,),
        config=train_config,
        optimiser_config=OptimiserConfig(learning_rate=1e-2, schedule="constant", clip=1.0),
        folder=None,
        molecules=SMILES,
    )
    params, state = unstack((final.train.params, final.train.state), 0)
    batch = gather_batch(table, index_batches(table, examples, len(examples))[0])
    encoded = method.encode(params, state, batch.molecules)
    logits = np.asarray(method.predict(params, state, encoded, batch.sides))[:, 0]
    labels = np.asarray(batch.labels)[:, 0]
    assert roc_auc_score(labels, logits) > 0.99
    if sides == 2:
        swapped = method.predict(params, state, encoded, batch.sides[::-1])
        np.testing.assert_allclose(swapped[:, 0], logits, rtol=1e-3, atol=1e-3)


def test_random_assignment_is_one_expert_for_good(table):
    config = replace(SMALL, gate="random")
    (whole,) = (
        np.asarray(fixed_gate(config, gather_batch(table, b)))
        for b in index_batches(table, properties(), 12)
    )
    parts = [
        np.asarray(fixed_gate(config, gather_batch(table, b)))[b.mask]
        for b in index_batches(table, properties(), 5)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (whole.sum(1) == 1).all() and (whole.sum(0) > 0).all()


def test_more_than_two_classes_are_not_defined():
    with pytest.raises(NotDefined, match="yes/no"):
        built(SMALL, 5, "multiclass")


@pytest.mark.slow
def test_seeds_together_are_seeds_alone(table):
    method = built(replace(SMALL, dropout=0.3))
    sampler = Sampler(properties(), None, n_source=6, n_target=0, whole_epochs=True)
    sizes = MoleculeSizes(table)
    # Adam would turn the rounding of gradients that are 0 (of biases before BatchNorm) into steps.
    budget, optimiser = budget_of(sizes), optax.sgd(0.1)

    def run(seeds, mode):
        program = compile_step(method, optimiser, steps=4, mode=mode)
        first = step_batches(sampler, sizes, budget, seeds=seeds, step=0)[0]
        states = [program.init(np.int32(s), table, unstack(first, 0)) for s in seeds]
        carried, entered = program.enter(stack(states), table)
        for step in range(3):
            (batch,) = step_batches(sampler, sizes, budget, seeds=seeds, step=step)
            carried, _ = program.step(carried, entered, batch)
        return program.leave(carried)

    together, alone = run((3, 5), "vmap"), run((5,), "loop")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[1], b[0], rtol=2e-4, atol=1e-5),
        (together.params, together.state),
        (alone.params, alone.state),
    )


def test_gather_carries_the_scaffolds(table):
    found = gather(table, jnp.array([2, N, 8]), budget_of(MoleculeSizes(table)))
    assert np.asarray(found.scaffold).tolist() == [1, -1, 3] and found.n_scaffolds == 4
