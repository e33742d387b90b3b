"""What the property benchmark compares: sets, methods, and how much is spent on each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig, Experiment
from molrel.data.facts import MOLECULEACE_TARGETS, MOLECULENET
from molrel.methods.method import MethodConfig
from molrel.methods.molecule import MoleculeGNNConfig
from molrel.methods.topexpert import ExpertWeights, TopExpertConfig
from molrel.nn.hu import Convolution
from molrel.train.settings import OptimiserConfig, TrainConfig

CLASSIFICATION = ("bbbp", "bace", "clintox", "sider", "tox21")
ACTIVITY_CLIFFS = tuple(f"moleculeace/{name}" for name in MOLECULEACE_TARGETS)
SETS = (
    *MOLECULENET,
    *ACTIVITY_CLIFFS,
    *(f"opioid_affinity/{name}" for name in ("mu", "delta", "kappa")),
)
BACKBONES: dict[str, Convolution] = {"GIN": "gin", "GCN": "gcn", "GAT": "gat", "SAGE": "sage"}
FLOORS = ("floor: mean label", "ECFP + random forest", "ECFP + SVM")

Family = Literal["floor", "network"]


@dataclass(frozen=True)
class Preset:
    """How much is spent.

    Attributes:
      sets, methods: what is run by default.
      seeds: how many.
      width, depth: of the networks; the published ones by default.
      train: epochs and batch, likewise.
      learning_rate: of Adam, for all networks but TopExpert as released, which has
        ``released_rate``.
      replicates: of the bootstrap.
    """

    sets: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: int
    width: int = 300
    depth: int = 5
    train: TrainConfig = TrainConfig(epochs=100, source_examples=512, evaluate_every=1)
    learning_rate: float = 1e-3
    released_rate: float = 1e-3
    replicates: int = 500


def methods_of(*backbones: str) -> tuple[str, ...]:
    """Floors and every network on these backbones."""
    kinds = ("", ", equal experts", ", random experts", ", TopExpert", ", TopExpert annealed")
    return (*FLOORS, *(f"{b}{k}" for b in backbones for k in kinds))


PRESETS: dict[str, Preset] = {
    "smoke": Preset(
        sets=("opioid_affinity/delta",),
        methods=(*FLOORS, "GIN", "GIN, TopExpert annealed"),
        seeds=2,
        width=16,
        depth=2,
        train=TrainConfig(epochs=3, source_examples=256, evaluate_every=1),
        replicates=50,
    ),
    "cpu": Preset(
        sets=CLASSIFICATION,
        methods=methods_of("GIN", "GCN"),
        seeds=10,
        width=64,
        train=TrainConfig(epochs=30, source_examples=64, evaluate_every=1),
    ),
    "floors": Preset(sets=ACTIVITY_CLIFFS, methods=FLOORS, seeds=3),
    "paper": Preset(sets=SETS, methods=methods_of(*BACKBONES), seeds=10, released_rate=1e-4),
}


def network(preset: Preset, name: str) -> MethodConfig:
    """The settings of a network by its name in the tables."""
    backbone, _, kind = name.partition(", ")
    size = {
        "convolution": BACKBONES[backbone],
        "width": preset.width,
        "depth": preset.depth,
    }
    if not kind:
        return MoleculeGNNConfig(**size)
    if kind == "TopExpert":
        return TopExpertConfig(**size)
    if kind == "TopExpert annealed":
        weights = ExpertWeights(alignment=0.1)
        return TopExpertConfig(**size, final_temperature=0.1, weights=weights)
    return TopExpertConfig(**size, gate="equal" if kind == "equal experts" else "random")


def data_of(name: str) -> DataConfig:
    """The set with the split that its published figures belong to."""
    published = "/" in name
    return DataConfig(
        source=name,
        target=None,
        split="published" if published else "deterministic_scaffold",
    )


def experiment(preset: Preset, set_name: str, method_name: str) -> Experiment:
    """The config of a network on a set."""
    released = method_name.endswith(", TopExpert")
    rate = preset.released_rate if released else preset.learning_rate
    return Experiment(
        name=set_name.replace("/", "_"),
        data=data_of(set_name),
        features=FeatureConfig(scheme="hu", picture_size=16, max_atoms=500),
        method=network(preset, method_name),
        optimiser=OptimiserConfig(rate, weight_decay=0.0, clip=0.0, schedule="constant"),
        train=preset.train,
    )
