"""Losses that keep shared and private features of a domain apart: domain separation networks.

Every loss returns this device's share of the global loss (``molrel.collectives``). Statistics
that need all examples are taken over all devices.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from molrel.collectives import gather_sum, share
from molrel.dtypes import widen
from molrel.losses._checks import check
from molrel.losses.alignment import l2_normalise
from molrel.losses.moments import unit_weights
from molrel.losses.supervised import masked_mean

# Distance from the mean below which a row has no direction.
_SMALLEST_DISTANCE = 1e-5


def orthogonality(
    *,
    shared: Float[Array, "n d"],
    private: Float[Array, "n e"],
    weight: Shaped[Array, " n"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Difference loss of domain separation networks, for the examples of one domain.

    |sum_n a_n s_n p_n^T|_F^2 with a the weights scaled to sum to 1 and s, p the shared and
    private features, each less its mean over the domain and scaled to length 1.

    Bousmalis et al., NeurIPS 2016, equation 5, where nothing is centred or normalised; the
    authors' code does both and then takes the mean of the squares of the D x E matrix. Here
    it is their sum over the square of the number of examples, which neither widths nor batches
    change. Rows within 1e-5 of their mean have no direction and count as 0.

    Args:
      shared, private: features of N examples.
      weight: non-negative number of occurrences in the domain, 0 for padding.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share, in [0, 1] once summed over devices; 0 for a single row or none.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.

    Example:
      >>> x = jnp.array([[1.0], [-1.0]])
      >>> float(orthogonality(shared=x, private=x, weight=jnp.ones(2)))
      1.0
    """
    check(shared=(shared, "float N D"), private=(private, "float N E"), weight=(weight, "real N"))
    shared = widen(shared)
    weight = unit_weights(weight, shared.dtype, axis_name)
    real = weight[:, None] > 0

    def directions(x: Array) -> Array:
        x = jnp.where(real, jnp.asarray(x, shared.dtype), 0.0)
        centred = x - gather_sum(weight @ x, axis_name)[None]
        return l2_normalise(jnp.where(real, centred, 0.0), eps=_SMALLEST_DISTANCE)

    of_device = (weight[:, None] * directions(shared)).T @ directions(private)
    return share(jnp.sum(jnp.square(gather_sum(of_device, axis_name))), axis_name)


def scale_invariant_error(
    *,
    predictions: Float[Array, "n k"],
    targets: Float[Array, "n k"],
    weight: Shaped[Array, " n"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Reconstruction loss of domain separation networks: errors but for their mean.

    |e|^2 / K - (sum_k e_k)^2 / K^2 with e = prediction - target, the variance of the errors
    of an example, so adding a constant to all of its outputs costs nothing. Weighted mean over
    the examples. Bousmalis et al., NeurIPS 2016, equation 4, after Eigen et al., NeurIPS 2014.

    Args:
      predictions, targets: N examples, K values.
      weight: non-negative number of occurrences, 0 for padding.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share of the mean, unit of the targets squared; 0 when nothing has weight.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.

    Example:
      >>> predictions, targets = jnp.array([[2.0, 5.0]]), jnp.array([[1.0, 2.0]])
      >>> float(scale_invariant_error(
      ...     predictions=predictions, targets=targets, weight=jnp.ones(1)))
      1.0
    """
    check(
        predictions=(predictions, "float N K"),
        targets=(targets, "float N K"),
        weight=(weight, "real N"),
    )
    predictions = widen(predictions)
    errors = predictions - jnp.asarray(targets, predictions.dtype)
    errors = jnp.where((jnp.asarray(weight) > 0)[:, None], errors, 0.0)
    errors -= jnp.mean(errors, axis=1, keepdims=True)
    return masked_mean(jnp.mean(jnp.square(errors), axis=1), weight, axis_name)
