"""Losses that bring two domains together without a discriminator, and what CDAN gives to one.

Every loss returns this device's share of the global loss (``molrel.collectives``). Statistics
that need all examples, such as a kernel between all rows, are taken over all devices.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Real

from molrel.collectives import gather_rows, gather_sum, share, sum_counts
from molrel.dtypes import widen
from molrel.losses._checks import check, check_positive
from molrel.losses.alignment import l2_normalise
from molrel.losses.supervised import masked_mean

KERNEL_SCALES = (0.125, 0.25, 0.5, 1.0, 2.0)

# Spread of the features, relative to their mean square, below which distances are rounding
# errors: a kernel as narrow as those would give features that have collapsed huge gradients.
_SMALLEST_SPREAD = 1e-6
# Distance from the mean below which a row has no direction.
_SMALLEST_DISTANCE = 1e-5
# Logarithm of a mass that is not there. Finite: see ``alignment``.
_NOTHING = -1e30


def mk_mmd(
    *,
    features: Float[Array, "p d"],
    source_weight: Real[Array, " p"],
    target_weight: Real[Array, " p"],
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
    source_weight: Real[Array, " p"],
    target_weight: Real[Array, " p"],
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


def minimum_class_confusion(
    *,
    kind: str,
    logits: Float[Array, "n t"],
    weight: Real[Array, " n"],
    temperature: float | Float[Array, ""] = 2.5,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """How much a classifier confuses classes on unlabelled examples (MCC).

    Jin et al., "Minimum class confusion for versatile domain adaptation" (ECCV 2020): with p
    the probabilities at the temperature, H their entropy and w = 1 + exp(-H) (a constant for
    differentiation, as in the authors' code), C_jk = sum_i w_i p_ij p_ik, each row scaled to
    sum to 1; the loss is the mean over the classes j of sum_{k != j} C_jk. Since the p_ik of an
    example sum to 1, that is

      mean over j of  sum_i w_i p_ij (1 - p_ij) / sum_i w_i p_ij,

    which is what is computed. A binary task has the classes [1 - s, s] with s the sigmoid; a
    multilabel task is the mean of its binary tasks.

    Args:
      kind: of the task: binary, multilabel or multiclass.
      logits: N examples.
      weight: non-negative number of occurrences, 0 for padding and for other domains.
      temperature: positive, divides the logits.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share, in [0, 1] once summed over devices; 0 when nothing has weight.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above, temperature is not positive,
        or the kind has no classes.

    Example:
      >>> logits = jnp.zeros((4, 1))
      >>> float(minimum_class_confusion(kind="binary", logits=logits, weight=jnp.ones(4)))
      0.5
    """
    check_positive("temperature", temperature)
    logits, weight = _predictions(logits, weight)
    log_p = class_log_probabilities(kind, logits / jnp.asarray(temperature, logits.dtype))
    certainty = 1 + jnp.exp(-_entropies(log_p))
    real = (weight > 0)[:, None, None]
    mass = jax.lax.stop_gradient(weight[:, None] * certainty)[..., None]
    log_mass = jnp.where(real, log_p + jnp.log(jnp.where(real, mass, 1.0)), _NOTHING)
    # A class that is never predicted has a mass that underflows. Only ratios within a class
    # matter, so each is scaled by the largest.
    largest = jnp.max(jax.lax.stop_gradient(log_mass), axis=0, keepdims=True)
    largest = jnp.max(gather_rows(largest, axis_name), axis=0, keepdims=True)
    mass = jnp.where(real, jnp.exp(log_mass - largest), 0.0)
    confused = gather_sum(jnp.sum(mass * -jnp.expm1(log_p), axis=0), axis_name)
    total = gather_sum(jnp.sum(mass, axis=0), axis_name)
    return share(jnp.mean(confused / jnp.where(total > 0, total, 1.0)), axis_name)


def prediction_entropy(
    *,
    kind: str,
    logits: Float[Array, "n t"],
    weight: Real[Array, " n"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Weighted mean entropy of the predictions of a classifier, mean over multilabel tasks.

    Entropy minimisation: Grandvalet & Bengio, NeurIPS 2004. A sum of terms of one sign, so it
    keeps its relative precision where the prediction is confident.

    Args:
      kind: of the task: binary, multilabel or multiclass.
      logits: N examples.
      weight: non-negative number of occurrences, 0 for padding and for other domains.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share of the mean, in nats; 0 when nothing has weight.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above, or the kind has no classes.
    """
    logits, weight = _predictions(logits, weight)
    entropies = _entropies(class_log_probabilities(kind, logits))
    return masked_mean(jnp.mean(entropies, axis=1), weight, axis_name)


def conditional_features(
    *,
    kind: str,
    logits: Float[Array, "n t"],
    features: Float[Array, "n d"],
    mask: Bool[Array, " n"],
) -> Float[Array, "n k"]:
    """What CDAN's discriminator sees: outer product of prediction and features, flattened.

    Long et al., "Conditional adversarial domain adaptation" (NeurIPS 2018). The prediction is
    a constant for differentiation: [1 - s, s] of a binary task, of a multilabel task for each
    of its tasks, the softmax of a multiclass task. A regression has no probabilities; there the
    prediction is [1, value], so that the discriminator sees the features and the features
    times the value. Always the whole product: the random projection that the authors use above
    4096 columns is not here.

    Args:
      kind: of the task.
      logits: N examples; for regression in units of standardised labels.
      features: N examples.
      mask: False for padding examples, whose rows become 0.

    Returns:
      [N, K D] with K = 2, 2 T, C or 1 + T for binary, multilabel, multiclass and regression;
      the features' dtype (at least float32).

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.
    """
    check(logits=(logits, "float N T"), features=(features, "float N D"), mask=(mask, "bool N"))
    features = jnp.where(mask[:, None], widen(features), 0.0)
    logits = jax.lax.stop_gradient(jnp.asarray(logits, features.dtype))
    logits = jnp.where(mask[:, None], logits, 0.0)
    if kind == "regression":
        prediction = jnp.concatenate([jnp.ones_like(logits[:, :1]), logits], axis=1)
    else:
        prediction = jnp.exp(class_log_probabilities(kind, logits)).reshape(len(logits), -1)
    return (prediction[:, :, None] * features[:, None, :]).reshape(len(logits), -1)


def entropy_weights(
    *,
    kind: str,
    logits: Float[Array, "n t"],
    weight: Real[Array, " n"],
    axis_name: str | None = None,
) -> Float[Array, " n"]:
    """Weights of the examples of one domain in CDAN+E: those predicted with certainty count.

    weight_n (1 + exp(-H_n)), scaled so that the domain's total weight stays what it was; H is
    the entropy of the prediction, of a multilabel task the mean over its tasks. A constant for
    differentiation. Long et al., NeurIPS 2018, section 3.3.

    Args:
      kind: of the task: binary, multilabel or multiclass.
      logits: N examples.
      weight: non-negative number of occurrences in the domain, 0 for padding.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      New weights of this device's examples, 0 where they were 0.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above, or the kind has no classes.

    Example:
      >>> logits = jnp.array([[0.0], [1e3]])
      >>> found = entropy_weights(kind="binary", logits=logits, weight=jnp.ones(2))
      >>> [round(float(w), 3) for w in found]
      [0.857, 1.143]
    """
    logits, weight = _predictions(logits, weight)
    entropies = jnp.mean(_entropies(class_log_probabilities(kind, logits)), axis=1)
    certain = jax.lax.stop_gradient(weight * (1 + jnp.exp(-entropies)))
    totals = [sum_counts(jnp.sum(w), axis_name) for w in (weight, certain)]
    return certain * totals[0] / jnp.where(totals[1] > 0, totals[1], 1.0)


def orthogonality(
    *,
    shared: Float[Array, "n d"],
    private: Float[Array, "n e"],
    weight: Real[Array, " n"],
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
    weight = _scaled(weight, shared.dtype, axis_name)
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
    weight: Real[Array, " n"],
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


def class_log_probabilities(kind: str, logits: Float[Array, "n t"]) -> Float[Array, "n s c"]:
    """Logarithms of the probabilities of C classes in each of S tasks.

    Args:
      kind: binary or multilabel: every logit is a task of two classes; multiclass: one task.
      logits: N examples.

    Raises:
      ValueError: a regression has no classes.
    """
    if kind == "regression":
        raise ValueError("a regression has no class probabilities")
    if kind == "multiclass":
        return jax.nn.log_softmax(logits)[:, None, :]
    return jnp.stack([jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)], axis=-1)


def _entropies(log_p: Float[Array, "n s c"]) -> Float[Array, "n s"]:
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def _predictions(logits: Array, weight: Array) -> tuple[Array, Array]:
    """Checked logits, 0 where nothing has weight, and the weights as constants."""
    check(logits=(logits, "float N T"), weight=(weight, "real N"))
    logits = widen(logits)
    weight = jax.lax.stop_gradient(jnp.asarray(weight, logits.dtype))
    return jnp.where((weight > 0)[:, None], logits, 0.0), weight


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
    source, target = (_scaled(w, x.dtype, axis_name) for w in (source_weight, target_weight))
    return jnp.where(((source > 0) | (target > 0))[:, None], x, 0.0), source, target


def _scaled(weight: Array, dtype, axis_name: str | None) -> Array:
    """Weights that sum to 1 over all devices, constants; all 0 in an empty domain."""
    weight = jax.lax.stop_gradient(jnp.asarray(weight, dtype))
    total = sum_counts(jnp.sum(weight), axis_name)
    return weight / jnp.where(total > 0, total, 1.0)


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
