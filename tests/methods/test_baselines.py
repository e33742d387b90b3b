"""What must hold for every method that is trained: it learns, and what should not matter does not.

Each method is trained once, on 64 pairs of small molecules, and then asked in other ways.
"""

from dataclasses import fields, replace

import jax
import numpy as np
import pytest
from cross_settings import entrants
from problem import FEATURES, SOURCE, TARGET, permuted
from sklearn.metrics import roc_auc_score

from molrel.chem.features import featurise
from molrel.data.batches import Budget, MoleculeSizes, step_batches
from molrel.data.knowledge import domain_knowledge
from molrel.data.sampler import Sampler
from molrel.data.table import build_table
from molrel.data.types import Examples
from molrel.nn.graph import gather
from molrel.train.optimiser import make_optimiser
from molrel.train.settings import OptimiserConfig
from molrel.train.step import compile_step, stack, unstack

RNG = np.random.default_rng(0)
MOLECULES = [*SOURCE, *TARGET, "FS(F)(F)(F)(F)F", "[He]"]
N = len(MOLECULES)
ALL_PAIRS = np.stack(np.triu_indices(N, 1), axis=1)
PAIRS = ALL_PAIRS[RNG.permutation(len(ALL_PAIRS))[:64]]
LABELS = RNG.permutation(64) % 2
STEPS = 250
OPTIMISER = make_optimiser(OptimiserConfig(learning_rate=5e-3), STEPS)
# Pictures and controls have tests of their own; without pictures this takes half the time.
TRAINED = {
    name: replace(e.method, branches="graph") if hasattr(e.method, "branches") else e.method
    for name, e in entrants(32, 2).items()
    if e.method is not None and e.family in ("source-only", "adaptation", "DisTrans")
    if name != "picture"
}


def tables():
    """(table, table with all atoms in another order, knowledge)."""
    features = [featurise(s, FEATURES) for s in MOLECULES]
    knowledge = domain_knowledge(features, np.arange(N), np.arange(N), min_carriers=1)
    settings = {
        "type_map": knowledge.discrepancy.type_map,
        "groups": knowledge.groups,
        "pictures": False,
        "fingerprints": True,
    }
    rng = np.random.default_rng(1)
    other = [permuted(f, rng.permutation(len(f.atom_codes))) for f in features]
    return (
        build_table(features, FEATURES, **settings),
        build_table(other, FEATURES, **settings),
        knowledge,
    )


@pytest.fixture(scope="module")
def made():
    return tables()


# One of each kind always; the others by `make test-slow`.
ALWAYS = ("Morgan + MLP", "siamese GCN", "DisTrans")
CHOSEN = [
    pytest.param(
        name,
        marks=[pytest.mark.slow] * (name not in ALWAYS),
    )
    for name in TRAINED
]


@pytest.mark.parametrize("name", CHOSEN)
def test_every_method_learns_64_pairs_and_ignores_order_and_padding(name, made):
    table, reordered, knowledge = made
    config = TRAINED[name]
    method = config.build(knowledge, kind="binary", n_outputs=1, symmetric=True)
    source = Examples.pairs(PAIRS, LABELS.astype(np.float32))
    target = Examples.pairs(ALL_PAIRS[:40], np.zeros(40, np.float32), domain=1)
    sampler = Sampler(source, target if method.target else None, n_source=64, n_target=16)
    sizes = MoleculeSizes(table)
    exact = sizes.of(np.arange(N))
    budget = Budget(**{f.name: getattr(exact, f.name) for f in fields(Budget)})

    def batch(step: int):
        return step_batches(sampler, sizes, budget, seeds=(0,), step=step)[0]

    program = compile_step(method, OPTIMISER, steps=STEPS, mode="loop")
    state = program.init(np.int32(0), table, unstack(batch(0), 0))
    carried, entered = program.enter(stack([state]), table)
    first = batch(0)
    for step in range(STEPS):
        carried, terms = program.step(carried, entered, batch(step) if method.target else first)
    assert all(np.isfinite(v).all() for v in jax.device_get(terms).values())
    params = unstack(program.leave(carried).params, 0)
    state = unstack(program.leave(carried).state, 0)

    @jax.jit
    def encode(table):
        return method.encode(params, state, gather(table, np.arange(N, dtype=np.int32), budget))

    predict = jax.jit(lambda encoded, sides: method.predict(params, state, encoded, sides))
    a, b = PAIRS[:, :1].astype(np.int32), PAIRS[:, 1:].astype(np.int32)
    encoded = encode(table)
    logits = np.asarray(predict(encoded, (a, b)))[:, 0]
    assert roc_auc_score(LABELS, logits) > 0.99

    scale = np.abs(logits).max()
    backward = np.asarray(predict(encoded, (b, a)))[:, 0]
    np.testing.assert_allclose(backward, logits, atol=1e-4 * scale)
    changed = jax.tree.map(lambda x, y: bool(np.any(x != y)), table, reordered)
    assert any(jax.tree.leaves(changed))
    again = np.asarray(predict(encode(reordered), (a, b)))[:, 0]
    np.testing.assert_allclose(again, logits, atol=1e-4 * scale)

    # Padding: more rows of every kind, an unused molecule, and sides padded for larger bags.
    wide = Budget(**{f.name: getattr(exact, f.name) + 5 for f in fields(Budget)})
    ids = np.append(np.arange(N), [table.padding_id] * 5).astype(np.int32)
    padded = jax.jit(lambda table: method.encode(params, state, gather(table, ids, wide)))(table)
    sides = tuple(np.pad(s, ((0, 3), (0, 2)), constant_values=-1) for s in (a, b))
    more = np.asarray(predict(padded, sides))[:64, 0]
    np.testing.assert_allclose(more, logits, atol=1e-4 * scale)
