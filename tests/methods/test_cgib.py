"""CGIB: its terms, its noise, and what it leaves out."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
from interaction_setting import CGIB, assert_near, build, compiled, setting
from problem import loss_of

from molrel.methods.cgib import BottleneckWeights

NAMES = list(BottleneckWeights.__dataclass_fields__)


def test_terms_are_named_and_weighted():
    batch, params = setting(CGIB)
    (total, terms), _ = compiled(CGIB)(params, batch, jax.random.key(1))
    assert set(terms) == {"supervised", *NAMES}
    expected = terms["supervised"] + sum(getattr(CGIB.weights, n) * terms[n] for n in NAMES)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    assert CGIB.weights == BottleneckWeights(1.0, 1e-4, 1e-4)


def test_noise_comes_from_the_key_and_is_not_in_the_plain_path():
    batch, params = setting(CGIB)
    run = compiled(CGIB)
    one, again, other = (run(params, batch, jax.random.key(k))[0][1] for k in (1, 1, 2))
    assert one == again
    np.testing.assert_allclose(one["supervised"], other["supervised"], rtol=1e-5)
    assert all(one[name] != other[name] for name in NAMES)


def test_a_term_without_weight_is_left_out():
    batch, params = setting(CGIB)
    method = build(replace(CGIB, weights=BottleneckWeights(0.0, 0.5, 0.0)))
    total, (_, terms) = jax.jit(partial(loss_of, method))(params, {}, batch, jax.random.key(1), 0.5)
    full = compiled(CGIB)(params, batch, jax.random.key(1))[0][1]
    assert_near(terms, {name: full[name] for name in ("supervised", "compression")})
    np.testing.assert_allclose(total, terms["supervised"] + 0.5 * terms["compression"], rtol=1e-5)
