"""Domain-adversarial losses: the discriminator's cross-entropy, its accuracy, the schedule.

After Ganin et al., "Domain-adversarial training of neural networks" (JMLR 2016). The
reversal itself is ``molrel.nn.gradient_reversal``.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from molrel.collectives import sum_counts
from molrel.dtypes import widen
from molrel.losses._checks import check
from molrel.losses.supervised import masked_mean


def domain_cross_entropy(
    *,
    logits: Float[Array, "*shape"],
    source_weight: Shaped[Array, "*shape"],
    target_weight: Shaped[Array, "*shape"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Cross-entropy of a domain discriminator, each domain counting for one half.

    1/2 [mean over source of BCE(D, 1) + mean over target of BCE(D, 0)]. The means are
    separate so that neither the sizes of the domains nor those of the batches matter.

    Args:
      logits: discriminator outputs of any shape, such as [N] examples or [U, F] fragments;
        positive means source.
      source_weight: non-negative number of occurrences in the source half of the batch,
        0 for padding, same shape.
      target_weight: likewise for the target. A molecule in both domains has both.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share, in nats (log 2 for a discriminator that knows nothing); a domain without
      weight contributes 0.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.

    Example:
      >>> source, target = jnp.array([1.0, 0.0]), jnp.array([0.0, 3.0])
      >>> round(float(domain_cross_entropy(
      ...     logits=jnp.zeros(2), source_weight=source, target_weight=target)), 4)
      0.6931
    """
    logits = _clean(logits, source_weight, target_weight)
    source = masked_mean(jax.nn.softplus(-logits), source_weight, axis_name)
    target = masked_mean(jax.nn.softplus(logits), target_weight, axis_name)
    return 0.5 * (source + target)


def domain_accuracy(
    *,
    logits: Float[Array, "*shape"],
    source_weight: Shaped[Array, "*shape"],
    target_weight: Shaped[Array, "*shape"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Balanced accuracy of a domain discriminator, to be watched and not differentiated.

    Mean over the domains that are present of the weighted share that is told right; a logit
    of exactly 0 is right by half.

    Args:
      logits: discriminator outputs, any shape; positive means source.
      source_weight: occurrences in the source, as in ``domain_cross_entropy``.
      target_weight: occurrences in the target.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share; summed over devices it is in [0, 1], 0.5 being chance. 0 when neither
      domain has weight.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.
    """
    logits = jax.lax.stop_gradient(_clean(logits, source_weight, target_weight))
    says_source = 0.5 * (1.0 + jnp.sign(logits))
    weights = source_weight, target_weight
    return _mean_of_domains((says_source, 1.0 - says_source), weights, axis_name)


def mean_one(
    coefficient: Float[Array, "*shape"],
    *,
    source_weight: Shaped[Array, "*shape"],
    target_weight: Shaped[Array, "*shape"],
    axis_name: str | None = None,
) -> Float[Array, "*shape"]:
    """Reversal coefficients in proportion, scaled so that their mean size in the batch is 1.

    The domains count for one half each, as in ``domain_cross_entropy``: however coefficients
    are spread over the batch, they reverse as much in sum as a coefficient of 1 everywhere.

    Args:
      coefficient: of any sign and shape, not to be differentiated.
      source_weight: occurrences in the source, as in ``domain_cross_entropy``.
      target_weight: occurrences in the target.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      coefficient / mean of its absolute value over all devices; 0 where that mean is 0.

    Example:
      >>> one = jnp.ones(2)
      >>> mean_one(jnp.array([1.0, -3.0]), source_weight=one, target_weight=one).tolist()
      [0.5, -1.5]
    """
    size = jnp.abs(jax.lax.stop_gradient(coefficient))
    weights = source_weight, target_weight
    mean = sum_counts(_mean_of_domains((size, size), weights, axis_name), axis_name)
    return coefficient * jnp.where(mean > 0, 1.0 / jnp.where(mean > 0, mean, 1.0), 0.0)


def _mean_of_domains(
    values: tuple[Array, Array], weights: tuple[Array, Array], axis_name: str | None
) -> Float[Array, ""]:
    """Share of the mean, over the domains that are present, of each one's weighted mean."""
    means = [masked_mean(v, w, axis_name) for v, w in zip(values, weights, strict=True)]
    present = [(sum_counts(jnp.sum(w), axis_name) > 0).astype(means[0].dtype) for w in weights]
    return sum(means) / jnp.maximum(sum(present), 1.0)


def reversal_progress(
    progress: Float[Array, "*shape"] | float, warmup: float = 0.0
) -> Float[Array, "*shape"]:
    """The schedule of the reversal coefficient, from 0 at the end of the warm-up towards 1.

    rho = 2 / (1 + exp(-10 p)) - 1, that is tanh(5 p), with
    p = clip((progress - warmup) / (1 - warmup), 0, 1).

    Args:
      progress: share of the training that is done, in [0, 1].
      warmup: share of the training during which rho stays 0, in [0, 1).

    Returns:
      rho in [0, 0.9999], shape of progress.

    Raises:
      ValueError: warmup is not in [0, 1).

    Example:
      >>> [round(float(reversal_progress(p, 0.1)), 3) for p in (0.05, 0.1, 0.55, 1.0)]
      [0.0, 0.0, 0.987, 1.0]
    """
    if not 0.0 <= warmup < 1.0:
        raise ValueError(f"warmup must be in [0, 1), got {warmup}")
    return jnp.tanh(5.0 * jnp.clip((jnp.asarray(progress) - warmup) / (1.0 - warmup), 0.0, 1.0))


def _clean(logits: Array, source_weight: Array, target_weight: Array) -> Array:
    """Checked logits, 0 where neither domain has weight."""
    check(
        logits=(logits, "float *S"),
        source_weight=(source_weight, "real *S"),
        target_weight=(target_weight, "real *S"),
    )
    present = (jnp.asarray(source_weight) > 0) | (jnp.asarray(target_weight) > 0)
    return jnp.where(present, widen(logits), 0.0)
