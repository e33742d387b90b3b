"""Classical learners on Morgan counts: what a learned representation must beat.

Fingerprints (Rogers & Hahn, J. Chem. Inf. Model. 50:742, 2010) with a classical learner are
competitive with graph networks on molecular relations. The learners are scikit-learn's:
logistic or ridge regression, random forest (Breiman, Mach. Learn. 45:5, 2001), histogram
gradient boosting (Ke et al., NeurIPS 2017) and support vector regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.svm import SVR

from molrel.data.types import by_target
from molrel.errors import InputError, RunError

MAX_COLUMNS = 1024
CHUNK = 20_000

Learner = Literal["linear", "forest", "boosting", "svm"]
# What the one setting of each learner that is tuned is called, and its default.
TUNED = {
    "linear": ("strength of the penalty", 1.0),
    "forest": ("examples in a leaf", 1),
    "boosting": ("learning rate", 0.1),
    "svm": ("C", 10.0),
}


def bag_fingerprints(fingerprints: np.ndarray, bags: Sequence[np.ndarray]) -> np.ndarray:
    """Counts of bags of molecules: those of the molecules added up.

    Args:
      fingerprints: uint8 [M, B], counts of molecules.
      bags: molecule ids of each bag (``splits.bag_ids``).

    Returns:
      uint8 [number of bags, B]; more than 255 is given as 255.
    """
    return np.stack(
        [np.minimum(fingerprints[bag].sum(0, dtype=np.int64), 255) for bag in bags]
    ).astype(np.uint8)


def pair_features(
    fingerprints: np.ndarray, sides: np.ndarray, *, symmetric: bool = True
) -> np.ndarray:
    """Features of examples of one or two molecules.

    Args:
      fingerprints: uint8 [M, B], counts; those above 127 are taken as 127.
      sides: int [N, 1] or [N, 2], molecules of each example.
      symmetric: whether the order of the two molecules plays no role.

    Returns:
      uint8 [N, 2B]: sum and absolute difference of the two (from which a tree can tell
      the larger and the smaller count) if symmetric, otherwise one after the other;
      uint8 [N, B] for one molecule.
    """
    counts = np.minimum(fingerprints, 127)
    if sides.shape[1] == 1:
        return counts[sides[:, 0]]
    a, b = counts[sides[:, 0]], counts[sides[:, 1]]
    if symmetric:
        a, b = a + b, np.maximum(a, b) - np.minimum(a, b)
    return np.concatenate([a, b], axis=1)


def fold(fingerprints: np.ndarray, bits: int) -> np.ndarray:
    """Folds uint8 [M, B] to [M, bits], as if hashed to fewer bits: counts that meet add up.

    Args:
      fingerprints: counts.
      bits: a divisor of B.

    Returns:
      uint8 [M, bits]; more than 255 is given as 255.
    """
    if bits == fingerprints.shape[1]:
        return fingerprints
    folded = fingerprints.reshape(len(fingerprints), -1, bits).sum(axis=1, dtype=np.int64)
    return np.minimum(folded, 255).astype(np.uint8)


class Columns(NamedTuple):
    """The columns of fingerprints that a learner sees.

    Attributes:
      bits: length that the fingerprints are folded to first.
      kept: int [B'], at least one, out of these.
    """

    bits: int
    kept: np.ndarray

    def of(self, fingerprints: np.ndarray) -> np.ndarray:
        """uint8 [M, B'] of uint8 [M, B]."""
        return fold(fingerprints, self.bits)[:, self.kept]


def informative(fingerprints: np.ndarray, molecules: np.ndarray) -> Columns:
    """The columns that are not constant over the training molecules.

    No tree can split on the others, so this only saves time and memory. Where more than 1024
    columns are left, the fingerprints are folded to 1024 bits first.

    Args:
      fingerprints: uint8 [M, B], counts.
      molecules: int, the training molecules.
    """
    total = fingerprints.shape[1]
    bits, varied = total, np.zeros(total, bool)
    for bits in (total, _folded_size(total)):
        varied = np.ptp(fold(fingerprints[molecules], bits), axis=0) > 0
        if varied.sum() <= MAX_COLUMNS:
            break
    return Columns(bits, np.flatnonzero(varied) if varied.any() else np.zeros(1, np.int64))


def _folded_size(bits: int) -> int:
    """The largest divisor of the number of bits that is at most 1024."""
    return max(d for d in range(1, min(bits, MAX_COLUMNS) + 1) if bits % d == 0)


def fit_classical(
    learner: Learner,
    fingerprints: np.ndarray,
    sides: np.ndarray,
    labels: np.ndarray,
    targets: Sequence[np.ndarray],
    *,
    kind: str = "binary",
    symmetric: bool = True,
    seed: int = 0,
    max_examples: int = 40_000,
    **settings: Any,
) -> list[np.ndarray]:
    """Fits a learner to source examples and scores other sets of examples.

    Args:
      learner, fingerprints, sides, labels, kind, symmetric, seed, settings: see ``fit``; labels
        may also be [n, T] of several targets, which are learned one by one.
      targets: int [m, 1] or [m, 2] each, examples to score.
      max_examples: see ``fit``; boosting, which passes over the data for every tree, takes a third.

    Returns:
      float64 [m] for each of ``targets``, probabilities or predictions in the unit of the labels;
      [m, C] of the classes 0 to C - 1 for a multiclass task; [m, T] of several targets.

    Raises:
      InputError: no training label is known.
      RunError: the learner has diverged: a score is not finite.
    """
    settings |= {"kind": kind, "symmetric": symmetric, "seed": seed}
    if labels.ndim == 2:
        each = [
            fit_classical(
                learner,
                fingerprints,
                sides,
                column,
                targets,
                max_examples=max_examples,
                **settings,
            )
            for column in labels.T
        ]
        return [by_target(columns) for columns in zip(*each, strict=True)]
    most = max_examples // 3 if learner == "boosting" else max_examples
    fitted = fit(learner, fingerprints, sides, labels, max_examples=most, **settings)
    counts = fitted.columns.of(fingerprints)

    def score(part: np.ndarray) -> np.ndarray:
        if fitted.model is None:
            return np.full(len(part), fitted.mean)
        features = pair_features(counts, part, symmetric=symmetric)
        if kind == "regression":
            return fitted.model.predict(features) * fitted.scale + fitted.mean
        probabilities = fitted.model.predict_proba(features)
        if kind != "multiclass":
            return probabilities[:, 1]
        classes = fitted.model.classes_.astype(int)
        out = np.zeros((len(part), int(classes.max()) + 1))
        out[:, classes] = probabilities
        return out

    # In pieces, for scikit-learn makes float32 of all features that it is given at once.
    scores = [
        np.concatenate([score(t[i : i + CHUNK]) for i in range(0, max(len(t), 1), CHUNK)])
        if len(t)
        else np.zeros(0)
        for t in targets
    ]
    bad = sum(int((~np.isfinite(s)).sum()) for s in scores)
    if bad:
        raise RunError(
            f"the {learner} learner has diverged (seed {seed}, {TUNED[learner][0]} "
            f"{fitted.setting}): "
            f"{bad} of {sum(s.size for s in scores)} scores are not finite"
        )
    return scores


class Fitted(NamedTuple):
    """A learner that has seen its examples.

    Attributes:
      model: scikit-learn's; None where there is a single label, which not every learner can be
        fitted to.
      columns: what it sees of fingerprints.
      mean, scale: that predictions of a regression are scaled back with; without a model
        ``mean`` is the label.
      setting: its tuned setting.
    """

    model: Any
    columns: Columns
    mean: float
    scale: float
    setting: float


def fit(
    learner: Learner,
    fingerprints: np.ndarray,
    sides: np.ndarray,
    labels: np.ndarray,
    *,
    kind: str,
    symmetric: bool,
    seed: int,
    setting: float | None = None,
    n_estimators: int = 100,
    max_examples: int = 40_000,
    examples_per_tree: int = 15_000,
) -> Fitted:
    """Fits a learner to the labels of one target.

    Args:
      learner: ``linear`` (logistic or ridge regression on scaled counts), ``forest``,
        ``boosting`` or, of a regression, ``svm``.
      fingerprints: uint8 [M, B], Morgan counts of molecules (or bags).
      sides: int [n, 1] or [n, 2], training examples; exchanging the molecules of a pair
        changes no score if ``symmetric``.
      labels: [n], NaN where unknown (left out); 0 or 1 for classes, or the number of the class.
      kind: of the task.
      symmetric: whether f(a, b) = f(b, a) must hold.
      seed: of the learner and of the subsample.
      setting: the learner's tuned setting (``TUNED``); None takes the default.
      n_estimators: trees.
      max_examples: a random subsample of this size is trained on if there are more, which
        bounds the memory.
      examples_per_tree: drawn from these with replacement for each tree of the forest, at
        most; more would cost time and, as trees then differ less, gain little.

    Raises:
      InputError: no training label is known.
    """
    chosen = np.flatnonzero(~np.isnan(labels))
    if not len(chosen):
        raise InputError(f"the {learner} learner has no labelled example to learn from")
    setting = TUNED[learner][1] if setting is None else setting
    if len(chosen) > max_examples:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, max_examples, replace=False))
    columns = informative(fingerprints, np.unique(sides[chosen]))
    learned = labels[chosen]
    if kind != "regression" and len(np.unique(learned)) == 1:
        return Fitted(None, columns, float(learned[0]), 1.0, setting)
    mean, scale = learning_unit(learned) if kind == "regression" else (0.0, 1.0)
    if (mean, scale) != (0, 1):
        learned = (learned - mean) / scale
    model = _learner(learner, kind, seed, setting, n_estimators, examples_per_tree, len(chosen))
    counts = columns.of(fingerprints)
    model.fit(pair_features(counts, sides[chosen], symmetric=symmetric), learned)
    return Fitted(model, columns, mean, scale, setting)


def learning_unit(labels: np.ndarray) -> tuple[float, float]:
    """(mean, scale) that labels [n] of a regression are standardised with, where they must be.

    scikit-learn compares impurities with absolute numbers and takes variances as differences of
    squares: trees do not split labels near 1e-30, nor small differences of large ones. Ordinary
    labels are left as they are: (0, 1).
    """
    values = labels.astype(np.float64)
    mean, scale = float(values.mean()), float(values.std())
    ordinary = 1e-3 < scale < 1e6 and abs(mean) < 1e4 * scale
    return (0.0, 1.0) if ordinary or not scale > 0 else (mean, scale)


def _learner(
    learner: Learner,
    kind: str,
    seed: int,
    setting: float,
    n_estimators: int,
    examples_per_tree: int,
    n_examples: int,
) -> Any:
    """The scikit-learn estimator."""
    regression = kind == "regression"
    if learner == "linear":
        linear = (
            Ridge(alpha=setting)
            if regression
            else LogisticRegression(C=1 / setting, max_iter=300, random_state=seed)
        )
        return make_pipeline(MaxAbsScaler(), linear)
    if learner == "svm":
        return SVR(C=setting)
    if learner == "boosting":
        boosting = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
        return boosting(
            learning_rate=setting,
            max_iter=n_estimators,
            max_features=0.3,
            # A class of few examples has second derivatives near 0: without a penalty the values
            # of its leaves, which are divided by them, grow without bound.
            l2_regularization=1.0 if kind == "multiclass" else 0.0,
            early_stopping=False,  # pyright: ignore[reportArgumentType]
            random_state=seed,
        )
    settings: dict[str, Any] = {
        "n_estimators": n_estimators,
        "max_samples": min(examples_per_tree, n_examples),
        "min_samples_leaf": int(setting),
        "n_jobs": 2,
        "random_state": seed,
    }
    # One third is the usual share for regression; classification takes the square root.
    if regression:
        return RandomForestRegressor(max_features=1 / 3, **settings)
    return RandomForestClassifier(**settings)
