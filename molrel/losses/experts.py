"""Mixtures of experts behind a clustering gate: assignments and the losses of TopExpert.

Kim et al., "Learning Topology-Specific Experts for Molecular Property Prediction" (AAAI 2023),
after their code (github.com/kimsu55/ToxExpert). N examples, T targets, K experts, gate
embeddings of width Z. Every loss returns this device's share (``molrel.collectives``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from molrel.collectives import gather_sum, share
from molrel.dtypes import widen
from molrel.losses._checks import check
from molrel.losses.supervised import masked_mean

TINY = 1e-10


def student_t_assignment(
    z: Float[Array, "n z"], centroids: Float[Array, "k z"]
) -> Float[Array, "n k"]:
    """q_ik = (1 + |z_i - mu_k|^2)^-1, rows scaled to sum 1 (Xie et al., ICML 2016, eq. 1).

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.
    """
    check(z=(z, "float N Z"), centroids=(centroids, "float K Z"))
    z = widen(z)
    centroids = centroids.astype(z.dtype)
    near = 1 / (1 + jnp.sum(jnp.square(z[:, None] - centroids[None]), axis=-1))
    return near / jnp.sum(near, axis=1, keepdims=True)


def sharpened_target(
    q: Float[Array, "n k"], mask: Bool[Array, " n"], axis_name: str | None = None
) -> Float[Array, "n k"]:
    """p_ik = q_ik^2 / sum_i q_ik, rows scaled to sum 1; a constant for differentiation.

    DEC's target distribution (Xie et al., ICML 2016, eq. 3): confident assignments are
    strengthened, large clusters weakened. Sums run over the real examples of all devices.
    """
    q = jax.lax.stop_gradient(_real(q, mask))
    size = gather_sum(mask.astype(q.dtype) @ q, axis_name)
    sharp = jnp.square(q) / jnp.maximum(size, TINY)[None]
    return sharp / jnp.maximum(jnp.sum(sharp, axis=1, keepdims=True), TINY)


def clustering_loss(
    p: Float[Array, "n k"],
    q: Float[Array, "n k"],
    mask: Bool[Array, " n"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean over examples of KL(p || q), in nats; the gradient flows into q alone."""
    p, q = jax.lax.stop_gradient(_real(p, mask)), _real(q, mask)
    divergence = jnp.sum(p * (jnp.log(p + TINY) - jnp.log(q + TINY)), axis=1)
    return masked_mean(divergence, mask, axis_name)


def alignment_loss(
    q: Float[Array, "n k"],
    scaffolds: Float[Array, "n z"],
    centroids: Float[Array, "k z"],
    mask: Bool[Array, " n"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean over examples of sum_k q_ik (1 - cos(e_i, mu_k)); the gradient flows into all.

    Args:
      q: assignments.
      scaffolds: e, the embedding of each example's scaffold.
      centroids: mu.
      mask: False for padding examples.
      axis_name: device axis.
    """

    def unit(x: Array) -> Array:
        return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)

    scaffolds = _real(scaffolds, mask)
    cosine = unit(scaffolds) @ unit(centroids.astype(scaffolds.dtype)).T
    apart = jnp.sum(_real(q, mask) * (1 - cosine), axis=1)
    return masked_mean(apart, mask, axis_name)


def _real(rows: Float[Array, "n d"], mask: Bool[Array, " n"]) -> Float[Array, "n d"]:
    """The rows with 1 in those of padding, before any formula sees them."""
    return jnp.where(mask[:, None], widen(rows), 1)


def gumbel_softmax(
    key: Key[Array, ""], q: Float[Array, "n k"], temperature: float | Float[Array, ""]
) -> Float[Array, "n k"]:
    """softmax((log q + Gumbel noise) / temperature), a soft draw from the rows of q.

    Jang et al., "Categorical reparameterization with Gumbel-softmax" (ICLR 2017), eq. 2. At a
    high temperature every draw is nearly uniform, whatever q.
    """
    noise = jax.random.gumbel(key, q.shape, q.dtype)
    return jax.nn.softmax((jnp.log(q + TINY) + noise) / temperature, axis=-1)


def expert_loss(
    losses: Float[Array, "n t k"],
    gate: Float[Array, "n k"],
    known: Bool[Array, "n t"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """(1/T) sum_t sum_k [sum_i g_ik m_it c_itk / sum_i g_ik m_it].

    Every (target, expert) is a weighted mean of its own, and the means of the K experts are
    added up: the value is about K times a mean loss, and the weights of other terms are
    relative to that. The gradient also flows through the weights g.

    Args:
      losses: c, of every expert for every label; of any value where unknown.
      gate: g, weights of the experts for each example.
      known: m, whether the example is real and its label known.
      axis_name: device axis.
    """
    check(losses=(losses, "float N T K"), gate=(gate, "float N K"), known=(known, "bool N T"))
    safe = jnp.where(known[..., None], widen(losses), 0)
    gate = jnp.where(known.any(axis=1, keepdims=True), gate.astype(safe.dtype), 0)
    weight = known.astype(gate.dtype)
    total = gather_sum(jnp.einsum("nk,ntk->tk", gate, safe), axis_name)
    size = gather_sum(jnp.einsum("nk,nt->tk", gate, weight), axis_name)
    return share(jnp.sum(total / (size + TINY)) / known.shape[1], axis_name)
