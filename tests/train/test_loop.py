"""The loop: a loss that is not finite, what is selected, and how often it compiles."""

import itertools
import json
import logging
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import problem
import pytest
from problem import CONFIG, SOURCE, TARGET

from molrel.errors import InputError, RunError
from molrel.train.loop import train
from molrel.train.predict import make_predictor
from molrel.train.settings import OptimiserConfig, TrainConfig

SMILES = SOURCE + TARGET


def make_problem():
    """Without pictures, which compiles in a fraction of the time."""
    return problem.make_problem(replace(CONFIG, branches="graph"))


def fit(folder, method=None, values=None, every=2, resume=False):
    """Trains the small problem; ``values`` are what successive validations return."""
    plain, table, sampler, *_ = make_problem()
    values = itertools.cycle([0.5]) if values is None else iter(values)
    return train(
        method or plain,
        table,
        sampler,
        lambda params, state: [{"selection": next(values)} for _ in range(2)],
        seeds=(0, 1),
        config=TrainConfig(steps=6, evaluate_every=every),
        optimiser_config=OptimiserConfig(learning_rate=1e-2),
        folder=folder,
        molecules=SMILES,
        resume=resume,
    )


# By patience of 2, seed 0 ends after step 5 and seed 1 after step 6: what seed 0 would have won
# later is not its own.
CURVES = {0: [0.1, 0.2, 0.3, 0.2, 0.2, 0.9, 0.9, 0.9], 1: [0.1, 0.2, 0.3, 0.4, 0.1, 0.1, 0.5, 0.5]}


def fit_with_patience(seeds, folder, *, first=0, steps=8, resume=False):
    """(final state, cost); the validations of step ``first`` + 1 and later are those of CURVES."""
    plain, table, sampler, *_ = make_problem()
    steps_done = itertools.count(first)

    def validate(params, state):
        i = next(steps_done)
        return [{"selection": CURVES[seed][i]} for seed in seeds]

    return train(
        plain,
        table,
        sampler,
        validate,
        seeds=seeds,
        config=TrainConfig(steps=steps, evaluate_every=1, patience=2),
        optimiser_config=OptimiserConfig(learning_rate=1e-2),
        folder=folder,
        molecules=SMILES,
        resume=resume,
    )


def test_a_run_ends_when_no_validation_improves(tmp_path):
    run, cost = fit_with_patience((0, 1), tmp_path)
    assert cost["steps"] == 6 and run.train.step.tolist() == [6, 6]
    assert run.best_step.tolist() == [3, 4]
    for i, seed in enumerate((0, 1)):
        alone, cost = fit_with_patience((seed,), None)
        assert cost["steps"] == (5, 6)[i]
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[0], b[i], rtol=1e-5, atol=1e-6),
            alone.best_params,
            run.best_params,
        )
    # A run that has ended has nothing left to do.
    again, cost = fit_with_patience((0, 1), tmp_path, first=6, resume=True)
    assert cost["steps"] == 6
    jax.tree.map(np.testing.assert_array_equal, again.best_params, run.best_params)


def with_bad_term(method, name, value, at):
    """The method with a term that turns to ``value`` in the second seed's step ``at``."""

    def loss(params, state, batch, context):
        found = method.loss(params, state, batch, context)
        bad = jnp.where(context.progress >= at, value, 0.0)
        return found._replace(loss=found.loss + bad, terms=found.terms | {name: bad})

    return method._replace(loss=loss)


@pytest.mark.parametrize("value", [np.nan, pytest.param(np.inf, marks=pytest.mark.slow)])
def test_a_loss_that_is_not_finite_stops_with_step_term_and_molecules(tmp_path, value):
    method = with_bad_term(make_problem()[0], "curvature", value, at=3 / 6)
    with pytest.raises(RunError) as caught:
        fit(tmp_path, method)
    message = str(caught.value)
    assert "step 3" in message and "curvature" in message and "seed 0" in message
    assert "supervised" not in message, "a finite term is blamed"
    assert "--overwrite" in message, "the folder can be neither resumed nor started again"
    batch = (tmp_path / "failed_batch.txt").read_text().split()
    assert set(batch) <= set(SMILES) and batch[0] in message
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {row["step"] for row in rows} == {2}, "earlier lines are kept"
    assert [p.name for p in (tmp_path / "checkpoints").glob("[0-9]*")] == ["2"]


def logged(folder):
    """(step, seed) -> terms of metrics.jsonl."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {(row["step"], row["seed"]): row["terms"] for row in rows}


def test_a_logged_term_is_the_mean_of_the_steps_since_the_last_log(tmp_path):
    single, together = tmp_path / "single", tmp_path / "together"
    for folder, every in ((single, 1), (together, 4)):
        folder.mkdir()
        fit(folder, every=every)
    steps, means = logged(single), logged(together)
    assert sorted(means) == [(4, 0), (4, 1), (6, 0), (6, 1)]
    for (step, seed), terms in means.items():
        since = range(1, 5) if step == 4 else range(5, 7)
        for name, value in terms.items():
            values = [steps[s, seed][name] for s in since]
            np.testing.assert_allclose(value, np.mean(values), rtol=1e-12, err_msg=name)
    assert means[4, 0]["total"] != steps[4, 0]["total"]


@pytest.mark.parametrize("link", ["metrics.jsonl", "tensorboard", "tensorboard/seed_0"])
def test_logs_that_are_links_are_refused_and_what_they_lead_to_is_kept(tmp_path, link):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    (run / link).parent.mkdir(parents=True)
    if link == "metrics.jsonl":
        elsewhere.write_text("mine")
    else:
        elsewhere.mkdir()
        (elsewhere / "mine").write_text("mine")
    (run / link).symlink_to(elsewhere)
    with pytest.raises(InputError, match="symbolic link") as caught:
        fit(run)
    assert str(run / link) in str(caught.value)
    kept = elsewhere if elsewhere.is_file() else elsewhere / "mine"
    assert kept.read_text() == "mine"
    assert elsewhere.is_file() or [p.name for p in elsewhere.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["metrics.tmp", "metrics.jsonl.tmp", "failed_batch.txt"])
def test_predictable_names_are_not_written_through(tmp_path, name):
    elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
    elsewhere.write_text("mine")
    run.mkdir()
    (run / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match="symbolic link") as caught:
        fit(run, with_bad_term(make_problem()[0], "curvature", np.nan, at=3 / 6))
    assert caught.value.path == run / name
    assert elsewhere.read_text() == "mine" and (run / name).is_symlink()


def test_a_failed_batch_is_named_in_the_run_folder(tmp_path):
    with pytest.raises(RunError, match="failed_batch.txt"):
        fit(tmp_path, with_bad_term(make_problem()[0], "curvature", np.nan, at=3 / 6))
    assert (tmp_path / "failed_batch.txt").read_text()
    assert not [path for path in tmp_path.iterdir() if "tmp" in path.name]


@pytest.mark.slow
def test_a_log_with_damaged_lines_is_resumed(tmp_path):
    fit(tmp_path)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'null\n[1]\n{"step": "x"}\n\xff\xfe\n{"step": 999, "se')
    fit(tmp_path, resume=True)
    assert path.read_bytes() == whole


def test_each_seed_keeps_its_own_best_step(tmp_path):
    # Validations come seed by seed: seed 0 is best at step 4, seed 1 at step 2.
    final, _ = fit(tmp_path, values=[0.5, 0.9, 0.8, 0.7, 0.6, float("nan")])
    assert final.best_step.tolist() == [4, 2]
    np.testing.assert_allclose(final.best_value, [0.8, 0.9])
    newest = jax.tree.leaves(final.train.params)
    assert any(not np.array_equal(b, p) for b, p in zip(jax.tree.leaves(final.best_params), newest))


def test_a_run_compiles_the_large_programs_at_most_three_times(tmp_path, caplog):
    """Step, encoder, head: whatever the number of steps, seeds, validations and splits."""
    method, table, sampler, *_ = make_problem()
    predict = make_predictor(method, table, symmetric=True)
    logger = logging.getLogger("jax._src.interpreters.pxla")
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger=logger.name):
        final, _ = train(
            method,
            table,
            sampler,
            lambda *variables: [
                {"selection": float(each.mean())} for each in predict(*variables, sampler.source)
            ],
            seeds=(0, 1, 2),
            config=TrainConfig(steps=9, evaluate_every=2),
            optimiser_config=OptimiserConfig(),
            folder=tmp_path,
            molecules=SMILES,
        )
        best = final.best_params, final.best_state
        for examples in (sampler.source, sampler.target, sampler.source.take(np.arange(7))):
            predict(*best, examples)
    compiled = [r.getMessage() for r in caplog.records if "Compiling" in r.getMessage()]
    large = [m for m in compiled if any(f"Compiling jit({n})" in m for n in LARGE)]
    assert {n for n in LARGE if any(f"jit({n})" in m for m in large)} == set(LARGE), compiled
    assert len(large) == len(LARGE), large


LARGE = ("step", "encode", "predict")


def test_scores_do_not_depend_on_chunks_order_or_company():
    method, table, sampler, sizes, budget = make_problem()
    from molrel.data.batches import step_batches
    from molrel.methods.batch import gather_batch
    from molrel.train.step import unstack

    first = unstack(step_batches(sampler, sizes, budget, seeds=(0,), step=0)[0], 0)
    variables = method.init(jax.random.key(0), gather_batch(table, first))
    predict = make_predictor(method, table, symmetric=True)
    variables = jax.tree.map(lambda x: x[None], tuple(variables))
    everything = predict(*variables, sampler.source)
    assert everything.shape == (1, len(sampler.source), 1)
    part = np.array([7, 3, 3, 20])
    np.testing.assert_array_equal(
        predict(*variables, sampler.source.take(part)), everything[:, part]
    )
    swapped = replace(sampler.source, sides=sampler.source.sides[::-1])
    np.testing.assert_array_equal(predict(*variables, swapped), everything)
