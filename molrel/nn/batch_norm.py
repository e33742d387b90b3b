"""BatchNorm over real rows only, with the same statistics however rows are dealt to devices."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from molrel.collectives import gather_sum, sum_counts

STATISTICS = "batch_stats"


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(variance + 1e-5) * scale + bias, by column (Ioffe & Szegedy, ICML 2015).

    In training mean and variance are those of the rows of all devices, each row counted as
    often as its weight says; running averages of them, with the unbiased variance, are kept in
    the collection ``batch_stats`` and are used otherwise. ``flax.linen.BatchNorm`` averages the
    means of the devices instead, which is wrong where they hold different numbers of real rows.

    Attributes:
      momentum: of the running averages; PyTorch's 0.1 is 0.9 here.
      by_domain: whether source and target have statistics of their own, and share scale and bias
        (AdaBN, Li et al. 2016, arXiv:1603.04779). The statistics are then [2, D].
    """

    momentum: float = 0.9
    by_domain: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n d"],
        weight: Float[Array, " n"] | None = None,
        domain: Int[Array, " n"] | None = None,
        *,
        train: bool = False,
        axis_name: str | None = None,
    ) -> Float[Array, "n d"]:
        """Normalises rows.

        Args:
          x: rows; padding rows are normalised like others, and hold no meaning.
          weight: how often each row counts, 0 for padding; needed in training.
          domain: 0 source, 1 target; needed with ``by_domain``.
          train: whether to use, and to remember, the statistics of these rows.
          axis_name: device axis.
        """
        width = x.shape[-1]
        shape = (2, width) if self.by_domain else (width,)
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        scale = self.param("scale", ones, (width,))
        bias = self.param("bias", zeros, (width,))
        mean_kept = self.variable(STATISTICS, "mean", jnp.zeros, shape)
        variance_kept = self.variable(STATISTICS, "var", jnp.ones, shape)
        if train:
            assert weight is not None, "rows of padding are only known by their weight"
            if self.by_domain:
                of_domain = [jnp.where(domain == d, weight, 0) for d in (0, 1)]
                found = [moments(x, w, axis_name) for w in of_domain]
                mean, variance, count = (jnp.stack(values) for values in zip(*found))
                count = count[:, None]
            else:
                mean, variance, count = moments(x, weight, axis_name)
            if not self.is_initializing():
                known = jax.lax.stop_gradient((mean, variance * count / jnp.maximum(count - 1, 1)))
                for kept, value in zip((mean_kept, variance_kept), known, strict=True):
                    mixed = self.momentum * kept.value + (1 - self.momentum) * value
                    kept.value = jnp.where(count > 0, mixed, kept.value)
        else:
            mean, variance = mean_kept.value, variance_kept.value
        factor = jnp.broadcast_to(scale, shape) * jax.lax.rsqrt(variance + 1e-5)
        shift = jnp.broadcast_to(bias, shape) - mean * factor
        if self.by_domain:
            assert domain is not None, "statistics are kept by domain"
            return x * factor[domain] + shift[domain]
        return x * factor[None] + shift[None]


def moments(
    x: Float[Array, "n d"], weight: Float[Array, " n"], axis_name: str | None = None
) -> tuple[Float[Array, " d"], Float[Array, " d"], Float[Array, ""]]:
    """Weighted mean and (biased) variance of the rows of all devices, and the sum of weights.

    Rows of weight 0 are ignored, even if not finite. Both may be differentiated if the loss
    built on them is a share (``collectives``). Without any weight both are 0.
    """
    kept = jnp.where(weight[:, None] > 0, x, 0)
    count = sum_counts(jnp.sum(weight), axis_name)
    safe = jnp.maximum(count, 1)
    # Sums and not ``weight @ kept``: XLA on CPU fuses what makes x into such a product, and then
    # computes it anew, column by column; a step of GCN took half as long again.
    mean = gather_sum(jnp.sum(weight[:, None] * kept, axis=0), axis_name) / safe
    centred = jnp.where(weight[:, None] > 0, kept - mean[None], 0)
    spread = jnp.sum(weight[:, None] * jnp.square(centred), axis=0)
    variance = gather_sum(spread, axis_name) / safe
    return mean, variance, count
