"""A few real pairs, for the tests of CIGIN, CGIB and CMRL."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from problem import loss_of, problem

from molrel.data.batches import MoleculeSizes, index_batch
from molrel.data.types import Examples
from molrel.methods.batch import gather_batch
from molrel.methods.cgib import CGIBConfig
from molrel.methods.cigin import CIGINConfig
from molrel.methods.cmrl import CMRLConfig

CIGIN, CGIB, CMRL = CIGINConfig(8, 1), CGIBConfig(8, 1), CMRLConfig(8, 1)
CONFIGS = CIGIN, CGIB, CMRL
TABLE = problem()[0]
N = 11
PAIRS = np.random.default_rng(0).integers(0, 16, (N, 2))
LABELS = (PAIRS.sum(1) % 2).astype(np.float32)[:, None]


def make_batch(labels=LABELS, extra=0):
    """Eleven source pairs and, with ``extra``, the first pairs again."""
    rows = np.arange(N + extra) % N
    sizes = MoleculeSizes(TABLE)
    budget = sizes.of(np.arange(TABLE.padding_id))
    examples = Examples.pairs(PAIRS[rows], labels[rows])
    packed = index_batch(examples, len(rows), budget, sizes, (1, 1))
    assert packed is not None
    return gather_batch(TABLE, jax.tree.map(jnp.asarray, packed))


def build(config, kind="binary", n_outputs=1, symmetric=True):
    """The method."""
    return config.build(None, kind=kind, n_outputs=n_outputs, symmetric=symmetric)


def random_params(method, batch):
    """Parameters of the right shapes, without compiling the method's ``init``."""
    shapes = jax.eval_shape(method.init, jax.random.key(0), batch).params
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype), shapes)


@cache
def setting(config):
    """(binary batch, initial params)."""
    batch = make_batch()
    return batch, jax.jit(build(config).init)(jax.random.key(0), batch).params


@cache
def compiled(config):
    """(params, batch, key) -> (loss and terms), gradients of the binary symmetric task."""
    method = build(config)

    def loss(params, batch, key):
        total, (_, terms) = loss_of(method, params, {}, batch, key, 0.5)
        return total, terms

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def assert_near(one, other):
    """Equal but for rounding, leaf by leaf."""
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5), one, other)
