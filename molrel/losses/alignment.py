"""Contrastive agreement of two views, and functional-group prototypes across domains.

Every loss returns this device's share of the global loss (``molrel.collectives``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from molrel.collectives import gather_rows, gather_sum, share, sum_counts
from molrel.dtypes import widen
from molrel.losses._checks import check, check_positive
from molrel.losses.supervised import masked_mean

# Logit of a column that takes no part. Finite: a row of -inf alone has a NaN gradient.
_EXCLUDED = -1e30


def l2_normalise(x: Float[Array, "*shape d"], eps: float = 1e-8) -> Float[Array, "*shape d"]:
    """x / |x| along the last axis; vectors no longer than eps become 0 with gradient 0.

    Clamping the norm instead would give a zero vector a gradient of 1 / eps, with which one
    dead embedding takes over the clipped update of a whole step.

    Args:
      x: floating, at least one axis.
      eps: length at or below which a vector counts as zero.

    Returns:
      Unit or zero vectors, shape and dtype of x (at least float32).

    Example:
      >>> l2_normalise(jnp.array([[3.0, 4.0], [0.0, 0.0]])).round(3).tolist()
      [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    x = widen(x)
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    long = squared > eps * eps
    return jnp.where(long, x, 0.0) * jax.lax.rsqrt(jnp.where(long, squared, 1.0))


def info_nce(
    *,
    z_a: Float[Array, "u d"],
    z_b: Float[Array, "u d"],
    ids: Int[Array, " u"],
    weight: Shaped[Array, " u"],
    temperature: float | Float[Array, ""] = 0.1,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Symmetric InfoNCE between two views of molecules, such as graph and picture.

    With s_uv = cos(z_a[u], z_b[v]) / temperature, the loss of row u is

      -log( sum_{v: ids[v] = ids[u]} w_v exp(s_uv) / sum_v w_v exp(s_uv) ),

    averaged over the rows with weight w_u; the same with the views exchanged, and the mean of
    the two. Columns are the molecules of all devices. Copies of a molecule are positives of
    each other and weights add up, so a molecule held twice gives exactly the value of one
    held once with the summed weight. With distinct ids and equal weights this is the loss of
    CLIP (Radford et al. 2021, figure 3).

    Args:
      z_a, z_b: the two views of U molecules, normalised here.
      ids: global identity of the molecule, equal on all devices.
      weight: non-negative number of occurrences in the batch, 0 for padding; a constant for
        differentiation.
      temperature: positive; may be a traced, trained scalar.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share of the mean, in nats; 0 when nothing has weight.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above, temperature is not positive.
    """
    check(
        z_a=(z_a, "float U D"),
        z_b=(z_b, "float U D"),
        ids=(ids, "int U"),
        weight=(weight, "real U"),
    )
    check_positive("temperature", temperature)
    z_a, z_b = widen(z_a), widen(z_b)
    weight = jax.lax.stop_gradient(jnp.asarray(weight, z_a.dtype))
    real = (weight > 0)[:, None]
    a, b = (l2_normalise(jnp.where(real, z, 0.0)) for z in (z_a, z_b))
    temperature = jnp.asarray(temperature, a.dtype)
    columns = gather_rows(jnp.asarray(ids), axis_name), gather_rows(weight, axis_name)
    positive = ids[:, None] == columns[0][None, :]

    def one_way(rows: Array, others: Array) -> Array:
        logits = rows @ gather_rows(others, axis_name).T / temperature
        losses = _matching_loss(logits, positive, columns[1])
        return masked_mean(losses, weight, axis_name)

    return 0.5 * (one_way(a, b) + one_way(b, a))


def _matching_loss(
    logits: Float[Array, "u v"], positive: Bool[Array, "u v"], weight: Float[Array, " v"]
) -> Float[Array, " u"]:
    """-log of the weighted softmax probability that falls on the positive columns."""
    takes_part = weight > 0
    log_weight = jnp.log(jnp.where(takes_part, weight, 1.0))
    logits = jnp.where(takes_part[None, :], logits + log_weight[None, :], _EXCLUDED)
    of_positive = jax.nn.logsumexp(jnp.where(positive, logits, _EXCLUDED), axis=1)
    return jax.nn.logsumexp(logits, axis=1) - of_positive


def prototype_sums(
    embedding: Float[Array, "q d"],
    group: Int[Array, " q"],
    weight: Shaped[Array, " q"],
    n_groups: int,
    axis_name: str | None = None,
) -> tuple[Float[Array, "g d"], Float[Array, " g"]]:
    """Weighted sums of the functional-group instances of each group, over all devices.

    Args:
      embedding: one row an instance (molecule, group).
      group: index of the instance's group in [0, n_groups); any other value, such as -1,
        marks padding.
      weight: non-negative number of occurrences of the molecule, 0 for padding.
      n_groups: G, a Python int.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      sums [G, D], differentiable if the loss built on them is a share, and counts [G].

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.
    """
    check(embedding=(embedding, "float Q D"), group=(group, "int Q"), weight=(weight, "real Q"))
    embedding = widen(embedding)
    weight = jax.lax.stop_gradient(_instance_weight(group, weight, n_groups, embedding.dtype))
    kept = jnp.where((weight > 0)[:, None], embedding, 0.0) * weight[:, None]
    segment = jnp.where(weight > 0, group, 0)
    sums = jax.ops.segment_sum(kept, segment, n_groups)
    counts = jax.ops.segment_sum(weight, segment, n_groups)
    return gather_sum(sums, axis_name), sum_counts(counts, axis_name)


def prototype_means(
    sums: Float[Array, "g d"], counts: Float[Array, " g"]
) -> tuple[Float[Array, "g d"], Bool[Array, " g"]]:
    """Mean embedding of each group, 0 where it has none, and which groups are present."""
    check(sums=(sums, "float G D"), counts=(counts, "float G"))
    present = counts > 0
    return sums / jnp.where(present, counts, 1.0)[:, None], present


def update_prototypes(
    *,
    prototypes: Float[Array, "g d"],
    counts_seen: Int[Array, " g"],
    batch_mean: Float[Array, "g d"],
    present: Bool[Array, " g"],
    decay: float = 0.95,
) -> tuple[Float[Array, "g d"], Int[Array, " g"]]:
    """Moves the prototypes of one domain towards the means of a batch; not differentiated.

    mu <- normalise(decay * mu + (1 - decay) * mean) for the groups that are present; the
    first observation becomes the prototype itself; other groups stay as they are.

    Args:
      prototypes: unit vectors; anything finite before the first observation.
      counts_seen: number of updates of each group so far.
      batch_mean: mean embedding of each group over all devices (``prototype_means``).
      present: groups that the batch holds.
      decay: in [0, 1).

    Returns:
      New prototypes, and the new number of updates of each group.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above, decay is not in [0, 1).
    """
    check(
        prototypes=(prototypes, "float G D"),
        counts_seen=(counts_seen, "int G"),
        batch_mean=(batch_mean, "float G D"),
        present=(present, "bool G"),
    )
    if not 0.0 <= decay < 1.0:
        raise ValueError(f"decay must be in [0, 1), got {decay}")
    mean = jax.lax.stop_gradient(jnp.asarray(batch_mean, prototypes.dtype))
    prototypes = jax.lax.stop_gradient(prototypes)
    seen = (counts_seen > 0)[:, None]
    moved = l2_normalise(jnp.where(seen, decay * prototypes + (1.0 - decay) * mean, mean))
    updated = jnp.where(present[:, None], moved.astype(prototypes.dtype), prototypes)
    return updated, counts_seen + present.astype(counts_seen.dtype)


def prototype_loss(
    *,
    mean_s: Float[Array, "g d"],
    mean_t: Float[Array, "g d"],
    present_s: Bool[Array, " g"],
    present_t: Bool[Array, " g"],
    ema_s: Float[Array, "g d"],
    ema_t: Float[Array, "g d"],
    ready_s: Bool[Array, " g"],
    ready_t: Bool[Array, " g"],
    group_weight: Float[Array, " g"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Draws the prototypes of a functional group in the two domains together.

    sum_f omega_f (1 - <m^S_f, m^T_f>), where m is the normalised mean of the batch (with
    gradient) if the batch holds the group, else the moving prototype (a constant). A group
    counts if each domain either holds it or has a ready prototype; omega is group_weight
    scaled to sum to 1 over the groups that count.

    Args:
      mean_s, mean_t: mean embeddings over all devices (``prototype_means``).
      present_s, present_t: groups that the batch holds in each domain.
      ema_s, ema_t: moving prototypes, unit vectors.
      ready_s, ready_t: groups whose moving prototype has had enough updates to be used.
      group_weight: non-negative, such as sqrt(min(carriers in source, carriers in target)).
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share, in [0, 2] once summed over devices; 0 when no group counts.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above.
    """
    check(
        mean_s=(mean_s, "float G D"),
        mean_t=(mean_t, "float G D"),
        present_s=(present_s, "bool G"),
        present_t=(present_t, "bool G"),
        ema_s=(ema_s, "float G D"),
        ema_t=(ema_t, "float G D"),
        ready_s=(ready_s, "bool G"),
        ready_t=(ready_t, "bool G"),
        group_weight=(group_weight, "real G"),
    )
    prototype_s = _current(mean_s, present_s, ema_s)
    prototype_t = _current(mean_t, present_t, ema_t)
    counts = (present_s | ready_s) & (present_t | ready_t)
    omega = jnp.where(counts, jnp.asarray(group_weight, prototype_s.dtype), 0.0)
    distance = 1.0 - jnp.sum(prototype_s * prototype_t, axis=1)
    # All devices hold the same global means, so this is the whole loss on each of them.
    return share(masked_mean(distance, omega), axis_name)


def guidance_loss(
    *,
    embedding: Float[Array, "q d"],
    group: Int[Array, " q"],
    weight: Shaped[Array, " q"],
    prototypes: Float[Array, "g d"],
    ready: Bool[Array, " g"],
    exclude: Bool[Array, "g g"],
    temperature: float | Float[Array, ""] = 0.1,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Guides the functional groups of one domain by the prototypes of the other.

    -sum w log softmax_g(<s, mu_g> / temperature)_f / sum w over the instances (s, f) whose
    own group is ready. Candidates g are f itself and every other ready group that is not
    excluded for f. The prototypes are constants.

    Args:
      embedding: unit vectors, one row an instance (molecule, group).
      group: index of the instance's group in [0, G); any other value marks padding.
      weight: non-negative number of occurrences of the molecule, 0 for padding.
      prototypes: moving prototypes of the other domain, unit vectors.
      ready: groups whose prototype has had enough updates to be used.
      exclude: True at [f, g] where g is no negative of f, being nested with it; the diagonal
        is ignored.
      temperature: positive.
      axis_name: name of the device axis, or None on a single device.

    Returns:
      Scalar share of the mean, in nats; 0 when no instance counts.

    Raises:
      ValueError, TypeError: shapes or dtypes are not the above, temperature is not positive.
    """
    check(
        embedding=(embedding, "float Q D"),
        group=(group, "int Q"),
        weight=(weight, "real Q"),
        prototypes=(prototypes, "float G D"),
        ready=(ready, "bool G"),
        exclude=(exclude, "bool G G"),
    )
    check_positive("temperature", temperature)
    n_groups = prototypes.shape[0]
    embedding, ready, exclude = widen(embedding), jnp.asarray(ready), jnp.asarray(exclude)
    weight = _instance_weight(group, weight, n_groups, embedding.dtype)
    own = jnp.where(weight > 0, group, 0)
    weight = jnp.where(ready[own], weight, 0.0)
    prototypes = jax.lax.stop_gradient(jnp.asarray(prototypes, embedding.dtype))
    temperature = jnp.asarray(temperature, embedding.dtype)
    # Rows that do not count are zeroed first: padding may hold anything.
    logits = jnp.where((weight > 0)[:, None], embedding, 0.0) @ prototypes.T / temperature
    is_own = own[:, None] == jnp.arange(n_groups, dtype=own.dtype)[None, :]
    candidate = is_own | (ready[None, :] & ~exclude[own])
    log_probability = jax.nn.log_softmax(jnp.where(candidate, logits, _EXCLUDED), axis=1)
    losses = -jnp.sum(jnp.where(is_own, log_probability, 0.0), axis=1)
    return masked_mean(losses, weight, axis_name)


def _instance_weight(group: Array, weight: Array, n_groups: int, dtype) -> Array:
    """Weight of each instance, 0 where its group is out of range."""
    inside = (group >= 0) & (group < n_groups)
    return jnp.where(inside, jnp.asarray(weight, dtype), 0.0)


def _current(mean: Array, present: Array, ema: Array) -> Array:
    """Normalised batch mean where the batch holds the group, else the moving prototype."""
    mean = l2_normalise(mean)
    ema = jax.lax.stop_gradient(jnp.asarray(ema, mean.dtype))
    return jnp.where(present[:, None], mean, ema)
