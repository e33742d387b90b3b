"""CMRL: its terms, its noise, and whose shortcut a pair is shown."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from interaction_setting import CMRL, N, assert_near, build, compiled, make_batch, setting
from problem import loss_of

from molrel.methods.cmrl import CausalWeights, permute_among
from molrel.nn.interaction import CausalNetwork

NAMES = list(CausalWeights.__dataclass_fields__)


def test_terms_are_named_and_weighted():
    batch, params = setting(CMRL)
    (total, terms), _ = compiled(CMRL)(params, batch, jax.random.key(1))
    assert set(terms) == {"supervised", *NAMES}
    np.testing.assert_allclose(total, sum(terms.values()), rtol=1e-5)
    weights = CausalWeights(0.0, 0.5, 0.0)
    method = build(replace(CMRL, weights=weights))
    total, (_, fewer) = jax.jit(partial(loss_of, method))(params, {}, batch, jax.random.key(1), 0.5)
    assert_near(fewer, {name: terms[name] for name in ("supervised", "shortcut")})
    np.testing.assert_allclose(total, fewer["supervised"] + 0.5 * fewer["shortcut"], rtol=1e-5)


def test_noise_comes_from_the_key_and_is_not_in_the_plain_path():
    batch, params = setting(CMRL)
    run = compiled(CMRL)
    one, again, other = (run(params, batch, jax.random.key(k))[0][1] for k in (1, 1, 2))
    assert one == again
    np.testing.assert_allclose(one["supervised"], other["supervised"], rtol=1e-5)
    assert all(one[name] != other[name] for name in NAMES)


def test_shortcuts_change_places_among_the_chosen_rows_only():
    chosen = jnp.array([True, False, True, True, False, True, True])
    keys = jax.random.split(jax.random.key(0), 400)
    seen = np.asarray(jax.vmap(permute_among, in_axes=(0, None))(keys, chosen))
    rows = np.flatnonzero(chosen)
    assert (seen[:, ~np.asarray(chosen)] == np.flatnonzero(~chosen)).all()
    assert (np.sort(seen[:, rows], axis=1) == rows).all()
    # Every chosen row goes everywhere, about 80 times.
    counts = np.array([[np.sum(seen[:, i] == j) for j in rows] for i in rows])
    assert counts.min() > 40 and counts.max() < 120


def test_permutation_of_no_row_or_one():
    for chosen in (jnp.zeros(3, bool), jnp.array([False, True, False])):
        assert permute_among(jax.random.key(0), chosen).tolist() == [0, 1, 2]


def test_another_shortcut_changes_the_intervened_prediction_alone():
    batch, params = make_batch(), setting(CMRL)[1]
    network = CausalNetwork(CMRL.width, CMRL.depth)

    @jax.jit
    def run(rows):
        encoded = network.apply({"params": params}, batch.molecules, method="encode")
        return network.apply({"params": params}, encoded, batch.sides, rows, method="separate")

    (plain, views), (same_plain, moved) = run(jnp.arange(N)), run(jnp.roll(jnp.arange(N), 1))
    assert_near(plain, same_plain)
    for one, other in zip(views, moved):
        assert_near((one.causal, one.shortcut), (other.causal, other.shortcut))
        assert np.abs(one.intervened - other.intervened).max() > 1e-4
