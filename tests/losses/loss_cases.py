"""One small problem for every loss, for the properties that all losses must have.

Imported by test_loss_contract.py and by test_losses_on_devices.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np

from molrel.losses import (
    adversarial,
    alignment,
    confidence,
    experts,
    moments,
    separation,
    supervised,
)

N_GROUPS, WIDTH = 6, 5


@dataclass(frozen=True)
class Case:
    """A loss with arrays for it.

    Attributes:
      loss: ``loss(axis_name=..., **rows, **fixed)`` gives this device's share.
      rows: arrays with one row an example, to be split over devices.
      fixed: arrays that every device holds in full.
      differentiable: names of the rows that carry gradient.
      padding: value of each of the rows in a padding row, NaN wherever the loss may not look.
      absent: rows that mask everything, by name.
      at_zero: value of the loss where everything differentiable is 0, or None if unknown.
      constants: whether parts that depend on the differentiable rows are held constant, so that
        the gradient is not that of finite differences.
    """

    name: str
    loss: Callable[..., Any]
    rows: dict[str, np.ndarray]
    differentiable: tuple[str, ...]
    padding: dict[str, float | int | bool]
    absent: dict[str, float | int | bool]
    fixed: dict[str, np.ndarray] = field(default_factory=dict)
    at_zero: float | None = None
    constants: bool = False


def _instances(rng: np.random.Generator, n: int, suffix: str = "") -> dict[str, np.ndarray]:
    return {
        f"embedding{suffix}": rng.normal(size=(n, WIDTH)),
        f"group{suffix}": rng.integers(0, N_GROUPS, n).astype(np.int32),
        f"weight{suffix}": rng.integers(1, 4, n).astype(float),
    }


def unit(x: np.ndarray) -> np.ndarray:
    """x with rows of length 1."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def prototype_loss_of_instances(*, axis_name: str | None = None, **arrays: Any):
    """Prototype loss from instances on: the sums over all devices come before the angle."""
    means = {}
    for domain in "st":
        sums = alignment.prototype_sums(
            arrays[f"embedding_{domain}"],
            arrays[f"group_{domain}"],
            arrays[f"weight_{domain}"],
            N_GROUPS,
            axis_name,
        )
        means[f"mean_{domain}"], means[f"present_{domain}"] = alignment.prototype_means(*sums)
    names = ("ema_s", "ema_t", "ready_s", "ready_t", "group_weight")
    return alignment.prototype_loss(
        **means, **{name: arrays[name] for name in names}, axis_name=axis_name
    )


def guidance_of_any_length(*, axis_name: str | None = None, **arrays: Any):
    """Guidance loss behind the normalisation that its contract asks of the caller."""
    unit_vectors = alignment.l2_normalise(arrays.pop("embedding"))
    return alignment.guidance_loss(embedding=unit_vectors, axis_name=axis_name, **arrays)


def conditional_cross_entropy(*, axis_name: str | None = None, **arrays: Any):
    """CDAN+E with a linear discriminator: joint features, entropy weights, cross-entropy."""
    logits = arrays["logits"]
    weights = {
        name: confidence.entropy_weights(
            kind="multiclass", logits=logits, weight=arrays[name], axis_name=axis_name
        )
        for name in ("source_weight", "target_weight")
    }
    joint = confidence.conditional_features(
        kind="multiclass",
        logits=logits,
        features=arrays["features"],
        mask=(arrays["source_weight"] > 0) | (arrays["target_weight"] > 0),
    )
    return adversarial.domain_cross_entropy(
        logits=joint @ arrays["discriminator"].astype(joint.dtype), **weights, axis_name=axis_name
    )


def all_cases(n: int = 12, seed: int = 0) -> list[Case]:
    """Every loss with n rows, float64."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(n, 3)) * 2
    labels = rng.integers(0, 2, (n, 3)).astype(float)
    labels[rng.random((n, 3)) < 0.3] = np.nan
    labels[:, 0] = 1.0
    real = np.ones(n, bool)
    supervised_rows = {"labels": labels, "mask": real, "weight": rng.uniform(0.5, 2, n)}
    supervised_padding = {"labels": np.nan, "mask": False, "weight": np.nan}
    fragments = (n, 4)
    domain_rows = {
        "logits": rng.normal(size=fragments),
        "source_weight": rng.integers(0, 3, fragments).astype(float),
        "target_weight": rng.integers(0, 3, fragments).astype(float),
    }
    prototypes = unit(rng.normal(size=(2, N_GROUPS, WIDTH)))
    ready = np.array([True, True, False, True, True, True])
    exclude = np.eye(N_GROUPS, dtype=bool)
    exclude[0, 1] = exclude[1, 0] = exclude[3, 5] = True
    instances_s, instances_t = _instances(rng, n, "_s"), _instances(rng, n, "_t")
    return [
        Case(
            "masked_mean",
            supervised.masked_mean,
            {"values": rng.normal(size=n), "weight": rng.uniform(0.5, 2, n)},
            ("values",),
            {"values": np.nan, "weight": 0.0},
            {"weight": 0.0},
            at_zero=0.0,
        ),
        Case(
            "binary_cross_entropy",
            supervised.binary_cross_entropy,
            {"logits": outputs, **supervised_rows},
            ("logits",),
            {"logits": np.nan, **supervised_padding},
            {"mask": False},
            at_zero=float(np.log(2)),
        ),
        Case(
            "softmax_cross_entropy",
            supervised.softmax_cross_entropy,
            {
                "logits": outputs,
                **supervised_rows,
                "labels": np.where(np.arange(n) == 2, np.nan, np.arange(n) // 4 % 3)[:, None],
            },
            ("logits",),
            {"logits": np.nan, **supervised_padding},
            {"mask": False},
            at_zero=float(np.log(3)),
        ),
        Case(
            "squared_error",
            supervised.squared_error,
            {"predictions": outputs, **supervised_rows},
            ("predictions",),
            {"predictions": np.nan, **supervised_padding},
            {"labels": np.nan},
        ),
        Case(
            "domain_cross_entropy",
            adversarial.domain_cross_entropy,
            domain_rows,
            ("logits",),
            {"logits": np.nan, "source_weight": 0.0, "target_weight": 0.0},
            {"source_weight": 0.0, "target_weight": 0.0},
            at_zero=float(np.log(2)),
        ),
        Case(
            "info_nce",
            alignment.info_nce,
            {
                "z_a": rng.normal(size=(n, WIDTH)),
                "z_b": rng.normal(size=(n, WIDTH)),
                "ids": rng.permutation(n).astype(np.int32) // 2,
                "weight": rng.integers(1, 4, n).astype(float),
            },
            ("z_a", "z_b"),
            {"z_a": np.nan, "z_b": np.nan, "ids": 0, "weight": 0.0},
            {"weight": 0.0},
            {"temperature": np.array(0.2)},
        ),
        Case(
            "prototype_loss",
            prototype_loss_of_instances,
            {**instances_s, **instances_t},
            ("embedding_s", "embedding_t"),
            {f"{k}_{d}": v for d in "st" for k, v in _PADDED_INSTANCE.items()},
            {"group_s": -1, "weight_t": 0.0},
            {
                "ema_s": prototypes[0],
                "ema_t": prototypes[1],
                "ready_s": np.array([False, True, False, False, False, False]),
                "ready_t": np.array([False, False, False, True, False, True]),
                "group_weight": rng.uniform(1, 5, N_GROUPS),
            },
            at_zero=1.0,
        ),
        Case(
            "guidance_loss",
            guidance_of_any_length,
            _instances(rng, n),
            ("embedding",),
            {**_PADDED_INSTANCE, "embedding": 1e9},  # the normalisation before sees padding too
            {"group": -1},
            {
                "prototypes": prototypes[0],
                "ready": ready,
                "exclude": exclude,
                "temperature": np.array(0.3),
            },
        ),
        *_matching_cases(rng, n),
        *_expert_cases(rng, n),
    ]


def clustering_of_embeddings(*, axis_name: str | None = None, **arrays: Any):
    """Clustering loss from gate embeddings on: the sharpened target sums over all devices."""
    q = experts.student_t_assignment(arrays["z"], arrays["centroids"])
    p = experts.sharpened_target(q, arrays["mask"], axis_name)
    return experts.clustering_loss(p, q, arrays["mask"], axis_name)


def _expert_cases(rng: np.random.Generator, n: int) -> list[Case]:
    centroids, mask = rng.normal(size=(3, WIDTH)), np.ones(n, bool)
    known = rng.random((n, 2)) < 0.8
    known[0] = True
    gate = rng.uniform(0.1, 1, (n, 3))
    return [
        Case(
            "clustering_loss",
            clustering_of_embeddings,
            {"z": rng.normal(size=(n, WIDTH)), "mask": mask},
            ("z",),
            {"z": 1e3, "mask": False},  # the assignment before sees padding too
            {"mask": False},
            {"centroids": centroids},
            constants=True,
        ),
        Case(
            "alignment_loss",
            experts.alignment_loss,
            {"q": gate, "scaffolds": rng.normal(size=(n, WIDTH)), "mask": mask},
            ("q", "scaffolds"),
            {"q": np.nan, "scaffolds": np.nan, "mask": False},
            {"mask": False},
            {"centroids": centroids},
            at_zero=0.0,
        ),
        Case(
            "expert_loss",
            experts.expert_loss,
            {"losses": rng.uniform(0, 2, (n, 2, 3)), "gate": gate, "known": known},
            ("losses", "gate"),
            {"losses": np.nan, "gate": np.nan, "known": False},
            {"known": False},
            at_zero=0.0,
        ),
    ]


def _matching_cases(rng: np.random.Generator, n: int) -> list[Case]:
    row = np.arange(n)
    # Row 1 is in both domains, row 4 in neither.
    domains = {
        "source_weight": np.where(row % 2 == 1, 1.0 + row % 3, 0.0),
        "target_weight": np.where((row % 2 == 0) & (row != 4) | (row == 1), 1.0 + row % 2, 0.0),
    }
    nowhere = {"source_weight": 0.0, "target_weight": 0.0}
    features = rng.normal(size=(n, WIDTH)) * rng.uniform(0.5, 3, WIDTH)
    features[row % 2 == 1] += 0.7
    logits, weight = rng.normal(size=(n, 3)) * 2, rng.integers(1, 4, n).astype(float)
    of_features = {
        "rows": {"features": features, **domains},
        "differentiable": ("features",),
        "padding": {"features": np.nan, **nowhere},
        "absent": {"target_weight": 0.0},
        "at_zero": 0.0,
    }
    of_logits = {
        "rows": {"logits": logits, "weight": weight},
        "differentiable": ("logits",),
        "padding": {"logits": np.nan, "weight": 0.0},
        "absent": {"weight": 0.0},
    }
    return [
        Case("mk_mmd", moments.mk_mmd, **of_features, constants=True),
        Case(
            "mk_mmd_given_bandwidth",
            moments.mk_mmd,
            **of_features,
            fixed={"bandwidth": np.array(2.0)},
        ),
        Case("deep_coral", moments.deep_coral, **of_features),
        *(
            Case(
                f"minimum_class_confusion_{kind}",
                partial(confidence.minimum_class_confusion, kind=kind),
                **of_logits,
                at_zero=uniform,
                constants=True,
            )
            for kind, uniform in (("multilabel", 1 / 2), ("multiclass", 2 / 3))
        ),
        *(
            Case(
                f"prediction_entropy_{kind}",
                partial(confidence.prediction_entropy, kind=kind),
                **of_logits,
                at_zero=float(np.log(n_classes)),
            )
            for kind, n_classes in (("multilabel", 2), ("multiclass", 3))
        ),
        Case(
            "conditional_cross_entropy",
            conditional_cross_entropy,
            {"features": features, "logits": logits, **domains},
            ("features",),
            {"features": np.nan, "logits": np.nan, **nowhere},
            nowhere,
            {"discriminator": rng.normal(size=3 * WIDTH)},
            at_zero=float(np.log(2)),
        ),
        Case(
            "orthogonality",
            separation.orthogonality,
            {
                "shared": features,
                "private": features[:, ::-1] + rng.normal(size=(n, WIDTH)),
                "weight": weight,
            },
            ("shared", "private"),
            {"shared": np.nan, "private": np.nan, "weight": 0.0},
            {"weight": 0.0},
            at_zero=0.0,
        ),
        Case(
            "scale_invariant_error",
            separation.scale_invariant_error,
            {"predictions": features, "targets": rng.normal(size=(n, WIDTH)), "weight": weight},
            ("predictions",),
            {"predictions": np.nan, "targets": np.nan, "weight": 0.0},
            {"weight": 0.0},
        ),
    ]


_PADDED_INSTANCE = {"embedding": np.nan, "group": -1, "weight": np.nan}


def numerical_gradient(function, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences."""
    out = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][index] += step
        moved[1][index] -= step
        out[index] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return out


def assert_finite(tree):
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(tree))
