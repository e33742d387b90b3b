"""What is learned from: no sampling, scaling or thinning that changes what a file says."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from trained import HETERO, HYDROCARBONS, pairs, write_pairs

from molrel.baselines import floors
from molrel.config import DataConfig, Experiment
from molrel.data.types import Examples, Task, join
from molrel.divide import check_labels, divide
from molrel.errors import InputError
from molrel.evaluate.metrics import classification_metrics, regression_metrics
from molrel.evaluate.selection import selection_metrics
from molrel.methods.siamese import SiameseConfig
from molrel.prepare import label_scale, prepare
from molrel.sources import load_dataset, sides_are_roles
from molrel.train.predict import to_scores

DRUGS = [f"{'C' * i}c1ccccc1{'O' * (i % 2)}" for i in range(1, 15)]
SOLVENTS = ["O", "CO", "CCO", "CC(C)=O", "CC#N", "ClCCl", "C1CCOC1"]


def positives(tmp_path, first=DRUGS, second=SOLVENTS, name="source"):
    """A list of positives only, a third of all pairs, with nothing to be learned from."""
    rng = np.random.default_rng(0)
    every = [f"{a},{b},1" for a, b in itertools.product(first, second)]
    rows = [every[i] for i in rng.permutation(len(every))[: len(every) // 3]]
    return write_pairs(tmp_path / f"{name}.csv", rows)


def config(source, target=None, **more):
    columns = {"smiles_columns": ("a", "b"), "label_column": "y"}
    return DataConfig(source=str(source), target=target and str(target), **columns, **more)


# ---- drawn negatives -------------------------------------------------------------------------


def sides_of(dataset, label):
    chosen = dataset.examples.take(dataset.examples.labels[:, 0] == label)
    return [{dataset.molecules[m] for m in side.ids} for side in chosen.sides]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("seen", [(), DRUGS[:7] + SOLVENTS[:3]])
def test_negatives_keep_every_molecule_on_its_side(tmp_path, symmetric, seen):
    data = config(positives(tmp_path), symmetric=symmetric)
    dataset = load_dataset(data.source, data, seen=seen)
    for side in (0, 1):
        assert sides_of(dataset, 0)[side] <= sides_of(dataset, 1)[side]
    assert "keeps its side" in dataset.note
    assert ("data.no-symmetric" in dataset.note) == symmetric


@pytest.mark.parametrize("symmetric", [False, True])
def test_roles_tell_nothing_of_drawn_labels(tmp_path, symmetric):
    """A learner that knows only what each molecule is, and on which side, has nothing to learn."""
    first, second = ([f"{'C' * i}{end}" for i in range(1, 40)] for end in ("O", "N"))
    data = config(positives(tmp_path, first, second), symmetric=symmetric)
    divided = divide(replace(data, test_fraction=0.3), max_atoms=100)
    train, test = divided.parts["train"], divided.parts["test"]
    for name, scores in floors(train, test, divided.source.task).items():
        auroc = classification_metrics(test.labels[:, 0], scores, 0.5)["auroc"]
        assert 0.4 < auroc < 0.6, name


@pytest.mark.parametrize("split", ["random", "cold"])
def test_drawn_negatives_match_the_positives_of_their_own_part(tmp_path, split):
    first, second = ([f"{'C' * i}{end}" for i in range(1, 40)] for end in ("O", "N"))
    data = config(positives(tmp_path, first, second), symmetric=False, split=split)
    divided = divide(replace(data, test_fraction=0.3, valid_fraction=0.2), max_atoms=100)
    for name, part in divided.parts.items():
        positive = part.labels[:, 0] == 1
        assert positive.sum() == (~positive).sum() > 10, name
        for side in part.sides:
            counts = [
                np.bincount(side.ids[chosen], minlength=78) for chosen in (positive, ~positive)
            ]
            assert np.abs(counts[0] - counts[1]).mean() < 0.5, name
    every = np.concatenate([np.stack([s.ids for s in p.sides], 1) for p in divided.parts.values()])
    assert len(np.unique(every, axis=0)) == len(every)


def test_roles_of_a_target_hold_in_each_of_its_strata(tmp_path):
    source = positives(tmp_path)
    target = positives(tmp_path, DRUGS[7:] + HYDROCARBONS, SOLVENTS[3:] + ["CCN", "CCS"], "target")
    divided = divide(config(source, target, symmetric=False), max_atoms=100)
    assert divided.target is not None
    for side in (0, 1):
        assert sides_of(divided.target, 0)[side] <= sides_of(divided.target, 1)[side]
    seen = [{*DRUGS}, {*SOLVENTS}]
    for wanted in itertools.product((False, True), repeat=2):
        counts = {}
        for label in (0, 1):
            chosen = divided.target.examples.take(divided.target.examples.labels[:, 0] == label)
            known = [
                [divided.target.molecules[m] in names for m in side.ids]
                for side, names in zip(chosen.sides, seen)
            ]
            counts[label] = sum(pair == wanted for pair in zip(*known))
        # What is left to the source, by lot, has either label.
        assert wanted == (True, True) or counts[0] == counts[1]


def test_pairs_in_any_order_have_no_roles(tmp_path):
    names = HYDROCARBONS + HETERO
    ordered = [f"{a},{b},1" for a, b in itertools.combinations(names, 2)][::2]
    data = config(write_pairs(tmp_path / "source.csv", ordered))
    dataset = load_dataset(data.source, data)
    assert not sides_are_roles(dataset) and "side" not in dataset.note


def test_a_file_of_positives_without_another_pair_is_refused(tmp_path):
    rows = [f"{a},{b},1" for a, b in itertools.product(DRUGS, SOLVENTS)]
    data = config(write_pairs(tmp_path / "source.csv", rows), symmetric=False)
    with pytest.raises(InputError, match="positive examples only"):
        load_dataset(data.source, data)


# ---- labels of any size ----------------------------------------------------------------------

VALUES = np.random.default_rng(0).normal(size=72)
UNITS = {"tiny": (1e-30, 0), "huge": (1e21, 0), "far": (1.0, 1e8), "near": (1.0, 0)}


def regression(tmp_path, scale, offset):
    every = itertools.product(HYDROCARBONS + ["CCO"], HETERO)
    rows = [
        f"{a},{b},{float(offset + v * scale)!r}" for (a, b), v in zip(every, VALUES, strict=True)
    ]
    source = write_pairs(tmp_path / "source.csv", rows)
    return prepare(
        Experiment(data=config(source, kind="regression", symmetric=False), method=SiameseConfig())
    )


def test_standardised_labels_do_not_depend_on_the_unit(tmp_path):
    found = {name: regression(tmp_path, *unit) for name, unit in UNITS.items()}
    usual = found["near"].training_source().labels
    assert usual.dtype == np.float32 and abs(usual.std() - 1) < 1e-5
    for name, prepared in found.items():
        labels = prepared.training_source().labels
        tolerance = 1e-6 if name != "far" else 1e-5
        np.testing.assert_allclose(labels, usual, atol=tolerance, err_msg=name)
        assert (prepared.digest == found["near"].digest) == (name == "near")


@pytest.mark.parametrize("unit", UNITS)
def test_scores_and_metrics_are_in_the_unit_of_the_labels(tmp_path, unit):
    prepared = regression(tmp_path, *UNITS[unit])
    labels = prepared.source["train"].labels[:, 0]
    logits = prepared.training_source().labels
    scores = to_scores(logits, "regression", prepared.label_mean, prepared.label_scale)
    noisy = to_scores(logits + 0.1, "regression", prepared.label_mean, prepared.label_scale)
    assert regression_metrics(labels, scores)["r2"] > 0.9999
    assert regression_metrics(labels, noisy)["r2"] == pytest.approx(0.99, abs=1e-3)
    selection = [
        selection_metrics(labels[:, None], s, "regression", unit=prepared.label_scale)["selection"]
        for s in (scores, noisy)
    ]
    assert np.float32(selection[1]) == pytest.approx(-0.1, abs=1e-3)
    assert np.float32(selection[0]) > np.float32(selection[1])


def test_a_target_without_spread_or_labels_has_scale_1():
    from molrel.data.types import Examples, Task

    labels = np.array([[0.1, np.nan, 1.0], [0.1, np.nan, 3.0], [0.1, np.nan, np.nan]])
    examples = Examples.pairs(np.zeros((3, 2), int), labels)
    mean, scale = label_scale(examples, Task("regression", ("a", "b", "c"), ("", "", "")))
    np.testing.assert_allclose(mean, [0.1, 0, 2], rtol=1e-6)
    np.testing.assert_allclose(scale, [1, 1, 1])


# ---- a target without labels -----------------------------------------------------------------


def test_an_unlabelled_target_is_scored_whole_and_takes_nothing_from_the_source(tmp_path):
    source = write_pairs(tmp_path / "source.csv", pairs(HYDROCARBONS, 2))
    wanted = [row.rpartition(",")[0] for row in pairs(HYDROCARBONS[:4] + HETERO)]
    target = write_pairs(tmp_path / "target.csv", wanted, header="a,b")
    divided = divide(config(source, target), max_atoms=100)
    alone = divide(config(source), max_atoms=100)
    assert divided.target is not None and len(divided.target.examples) == len(wanted)
    assert [len(p) for p in divided.parts.values()] == [len(p) for p in alone.parts.values()]


def test_rows_of_a_target_without_a_label_are_never_left_out(tmp_path):
    source = write_pairs(tmp_path / "source.csv", pairs(HYDROCARBONS, 2))
    rows = pairs(HYDROCARBONS[:4] + HETERO)
    rows = [r if i % 2 else r.rpartition(",")[0] + "," for i, r in enumerate(rows)]
    target = write_pairs(tmp_path / "target.csv", rows)
    divided = divide(config(source, target), max_atoms=100)
    assert divided.target is not None
    left = divided.target.examples
    assert np.isnan(left.labels).sum() == len(rows[::2])
    assert (~np.isnan(left.labels)).sum() < len(rows[1::2]), "the lot holds for the others"


def test_roles_make_two_orders_of_a_pair_different_facts(tmp_path):
    from molrel.data.overlap import overlap

    rows = ["CCO,CCN,1", "CCN,CCO,0", "CCO,CC,1"]
    for symmetric, contradictions in ((True, 1), (False, 0)):
        data = config(write_pairs(tmp_path / "source.csv", rows), symmetric=symmetric)
        dataset = load_dataset(data.source, data)
        counts = overlap(*join(dataset, dataset))
        assert counts["repeated_contradictions"]["source"] == contradictions
        assert counts["contradictory_labels"] == contradictions


def test_a_label_column_without_a_training_label_is_refused_before_training():
    def examples(labels):
        return Examples.pairs(np.zeros((len(labels), 2), int), np.array(labels))

    parts = {"train": examples([[1.0, np.nan], [0.0, np.nan]]), "valid": examples([[1.0, 1.0]])}
    task = Task("multilabel", targets=("A", "B"))
    with pytest.raises(InputError, match="no label of B is in the training part"):
        check_labels(parts, task, DataConfig())
