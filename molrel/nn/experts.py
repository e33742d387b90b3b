"""Linear experts and the embedding that a gate sees, on top of ``MoleculeNetwork``."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from molrel.nn.batch_norm import BatchNorm
from molrel.nn.graph import Molecules
from molrel.nn.hu import linear, uniform
from molrel.nn.molecule import Atoms, MoleculeNetwork
from molrel.nn.relation import Sides


class ExpertNetwork(nn.Module):
    """K linear maps for each target, and a gate embedding, of each example.

    Input of the experts: the representation that the single-head model feeds to its head. The gate
    sees the sum over all atoms of all molecules of the example, through Dense, BatchNorm, ReLU and
    Dense.

    Attributes:
      body: encodes molecules.
      n_outputs: targets T.
      experts: K.
      gate_width: Z of the gate embedding.
      kernel_bound: initial values of the experts' kernels are uniform within it.
    """

    body: MoleculeNetwork
    n_outputs: int
    experts: int
    gate_width: int
    kernel_bound: float

    def setup(self):
        width, count = self.body.width, self.n_outputs * self.experts
        self.hidden = linear(self.gate_width, width)
        self.norm = BatchNorm()
        self.gate = linear(self.gate_width, self.gate_width)
        self.kernel = self.param("kernel", uniform(self.kernel_bound), (width, count))
        self.bias = self.param("bias", uniform(1 / math.sqrt(width)), (count,))
        self.centroids = self.param(
            "centroids", nn.initializers.xavier_normal(), (self.experts, self.gate_width)
        )

    def encode(
        self,
        m: Molecules,
        weight: Float[Array, " u"] | None = None,
        train: bool = False,
        axis_name: str | None = None,
    ) -> Atoms:
        """Encodes each unique molecule once."""
        return self.body.encode(m, weight, train, axis_name)

    def relate(
        self,
        e: Atoms,
        sides: Sides,
        mask: Bool[Array, " p"] | None = None,
        train: bool = False,
        axis_name: str | None = None,
    ) -> tuple[Float[Array, "p t k"], Float[Array, "p z"]]:
        """(logits of every expert, gate embedding) of the examples.

        ``mask`` tells the real examples, over which the gate's BatchNorm takes its statistics.
        """
        logits = self.body.represent(e, sides) @ self.kernel + self.bias[None]
        total = jnp.zeros((len(sides[0]), e.total.shape[1]))
        for side in sides:
            present = (side >= 0)[..., None].astype(e.total.dtype)
            total += jnp.sum(e.total[side] * present.astype(e.total.dtype), axis=1)
        weight = None if mask is None else mask.astype(total.dtype)
        hidden = self.norm(self.hidden(total), weight, train=train, axis_name=axis_name)
        shape = len(sides[0]), self.n_outputs, self.experts
        return logits.reshape(shape), self.gate(jax.nn.relu(hidden))

    def __call__(
        self,
        m: Molecules,
        sides: Sides,
        weight: Float[Array, " u"] | None = None,
        mask: Bool[Array, " p"] | None = None,
        train: bool = False,
        axis_name: str | None = None,
    ) -> tuple[Float[Array, "p t k"], Float[Array, "p z"]]:
        """``relate`` of the encoded molecules."""
        return self.relate(self.encode(m, weight, train, axis_name), sides, mask, train, axis_name)
