"""Picture encoders: exact convolutions, independence of rows, sizes; map sampling."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from scipy.ndimage import map_coordinates
from scipy.signal import correlate

from molrel.errors import InputError
from molrel.nn.vision import (
    PICTURE_ENCODERS,
    ResidualBlock,
    ResNet18,
    SmallPictureEncoder,
    conv2d,
    sample_map,
)

RANDOM = np.random.default_rng(0)
PICTURES = jnp.asarray(RANDOM.integers(0, 256, (5, 32, 32, 3)), jnp.uint8)


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def normal(*shape):
    return jnp.asarray(RANDOM.normal(size=shape), jnp.float32)


ENCODER = SmallPictureEncoder()
encode: Any = jax.jit(ENCODER.apply)


@pytest.fixture(scope="module")
def params():
    """Trained-like: no scale is zero, so that every layer takes part."""
    fresh = jax.jit(ENCODER.init)(jax.random.key(0), PICTURES)
    return jax.tree_util.tree_map_with_path(
        lambda path, p: jnp.full_like(p, 0.7) if "scale" in str(path) else p, fresh
    )


CASES = [(8, 3, 1), (8, 3, 2), (7, 3, 2), (2, 3, 1), (1, 3, 1), (4, 3, 2), (6, 1, 2), (9, 7, 2)]


@pytest.mark.parametrize("side, size, stride", CASES)
def test_both_convolutions_agree_in_value_and_gradient(side, size, stride):
    x, kernel = normal(2, side, side + 1, 3), normal(size, size, 3, 4)

    @functools.partial(jax.jit, static_argnums=0)
    def run(path):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(conv2d(x, kernel, stride, path)))

        return conv2d(x, kernel, stride, path), jax.grad(loss, (0, 1))(x, kernel)

    for path in ("im2col", "auto"):
        for a, b in zip(jax.tree.leaves(run("direct")), jax.tree.leaves(run(path)), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


def test_convolution_is_that_of_scipy():
    x, kernel = normal(1, 6, 6, 2), normal(3, 3, 2, 1)
    for path in ("direct", "im2col"):
        expected = sum(
            correlate(x[0, :, :, c], kernel[:, :, c, 0], mode="same", method="direct")
            for c in range(2)
        )
        np.testing.assert_allclose(conv2d(x, kernel, 1, path)[0, :, :, 0], expected, atol=1e-5)


def test_tiny_maps_avoid_the_slow_convolution_and_others_use_it():
    def primitives(side, size, stride):
        x, kernel = normal(1, side, side, 2), normal(size, size, 2, 2)
        return str(jax.make_jaxpr(lambda x, k: conv2d(x, k, stride))(x, kernel))

    for side, size, stride in [(2, 3, 1), (4, 3, 2), (1, 3, 1), (8, 1, 2)]:
        assert "conv_general_dilated" not in primitives(side, size, stride)
    for side, size, stride in [(3, 3, 1), (5, 3, 2), (16, 7, 2)]:
        assert "conv_general_dilated" in primitives(side, size, stride)


def test_constant_maps_give_finite_gradients():
    x = jnp.full((2, 4, 4, 16), 1e3)
    block: Any = ResidualBlock(16, stride=2)
    params = jax.tree.map(lambda p: p + 0.1, block.init(jax.random.key(0), x))
    gradients = jax.jit(jax.grad(lambda p, x: jnp.sum(block.apply(p, x) ** 2), (0, 1)))(params, x)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_a_fresh_block_passes_its_input_on():
    x = jax.nn.relu(normal(2, 6, 6, 16))
    block: Any = ResidualBlock(16)
    np.testing.assert_array_equal(block.apply(block.init(jax.random.key(0), x), x), x)


@pytest.mark.parametrize("side, cells", [(32, 4), (64, 8), (68, 9)])
def test_small_encoder_shapes(params, side, cells):
    pictures = jnp.zeros((3, side, side, 3), jnp.uint8)
    feature_map, pooled = jax.eval_shape(encode, params, pictures)
    assert feature_map.shape == (3, cells, cells, 64) and pooled.shape == (3, 128)


def test_small_encoder_refuses_sizes_that_are_no_multiple_of_4(params):
    with pytest.raises(InputError, match="multiple of 4"):
        encode(params, jnp.zeros((1, 30, 30, 3), jnp.uint8))


def test_pooled_is_mean_and_maximum(params):
    feature_map, pooled = (np.asarray(a) for a in encode(params, PICTURES))
    expected = np.concatenate([feature_map.mean((1, 2)), feature_map.max((1, 2))], -1)
    np.testing.assert_allclose(pooled, expected, atol=1e-5)
    assert feature_map.std() > 0.1


def test_gradient_does_not_depend_on_how_far_xla_optimises(params):
    # Without optimisation the map is computed anew, and rounded differently, for the gradient
    # of its maximum: what looks for the place of the maximum by its value finds none.
    def loss(params):
        return sum(jnp.sum(jnp.square(x)) for x in ENCODER.apply(params, PICTURES))

    moved = jax.tree.map(lambda x: x + 0.1 * normal(*x.shape), params)
    lowered = jax.jit(jax.grad(loss)).lower(moved)
    found = [
        lowered.compile(compiler_options={"xla_backend_optimization_level": level})(moved)
        for level in (0, 3)
    ]
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())


def test_rows_do_not_influence_each_other(params):

    def loss(params, pictures):
        feature_map, pooled = encode(params, pictures)
        return jnp.sum(jnp.sin(feature_map[:3])) + jnp.sum(pooled[:3] ** 2)

    gradient = jax.jit(jax.grad(loss))
    changed = PICTURES.at[3:].set(0)
    for a, b in zip(encode(params, PICTURES), encode(params, changed), strict=True):
        np.testing.assert_allclose(a[:3], b[:3], atol=1e-5)
    gradients = [gradient(params, pictures) for pictures in (PICTURES, changed)]
    for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-4)


def test_white_is_the_zero_of_the_network(params):
    """A white frame is what the padding of the convolutions assumes beyond the picture."""
    white, black = (jnp.full((1, 32, 32, 3), v, jnp.uint8) for v in (255, 0))
    np.testing.assert_array_equal(encode(params, white)[0], 0)
    assert np.abs(encode(params, black)[0]).max() > 0.1


def test_patches_keep_their_place(params):
    """Ink in one corner changes the map there most."""
    pictures = np.full((2, 32, 32, 3), 255, np.uint8)
    pictures[0, 2:6, 26:30] = 0
    pictures[1, 26:30, 2:6] = 0
    strength = np.abs(np.asarray(encode(params, jnp.asarray(pictures))[0])).sum(-1)
    assert np.unravel_index(strength[0].argmax(), (4, 4)) == (0, 3)
    assert np.unravel_index(strength[1].argmax(), (4, 4)) == (3, 0)


def test_vmap_over_parameters_is_one_seed_after_the_other():
    """Of the three convolutions two are direct and the 1x1 one is a matrix product."""
    block: Any = ResidualBlock(16, stride=2)
    x = normal(2, 5, 5, 16)
    fresh = block.init(jax.random.key(0), x)
    stacked = jax.tree.map(lambda p: 0.3 * normal(2, *p.shape), fresh)

    def gradient(params):
        return jax.grad(lambda p: jnp.sum(block.apply(p, x) ** 2))(params)

    together = jax.jit(jax.vmap(gradient))(stacked)
    for i in range(2):
        alone = jax.jit(gradient)(jax.tree.map(lambda a, i=i: a[i], stacked))
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-3 * np.abs(b).max() + 1e-6)


@pytest.mark.parametrize("name", PICTURE_ENCODERS)
def test_parameters_stay_float32_and_dtype_is_that_of_the_output(name):
    for dtype, expected in ((None, jnp.float32), (jnp.bfloat16, jnp.bfloat16)):
        encoder = PICTURE_ENCODERS[name](dtype=dtype)
        outputs, params = jax.eval_shape(encoder.init_with_output, jax.random.key(0), PICTURES)
        assert [o.dtype for o in outputs] == [expected] * 2
        assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(params))


def test_bfloat16_computes_near_float32(params):
    half = jax.jit(SmallPictureEncoder(dtype=jnp.bfloat16).apply)(params, PICTURES)
    for a, b in zip(encode(params, PICTURES), half, strict=True):
        np.testing.assert_allclose(a, b.astype(jnp.float32), atol=0.15, rtol=0.1)


def test_resnet18_has_the_parameters_of_resnet18():
    """11 176 512 is the published network without its classifier (512 x 1000 + 1000)."""
    pictures = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.uint8)
    outputs, params = jax.eval_shape(ResNet18().init_with_output, jax.random.key(0), pictures)
    assert [o.shape for o in outputs] == [(2, 7, 7, 512), (2, 1024)]
    assert sum(p.size for p in jax.tree.leaves(params)) == 11_176_512


read = jax.jit(sample_map)


@settings(max_examples=30, deadline=None)
@given(
    h=st.sampled_from([1, 2, 5]),
    w=st.sampled_from([1, 3, 4]),
    points=st.lists(
        st.tuples(st.integers(0, 2), st.floats(0, 1, width=32), st.floats(0, 1, width=32)),
        min_size=6,
        max_size=6,
    ),
)
def test_sampling_is_that_of_scipy(h, w, points):
    feature_map = np.random.default_rng(1).normal(size=(3, h, w, 2)).astype(np.float32)
    molecule = np.array([p[0] for p in points], np.int32)
    positions = np.array([p[1:] for p in points], np.float32)
    found = read(*map(jnp.asarray, (feature_map, molecule, positions)))
    cells = positions.astype(np.float64) * [h, w] - 0.5
    for q, m in enumerate(molecule):
        for c in range(2):
            expected = map_coordinates(
                feature_map[m, :, :, c].astype(np.float64),
                cells[q][:, None],
                order=1,
                mode="nearest",
            )
            np.testing.assert_allclose(found[q, c], expected[0], atol=1e-5)


def test_sampling_golden():
    """Rows of a 2 x 2 map: its centres lie at 1/4 and 3/4 of the picture."""
    feature_map = jnp.arange(4.0).reshape(1, 2, 2, 1)
    positions = jnp.array([[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.5, 0.5], [0, 0], [1, 0.5]])
    found = sample_map(feature_map, jnp.zeros(6, jnp.int32), positions)
    np.testing.assert_allclose(found[:, 0], [0, 1, 2, 1.5, 0, 2.5])


def test_sampling_clamps_padding_molecules():
    feature_map = normal(3, 4, 4, 2)
    positions = jnp.full((3, 2), 0.3)
    padded = sample_map(feature_map, jnp.array([2, 3, 99], jnp.int32), positions)
    np.testing.assert_array_equal(padded[1:], jnp.stack([padded[0]] * 2))
    assert np.isfinite(padded).all()


def test_sampling_gradient_in_float64():
    with jax.enable_x64(True):
        feature_map = jnp.asarray(RANDOM.normal(size=(2, 3, 4, 2)))
        # Away from cell centres and borders, where the slope jumps.
        positions = jnp.asarray([[0.41, 0.33], [0.57, 0.71], [0.31, 0.52], [0.05, 0.44]])
        molecule = jnp.asarray([0, 1, 1, 7], jnp.int32)

        def sample(feature_map, positions):
            return sample_map(feature_map, molecule, positions)

        assert sample(feature_map, positions).dtype == jnp.float64
        check_grads(
            jax.jit(sample), (feature_map, positions), order=1, eps=1e-6, atol=1e-7, rtol=1e-7
        )


def test_sampling_keeps_bfloat16():
    feature_map = normal(2, 4, 4, 3)
    args = jnp.array([0, 1], jnp.int32), jnp.array([[0.3, 0.6], [0.9, 0.1]])
    half = sample_map(feature_map.astype(jnp.bfloat16), *args)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), sample_map(feature_map, *args), atol=0.05)
