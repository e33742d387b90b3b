"""Encoders: padding and permutation invariance, both message paths, architecture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from molecules import make_batch, make_table

from molrel.nn.gine import GINE, FragmentPool, mean_over_atoms

TABLE = make_table()
IDS = np.array([5, 0, 3, 1, 7, 6])


def encode(params, batch, path="slots"):
    """Mean atom embedding and fragment embeddings."""
    h = GINE(16, 2, message_path=path).apply(params["gine"], batch)
    u = FragmentPool(16).apply(params["pool"], h, batch)
    return mean_over_atoms(h, batch), u


@pytest.fixture(scope="module")
def params():
    batch = make_batch(TABLE, IDS, spare=1)
    gine = GINE(16, 2)
    variables = gine.init(jax.random.key(0), batch)
    h = gine.apply(variables, batch)
    return {"gine": variables, "pool": FragmentPool(16).init(jax.random.key(1), h, batch)}


def loss(params, batch, path="slots"):
    z, u = encode(params, batch, path)
    return jnp.sum(z[: len(IDS)] ** 2) + jnp.sum(jnp.sin(u[: len(IDS)]))


@pytest.mark.slow
def test_more_padding_changes_neither_values_nor_gradients(params):
    tight, loose = make_batch(TABLE, IDS), make_batch(TABLE, IDS, spare=9)
    for a, b in zip(encode(params, tight), encode(params, loose)):
        np.testing.assert_allclose(a, b[: len(IDS)], atol=1e-5)
    gradients = [jax.grad(loss)(params, batch) for batch in (tight, loose)]
    for a, b in zip(*map(jax.tree.leaves, gradients)):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_order_of_molecules_only_permutes_the_rows(params):
    order = np.array([3, 1, 5, 0, 2, 4])
    a, b = (encode(params, make_batch(TABLE, ids)) for ids in (IDS, IDS[order]))
    np.testing.assert_allclose(a[0][order], b[0], atol=1e-5)
    np.testing.assert_allclose(a[1][order], b[1], atol=1e-5)


def test_both_message_paths_agree(params):
    batch = make_batch(TABLE, IDS, spare=2)
    np.testing.assert_allclose(loss(params, batch), loss(params, batch, "segments"), rtol=1e-5)


def test_bfloat16_keeps_parameters_in_float32():
    batch = make_batch(TABLE, IDS)
    gine = GINE(16, 2, dtype=jnp.bfloat16)
    with jax.numpy_dtype_promotion("standard"):  # of flax's LayerNorm
        variables = gine.init(jax.random.key(0), batch)
        assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
        assert gine.apply(variables, batch).dtype == jnp.bfloat16


def test_fragment_embedding_reads_the_adjacent_fragments(params):
    # The same benzoyl fragment beside different partners must differ after the one step.
    table = make_table(("O=C(c1ccccc1)NCC", "O=C(c1ccccc1)OCCCC"))
    batch = make_batch(table, np.array([0, 1]))
    cut = batch.replace(fragment_adjacency=jnp.zeros_like(batch.fragment_adjacency))
    assert not np.allclose(encode(params, batch)[1], encode(params, cut)[1], atol=1e-3)


def test_architecture_is_frozen():
    batch = make_batch(TABLE, IDS)
    shapes = jax.eval_shape(GINE(16, 2).init, jax.random.key(0), batch)["params"]
    counts = {name: sum(x.size for x in jax.tree.leaves(v)) for name, v in shapes.items()}
    # atoms 133*16+16; a layer: eps 1, bonds 14*16, up 16*32+32, down 32*16+16, norm 32
    assert counts == {"atoms": 2144, "layer_0": 1329, "layer_1": 1329, "join": 784}
