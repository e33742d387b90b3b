"""One vector a molecule: moments over atoms, normalised across molecules."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from molecules import make_batch, make_table

from molrel.chem.features import FeatureConfig, featurise
from molrel.data.types import Examples
from molrel.methods.adaptation import AdaptationConfig
from molrel.methods.fingerprint_mlp import FingerprintMLPConfig
from molrel.methods.siamese import SiameseConfig
from molrel.nn.readout import CountsReadout, Readout, moments_over_atoms
from molrel.prepare import molecule_table

TABLE = make_table()
IDS = np.arange(8)
RNG = np.random.default_rng(0)


def test_moments_by_hand():
    batch = make_batch(TABLE, IDS, spare=3)
    h = jnp.asarray(RNG.normal(size=(len(batch.node_molecule), 4)), jnp.float32)
    found = np.asarray(moments_over_atoms(h, batch))
    for i in IDS:
        rows = np.asarray(h)[np.asarray(batch.node_molecule) == i]
        expected = [rows.mean(0), rows.sum(0) / 10, np.sqrt(rows.var(0) + 1e-6)]
        np.testing.assert_allclose(found[i], np.concatenate(expected), rtol=1e-5, atol=1e-5)


def test_a_single_atom_has_a_finite_gradient():
    batch = make_batch(TABLE, np.array([1, 2]))
    h = jnp.asarray(RNG.normal(size=(len(batch.node_molecule), 2)), jnp.float32)

    def value(h):
        return jnp.sum(jnp.sin(moments_over_atoms(h, batch)[:2]))

    assert np.isfinite(jax.grad(value)(h)).all()
    check_grads(value, (h.at[0].set(0.3),), order=1, modes=("rev",), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("by_domain", [False, True])
def test_padding_changes_neither_values_nor_gradients_nor_statistics(by_domain):
    module = Readout(5, by_domain)
    x = jnp.asarray(RNG.normal(size=(8, 6)), jnp.float32)

    def run(spare):
        batch = make_batch(TABLE, IDS, spare)
        domain = jnp.asarray(np.arange(8 + spare) % 2, jnp.int32)
        batch = batch.replace(domain=domain)
        padded = jnp.concatenate([x, jnp.full((spare, 6), 1e3)])
        variables = module.init(jax.random.key(0), padded, batch)

        def value(params):
            out, new = module.apply(
                {**variables, "params": params}, padded, batch, train=True, mutable=["batch_stats"]
            )
            return jnp.sum(jnp.sin(out[:8])), (out[:8], new)

        grads, found = jax.grad(value, has_aux=True)(variables["params"])
        return grads, found

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), run(0), run(5)
    )


def test_each_domain_is_normalised_by_itself():
    """A shift and a stretch of the target's molecules are gone; the source's stay as they were."""
    module = CountsReadout(4, bits=16, by_domain=True)
    batch = make_batch(TABLE, IDS)
    domain = jnp.asarray([0, 0, 0, 0, 1, 1, 1, 1])
    counts = RNG.integers(0, 3, (8, 16)).astype(np.uint8)
    batch = batch.replace(domain=domain, fingerprints=jnp.asarray(counts))
    variables = module.init(jax.random.key(0), batch)
    apply = lambda b: module.apply(variables, b, train=True, mutable=["batch_stats"])  # noqa: E731
    out, new = apply(batch)
    # Each domain alone gives the same.
    for d in (0, 1):
        alone, _ = apply(batch.replace(weight=jnp.asarray(domain == d, jnp.float32)))
        np.testing.assert_allclose(alone[domain == d], out[domain == d], atol=1e-5)
    assert new["batch_stats"]["norm"]["mean"].shape == (2, 4)
    # Statistics of a domain that is not there stay as they are.
    source = batch.replace(weight=jnp.asarray(domain == 0, jnp.float32))
    kept = apply(source)[1]["batch_stats"]["norm"]
    np.testing.assert_array_equal(kept["mean"][1], np.zeros(4))
    np.testing.assert_array_equal(kept["var"][1], np.ones(4))


VIEWS = {
    **{name: SiameseConfig(name, 64, 2) for name in ("gin", "gcn", "gat", "dmpnn")},
    "counts": FingerprintMLPConfig(width=64),
    "graph": AdaptationConfig(width=64, depth=2, weight=0.0, branches="graph"),
    "picture": AdaptationConfig(width=64, depth=2, weight=0.0, branches="picture"),
    "graph + picture": AdaptationConfig(width=64, depth=2, weight=0.0),
    "all": AdaptationConfig(width=64, depth=2, weight=0.0, fingerprints=True),
}


@pytest.fixture(scope="module")
def drugs():
    """151 drugs of ZhangDDI."""
    folder = os.environ.get("MOLREL_DATA")
    if not folder or not (Path(folder) / "ddi" / "zhangddi").exists():
        pytest.skip("needs ZhangDDI in MOLREL_DATA")
    from molrel.data import catalog

    smiles = catalog.load("zhangddi").molecules
    order = np.random.default_rng(0).permutation(len(smiles))[:151]
    config = FeatureConfig(picture_size=32)
    return config, [featurise(smiles[i], config) for i in order]


@pytest.mark.staged
@pytest.mark.parametrize("name", VIEWS)
def test_drugs_differ_before_anything_is_learned(name, drugs):
    """Mean pairwise cosine of initial embeddings in a batch; .96 behind a mean over atoms."""
    features_config, features = drugs
    config = VIEWS[name]
    table = molecule_table(features, features_config, None, config.needs)
    batch = make_batch(table, np.arange(151))
    method = config.build(None, kind="binary", n_outputs=1, symmetric=True)
    assert mean_cosine(method, batch) < 0.6


def mean_cosine(method, molecules):
    """Of the embeddings as training sees them: normalised by the batch's own statistics."""
    from molrel.methods.batch import Batch
    from molrel.methods.method import Context

    pairs = Examples.pairs(np.stack([np.arange(151), np.roll(np.arange(151), 1)], 1), np.ones(151))
    batch = Batch(
        molecules=molecules,
        sides=tuple(jnp.asarray(side.ids)[:, None] for side in pairs.sides),
        labels=jnp.ones((151, 1), jnp.float32),
        mask=jnp.ones(151, bool),
        domain=jnp.zeros(151, jnp.int32),
        weight=jnp.ones(151, jnp.float32),
    )
    params, state = method.init(jax.random.key(0), batch)
    out = method.loss(params, state, batch, Context(jax.random.key(1), 0.0)).out
    z = np.asarray(out["molecule/z"], np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return ((z @ z.T).sum() - 151) / (151 * 150)
