"""Picture encoders: equal convolutions, architecture, isolation of rows, sampling, symmetry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from molrel.errors import InputError
from molrel.nn import vision
from molrel.nn.vision import (
    PICTURE_ENCODERS,
    PictureEncoder,
    ResNet18,
    augment,
    conv2d,
    sample_map,
)


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def random_pictures(n, size, seed=0):
    """Dark lines on white, roughly as sparse as a drawing."""
    rng = np.random.default_rng(seed)
    pictures = np.full((n, size, size, 3), 255, np.uint8)
    pictures[rng.random((n, size, size)) < 0.1] = rng.integers(0, 200, 3)
    return pictures


# Convolution.


def correlate(x, kernel, stride):
    """SAME convolution by scipy: every centre, of which the strided ones are kept."""
    size = kernel.shape[0]
    out = np.zeros((*x.shape[:3], kernel.shape[3]))
    for u, c, o in np.ndindex(x.shape[0], x.shape[3], kernel.shape[3]):
        out[u, :, :, o] += scipy.ndimage.correlate(
            x[u, :, :, c], kernel[:, :, c, o], mode="constant"
        )
    first = []
    for extent in x.shape[1:3]:
        total = max((-(-extent // stride) - 1) * stride + size - extent, 0)
        first.append(size // 2 - total // 2)
    return out[:, first[0] :: stride, first[1] :: stride]


SIZES = [
    # (height, width, kernel, stride)
    (8, 8, 3, 1),
    (8, 6, 3, 2),
    (5, 7, 3, 2),
    (4, 4, 3, 2),
    (2, 2, 3, 1),
    (1, 1, 3, 1),
    (1, 3, 3, 2),
    (9, 10, 7, 2),
    (6, 5, 1, 2),
    (4, 4, 1, 1),
]


@pytest.mark.parametrize(("height", "width", "size", "stride"), SIZES)
@pytest.mark.parametrize("algorithm", ["direct", "im2col", "auto"])
def test_convolution_is_exact(height, width, size, stride, algorithm):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernel = rng.normal(size=(2, height, width, 3)), rng.normal(size=(size, size, 3, 4))
        got = conv2d(jnp.asarray(x), jnp.asarray(kernel), stride, algorithm)
        np.testing.assert_allclose(got, correlate(x, kernel, stride), atol=1e-12)


@pytest.mark.parametrize(("height", "width", "size", "stride"), SIZES)
def test_gradients_of_both_convolutions_agree(height, width, size, stride):
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        x, kernel = rng.normal(size=(2, height, width, 3)), rng.normal(size=(size, size, 3, 4))

        def gradients(algorithm):
            def loss(x, kernel):
                return jnp.sum(jnp.sin(conv2d(x, kernel, stride, algorithm)))

            return jax.grad(loss, (0, 1))(jnp.asarray(x), jnp.asarray(kernel))

        for a, b in zip(gradients("direct"), gradients("im2col")):
            np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(
    ("backend", "size", "extent", "stride", "expected"),
    [
        ("cpu", 3, 8, 1, "direct"),
        ("cpu", 3, 3, 1, "direct"),
        ("cpu", 3, 2, 1, "im2col"),
        ("cpu", 3, 4, 2, "im2col"),
        ("cpu", 3, 5, 2, "direct"),
        ("gpu", 3, 2, 1, "direct"),
        ("gpu", 1, 8, 2, "im2col"),
        ("cpu", 1, 8, 1, "im2col"),
    ],
)
def test_choice_of_algorithm(monkeypatch, backend, size, extent, stride, expected):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert vision._choose(size, (extent, extent), stride) == expected
    assert vision._choose(size, (extent, 64), stride) == expected


# Encoders.

# Names, shapes of maps from 64-pixel pictures, and numbers of parameters. ResNet-18 without its
# classifier has 11,176,512 parameters with either norm.
ARCHITECTURES = {"small": ((8, 8, 64), 59_232), "resnet18": ((2, 2, 512), 11_176_512)}


def count(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("name", PICTURE_ENCODERS)
def test_architecture(name):
    map_shape, n_parameters = ARCHITECTURES[name]
    encoder, pictures = PICTURE_ENCODERS[name](), random_pictures(3, 64)
    pictures[1] = 255  # blank, as padding is
    (feature_map, pooled), variables = encoder.init_with_output(jax.random.key(0), pictures)
    assert feature_map.shape == (3, *map_shape) and feature_map.dtype == jnp.float32
    assert count(variables["params"]) == n_parameters
    assert np.isfinite(feature_map).all()
    np.testing.assert_allclose(pooled, feature_map.mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_paper_size():
    pictures = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.uint8)
    feature_map, pooled = jax.eval_shape(
        lambda p: ResNet18().init_with_output(jax.random.key(0), p)[0], pictures
    )
    assert feature_map.shape == (2, 7, 7, 512) and pooled.shape == (2, 512)


def test_parameters_of_the_small_encoder_are_frozen():
    variables = jax.eval_shape(
        PictureEncoder(width=32, depth=2).init,
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.uint8),
    )
    flat = jax.tree_util.tree_leaves_with_path(variables["params"])
    shapes = {jax.tree_util.keystr(p, simple=True, separator="/"): x.shape for p, x in flat}
    block = "PreActivationBlock"
    expected = {
        "patches/kernel": (48, 16),
        "patches/bias": (16,),
        f"{block}_0/shortcut/kernel": (16, 32),
        f"{block}_0/Convolution_0/kernel": (3, 3, 16, 32),
        f"{block}_0/Convolution_1/kernel": (3, 3, 32, 32),
        f"{block}_1/Convolution_0/kernel": (3, 3, 32, 32),
        f"{block}_1/Convolution_1/kernel": (3, 3, 32, 32),
    }
    norms = {f"{block}_0/GroupNorm_0": 16, f"{block}_0/GroupNorm_1": 32, "GroupNorm_0": 32}
    norms |= {f"{block}_1/GroupNorm_{i}": 32 for i in (0, 1)}
    expected |= {f"{name}/{part}": (c,) for name, c in norms.items() for part in ("scale", "bias")}
    assert shapes == expected


@pytest.fixture(scope="module")
def small():
    encoder = PictureEncoder(width=32)
    return encoder, encoder.init(jax.random.key(0), random_pictures(1, 32))


def test_a_picture_is_encoded_alone(small):
    encoder, variables = small
    pictures = random_pictures(5, 32)
    pictures[3] = 255
    encode = jax.jit(encoder.apply)
    together = encode(variables, pictures)
    padded = encode(variables, np.concatenate([pictures, np.zeros_like(pictures)]))
    for i in range(5):
        for a, b, c in zip(together, encode(variables, pictures[i : i + 1]), padded):
            np.testing.assert_allclose(a[i], b[0], atol=1e-5)
            np.testing.assert_allclose(a[i], c[i], atol=1e-5)


def test_masked_pictures_leave_no_gradient(small):
    encoder, variables = small
    pictures = random_pictures(4, 32)
    padded = np.concatenate([pictures, np.full_like(pictures, 255)])

    def loss(variables, pictures):
        feature_map, pooled = encoder.apply(variables, pictures)
        return jnp.sum(jnp.sin(pooled[:4])) + jnp.sum(jnp.sin(feature_map[:4]))

    tight, loose = (jax.jit(jax.grad(loss))(variables, p) for p in (pictures, padded))
    for a, b in zip(*map(jax.tree.leaves, (tight, loose))):
        assert np.isfinite(b).all() and np.abs(a).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_colour_and_place_of_ink_matter(small):
    encoder, variables = small
    pictures = np.full((4, 32, 32, 3), 255, np.uint8)
    pictures[1, 4:7, 4:7] = 0
    pictures[2, 4:7, 4:7] = (255, 0, 0)
    pictures[3, 20:23, 20:23] = 0
    feature_map, _ = encoder.apply(variables, pictures)
    flat = feature_map.reshape(4, -1)
    distance = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    assert (distance[~np.eye(4, dtype=bool)] > 0.1).all()


@pytest.mark.parametrize("name", PICTURE_ENCODERS)
def test_bfloat16_computes_low_and_stores_high(name):
    pictures = random_pictures(2, 32)
    variables = PICTURE_ENCODERS[name]().init(jax.random.key(0), pictures)
    low = PICTURE_ENCODERS[name](dtype=jnp.bfloat16)
    shapes = jax.eval_shape(low.init, jax.random.key(0), pictures)
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    exact, rounded = (
        encoder.apply(variables, pictures)[0] for encoder in (PICTURE_ENCODERS[name](), low)
    )
    assert rounded.dtype == jnp.bfloat16
    error = np.asarray(rounded, np.float32) - exact
    assert np.sqrt((error**2).mean()) < 0.05 * np.sqrt((exact**2).mean())


def test_size_that_does_not_fit_is_named():
    with pytest.raises(InputError, match="60 pixels.*multiple of 8"):
        PictureEncoder().init(jax.random.key(0), random_pictures(1, 60))
    with pytest.raises(ValueError, match="float32"):
        PictureEncoder().init(jax.random.key(0), random_pictures(1, 64).astype(np.float32))


# Sampling.


@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    positions=st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 2), min_size=1, max_size=6),
)
def test_samples_match_scipy(height, width, positions):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, height, width, 2)).astype(np.float32)
    molecule = rng.integers(0, 3, len(positions)).astype(np.int32)
    points = np.array(positions, np.float32)
    got = sample_map(jnp.asarray(maps), jnp.asarray(molecule), jnp.asarray(points))
    cells = points * [height, width] - 0.5
    for q, u in enumerate(molecule):
        expected = [
            scipy.ndimage.map_coordinates(
                maps[u, :, :, c], cells[q, :, None], order=1, mode="nearest"
            )
            for c in range(2)
        ]
        np.testing.assert_allclose(got[q], np.concatenate(expected), atol=1e-5)


def test_sample_at_a_centre_is_the_cell():
    maps = np.random.default_rng(0).normal(size=(2, 4, 8, 3)).astype(np.float32)
    u, i, j = (x.ravel() for x in np.indices((2, 4, 8)))
    centres = np.stack([(i + 0.5) / 4, (j + 0.5) / 8], axis=1).astype(np.float32)
    got = sample_map(jnp.asarray(maps), jnp.asarray(u, jnp.int32), jnp.asarray(centres))
    np.testing.assert_allclose(got, maps.reshape(-1, 3), atol=1e-6)


def test_samples_of_missing_maps_are_zero_and_have_no_gradient():
    maps = jnp.ones((2, 3, 3, 4))
    molecule = jnp.asarray([0, 2, -1, 1], jnp.int32)
    positions = jnp.full((4, 2), 0.4)
    np.testing.assert_allclose(
        sample_map(maps, molecule, positions), np.array([1.0, 0, 0, 1])[:, None] * np.ones(4)
    )
    gradient = jax.grad(lambda m: sample_map(m, molecule, positions)[1:3].sum())(maps)
    np.testing.assert_array_equal(gradient, 0)


def test_gradient_of_samples():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        maps, molecule = rng.normal(size=(3, 4, 5, 2)), jnp.asarray([0, 0, 2, 1, 2], jnp.int32)
        # Away from the creases at cell centres, where there is no derivative.
        inside = (rng.integers(0, 3, (5, 2)) + rng.uniform(0.6, 1.4, (5, 2))) / [4, 5]
        check_grads(
            lambda m, p: jnp.sin(sample_map(m, molecule, p)),
            (jnp.asarray(maps), jnp.asarray(inside)),
            order=1,
            eps=1e-6,
        )


def test_sampling_keeps_the_dtype_of_the_map():
    maps = jnp.ones((1, 2, 2, 3), jnp.bfloat16)
    got = sample_map(maps, jnp.zeros(2, jnp.int32), jnp.full((2, 2), 0.3))
    assert got.dtype == jnp.bfloat16


# Symmetries.


def draws(n=800, size=6, atoms=4):
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 256, (n, size, size, 3)).astype(np.uint8)
    pictures[:] = pictures[0]
    molecule = np.repeat(np.arange(n), atoms).astype(np.int32)
    positions = np.tile(rng.random((atoms, 2)), (n, 1)).astype(np.float32)
    turned, moved = augment(jax.random.key(0), jnp.asarray(pictures), positions, molecule)
    return pictures, positions, molecule, turned, moved


def test_positions_turn_with_their_picture():
    pictures, positions, molecule, turned, moved = draws()

    def at_atoms(pictures, positions):
        return sample_map(jnp.asarray(pictures, jnp.float32), molecule, jnp.asarray(positions))

    np.testing.assert_allclose(at_atoms(turned, moved), at_atoms(pictures, positions), atol=0.01)
    assert np.abs(at_atoms(turned, positions) - at_atoms(pictures, positions)).max() > 10
    assert moved.dtype == jnp.float32 and turned.dtype == jnp.uint8


def test_eight_symmetries_occur_equally_often():
    pictures, *_, turned, _ = draws()
    square = pictures[0]
    symmetries = [np.rot90(s, k) for s in (square, square.swapaxes(0, 1)) for k in range(4)]
    which = [[np.array_equal(t, s) for s in symmetries] for t in np.asarray(turned)]
    counts = np.sum(which, axis=0)
    assert np.sum(counts) == len(turned)
    # 800 draws from 8: the mean is 100, the standard deviation 9.4.
    assert counts.min() > 60 and counts.max() < 140


def test_augmentation_depends_on_the_key():
    pictures, positions, molecule, turned, _ = draws(50)
    again, _ = augment(jax.random.key(0), jnp.asarray(pictures), positions, molecule)
    other, _ = augment(jax.random.key(1), jnp.asarray(pictures), positions, molecule)
    np.testing.assert_array_equal(turned, again)
    assert not np.array_equal(turned, other)


def test_padding_positions_stay_finite():
    pictures = jnp.asarray(random_pictures(2, 8))
    _, moved = augment(
        jax.random.key(0), pictures, jnp.zeros((2, 2)), jnp.asarray([1, 2], jnp.int32)
    )
    assert np.isfinite(moved).all()
