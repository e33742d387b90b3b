"""Losses and weights made of a classifier's confidence: MCC, entropy, CDAN.

Every loss returns this device's share of the global loss (``molrel.collectives``). Statistics
that need all examples are taken over all devices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from molrel.collectives import gather_rows, gather_sum, share, sum_counts
from molrel.dtypes import widen
from molrel.losses._checks import check, check_positive
from molrel.losses.supervised import masked_mean

# Logarithm of a mass that is not there. Finite: see ``alignment``.
_NOTHING = -1e30


def minimum_class_confusion(
    *,
    kind: str,
    logits: Float[Array, "n t"],
    weight: Shaped[Array, " n"],
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
    weight: Shaped[Array, " n"],
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
    weight: Shaped[Array, " n"],
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
