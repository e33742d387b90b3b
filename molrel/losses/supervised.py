"""Losses against labels that may be missing, and the weighted mean all losses share.

Every loss returns this device's share of the global loss (``molrel.collectives``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Shaped

from molrel.collectives import sum_counts
from molrel.dtypes import widen
from molrel.losses._checks import check


def masked_mean(
    values: Float[Array, "*shape"], weight: Shaped[Array, "*shape"], axis_name: str | None = None
) -> Float[Array, ""]:
    """Share of the weighted mean: local sum of weight * values / global sum of weight.

    Args:
      values: what is averaged, any shape; ignored, even if not finite, where weight is 0.
      weight: non-negative, same shape, any number type; a constant for differentiation.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar, at least float32; 0 when nothing has weight.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.

    Example:
      >>> float(masked_mean(jnp.array([1.0, 4.0, jnp.nan]), jnp.array([1, 2, 0])))
      3.0
    """
    check(values=(values, "float *S"), weight=(weight, "real *S"))
    values = widen(values)
    weight = jax.lax.stop_gradient(jnp.asarray(weight, values.dtype))
    total = sum_counts(jnp.sum(weight), axis_name)
    kept = jnp.where(weight > 0, values, 0.0)
    return jnp.sum(weight * kept) / jnp.where(total > 0, total, 1.0)


def binary_cross_entropy(
    *,
    logits: Float[Array, "n t"],
    labels: Float[Array, "n t"],
    mask: Bool[Array, " n"],
    weight: Float[Array, " n"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Binary cross-entropy over the labels that are known.

    -sum w_n [y log s(l) + (1 - y) log s(-l)] / sum w_n with s the sigmoid, both sums over
    the entries (n, t) of real examples whose label is known. Tasks with more known labels
    therefore count for more.

    Args:
      logits: N examples, T tasks.
      labels: in [0, 1] (a probability is allowed), NaN where missing.
      mask: False for padding examples.
      weight: non-negative importance of each example.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share of the mean, in nats; 0 when no label is known.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.

    Example:
      >>> arrays = dict(mask=jnp.array([True]), weight=jnp.ones(1))
      >>> labels = jnp.array([[1.0, jnp.nan]])
      >>> round(float(binary_cross_entropy(logits=jnp.zeros((1, 2)), labels=labels, **arrays)), 4)
      0.6931
    """
    logits, labels, weights = _known("logits", logits, labels, mask, weight)
    losses = optax.losses.sigmoid_binary_cross_entropy(logits, labels)
    return masked_mean(losses, weights, axis_name)


def softmax_cross_entropy(
    *,
    logits: Float[Array, "n c"],
    labels: Float[Array, "n 1"],
    mask: Bool[Array, " n"],
    weight: Float[Array, " n"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Cross-entropy over C classes: -sum w_n log softmax(l_n)[y_n] / sum w_n.

    Args:
      logits: N examples, C classes.
      labels: number of the class from 0 to C - 1, NaN where missing.
      mask: False for padding examples.
      weight: non-negative importance of each example.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share of the mean, in nats; 0 when no label is known.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.

    Example:
      >>> arrays = dict(mask=jnp.array([True]), weight=jnp.ones(1))
      >>> labels = jnp.array([[2.0]])
      >>> round(float(softmax_cross_entropy(logits=jnp.zeros((1, 4)), labels=labels, **arrays)), 4)
      1.3863
    """
    check(
        logits=(logits, "float N C"),
        labels=(labels, "float N 1"),
        mask=(mask, "bool N"),
        weight=(weight, "real N"),
    )
    known = mask & ~jnp.isnan(labels[:, 0])
    logits = jnp.where(known[:, None], widen(logits), 0.0)
    classes = jnp.where(known, labels[:, 0], 0.0).astype(jnp.int32)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, classes)
    return masked_mean(losses, jnp.where(known, weight, 0.0), axis_name)


def squared_error(
    *,
    predictions: Float[Array, "n t"],
    labels: Float[Array, "n t"],
    mask: Bool[Array, " n"],
    weight: Float[Array, " n"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean squared error over the labels that are known: sum w_n (p - y)^2 / sum w_n.

    Args:
      predictions: N examples, T targets, in the unit of the labels (or standardised).
      labels: NaN where missing.
      mask: False for padding examples.
      weight: non-negative importance of each example.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share of the mean, unit of the labels squared; 0 when no label is known.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.
    """
    predictions, labels, weights = _known("predictions", predictions, labels, mask, weight)
    return masked_mean(jnp.square(predictions - labels), weights, axis_name)


def _known(
    name: str, outputs: Array, labels: Array, mask: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """Outputs and labels with harmless values where unknown, and the weight of each entry.

    The values are replaced before any formula sees them: a NaN hidden by a `where` behind the
    formula would come back as a NaN gradient.
    """
    check(
        **{name: (outputs, "float N T")},
        labels=(labels, "float N T"),
        mask=(mask, "bool N"),
        weight=(weight, "real N"),
    )
    outputs = widen(outputs)
    labels = jnp.asarray(labels, outputs.dtype)
    weight = jnp.asarray(weight, outputs.dtype)
    weights = jnp.where(mask, weight, 0.0)[:, None] * (~jnp.isnan(labels)).astype(outputs.dtype)
    known = weights > 0
    return jnp.where(known, outputs, 0.0), jnp.where(known, labels, 0.0), weights
