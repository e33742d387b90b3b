"""Encoders of Hu et al.: against PyTorch Geometric, dense formulas, padding, crowded atoms."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from molecules import SMILES, exact_budget
from problem import permuted

from molrel.chem.features import FeatureConfig, featurise
from molrel.data.table import build_table
from molrel.nn.graph import gather
from molrel.nn.hu import CONVOLUTIONS, HuEncoder

CONFIG = FeatureConfig(scheme="hu", picture_size=16)
EXTRA = ("C/C=C/[C@H](O)N", "[NH3]->[Cu]Cl")
FEATURES = [featurise(s, CONFIG) for s in (*SMILES, *EXTRA)]
IDS = np.array([8, 5, 0, 3, 1, 9, 6, 4])
WIDTH, DEPTH = 8, 2
every_convolution = pytest.mark.parametrize("name", CONVOLUTIONS)


def table_of(features):
    return build_table(
        features, CONFIG, type_map=np.arange(72), groups=np.zeros(0, int), pictures=False
    )


TABLE = table_of(FEATURES)


def make_batch(table, ids, spare=0):
    padded = np.concatenate([ids, np.full(spare, table.padding_id)]).astype(np.int32)
    return gather(table, padded, exact_budget(table, ids, spare))


def encoder(name):
    return HuEncoder(name, WIDTH, DEPTH, dropout=0.0)


@cache
def variables_of(name):
    """Variables whose every parameter is random and different from 0."""
    shapes = jax.eval_shape(encoder(name).init, jax.random.key(0), make_batch(TABLE, IDS))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: (0.4 * rng.normal(size=x.shape)).astype(np.float32), shapes["params"]
    )
    statistics = {
        norm: {"mean": np.zeros(WIDTH, np.float32), "var": np.ones(WIDTH, np.float32)}
        for norm in shapes["batch_stats"]
    }
    return {"params": params, "batch_stats": statistics}


@cache
def runner(name, train):
    """(variables, batch, weight) -> (atoms, new statistics), jitted."""

    def run(variables, batch, weight):
        return encoder(name).apply(variables, batch, weight, train=train, mutable=["batch_stats"])

    return jax.jit(run)


def ones(batch):
    return batch.mask.astype(jnp.float32)


@pytest.mark.slow
@every_convolution
def test_same_as_pytorch_geometric(name, tmp_path):
    python = os.environ.get("MOLREL_TORCH_PYTHON", sys.executable)
    probe = subprocess.run([python, "-c", "import torch_geometric"], capture_output=True)
    if probe.returncode:
        pytest.skip("no PyTorch Geometric; MOLREL_TORCH_PYTHON names a Python that has it")
    batch, variables = make_batch(TABLE, IDS), variables_of(name)
    offsets = np.cumsum([0, *(len(FEATURES[i].atom_codes) for i in IDS)])
    arrays = {
        "atoms": np.concatenate([FEATURES[i].atom_codes for i in IDS]),
        "bonds": np.concatenate([FEATURES[i].bond_codes for i in IDS]),
        "senders": np.concatenate([FEATURES[i].senders + o for i, o in zip(IDS, offsets)]),
        "receivers": np.concatenate([FEATURES[i].receivers + o for i, o in zip(IDS, offsets)]),
        "kind": name,
        "depth": DEPTH,
        **flatten_dict(variables["params"], sep="."),
    }
    np.savez(tmp_path / "arrays.npz", **arrays)
    script = Path(__file__).with_name("hu_reference.py")
    command = [python, str(script), str(tmp_path / "arrays.npz"), str(tmp_path / "out.npz")]
    subprocess.run(command, check=True, env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"})
    expected = dict(np.load(tmp_path / "out.npz"))
    plain, _ = runner(name, False)(variables, batch, ones(batch))
    trained, new = runner(name, True)(variables, batch, ones(batch))
    np.testing.assert_allclose(plain, expected["plain"], rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(trained, expected["trained"], rtol=2e-4, atol=2e-4)
    for path, value in flatten_dict(new["batch_stats"], sep=".").items():
        np.testing.assert_allclose(value, expected[path], rtol=2e-4, atol=2e-5)


def dense_convolution(name, p, h, codes):
    """One layer by plain sums over an [n, n] table of bonds; codes [n, n, B] or None."""

    def affine(x, layer):
        return x @ np.asarray(p[layer]["kernel"], float) + np.asarray(p[layer]["bias"], float)

    n, table = len(h), np.asarray(p["bonds"]["kernel"], float)
    loop = table[4] + table[6]
    linked = np.array([[codes[v][u] is not None or u == v for u in range(n)] for v in range(n)])

    def bond(v, u):
        return loop if u == v else codes[v][u] @ table

    x = h if name == "gin" else affine(h, "linear")
    sent = {(v, u): x[u] + bond(v, u) for v in range(n) for u in range(n) if linked[v, u]}
    degree = linked.sum(1)
    if name == "gin":
        total = np.stack([sum(sent[v, u] for u in np.flatnonzero(linked[v])) for v in range(n)])
        return affine(np.maximum(affine(total, "up"), 0), "down")
    if name == "gcn":
        weight = linked / np.sqrt(np.outer(degree, degree))
        return np.stack(
            [sum(weight[v, u] * sent[v, u] for u in np.flatnonzero(linked[v])) for v in range(n)]
        )
    if name == "sage":
        mean = np.stack(
            [np.mean([sent[v, u] for u in np.flatnonzero(linked[v])], 0) for v in range(n)]
        )
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)
    a = np.asarray(p["attention"], float)
    out = np.zeros((n, *a.shape[1:]))
    for k in range(a.shape[1]):
        own = x.reshape(n, *a.shape[1:])[:, k] @ a[0, k]
        parts = {vu: s.reshape(a.shape[1:])[k] for vu, s in sent.items()}
        logit = {(v, u): own[v] + parts[v, u] @ a[1, k] for v, u in parts}
        weight = {vu: np.exp(max(x, 0.2 * x)) for vu, x in logit.items()}
        for u in range(n):
            total = sum(weight[v, u] for v in range(n) if linked[v, u])
            for v in np.flatnonzero(linked[:, u]):
                out[v, k] += weight[v, u] / total * parts[v, u]
    return out.mean(1) + np.asarray(p["bias"], float)


@every_convolution
@pytest.mark.parametrize("spare", [0, 3])
def test_same_as_the_dense_formula(name, spare):
    batch, variables = make_batch(TABLE, IDS, spare), variables_of(name)
    n = int(batch.node_mask.sum())
    codes = [[None] * n for _ in range(n)]
    for u, v, e, real in zip(
        *map(np.asarray, (batch.graph.senders, batch.graph.receivers, batch.edges)),
        np.asarray(batch.edge_mask),
    ):
        if real:
            codes[v][u] = np.asarray(e, float)
    p = variables["params"]
    h = np.asarray(batch.nodes, float)[:n] @ np.asarray(p["atoms"]["kernel"], float)
    for i in range(DEPTH):
        h = dense_convolution(name, p[f"layer_{i}"], h, codes)
        h = h / np.sqrt(1 + 1e-5) * p[f"norm_{i}"]["scale"] + p[f"norm_{i}"]["bias"]
        h = h if i == DEPTH - 1 else np.maximum(h, 0)
    got, _ = runner(name, False)(variables, batch, ones(batch))
    assert np.abs(h).max() > 0.3 and np.isfinite(got).all()
    np.testing.assert_allclose(got[:n], h, rtol=1e-4, atol=1e-4)


@every_convolution
def test_padding_changes_neither_values_nor_gradients_nor_statistics(name):
    draw = np.random.default_rng(3).normal(size=(1, WIDTH)).astype(np.float32)

    @jax.jit
    def run(params, batch):
        def loss(params):
            variables = {"params": params, "batch_stats": variables_of(name)["batch_stats"]}
            h, new = encoder(name).apply(
                variables, batch, ones(batch), train=True, mutable=["batch_stats"]
            )
            value = jnp.sum(jnp.where(batch.node_mask[:, None], jnp.sin(h) * draw, 0))
            return value, (new, value)

        return jax.grad(loss, has_aux=True)(params)

    params = variables_of(name)["params"]
    tight, loose = (run(params, make_batch(TABLE, IDS, spare)) for spare in (0, 9))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4), tight, loose)


@every_convolution
def test_order_of_atoms_only_permutes_the_rows(name):
    f = featurise(SMILES[6], CONFIG)
    order = np.random.default_rng(0).permutation(len(f.atom_codes))
    other = permuted(f, order)
    variables = variables_of(name)
    one, two = (
        runner(name, False)(variables, make_batch(table_of([x]), [0]), jnp.ones(1))[0]
        for x in (f, other)
    )
    np.testing.assert_allclose(one[order], two, rtol=1e-4, atol=1e-5)


@every_convolution
def test_molecules_without_any_bond(name):
    batch = make_batch(table_of([FEATURES[1], FEATURES[4]]), [1, 0])
    got, _ = runner(name, True)(variables_of(name), batch, ones(batch))
    assert np.isfinite(got).all()


def test_attention_of_any_strength_is_finite():
    batch, variables = make_batch(TABLE, IDS), variables_of("gat")

    def strong(path, x):
        return x * 1000 if path[-1].key == "attention" else x

    def loss(params):
        params = jax.tree_util.tree_map_with_path(strong, params)
        h, _ = encoder("gat").apply(
            {**variables, "params": params}, batch, ones(batch), train=True, mutable=["batch_stats"]
        )
        return jnp.sum(jnp.where(batch.node_mask[:, None], jnp.sin(h), 0))

    value, gradient = jax.jit(jax.value_and_grad(loss))(variables["params"])
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_a_giant_beside_molecules_without_bonds():
    giant = featurise("C" * 492, replace(CONFIG, max_atoms=500))
    batch = make_batch(table_of([FEATURES[1], giant, FEATURES[4]]), [2, 1, 0])
    variables = variables_of("gin")

    def loss(params):
        h, _ = encoder("gin").apply(
            {**variables, "params": params}, batch, ones(batch), train=True, mutable=["batch_stats"]
        )
        return jnp.sum(jnp.where(batch.node_mask[:, None], jnp.sin(h), 0))

    value, gradient = jax.jit(jax.value_and_grad(loss))(variables["params"])
    assert int(batch.node_mask.sum()) == 492 + 1 + 2 and np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_initial_values_are_those_of_the_reference():
    params = HuEncoder("gin", 300, 1).init(jax.random.key(0), make_batch(TABLE, IDS))["params"]
    atoms, layer = params["atoms"]["kernel"], params["layer_0"]
    for table, bound in (
        (atoms[:119], np.sqrt(6 / 419)),
        (atoms[119:], np.sqrt(6 / 304)),
        (layer["bonds"]["kernel"][:6], np.sqrt(6 / 306)),
        (layer["up"]["kernel"], 300**-0.5),
        (layer["up"]["bias"], 300**-0.5),
        (layer["down"]["kernel"], 600**-0.5),
    ):
        assert 0.97 * bound < np.abs(table).max() <= bound
        assert abs(float(table.mean())) < 0.1 * bound
