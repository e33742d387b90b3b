"""Losses that compare the moments of two domains: MK-MMD and Deep CORAL.

Every loss returns this device's share of the global loss (``molrel.collectives``). Statistics
that need all examples, such as a kernel between all rows, are taken over all devices.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from molrel.collectives import gather_rows, gather_sum, share, sum_counts
from molrel.dtypes import widen
from molrel.losses._checks import check, check_positive

KERNEL_SCALES = (0.125, 0.25, 0.5, 1.0, 2.0)

# Spread of the features, relative to their mean square, below which distances are rounding
# errors: a kernel as narrow as those would give features that have collapsed huge gradients.
_SMALLEST_SPREAD = 1e-6


def mk_mmd(
    *,
    features: Float[Array, "p d"],
    source_weight: Shaped[Array, " p"],
    target_weight: Shaped[Array, " p"],
    bandwidth: float | Float[Array, ""] | None = None,
    scales: Sequence[float] = KERNEL_SCALES,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Squared maximum mean discrepancy of two domains with a sum of Gaussian kernels.

    With a_i, b_i the source and target weights scaled to sum to 1 and the kernel
    k_ij = sum_s exp(-|x_i - x_j|^2 / (2 s bandwidth)),

      sum_{i != j} a_i a_j k_ij / (1 - sum_i a_i^2) + the same of b - 2 sum_ij a_i b_j k_ij,

    the kernels of DAN (Long et al., ICML 2015) and, like its estimate, unbiased: 0 on average
    where the domains are equal, so it can be negative. With the diagonal, domains that are
    equal would have a positive value that falls as the features shrink: since the bandwidth
    follows them, they shrink on and on. Different from DAN: the estimate is quadratic in time
    and takes all pairs of the batch, where DAN takes P / 2 of them (the linear-time estimate,
    which needs domains of equal size and has a larger variance); kernels are added up and have
    no trained coefficients.

    Args:
      features: one row an example; both domains in one matrix.
      source_weight: non-negative number of occurrences in the source, 0 for padding.
      target_weight: likewise in the target.
      bandwidth: positive, what the scales multiply; by default the mean squared distance
        between two rows drawn from both domains with equal chances, a constant for
        differentiation.
      scales: s of each kernel.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share, at most 2 len(scales) once summed over devices; 0 where a domain has fewer
      than two rows.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above, bandwidth is not positive.

    Example:
      >>> x = jnp.array([[0.0], [0.0], [2.0], [2.0]])
      >>> source = jnp.array([1.0, 1.0, 0.0, 0.0])
      >>> round(float(mk_mmd(features=x, source_weight=source, target_weight=1 - source,
      ...     bandwidth=2.0, scales=(1.0,))), 4)
      1.2642
    """
    x, source, target = _two_domains(features, source_weight, target_weight, axis_name)
    mixture = 0.5 * (source + target)
    size = sum_counts(mixture @ jnp.sum(jnp.square(x), axis=1), axis_name)
    # Distances do not depend on the origin, but what rounding leaves of them does.
    middle = sum_counts(mixture @ x, axis_name)
    x = jnp.where(mixture[:, None] > 0, x - middle[None], 0.0)
    columns = gather_rows(x, axis_name)
    product = jnp.matmul(x, columns.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(jnp.square(x), axis=1), jnp.sum(jnp.square(columns), axis=1)
    distance = jnp.maximum(squares[0][:, None] + squares[1][None, :] - 2 * product, 0.0)
    if bandwidth is None:
        spread = sum_counts(mixture @ distance @ gather_rows(mixture, axis_name), axis_name)
        spread = jnp.maximum(spread, _SMALLEST_SPREAD * size)
        bandwidth = jnp.where(spread > 0, spread, 1.0)
    else:
        check_positive("bandwidth", bandwidth)
        bandwidth = jnp.asarray(bandwidth, x.dtype)
    # Less 1, which cancels in the sum of all three: a row with itself then counts nothing.
    kernel = sum(jnp.expm1(-distance / (2 * scale * bandwidth)) for scale in scales)
    value = -2 * source @ kernel @ gather_rows(target, axis_name)
    for weight in (source, target):
        freedom = _freedom(weight, axis_name)
        within = weight @ kernel @ gather_rows(weight, axis_name)
        value += within / jnp.where(freedom > 0, freedom, 1.0)
    fewest = jnp.minimum(_rows(source, axis_name), _rows(target, axis_name))
    return jnp.where(fewest > 1, value, 0.0)


def deep_coral(
    *,
    features: Float[Array, "p d"],
    source_weight: Shaped[Array, " p"],
    target_weight: Shaped[Array, " p"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Squared distance of the covariances of two domains, |C_S - C_T|_F^2 / (4 D^2).

    Sun & Saenko, "Deep CORAL" (ECCV workshops 2016), equation 1. The means do not enter. With
    a_i the weights of a domain scaled to sum to 1, C = sum a_i (x_i - m)(x_i - m)^T /
    (1 - sum a_i^2), which for equal weights divides by n - 1 as in the paper.

    Args:
      features: one row an example; both domains in one matrix.
      source_weight: non-negative importance in the source, 0 for padding.
      target_weight: likewise in the target.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share, in the unit of the features to the fourth; 0 where a domain has fewer than
      two rows, and so no covariance.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.

    Example:
      >>> x, source = jnp.array([[0.0], [2.0], [5.0], [5.0]]), jnp.array([1.0, 1.0, 0.0, 0.0])
      >>> float(deep_coral(features=x, source_weight=source, target_weight=1 - source))
      1.0
    """
    x, *weights = _two_domains(features, source_weight, target_weight, axis_name)
    source, target = (_covariance(x, weight, axis_name) for weight in weights)
    value = jnp.sum(jnp.square(source - target)) / (4.0 * x.shape[1] ** 2)
    fewest = jnp.minimum(*(_rows(weight, axis_name) for weight in weights))
    return share(jnp.where(fewest > 1, value, 0.0), axis_name)


def unit_weights(weight: Array, dtype, axis_name: str | None) -> Array:
    """Weights that sum to 1 over all devices, constants; all 0 in an empty domain."""
    weight = jax.lax.stop_gradient(jnp.asarray(weight, dtype))
    total = sum_counts(jnp.sum(weight), axis_name)
    return weight / jnp.where(total > 0, total, 1.0)


def _two_domains(
    features: Array, source_weight: Array, target_weight: Array, axis_name: str | None
) -> tuple[Array, Array, Array]:
    """Features, 0 for padding, and the weights of each domain scaled to sum to 1."""
    check(
        features=(features, "float P D"),
        source_weight=(source_weight, "real P"),
        target_weight=(target_weight, "real P"),
    )
    x = widen(features)
    source, target = (unit_weights(w, x.dtype, axis_name) for w in (source_weight, target_weight))
    return jnp.where(((source > 0) | (target > 0))[:, None], x, 0.0), source, target


def _rows(weight: Array, axis_name: str | None) -> Array:
    """Number of rows with weight on all devices."""
    return sum_counts(jnp.sum(weight > 0), axis_name)


def _freedom(weight: Array, axis_name: str | None) -> Array:
    """1 - sum a^2 over all devices, without the cancellation; the weights sum to 1."""
    return sum_counts(jnp.sum(weight * (1 - weight)), axis_name)


def _covariance(x: Array, weight: Array, axis_name: str | None) -> Array:
    """Unbiased covariance over all devices; the weights sum to 1."""
    # The mean may be a constant: at the mean, the covariance does not change with it.
    mean = sum_counts(weight @ x, axis_name)
    centred = jnp.where(weight[:, None] > 0, x - mean[None], 0.0)
    freedom = _freedom(weight, axis_name)
    total = gather_sum((weight[:, None] * centred).T @ centred, axis_name)
    return total / jnp.where(freedom > 0, freedom, 1.0)
