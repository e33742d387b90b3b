"""Classical learners on Morgan counts as methods: trained, kept and predicted with like any other.

scikit-learn fits them, all training examples at once (``estimators``); what they have learned
is kept as arrays, and scores are computed from these. The random forest is often the best learner
of a table, and the one to beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from molrel.data.knowledge import DomainKnowledge
from molrel.data.splits import bag_ids
from molrel.data.table import MoleculeTable
from molrel.data.types import Examples
from molrel.fields import at
from molrel.methods.estimators import Fitted, Learner, bag_fingerprints, fit
from molrel.methods.method import Method, Need, SourceOnlyConfig, Variables, undefined
from molrel.nn.graph import Molecules
from molrel.nn.relation import Sides
from molrel.nn.trees import Trees, stack_padded, sum_of_trees

SURE = 1e-7  # Probabilities are kept this far from 0 and 1, where logits are infinite.
NEVER = -1e4  # Logit of a class that no training example had.


@dataclass(frozen=True)
class ClassicalConfig(SourceOnlyConfig):
    """What the learners have in common."""

    takes_sides: ClassVar[tuple[int, ...]] = (1, 2)
    learner: ClassVar[Learner]

    @property
    def needs(self) -> frozenset[Need]:
        """Morgan counts."""
        return frozenset({"fingerprints"})

    def settings(self) -> dict[str, Any]:
        """Of ``estimators.fit``."""
        raise NotImplementedError

    def build(
        self, knowledge: DomainKnowledge | None, *, kind: str, n_outputs: int, symmetric: bool
    ) -> Method:
        """See ``MethodConfig``."""
        task = {"kind": kind, "symmetric": symmetric}
        return classical(self.learner, kind, n_outputs, symmetric, self.settings() | task)


@dataclass(frozen=True)
class ForestConfig(ClassicalConfig):
    """Random forest (Breiman, Mach. Learn. 45:5, 2001)."""

    learner: ClassVar[Learner] = "forest"
    trees: int = at(100, least=1, static=True)
    leaf: int = at(1, least=1, static=True)
    """Fewest examples in a leaf."""
    examples: int = at(40_000, least=1, static=True)
    """Most examples to learn from, drawn by the seed: bounds the memory."""
    examples_per_tree: int = at(15_000, least=1, static=True)

    def settings(self) -> dict[str, Any]:
        """See ``ClassicalConfig``."""
        return {
            "setting": self.leaf,
            "n_estimators": self.trees,
            "max_examples": self.examples,
            "examples_per_tree": self.examples_per_tree,
        }


@dataclass(frozen=True)
class BoostingConfig(ClassicalConfig):
    """Histogram gradient boosting (Ke et al., NeurIPS 2017)."""

    learner: ClassVar[Learner] = "boosting"
    trees: int = at(100, least=1, static=True)
    rate: float = at(0.1, above=0, static=True)
    """Learning rate."""
    examples: int = at(13_333, least=1, static=True)
    """Most examples to learn from, drawn by the seed: each tree passes over all of them."""

    def settings(self) -> dict[str, Any]:
        """See ``ClassicalConfig``."""
        return {
            "setting": self.rate,
            "n_estimators": self.trees,
            "max_examples": self.examples,
        }


@dataclass(frozen=True)
class LinearConfig(ClassicalConfig):
    """Logistic regression, or ridge regression where labels are measured, on scaled counts."""

    learner: ClassVar[Learner] = "linear"
    penalty: float = at(1.0, above=0, static=True)
    examples: int = at(40_000, least=1, static=True)
    """Most examples to learn from, drawn by the seed."""

    def settings(self) -> dict[str, Any]:
        """See ``ClassicalConfig``."""
        return {"setting": self.penalty, "max_examples": self.examples}


@flax.struct.dataclass
class Counts:
    """z: uint8 [U, B], Morgan counts."""

    z: UInt8[Array, "u b"]


def classical(
    learner: Learner, kind: str, n_outputs: int, symmetric: bool, settings: dict[str, Any]
) -> Method:
    """The method of a learner; each target of a multilabel task has a learner of its own.

    Its parameters have a leading target axis: ``column`` int32 [T, B], where each bit of the
    fingerprint is counted (``Columns``); ``offset`` [T, C]; and ``kernel`` [T, W, C] of the linear
    learner, or ``roots`` int32 [T, K] and ``scale`` [T, 1], of the sum of K trees. ``trees`` are
    those of all targets (``nn.trees.Trees``).
    """
    width = n_outputs if kind == "multiclass" else 1
    logit = learner == "forest" and kind != "regression"

    def fit_all(seed: int, table: MoleculeTable, examples: Examples) -> Variables:
        ids, bags = bag_ids(examples)
        counts = bag_fingerprints(np.asarray(table.fingerprints), bags)
        bits, n_sides = counts.shape[1], ids.shape[1]
        arrays, trees = [], []
        for labels in np.asarray(examples.labels, np.float64).T:
            fitted = fit(learner, counts, ids, labels, seed=seed, **settings)
            kept = fitted.columns.kept
            # Where the features that it was given stand among those of ``_features``.
            places = np.concatenate([kept + side * bits for side in range(n_sides)])
            offset, outputs = _offset(learner, fitted, kind, width)
            own = {"column": (np.arange(bits) % fitted.columns.bits).astype(np.int32)}
            if learner == "linear":
                own["kernel"] = np.zeros((n_sides * bits, width), np.float32)
                own["kernel"][places[:, None], outputs], added = _linear(fitted)
            else:
                of_target, added = _trees(learner, fitted, outputs, width)
                trees.append([t._replace(feature=places[t.feature]) for t in of_target])
                share = max(len(of_target), 1) if learner == "forest" else 1
                own["scale"] = np.full(1, fitted.scale / share, np.float32)
            offset[outputs] += added
            arrays.append(own | {"offset": offset.astype(np.float32)})
        packed = {} if learner == "linear" else _pack(trees, width)
        return Variables(stack_padded(arrays) | packed, {})

    def encode(params: Any, state: Any, molecules: Molecules) -> Counts:
        assert molecules.fingerprints is not None
        return Counts(molecules.fingerprints)

    def predict(params: Any, state: Any, encoded: Counts, sides: Sides) -> Float[Array, "p t"]:
        bags = [_sum_of_bag(encoded.z, side) for side in sides]

        def of_target(own: dict[str, Any]) -> Float[Array, "p c"]:
            x = _features([_counted(bag, own["column"]) for bag in bags], symmetric)
            if learner == "linear":
                product = jnp.matmul(x.astype(jnp.float32), own["kernel"], precision="highest")
                return product + own["offset"][None]
            total = sum_of_trees(Trees(**params["trees"]), own["roots"], x)
            out = total * own["scale"][None] + own["offset"][None]
            if not logit:
                return out
            p = jnp.clip(out, SURE, 1 - SURE)
            return jnp.log(p) - (jnp.log1p(-p) if width == 1 else 0.0)

        found = jax.lax.map(of_target, {k: v for k, v in params.items() if k != "trees"})
        return found[0] if kind == "multiclass" else found[..., 0].T

    return Method(
        init=undefined,
        loss=undefined,
        encode=encode,
        predict=predict,
        embed=lambda encoded: encoded.z.astype(jnp.float32),
        fit=fit_all,
    )


def _sum_of_bag(z: UInt8[Array, "u b"], side: Int[Array, "p s"]) -> Int[Array, "p b"]:
    """Counts of the molecules of each bag added up."""
    return jnp.where(side[..., None] >= 0, z[side], 0).astype(jnp.int32).sum(axis=1)


def _counted(bag: Int[Array, "p b"], column: Int[Array, " b"]) -> UInt8[Array, "p b"]:
    """``estimators.fold`` of counts, and what ``pair_features`` makes of large ones."""
    folded = jax.ops.segment_sum(bag.T, column, len(column)).T
    return jnp.minimum(folded, 127).astype(jnp.uint8)


def _features(sides: list[UInt8[Array, "p b"]], symmetric: bool) -> UInt8[Array, "p w"]:
    """``estimators.pair_features``."""
    if len(sides) == 1:
        return sides[0]
    a, b = sides
    if symmetric:
        a, b = a + b, jnp.maximum(a, b) - jnp.minimum(a, b)
    return jnp.concatenate([a, b], axis=1)


class _Tree(NamedTuple):
    """The nodes of one tree, by their numbers within it; ``value`` is float [N, C]."""

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray


def _pack(by_target: list[list[_Tree]], width: int) -> dict[str, Any]:
    """``roots`` int32 [T, K] and ``trees``, the fields of ``Trees``, of the trees of T targets."""
    zero = np.zeros(1, np.int64)
    nothing = _Tree(zero, zero, zero, zero, np.zeros((1, width)))
    nodes = [nothing, *(tree for trees in by_target for tree in trees)]
    first = np.cumsum([0] + [len(tree.left) for tree in nodes[:-1]])
    ends = np.cumsum([len(trees) for trees in by_target])

    def children(name: str) -> np.ndarray:
        below = [getattr(t, name) + start * (t.left > 0) for t, start in zip(nodes, first)]
        return np.concatenate(below).astype(np.int32)

    return {
        # Those of a target without a tree are 0, the leaf of nothing.
        "roots": stack_padded(np.split(first[1:].astype(np.int32), ends[:-1])),
        "trees": {
            "feature": np.concatenate([t.feature for t in nodes]).astype(np.int32),
            # Counts are whole numbers, so what is above a threshold stays above it as float32.
            "threshold": np.concatenate([t.threshold for t in nodes]).astype(np.float32),
            "left": children("left"),
            "right": children("right"),
            "value": np.concatenate([t.value for t in nodes]).astype(np.float32),
        },
    }


def _offset(
    learner: Learner, fitted: Fitted, kind: str, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """(what is added to every output [C], the outputs that the model has something to say of)."""
    probability = learner == "forest"
    if fitted.model is None:
        return _certain(int(fitted.mean), kind, width, probability=probability), np.arange(0)
    if kind == "multiclass":
        return _classes(fitted.model, width, probability=probability)
    return np.full(width, fitted.mean), np.arange(width)


def _linear(fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """(weights [W', outputs] of the features, intercepts) of a linear model."""
    if fitted.model is None:
        return np.zeros((1, 0)), np.zeros(0)
    scaler, linear = fitted.model
    weights = np.atleast_2d(linear.coef_).T / scaler.scale_[:, None]
    return weights * fitted.scale, np.atleast_1d(linear.intercept_) * fitted.scale


def _trees(
    learner: Learner, fitted: Fitted, outputs: np.ndarray, width: int
) -> tuple[list[_Tree], np.ndarray | float]:
    """(trees, what is added to the outputs) of a forest or of boosting; features are numbered as
    the model saw them."""
    model = fitted.model
    if model is None:
        return [], 0.0
    if learner == "forest":
        return [_of_forest(t.tree_, outputs, width) for t in model.estimators_], 0.0
    trees = [
        _of_boosting(tree.nodes, int(output), width)
        for round_ in model._predictors
        for tree, output in zip(round_, outputs, strict=True)
    ]
    return trees, np.ravel(model._baseline_prediction) * fitted.scale


def _certain(label: int, kind: str, width: int, *, probability: bool) -> np.ndarray:
    """What is said of every example by a learner that was taught a single class."""
    of_class = np.eye(width)[label] if kind == "multiclass" else np.full(1, float(label))
    return of_class if probability else np.where(of_class > 0, 1.0, -1.0) * np.log(1 / SURE)


def _classes(model: Any, width: int, *, probability: bool) -> tuple[np.ndarray, np.ndarray]:
    """(offset of every class, classes that the model has outputs for)."""
    present = np.asarray(model.classes_, int)
    if probability:
        return np.zeros(width), present
    offset = np.full(width, NEVER)
    offset[present] = 0.0
    # Of two classes the model scores the second against the first.
    return offset, present[1:] if len(present) == 2 else present


def _of_forest(tree: Any, outputs: np.ndarray, width: int) -> _Tree:
    """A tree of scikit-learn's forest."""
    found = tree.value[:, 0, :]
    value = np.zeros((len(found), width))
    # The second of two columns is the probability of the label 1.
    value[:, outputs] = found[:, 1:] if width == 1 and found.shape[1] == 2 else found
    inner = tree.children_left >= 0
    left, right = (np.where(inner, c, 0) for c in (tree.children_left, tree.children_right))
    return _Tree(np.where(inner, tree.feature, 0), tree.threshold, left, right, value)


def _of_boosting(nodes: np.ndarray, output: int, width: int) -> _Tree:
    """A tree of scikit-learn's histogram gradient boosting."""
    inner = nodes["is_leaf"] == 0
    value = np.zeros((len(nodes), width))
    value[:, output] = nodes["value"]
    feature, left, right = (
        np.where(inner, nodes[name], 0) for name in ("feature_idx", "left", "right")
    )
    return _Tree(feature, nodes["num_threshold"], left, right, value)
