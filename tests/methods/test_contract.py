"""What must hold for every method, whatever it learns. A new method joins by one line below."""

from __future__ import annotations

import functools
import shutil
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problem import FEATURES, SOURCE, TARGET, every_method, permuted, problem

from molrel.chem.features import featurise
from molrel.config import Experiment
from molrel.config_json import Types, from_json, to_json
from molrel.data.batches import Budget, MoleculeSizes, step_batches
from molrel.data.sampler import Sampler
from molrel.data.types import Bag, Examples
from molrel.methods.adaptation import AdaptationConfig
from molrel.methods.cgib import CGIBConfig
from molrel.methods.cigin import CIGINConfig
from molrel.methods.classical import BoostingConfig, ForestConfig, LinearConfig
from molrel.methods.cmrl import CMRLConfig
from molrel.methods.distrans import DisTransConfig, LossWeights
from molrel.methods.fingerprint_mlp import FingerprintMLPConfig
from molrel.methods.molecule import MoleculeGNNConfig
from molrel.methods.separation import SeparationConfig
from molrel.methods.siamese import SiameseConfig
from molrel.methods.ssi_ddi import SSIDDIConfig
from molrel.methods.topexpert import TopExpertConfig
from molrel.prepare import molecule_table
from molrel.train.loop import train
from molrel.train.predict import make_predictor
from molrel.train.settings import OptimiserConfig, TrainConfig
from molrel.train.step import compile_step, init_state, make_step, stack, unstack

SIZE: dict[str, Any] = {"width": 8, "depth": 1}
# Without pictures, which have tests of their own and take half of the time.
TWO_VIEW: dict[str, Any] = SIZE | {"discriminator_width": 8, "branches": "graph", "warmup": 0.0}
CONTRACT = {
    "distrans": DisTransConfig(
        **TWO_VIEW, weights=LossWeights(0.3, 0.3, 0.2, 0.2, 0.1, 0.1), prototype_ready=1
    ),
    **{
        alignment: AdaptationConfig(**TWO_VIEW, alignment=alignment)
        for alignment in ("dann", "cdan", "cdan_e", "mk_mmd", "coral", "mcc", "entropy")
    },
    "separation": SeparationConfig(**TWO_VIEW, private_depth=1),
    "siamese": SiameseConfig("gin", **SIZE),
    "adabn": SiameseConfig("gin", **SIZE, domain_statistics=True),
    "distrans_by_domain": DisTransConfig(
        **TWO_VIEW, fingerprints=True, domain_statistics=True, prototype_ready=1
    ),
    "cigin": CIGINConfig(**SIZE),
    "cgib": CGIBConfig(**SIZE),
    "cmrl": CMRLConfig(**SIZE),
    "ssi_ddi": SSIDDIConfig(width=8, blocks=1),
    "fingerprint_mlp": FingerprintMLPConfig(width=8),
    "molecule_gnn": MoleculeGNNConfig(**SIZE, dropout=0.0),
    "topexpert": TopExpertConfig(**SIZE, dropout=0.0, gate_width=8, experts=2),
    "forest": ForestConfig(trees=3),
    "boosting": BoostingConfig(trees=3),
    "linear": LinearConfig(),
}
# Those whose code the others do not share.
ALWAYS = (
    "distrans",
    "adabn",
    "separation",
    "cgib",
    "topexpert",
    "ssi_ddi",
    "mk_mmd",
    "cdan_e",
    "forest",
    "linear",
)
every = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in ALWAYS)) for n in CONTRACT]
)
trained = pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.slow] * (n not in ALWAYS))
        for n, config in CONTRACT.items()
        if not isinstance(config, ForestConfig | BoostingConfig | LinearConfig)
    ],
)
N = len(SOURCE + TARGET)
SHARDS = 3


def test_every_method_is_here():
    assert {type(config) for config in CONTRACT.values()} >= set(every_method())


class Setting:
    """A method, the table that it needs, and examples of two domains."""

    def __init__(self, name: str):
        self.config = config = CONTRACT[name]
        self.scheme = replace(FEATURES, scheme=config.scheme or FEATURES.scheme, picture_size=0)
        _, self.knowledge, self.source, self.target = problem()
        self.features = [featurise(s, self.scheme) for s in SOURCE + TARGET]
        self.table = self.table_of(self.features)
        self.method = config.build(self.knowledge, kind="binary", n_outputs=1, symmetric=True)
        self.sizes = MoleculeSizes(self.table)

    def table_of(self, features):
        """Of the same molecules, whatever the order of their atoms."""
        return molecule_table(
            features,
            self.scheme,
            self.knowledge,
            self.config.needs,
            np.ones(N, bool),
        )

    def sampler(self, source: Examples | None = None) -> Sampler:
        target = self.target if self.method.target else None
        return Sampler(source or self.source, target, n_source=13, n_target=10)

    def batch(self, *, seeds=(0,), n_devices=1, step=0, wider=0):
        """Of several seeds, with a budget that is wider than need be."""
        everything = self.sizes.of(np.arange(N))
        budget = Budget(*(getattr(everything, f) + wider for f in Budget.__dataclass_fields__))
        (batch,) = step_batches(
            self.sampler(), self.sizes, budget, seeds=seeds, step=step, n_devices=n_devices
        )
        return jax.tree.map(jnp.asarray, batch)

    @functools.cached_property
    def optimiser(self):
        """Adam would turn the rounding of gradients that are 0 into steps."""
        return optax.sgd(0.1)

    @functools.cached_property
    def fitted(self):
        """(params, state) of one seed, without training where there is any."""
        if self.method.fit is not None:
            return jax.tree.map(
                jnp.asarray, tuple(self.method.fit(0, self.table, self.sampler().source))
            )
        found = self.begin(0)
        return found.params, found.state

    def begin(self, seed):
        init = jax.jit(functools.partial(init_state, self.method, self.optimiser))
        return init(self.table, unstack(self.batch(), 0), jnp.int32(seed))

    @functools.cached_property
    def predict(self):
        """(table, examples) -> logits [N, 1]; nothing is put in order first."""
        params, state = jax.tree.map(lambda x: x[None], self.fitted)

        def predict(table, examples):
            return make_predictor(self.method, table, symmetric=False)(params, state, examples)[0]

        return predict


@functools.lru_cache(maxsize=1)  # tests come method by method
def setting(name: str) -> Setting:
    return Setting(name)


def assert_near(found, expected, *, rtol=2e-4):
    """Equal but for rounding, leaf by leaf, in the unit of each leaf."""
    for (path, x), y in zip(
        jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            continue
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        scale = np.max(np.abs(y), initial=1e-3)
        np.testing.assert_allclose(
            x, y, rtol=0, atol=rtol * scale, err_msg=jax.tree_util.keystr(path)
        )


@pytest.mark.parametrize("name", CONTRACT)
def test_a_config_is_read_back_from_its_json(name):
    config = Experiment(method=CONTRACT[name])
    assert from_json(to_json(config), "config.json", Types()) == config
    assert config.method.source_only().adapts is False


@every
def test_a_score_depends_on_its_own_molecules_alone(name):
    """Not on the company in the batch, the order of the pair, or that of atoms and bonds."""
    s = setting(name)
    scores = s.predict(s.table, s.source)
    assert scores.shape == (len(s.source), 1) and np.isfinite(scores).all()
    assert np.ptp(scores) > 1e-6 or name == "boosting"  # leaves of at least 20 examples
    few = np.array([7, 3, 3, 20])
    assert_near(s.predict(s.table, s.source.take(few)), scores[few])
    swapped = replace(s.source, sides=s.source.sides[::-1])
    assert_near(s.predict(s.table, swapped), scores)
    rng = np.random.default_rng(1)
    again = s.table_of([permuted(f, rng.permutation(len(f.atom_codes))) for f in s.features])
    assert_near(s.predict(again, s.source), scores)


@trained
def test_a_step_is_the_same_on_several_devices_and_reads_no_target_label(name, monkeypatch):
    """Ragged shards, each with padding of its own, give the update of the whole batch.

    Devices are emulated by ``vmap`` with a named axis, in which collectives mean the same.
    """
    for draw, value in (("uniform", 0.3), ("normal", 0.2), ("gumbel", 0.1)):
        monkeypatch.setattr(
            jax.random,
            draw,
            lambda key, shape=(), dtype=jnp.float32, *_, value=value, **__: jnp.full(
                shape, value, dtype
            ),
        )
    s = setting(name)
    state = s.begin(0)
    one = jax.jit(make_step(s.method, s.optimiser, steps=10))
    expected, terms = one(state, s.table, unstack(s.batch(), 0))
    axis = "devices"
    of_device = make_step(s.method, s.optimiser, steps=10, axis_name=axis)
    several = jax.jit(jax.vmap(of_device, in_axes=(None, None, 0), axis_name=axis))
    shards = jax.tree.map(lambda x: x[:, 0], s.batch(n_devices=SHARDS, wider=5))
    found, found_terms = several(state, s.table, shards)
    assert_near(unstack((found.params, found.state), 0), (expected.params, expected.state))
    assert_near(unstack(found_terms, 0), terms)
    moved = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), expected.params, state.params)
    assert max(jax.tree.leaves(moved)) > 1e-4, "nothing was learned, so nothing was compared"

    if s.method.target:
        batch = unstack(s.batch(), 0)
        assert (batch.domain == 1).any() and np.isnan(batch.labels[batch.domain == 1]).all()
        told = jnp.where(batch.domain[:, None] == 1, 1.0, batch.labels)
        poisoned, _ = one(state, s.table, batch.replace(labels=told))
        jax.tree.map(np.testing.assert_array_equal, poisoned.params, expected.params)


@trained
def test_seeds_that_are_mapped_are_those_that_are_looped(name):
    s, seeds, ends = setting(name), (0, 3), []
    states = [s.begin(seed) for seed in seeds]
    for mode in ("vmap", "loop"):
        program = compile_step(s.method, s.optimiser, steps=10, mode=mode)
        carried, table = program.enter(jax.tree.map(jnp.copy, stack(states)), s.table)
        for step in range(2):
            carried, _ = program.step(carried, table, s.batch(seeds=seeds, step=step))
        ended = program.leave(carried)
        ends.append((ended.params, ended.state))
    assert_near(*ends)


@pytest.mark.slow
@trained
def test_a_run_that_is_resumed_ends_as_one_that_was_not(name, tmp_path):
    s = setting(name)

    def run(resume):
        return train(
            s.method,
            s.table,
            s.sampler(),
            lambda params, state: [{"selection": 0.5}] * 2,
            seeds=(0, 3),
            config=TrainConfig(steps=4, evaluate_every=2),
            optimiser_config=OptimiserConfig(),
            folder=tmp_path,
            molecules=SOURCE + TARGET,
            resume=resume,
        )[0]

    whole = run(False)
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    again = run(True)
    for part in ("params", "state", "opt_state"):
        ended = (getattr(found.train, part) for found in (again, whole))
        jax.tree.map(np.testing.assert_array_equal, *ended)
    jax.tree.map(np.testing.assert_array_equal, again.best_params, whole.best_params)


@every
def test_bags_and_single_molecules_go_through_where_they_are_taken(name):
    s = setting(name)
    bags = Bag(np.array([0, 1, 2, 3, 4], np.int32), np.array([0, 2, 5], np.int32))
    examples = Examples(
        sides=(bags, Bag.singles(np.array([5, 6]))),
        labels=np.zeros((2, 1), np.float32),
        domain=np.zeros(2, np.int32),
        weight=np.ones(2, np.float32),
    )
    scores = s.predict(s.table, examples)
    shuffled = replace(examples, sides=(replace(bags, ids=bags.ids[[1, 0, 4, 3, 2]]), bags))
    order = s.predict(s.table, replace(shuffled, sides=(shuffled.sides[0], examples.sides[1])))
    assert_near(order, scores)
