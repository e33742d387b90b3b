"""Picture encoders and the reading of feature maps at atom positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer, ones, variance_scaling, zeros
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, UInt8

from molrel.dtypes import widen
from molrel.errors import InputError
from molrel.nn.dense import Dense

ConvPath = Literal["auto", "direct", "im2col"]
_he_normal = variance_scaling(2.0, "fan_out", "normal")


def conv2d(
    x: Float[Array, "u h w c"],
    kernel: Float[Array, "k k c o"],
    stride: int = 1,
    path: ConvPath = "auto",
) -> Float[Array, "u i j o"]:
    """Convolution with padding "SAME"; i = ceil(h / stride), j = ceil(w / stride).

    Args:
      x: [U, H, W, C] maps.
      kernel: [k, k, C, O] of the dtype of x.
      stride: of both axes.
      path: ``direct`` is XLA's convolution, ``im2col`` a matrix product with gathered
        patches; both compute the same. ``auto`` takes ``im2col`` for k = 1 and where the
        output map is smaller than the kernel: there XLA's CPU backend exchanges the roles
        of map and kernel and leaves its fast implementation (about 80 times slower).

    Raises:
      TypeError: if the dtypes differ.
    """
    if path == "auto":
        size, smallest_map = kernel.shape[0], -(-min(x.shape[1:3]) // stride)
        path = "im2col" if size == 1 or smallest_map < size else "direct"
    if path == "im2col":
        return _im2col(x, kernel, stride)
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _im2col(x: Array, kernel: Array, stride: int) -> Array:
    """Gathers the k*k shifted maps beside each other and multiplies once."""
    sizes, size = x.shape[1:3], kernel.shape[0]
    out = [-(-n // stride) for n in sizes]
    missing = [max((o - 1) * stride + size - n, 0) for n, o in zip(sizes, out, strict=True)]
    x = jnp.pad(x, [(0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)])
    rows, columns = ((o - 1) * stride + 1 for o in out)
    shifted = [
        x[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(size)
        for j in range(size)
    ]
    columns = jnp.concatenate(shifted, axis=-1)
    # Flat, as the gradient of a product that contracts several axes is slow on CPU.
    flat = columns.reshape(-1, columns.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return flat.reshape(*columns.shape[:-1], kernel.shape[-1])


class Conv(nn.Module):
    """``conv2d`` without bias; the parameter is float32, ``dtype`` is that of the product."""

    features: int
    size: int
    stride: int = 1
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "u h w c"]) -> Float[Array, "u i j o"]:
        kernel = self.param(
            "kernel", _he_normal, (self.size, self.size, x.shape[-1], self.features)
        )
        dtype = self.dtype or x.dtype
        return conv2d(x.astype(dtype), kernel.astype(dtype), self.stride)


def _norm(x: Float[Array, "u h w c"], scale_init: Initializer = ones) -> Float[Array, "u h w c"]:
    """GroupNorm in float32, groups of 16 channels; each picture by itself: no state, no mask."""
    norm = nn.GroupNorm(num_groups=None, group_size=16, epsilon=1e-5, scale_init=scale_init)
    return norm(widen(x)).astype(x.dtype)


class ResidualBlock(nn.Module):
    """The basic block of He et al. (2016) with GroupNorm: two 3x3 convolutions and a skip.

    The last scale starts at zero, so that a fresh block passes its input on.
    """

    features: int
    stride: int = 1
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "u h w c"]) -> Float[Array, "u i j o"]:
        y = Conv(self.features, 3, self.stride, self.dtype)(x)
        y = jax.nn.relu(_norm(y))
        y = Conv(self.features, 3, dtype=self.dtype)(y)
        y = _norm(y, zeros)
        if self.stride > 1 or x.shape[-1] != self.features:
            x = _norm(Conv(self.features, 1, self.stride, self.dtype)(x))
        return jax.nn.relu(x + y)


def _ink(pictures: UInt8[Array, "u s s 3"], dtype: DTypeLike | None) -> Float[Array, "u s s 3"]:
    """1 - x / 255, so that white is exactly the 0 that padding adds at the borders."""
    return ((255 - pictures).astype(jnp.float32) / 255).astype(dtype or jnp.float32)


def _pool(feature_map: Float[Array, "u h w c"]) -> Float[Array, "u 2*c"]:
    """Mean and maximum over the positions.

    The maximum is read where ``argmax`` finds it. The gradient of ``max`` looks for the places
    that equal it and divides by their number, which is 0, and the gradient NaN, where XLA
    computes the map anew for the comparison and rounds it differently.
    """
    flat = feature_map.reshape(len(feature_map), -1, feature_map.shape[-1])
    largest = jnp.take_along_axis(flat, flat.argmax(axis=1, keepdims=True), axis=1)[:, 0]
    return jnp.concatenate([flat.mean(axis=1), largest], axis=-1)


class SmallPictureEncoder(nn.Module):
    """Small residual network for pictures of 32 to 96 pixels, made to train on a CPU.

    4x4 patches -> 32 features -> residual block of stride 2, 64 features.

    Attributes:
      dtype: of the computation; parameters are float32.
    """

    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, pictures: UInt8[Array, "u s s 3"]
    ) -> tuple[Float[Array, "u h w 64"], Float[Array, "u 128"]]:
        """Encodes pictures.

        Args:
          pictures: uint8 [U, S, S, 3].

        Returns:
          Feature map [U, ceil(S / 8), ceil(S / 8), 64] and its mean and maximum [U, 128].

        Raises:
          InputError: if S is no multiple of 4.
        """
        u, s = pictures.shape[:2]
        if s % 4:
            raise InputError(
                f"pictures of {s} pixels do not divide into 4x4 patches",
                remedy="choose a picture size that is a multiple of 4",
            )
        x = _ink(pictures, self.dtype).reshape(u, s // 4, 4, s // 4, 4, 3)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(u, s // 4, s // 4, 48)
        x = Dense(32, use_bias=False, dtype=self.dtype, kernel_init=_he_normal)(x)
        x = jax.nn.relu(_norm(x))
        x = ResidualBlock(64, stride=2, dtype=self.dtype)(x)
        return x, _pool(x)


class ResNet18(nn.Module):
    """ResNet-18 (He et al. 2016) with GroupNorm, for pictures of 224 pixels.

    Attributes:
      dtype: of the computation; parameters are float32.
    """

    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, pictures: UInt8[Array, "u s s 3"]
    ) -> tuple[Float[Array, "u h w 512"], Float[Array, "u 1024"]]:
        """Encodes pictures.

        Args:
          pictures: uint8 [U, S, S, 3].

        Returns:
          Feature map [U, ceil(S / 32), ceil(S / 32), 512] and its mean and maximum [U, 1024].
        """
        x = Conv(64, 7, 2, self.dtype)(_ink(pictures, self.dtype))
        x = jax.nn.relu(_norm(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for stage, features in enumerate((64, 128, 256, 512)):
            x = ResidualBlock(features, 2 if stage else 1, self.dtype)(x)
            x = ResidualBlock(features, 1, self.dtype)(x)
        return x, _pool(x)


PICTURE_ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "small": SmallPictureEncoder,
    "resnet18": ResNet18,
}
"""Picture encoders by name; each is constructed with ``dtype`` and maps uint8 pictures to
(feature map [U, h, w, C], pooled [U, 2C])."""


def sample_map(
    feature_map: Float[Array, "u h w c"],
    molecule: Int[Array, " q"],
    positions: Float[Array, "q 2"],
) -> Float[Array, "q c"]:
    """Reads feature maps at atom positions, bilinear between the centres of their cells.

    Beyond the outermost centres the border cells continue.

    Args:
      feature_map: [U, h, w, C].
      molecule: int32 [Q], row of the feature map; rows of padding (>= U) read the last map.
      positions: [Q, 2], (row, column) in the picture, in [0, 1].

    Returns:
      [Q, C], of the dtype of the feature map.
    """
    u, h, w, channels = feature_map.shape
    size = jnp.array([[h, w]], jnp.int32)
    cell = positions * size.astype(positions.dtype) - 0.5
    cell = jnp.clip(cell, 0, (size - 1).astype(cell.dtype))
    low = jnp.floor(cell).astype(jnp.int32)
    corners = jnp.stack([low, jnp.minimum(low + 1, size - 1)])
    fraction = cell - low.astype(cell.dtype)
    weights = jnp.stack([1 - fraction, fraction]).astype(feature_map.dtype)
    molecule = jnp.clip(molecule, 0, u - 1)
    # One gather of four neighbours (row, then column) has one scatter as its transpose.
    row, column = corners[:, None, :, 0], corners[None, :, :, 1]
    neighbours = feature_map.reshape(-1, channels)[(molecule[None, None] * h + row) * w + column]
    return jnp.einsum("rq,sq,rsqc->qc", weights[..., 0], weights[..., 1], neighbours)
