"""A small real problem (built-in mixtures, a few molecules) shared by the training tests."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from dataclasses import replace

import numpy as np

from molrel import methods
from molrel.chem.features import FeatureConfig, MoleculeFeatures, featurise
from molrel.data.batches import Budget, MoleculeSizes
from molrel.data.knowledge import DomainKnowledge, domain_knowledge
from molrel.data.sampler import Sampler
from molrel.data.table import MoleculeTable, build_table
from molrel.data.types import Bag, Examples
from molrel.losses import experts
from molrel.methods.distrans import DisTransConfig, LossWeights, distrans
from molrel.methods.method import Context, Method
from molrel.methods.topexpert import TopExpertConfig
from molrel.prepare import training_scaffolds

FEATURES = FeatureConfig(picture_size=32)
SOURCE = ["CCCCCC", "c1ccccc1", "CC1CCCCC1", "C=CCC", "CC(C)CC", "Cc1ccccc1C", "C1CCCC1", "CCC#C"]
TARGET = ["CCO", "CC(=O)O", "Oc1ccccc1", "CCN", "CCS", "NCC(=O)O", "ClCCCl", "c1ccncc1"]
CONFIG = DisTransConfig(
    width=16,
    depth=1,
    discriminator_width=16,
    weights=LossWeights(0.3, 0.3, 0.2, 0.2, 0.1, 0.1),
    warmup=0.0,
    prototype_ready=1,
)


def permuted(f: MoleculeFeatures, order: np.ndarray) -> MoleculeFeatures:
    """The same molecule with its atoms written in another order (new atom i is old order[i])."""
    place = np.argsort(order).astype(np.int32)
    senders, receivers = place[f.senders], place[f.receivers]
    bonds = np.lexsort((senders, receivers))
    groups = np.stack([f.group_atoms[:, 0], place[f.group_atoms[:, 1]]], axis=1)
    return replace(
        f,
        atom_codes=f.atom_codes[order],
        atom_values=f.atom_values[order],
        positions=f.positions[order],
        fragment_of_atom=f.fragment_of_atom[order],
        senders=senders[bonds],
        receivers=receivers[bonds],
        bond_codes=f.bond_codes[bonds],
        bond_values=f.bond_values[bonds],
        group_atoms=groups[np.lexsort((groups[:, 1], groups[:, 0]))].reshape(-1, 2),
    )


@functools.cache
def problem() -> tuple[MoleculeTable, DomainKnowledge, Examples, Examples]:
    """(table, knowledge, source examples, target examples)."""
    features = [featurise(s, FEATURES) for s in SOURCE + TARGET]
    n = len(SOURCE)
    # Every molecule of the source also occurs in the target, so groups are shared.
    knowledge = domain_knowledge(features, np.arange(n), np.arange(2 * n), min_carriers=1)
    table = build_table(
        features,
        FEATURES,
        type_map=knowledge.discrepancy.type_map,
        groups=knowledge.groups,
    )
    rng = np.random.default_rng(0)
    source = rng.integers(0, n, (40, 2))
    target = np.stack([rng.integers(0, 2 * n, 30), rng.integers(n, 2 * n, 30)], axis=1)
    return (
        table,
        knowledge,
        Examples.pairs(source, (source.sum(1) % 2).astype(np.float32)),
        Examples.pairs(target, np.zeros(30, np.float32), domain=1),
    )


def make_expert_problem(n_source: int = 13):
    """``make_problem`` of single molecules, with BatchNorm and nothing that is drawn.

    The draws of the gate, which every device makes for itself, are switched off for good.
    """
    experts.gumbel_softmax = lambda key, q, temperature: q
    config = FeatureConfig(scheme="hu", picture_size=16)
    features = [featurise(s, config) for s in SOURCE + TARGET]
    table = build_table(
        features,
        config,
        type_map=np.arange(72),
        groups=np.zeros(0, int),
        pictures=False,
        scaffolds=training_scaffolds(features, np.ones(len(features), bool)),
    )
    settings = TopExpertConfig(width=16, depth=2, dropout=0.0, gate_width=8)
    method = settings.build(None, kind="multilabel", n_outputs=2, symmetric=True)
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(0, len(features), 40), rng.integers(0, 2, (40, 2)).astype(float)
    labels[rng.random((40, 2)) < 0.3] = np.nan
    examples = Examples(
        (Bag.singles(ids),), labels.astype(np.float32), np.zeros(40, np.int32), np.ones(40, "f")
    )
    sampler = Sampler(examples, None, n_source=n_source, n_target=0)
    sizes = MoleculeSizes(table)
    everything = sizes.of(np.arange(table.padding_id))
    budget = Budget(*(getattr(everything, f) + 3 for f in everything.__dataclass_fields__))
    return method, table, sampler, sizes, budget


def make_problem(config: DisTransConfig = CONFIG, n_source: int = 13, n_target: int = 10):
    """(method, table, sampler, sizes, budget); odd counts, so that shards are ragged."""
    table, knowledge, source, target = problem()
    method: Method = distrans(config, knowledge)
    sampler = Sampler(source, target, n_source=n_source, n_target=n_target)
    sizes = MoleculeSizes(table)
    everything = sizes.of(np.arange(table.padding_id))
    budget = Budget(*(getattr(everything, f) + 3 for f in everything.__dataclass_fields__))
    return method, table, sampler, sizes, budget


def every_method() -> list[type]:
    """The config class of every method of the package."""
    found = []
    for info in pkgutil.iter_modules(methods.__path__, "molrel.methods."):
        module = importlib.import_module(info.name)
        found += [
            cls
            for cls in vars(module).values()
            if isinstance(cls, type) and cls.__module__ == info.name
            if dataclasses.is_dataclass(cls) and hasattr(cls, "build") and hasattr(cls, "adapts")
        ]
    return [cls for cls in found if not any(cls in other.__mro__[1:] for other in found)]


def loss_of(method: Method, params, state, batch, key, progress, axis_name=None):
    """(share of the loss, (new state, terms)) without the intermediates, whose sizes are those of
    the batch."""
    found = method.loss(params, state, batch, Context(key, progress, 0, axis_name))
    return found.loss, (found.state, found.terms)
