"""From encoded molecules to relations between them: fusion, sides, pair head."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from molrel.nn.dense import Dense

# Molecules of each side of P pairs, as indices; -1 is padding. A side has as many columns as its
# largest bag.
Sides = tuple[Int[Array, "p _"], ...]


class GatedFusion(nn.Module):
    """z = g * W1 z_graph + (1 - g) * W2 z_picture, g = sigmoid(W [z_graph | z_picture])."""

    width: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, graph: Float[Array, "u d"], picture: Float[Array, "u c"]
    ) -> Float[Array, "u w"]:
        both = jnp.concatenate([graph, picture.astype(graph.dtype)], axis=-1)
        gate = jax.nn.sigmoid(Dense(self.width, dtype=self.dtype, name="gate")(both))
        left = Dense(self.width, dtype=self.dtype, name="graph")(graph)
        right = Dense(self.width, dtype=self.dtype, name="picture")(picture)
        return gate * left + (1 - gate) * right


def side_mean(z: Float[Array, "u d"], side: Int[Array, "p s"]) -> Float[Array, "p d"]:
    """Mean of the molecules of each bag; ``side`` indexes z, -1 pads."""
    mask = (side >= 0)[..., None].astype(z.dtype)
    return jnp.sum(z[side] * mask, axis=1) / jnp.maximum(mask.sum(axis=1), 1)


def side_tokens(
    fragments: Float[Array, "u f d"],
    fragment_mask: Bool[Array, "u f"],
    z: Float[Array, "u d"],
    side: Int[Array, "p s"],
) -> tuple[Float[Array, "p t d"], Bool[Array, "p t"]]:
    """What a side shows to its partner: fragments if it is one molecule, else molecules.

    Each example is judged by itself: a single molecule shows the same in a batch of single
    molecules and in one padded for larger bags. T is then the larger of F and S.
    """
    first, present = side[:, 0], side >= 0
    of_first = fragment_mask[first] & present[:, :1]
    if side.shape[1] == 1:
        return fragments[first], of_first
    n_tokens = max(fragments.shape[1], side.shape[1])

    def pad(x: Array) -> Array:
        return jnp.pad(x, [(0, 0), (0, n_tokens - x.shape[1]), *[(0, 0)] * (x.ndim - 2)])

    single = (present.sum(axis=1) == 1)[:, None]
    tokens = jnp.where(single[..., None], pad(fragments[first]), pad(z[side]))
    return tokens, jnp.where(single, pad(of_first), pad(present))


class PairFeatures(nn.Module):
    """z_ab of two sides that have met already, invariant to their order in a symmetric task.

    Symmetric: [a + b | a * b | |a - b|]; otherwise [a | b | a * b]. Then LayerNorm, Dense, ReLU
    to ``width``.
    """

    width: int
    symmetric: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        a: Float[Array, "p d"],
        b: Float[Array, "p d"],
    ) -> Float[Array, "p w"]:
        parts = [a + b, a * b, jnp.abs(a - b)] if self.symmetric else [a, b, a * b]
        joined = nn.LayerNorm(dtype=self.dtype, name="norm")(jnp.concatenate(parts, axis=-1))
        return jax.nn.relu(Dense(self.width, dtype=self.dtype, name="pair")(joined))


class PairLayer(nn.Module):
    """First layer on pairs of molecules, invariant to their order where the task is symmetric.

    Symmetric: ReLU of a linear map of [a + b | a * b | |a - b|]; otherwise of [a | b | a * b].
    What is linear in a molecule is computed once a molecule and not once a pair. A bag of molecules
    shows their mean. The molecules are normalised already (``nn.readout``).
    """

    width: int
    symmetric: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, z: Float[Array, "u d"], sides: Sides) -> Float[Array, "p w"]:
        def linear(name: str, x: Array, bias: bool = False) -> Array:
            return Dense(self.width, use_bias=bias, dtype=self.dtype, name=name)(x)

        first = linear("first", z, bias=True)
        second = first if self.symmetric else linear("second", z)
        a, b = (side_mean(z, side) for side in sides)
        h = side_mean(first, sides[0]) + side_mean(second, sides[1]) + linear("product", a * b)
        if self.symmetric:
            h += linear("difference", jnp.abs(a - b))
        return jax.nn.relu(h)


class MLP(nn.Module):
    """Dense layers with ReLU between; ``norm`` adds LayerNorm after each hidden layer."""

    widths: tuple[int, ...]
    norm: bool = False
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... o"]:
        for i, width in enumerate(self.widths[:-1]):
            x = Dense(width, dtype=self.dtype, name=f"dense_{i}")(x)
            if self.norm:
                x = nn.LayerNorm(dtype=self.dtype, name=f"norm_{i}")(x)
            x = jax.nn.relu(x)
        return Dense(self.widths[-1], name="out")(x)
