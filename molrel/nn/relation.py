"""From encoded molecules to relations between them: fusion, cross-attention, pair head."""

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


def _attend(similarity: Float[Array, "p t k"], mask: Bool[Array, "p k"]) -> Float[Array, "p t k"]:
    """Softmax over the partner's tokens; all zero where the partner has none."""
    logits = jnp.where(mask[:, None], similarity, -1e9)
    return jax.nn.softmax(logits, axis=-1) * mask[:, None].astype(logits.dtype)


def cross_attention(
    a: Float[Array, "p t d"],
    mask_a: Bool[Array, "p t"],
    b: Float[Array, "p k d"],
    mask_b: Bool[Array, "p k"],
    temperature: float = 0.25,
) -> tuple[Float[Array, "p d"], Float[Array, "p d"]]:
    """Interaction map between the tokens of two sides, attended both ways.

    I = cos(u, v); every token of a gathers from b by softmax(I / temperature) and is
    multiplied with what it gathered; the mean over a's tokens is c_{a|b}. The same from
    b to a. After the interaction map of CIGIN (Pathak et al., AAAI 2020) and CGIB (Lee et
    al., ICML 2023), moved from atoms to fragments.

    Returns:
      (c_{a|b}, c_{b|a}); swapping the arguments swaps the results.
    """

    def unit(x):
        return x / jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-6)

    similarity = jnp.einsum("ptd,pkd->ptk", unit(a), unit(b)) / temperature

    def one_way(own, own_mask, other, other_mask, sim):
        seen = jnp.einsum("ptk,pkd->ptd", _attend(sim, other_mask), other)
        weight = own_mask[..., None].astype(own.dtype)
        return jnp.sum(own * seen * weight, axis=1) / jnp.maximum(weight.sum(axis=1), 1)

    return (
        one_way(a, mask_a, b, mask_b, similarity),
        one_way(b, mask_b, a, mask_a, jnp.swapaxes(similarity, 1, 2)),
    )


class PairFeatures(nn.Module):
    """z_ab of two sides, invariant to their order where the task is symmetric.

    Symmetric: [a + b | a * b | |a - b| | c_ab + c_ba | c_ab * c_ba]; otherwise
    [a | b | a * b | c_ab | c_ba]. Then LayerNorm, Dense, ReLU to ``width``. What each side
    is given the other, c_ab and c_ba, may be left out.
    """

    width: int
    symmetric: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        a: Float[Array, "p d"],
        b: Float[Array, "p d"],
        a_given_b: Float[Array, "p d"] | None = None,
        b_given_a: Float[Array, "p d"] | None = None,
    ) -> Float[Array, "p w"]:
        parts = [a + b, a * b, jnp.abs(a - b)] if self.symmetric else [a, b, a * b]
        if a_given_b is not None and b_given_a is not None:
            given = (a_given_b, b_given_a)
            if self.symmetric:
                given = (a_given_b + b_given_a, a_given_b * b_given_a)
            parts += given
        joined = nn.LayerNorm(dtype=self.dtype, name="norm")(jnp.concatenate(parts, axis=-1))
        return jax.nn.relu(Dense(self.width, dtype=self.dtype, name="pair")(joined))


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
