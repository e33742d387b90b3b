"""From atoms to one vector a molecule that differs from molecule to molecule.

A mean over atoms of different drugs is nearly the same vector, and a head behind it learns next to
nothing. So a molecule shows mean, sum and spread of its atoms (moments of Principal Neighbourhood
Aggregation, Corso et al., NeurIPS 2020), and what stands before the head is normalised *across
molecules*: each counts once in the statistics, however many atoms, examples or devices hold it.
"""

from __future__ import annotations

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from molrel.dtypes import widen
from molrel.nn import graph as ops
from molrel.nn.batch_norm import BatchNorm
from molrel.nn.dense import Dense
from molrel.nn.graph import Molecules


@flax.struct.dataclass
class Pooled:
    """z: f32 [U, D], one vector a molecule."""

    z: Float[Array, "u d"]


TYPICAL_ATOMS = 10  # sums are divided by it, so that they are of the size of means


def moments_over_atoms(h: Float[Array, "n d"], molecules: Molecules) -> Float[Array, "u 3*d"]:
    """[mean | sum / 10 | standard deviation] of the atoms of each molecule; float32.

    A molecule of one atom has spread 0, with a finite gradient; rows of padding hold no meaning.
    """
    m, h = molecules, widen(h)
    n = len(m.ids)
    total = ops.segment_sum(h, m.node_molecule, n)
    mean = total / jnp.maximum(m.graph.n_node[:-1], 1).astype(h.dtype)[:, None]
    rows = jnp.concatenate([mean, jnp.zeros_like(mean[:1])])  # padding atoms have molecule U
    square = ops.segment_mean(jnp.square(h - rows[m.node_molecule]), m.node_molecule, n)
    return jnp.concatenate([mean, total / TYPICAL_ATOMS, jnp.sqrt(square + 1e-6)], axis=-1)


class Readout(nn.Module):
    """ReLU(W BatchNorm(x)) of one row a molecule, each molecule counted once.

    Attributes:
      width: of the result.
      by_domain: see ``BatchNorm``.
      dtype: of the matrix product; the statistics are float32.
    """

    width: int
    by_domain: bool = False
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "u d"],
        molecules: Molecules,
        *,
        train: bool = False,
        axis_name: str | None = None,
    ) -> Float[Array, "u w"]:
        m = molecules
        norm = BatchNorm(by_domain=self.by_domain, name="norm")
        x = norm(widen(x), m.weight, m.domain, train=train, axis_name=axis_name)
        return jax.nn.relu(Dense(self.width, dtype=self.dtype, name="dense")(x))


class CountsReadout(nn.Module):
    """ReLU(BatchNorm(W log(1 + counts))) of the folded fingerprint of each molecule.

    Counts are too sparse to be normalised column by column, so what is made of them is.

    Attributes:
      width: of the result.
      bits: length that the fingerprints are folded to; divides theirs.
      by_domain: see ``BatchNorm``.
    """

    width: int
    bits: int = 1024
    by_domain: bool = False

    @nn.compact
    def __call__(
        self, molecules: Molecules, *, train: bool = False, axis_name: str | None = None
    ) -> Float[Array, "u w"]:
        m = molecules
        assert m.fingerprints is not None
        folded = m.fingerprints.astype(jnp.float32).reshape(len(m.ids), -1, self.bits).sum(axis=1)
        x = Dense(self.width, use_bias=False, name="dense")(jnp.log1p(folded))
        norm = BatchNorm(by_domain=self.by_domain, name="norm")
        return jax.nn.relu(norm(x, m.weight, m.domain, train=train, axis_name=axis_name))
