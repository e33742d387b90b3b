"""Encoders of molecule pictures, and sampling their feature maps where the atoms are.

Pictures are uint8 RGB on white. An encoder returns (feature map [U, h, w, C], its mean [U, C]);
each picture is normalised by itself, so that padding pictures change no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from molrel.errors import InputError

Algorithm = Literal["auto", "direct", "im2col"]
Encoded = tuple[Float[Array, "u h w c"], Float[Array, "u c"]]


def _choose(size: int, map_shape: tuple[int, int], stride: int) -> Literal["direct", "im2col"]:
    """The fast algorithm for a kernel of the given size on a map [h, w].

    Where a kernel is larger than the map it makes, XLA on CPU swaps the two in the gradient
    and leaves its fast path: 5 to 80 times slower (measured with jax 0.10.1 and 0.10.2). On
    larger maps im2col takes 1.1 to 1.3 times as long as XLA's convolution. A kernel of one
    cell is a matrix product in any case.
    """
    if size == 1:
        return "im2col"
    tiny = min(-(-extent // stride) for extent in map_shape) < size
    return "im2col" if tiny and jax.default_backend() == "cpu" else "direct"


def _im2col(
    x: Float[Array, "u h w c"], size: int, stride: int
) -> Float[Array, "u oh ow size_size_c"]:
    """The cells under the kernel for every cell of the output, laid side by side."""
    pads, reach = [(0, 0)], []
    for extent in x.shape[1:3]:
        reach.append((-(-extent // stride) - 1) * stride + 1)
        total = max(reach[-1] - 1 + size - extent, 0)
        pads.append((total // 2, total - total // 2))
    x = jnp.pad(x, [*pads, (0, 0)])
    height, width = reach
    shifted = [
        x[:, i : i + height : stride, j : j + width : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(shifted, axis=-1)


def conv2d(
    x: Float[Array, "u h w c"],
    kernel: Float[Array, "k k c o"],
    stride: int = 1,
    algorithm: Algorithm = "auto",
) -> Float[Array, "u oh ow o"]:
    """Convolution with ``SAME`` padding, by whichever of two equal algorithms is faster.

    Args:
      x: maps, the dtype of ``kernel``.
      kernel: k x k cells.
      stride: the same for both axes.
      algorithm: ``direct`` is XLA's convolution, ``im2col`` one matrix product with a copy
        of x for each cell of the kernel; they give the same up to rounding.

    Returns:
      Maps of ceil(h / stride) x ceil(w / stride).
    """
    size, _, channels, features = kernel.shape
    if algorithm == "auto":
        algorithm = _choose(size, (x.shape[1], x.shape[2]), stride)
    if algorithm == "im2col":
        return _im2col(x, size, stride) @ kernel.reshape(size * size * channels, features)
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class Convolution(nn.Module):
    """``conv2d`` with a trained kernel and no bias: a GroupNorm follows, which has one."""

    features: int
    size: int = 3
    stride: int = 1
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "u h w c"]) -> Float[Array, "u oh ow o"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return conv2d(x, kernel, self.stride)


def _ink(
    pictures: UInt8[Array, "u s s 3"], multiple: int, dtype: jnp.dtype | None
) -> Float[Array, "u s s 3"]:
    """Pictures in [0, 1] with the white background at 0, so that padding looks like it.

    Raises:
      InputError: the size is no multiple of the given one.
    """
    size = pictures.shape[1]
    if pictures.ndim != 4 or pictures.shape[2:] != (size, 3) or pictures.dtype != jnp.uint8:
        raise ValueError(f"pictures are {pictures.dtype} {pictures.shape}, not uint8 [U, S, S, 3]")
    if size % multiple:
        raise InputError(
            f"pictures of {size} pixels do not suit this encoder",
            remedy=f"Choose a picture size that is a multiple of {multiple}",
        )
    return (255 - pictures).astype(dtype or jnp.float32) / 255


class PreActivationBlock(nn.Module):
    """x + conv(act(conv(act(x)))), act = ReLU after GroupNorm (He et al. 2016, 1603.05027).

    With a stride the shortcut is averaged over its cells instead of dropping some of them.
    """

    features: int
    stride: int = 1
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "u h w c"]) -> Float[Array, "u oh ow o"]:
        y = jax.nn.relu(nn.GroupNorm(num_groups=8, dtype=self.dtype)(x))
        if self.stride > 1 or x.shape[-1] != self.features:
            window = (self.stride, self.stride)
            x = nn.avg_pool(y, window, window)
            x = nn.Dense(self.features, use_bias=False, dtype=self.dtype, name="shortcut")(x)
        y = Convolution(self.features, stride=self.stride, dtype=self.dtype)(y)
        y = jax.nn.relu(nn.GroupNorm(num_groups=8, dtype=self.dtype)(y))
        return x + Convolution(self.features, dtype=self.dtype)(y)


class PictureEncoder(nn.Module):
    """A small residual network for pictures of about 64 pixels.

    4 x 4 patches (a matrix product), then ``depth`` residual blocks, the first with stride 2:
    the map has S / 8 x S / 8 cells. Fast enough to be trained on a CPU.

    Attributes:
      width: channels C of the map, a multiple of 16; the patches have half as many.
      depth: residual blocks.
      dtype: of the computation; parameters are float32.
    """

    width: int = 64
    depth: int = 1
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, pictures: UInt8[Array, "u s s 3"]) -> Encoded:
        x = _ink(pictures, 8, self.dtype)
        n, cells = x.shape[0], x.shape[1] // 4
        x = x.reshape(n, cells, 4, cells, 4, 3).swapaxes(2, 3).reshape(n, cells, cells, 48)
        x = nn.Dense(self.width // 2, dtype=self.dtype, name="patches")(x)
        for i in range(self.depth):
            x = PreActivationBlock(self.width, stride=1 if i else 2, dtype=self.dtype)(x)
        x = jax.nn.relu(nn.GroupNorm(num_groups=8, dtype=self.dtype)(x))
        return x, jnp.mean(x, axis=(1, 2))


class BasicBlock(nn.Module):
    """ReLU(x + norm(conv(ReLU(norm(conv(x)))))), the block of ResNet-18."""

    features: int
    stride: int = 1
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "u h w c"]) -> Float[Array, "u oh ow o"]:
        y = Convolution(self.features, stride=self.stride, dtype=self.dtype)(x)
        y = jax.nn.relu(nn.GroupNorm(dtype=self.dtype)(y))
        y = nn.GroupNorm(dtype=self.dtype)(Convolution(self.features, dtype=self.dtype)(y))
        if x.shape != y.shape:
            x = Convolution(self.features, 1, self.stride, self.dtype, name="shortcut")(x)
            x = nn.GroupNorm(dtype=self.dtype, name="shortcut_norm")(x)
        return jax.nn.relu(x + y)


class ResNet18(nn.Module):
    """ResNet-18 (He et al. 2016, arXiv 1512.03385) with GroupNorm in place of BatchNorm.

    The map has S / 32 x S / 32 cells of 512 channels: 7 x 7 at 224 pixels.

    Attributes:
      dtype: of the computation; parameters are float32.
    """

    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, pictures: UInt8[Array, "u s s 3"]) -> Encoded:
        x = _ink(pictures, 32, self.dtype)
        x = Convolution(64, size=7, stride=2, dtype=self.dtype)(x)
        x = jax.nn.relu(nn.GroupNorm(dtype=self.dtype)(x))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for stage, features in enumerate((64, 128, 256, 512)):
            x = BasicBlock(features, stride=2 if stage else 1, dtype=self.dtype)(x)
            x = BasicBlock(features, dtype=self.dtype)(x)
        return x, jnp.mean(x, axis=(1, 2))


PICTURE_ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "small": PictureEncoder,
    "resnet18": ResNet18,
}


def sample_map(
    feature_map: Float[Array, "u h w c"],
    molecule: Int[Array, " q"],
    positions: Float[Array, "q 2"],
) -> Float[Array, "q c"]:
    """Feature maps between their cells, by bilinear interpolation.

    The value of a cell stands at its centre: cell (i, j) at ((i + 1/2) / h, (j + 1/2) / w).
    Beyond the outermost centres the value is that of the nearest point between them.

    Args:
      feature_map: one map a molecule.
      molecule: int32, which map to sample; the sample is 0 where there is no such map.
      positions: float32, (row, column) in [0, 1].
    """
    n, height, width, channels = feature_map.shape
    shape = jnp.asarray([[height, width]], positions.dtype)
    cell = jnp.clip(positions * shape - 0.5, 0, shape - 1)
    low = jnp.floor(cell)
    share = (cell - low).astype(feature_map.dtype)
    low = low.astype(jnp.int32)
    high = jnp.minimum(low + 1, jnp.asarray([[height - 1, width - 1]], jnp.int32))
    # The four cells around each position: upper left, upper right, lower left, lower right.
    row = jnp.stack([low[:, 0], low[:, 0], high[:, 0], high[:, 0]], axis=1)
    column = jnp.stack([low[:, 1], high[:, 1], low[:, 1], high[:, 1]], axis=1)
    down, right = share[:, 0], share[:, 1]
    weight = jnp.stack(
        [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], axis=1
    )
    exists = ((molecule >= 0) & (molecule < n))[:, None]
    index = jnp.where(exists, (molecule[:, None] * height + row) * width + column, 0)
    corners = feature_map.reshape(n * height * width, channels)[index]
    return jnp.einsum("qk,qkc->qc", weight * exists.astype(weight.dtype), corners)


def augment(
    key: Key[Array, ""],
    pictures: UInt8[Array, "u s s 3"],
    positions: Float[Array, "n 2"],
    molecule: Int[Array, " n"],
) -> tuple[UInt8[Array, "u s s 3"], Float[Array, "n 2"]]:
    """Turns and mirrors each picture at random, and the positions in it with it.

    One of the eight symmetries of the square each, with equal probability.

    Args:
      key: of the draw.
      pictures: one a molecule.
      positions: float32, (row, column) in [0, 1].
      molecule: int32, picture that each position lies in; others, as in padding, give a
        position without meaning.
    """
    # Eight symmetries: swap the axes or not, then turn either of them round or not.
    swap, *turn = jax.random.bernoulli(key, shape=(3, pictures.shape[0]))

    def choose(condition: Bool[Array, " u"], changed: Array, same: Array) -> Array:
        return jnp.where(condition[:, None, None, None], changed, same)

    pictures = choose(swap, pictures.swapaxes(1, 2), pictures)
    row, column = positions[:, 0], positions[:, 1]
    swapped = swap[molecule]
    axes = [jnp.where(swapped, column, row), jnp.where(swapped, row, column)]
    for i in range(2):
        pictures = choose(turn[i], jnp.flip(pictures, 1 + i), pictures)
        axes[i] = jnp.where(turn[i][molecule], 1 - axes[i], axes[i])
    return pictures, jnp.stack(axes, axis=1)
