"""Losses of the gates of CGIB and CMRL: what a gate lets through, and what may not be known.

Every loss returns this device's share of the global loss (``molrel.collectives``).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from molrel.dtypes import widen
from molrel.losses._checks import check
from molrel.losses.supervised import masked_mean

# Standard deviations below this count as this. Equivalent atoms (the six of benzene) differ by
# rounding alone, and dividing by that would make gradients of rounding errors.
STD_FLOOR = 1e-3


def compression_cost(
    *,
    tokens: Float[Array, "n t d"],
    gate: Float[Array, "n t"],
    mean: Float[Array, "n 1 d"],
    std: Float[Array, "n 1 d"],
    mask: Bool[Array, "n t"],
    weight: Float[Array, " n"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """How much a gate lets through to a noisy copy of the tokens (CGIB's "KL" term).

    The gate l turns a token h into N(l h + (1 - l) mean, ((1 - l) std)^2) and is charged for
    what that differs from N(mean, std^2):

      sum over tokens of mean over D of  [(1 - l) std / s]^2 / 2 + [l (h - mean) / s]^2,
      s^2 = std^2 + 1e-6,

    then the weighted mean over examples. As in the code of Lee et al. (ICML 2023): neither the
    logarithm nor the constant of the divergence is there, nor the 1/2 of the second part. So
    it is not 0 anywhere: a gate that keeps nothing costs T / 2 for T tokens, one that keeps
    all costs T - 1 (std unbiased), and it is least in between. Different from that code:
    s = std + 1e-7 there.

    Args:
      tokens: N sides of at most T tokens.
      gate: share of each token that is kept, in [0, 1].
      mean, std: of each side's tokens, constants for differentiation.
      mask: False for padding tokens.
      weight: non-negative importance of each example, 0 for padding.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share of the mean; 0 when nothing has weight.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.

    Example:
      >>> tokens = jnp.array([[[1.0], [3.0]]])
      >>> arrays = dict(mask=jnp.ones((1, 2), bool), weight=jnp.ones(1), tokens=tokens)
      >>> prior = dict(mean=jnp.full((1, 1, 1), 2.0), std=jnp.full((1, 1, 1), 2**0.5))
      >>> round(float(compression_cost(gate=jnp.ones((1, 2)), **arrays, **prior)), 4)
      1.0
      >>> round(float(compression_cost(gate=jnp.zeros((1, 2)), **arrays, **prior)), 4)
      1.0
    """
    check(
        tokens=(tokens, "float N T D"),
        gate=(gate, "float N T"),
        mean=(mean, "float N one D"),
        std=(std, "float N one D"),
        mask=(mask, "bool N T"),
        weight=(weight, "real N"),
    )
    # Replaced before any formula sees them: see _known in supervised.py.
    real = mask & (jnp.asarray(weight) > 0)[:, None]
    tokens = jnp.where(real[..., None], widen(tokens), 0.0)
    gate = jnp.where(real, jnp.asarray(gate, tokens.dtype), 0.0)
    seen = real.any(axis=1)[:, None, None]
    mean, std = (
        jnp.where(seen, jax.lax.stop_gradient(jnp.asarray(x, tokens.dtype)), 0.0)
        for x in (mean, std)
    )
    variance = jnp.square(std)
    scale = variance + STD_FLOOR**2
    spread = jnp.mean(variance / scale, axis=-1)
    shift = jnp.mean(jnp.square(tokens - mean) / scale, axis=-1)
    cost = 0.5 * jnp.square(1 - gate) * spread + jnp.square(gate) * shift
    return masked_mean(jnp.sum(jnp.where(real, cost, 0.0), axis=1), weight, axis_name)


def divergence_from_uniform(
    *,
    kind: str,
    logits: Float[Array, "n t"],
    weight: Float[Array, " n"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """How far a prediction is from knowing nothing: KL(uniform || prediction).

    * binary, multilabel: [log(1 + e^l) + log(1 + e^-l)] / 2 - log 2, mean over outputs;
    * multiclass: -log C - mean over classes of log softmax(l);
    * regression: l^2, mean over outputs: up to constants KL(N(0, 1) || N(l, 1)).

    CMRL (Lee et al., KDD 2023) has the divergence in this direction, which is convex in the
    logits and pulls however wrong the prediction is. For regression its code asks the
    shortcut to predict fresh draws from N(0, 1) by squared error, whose mean over the draws is
    l^2 + 1: the same gradient in the mean, without that noise.

    Args:
      kind: of the task.
      logits: N examples, T outputs; for regression in units of standardised labels.
      weight: non-negative importance of each example, 0 for padding.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share of the mean, in nats but for regression; 0 when nothing has weight.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.

    Example:
      >>> logits = jnp.array([[0.0], [3.0]])
      >>> weight = jnp.array([0.0, 1.0])
      >>> round(float(divergence_from_uniform(kind="binary", logits=logits, weight=weight)), 4)
      0.8554
    """
    check(logits=(logits, "float N T"), weight=(weight, "real N"))
    logits = jnp.where((jnp.asarray(weight) > 0)[:, None], widen(logits), 0.0)
    if kind == "regression":
        values = jnp.mean(jnp.square(logits), axis=-1)
    elif kind == "multiclass":
        values = -math.log(logits.shape[1]) - jnp.mean(jax.nn.log_softmax(logits), axis=-1)
    else:
        both = jax.nn.softplus(logits) + jax.nn.softplus(-logits)
        values = jnp.mean(0.5 * both - math.log(2), axis=-1)
    return masked_mean(values, weight, axis_name)
