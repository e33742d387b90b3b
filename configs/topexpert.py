"""TopExpert as its authors released it, GIN 5 x 300; any property set by --data.

    molrel train topexpert --data tox21 --out runs/topexpert_tox21

Expected: not measured at this size (100 epochs, 10 seeds), which asks for an accelerator; at CPU
size no better than one head on the same encoder (benchmarks/README.md).
"""

from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig, Experiment
from molrel.methods.topexpert import TopExpertConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="topexpert",
        data=DataConfig(
            source="bace",
            target=None,
            smiles_columns=("smiles",),
            split="deterministic_scaffold",
        ),
        features=FeatureConfig(scheme="hu", max_atoms=500),
        method=TopExpertConfig(),
        optimiser=OptimiserConfig(
            learning_rate=1e-4, weight_decay=0.0, clip=0.0, schedule="constant"
        ),
        train=TrainConfig(epochs=100, source_examples=512, evaluate_every=1),
        seeds=tuple(range(10)),
    )
