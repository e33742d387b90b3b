"""A graph network with one head on a property set; the baseline of topexpert.

    molrel train property_gin --data tox21 --out runs/gin_tox21

Expected: not measured at this size (100 epochs, 10 seeds), which asks for an accelerator; at CPU
size a mean test AUROC of 61.7 % over five sets (benchmarks/README.md).
"""

from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig, Experiment
from molrel.methods.molecule import MoleculeGNNConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="property_gin",
        data=DataConfig(
            source="bace",
            target=None,
            smiles_columns=("smiles",),
            split="deterministic_scaffold",
        ),
        features=FeatureConfig(scheme="hu", max_atoms=500),
        method=MoleculeGNNConfig(),
        optimiser=OptimiserConfig(
            learning_rate=1e-3, weight_decay=0.0, clip=0.0, schedule="constant"
        ),
        train=TrainConfig(epochs=100, source_examples=512, evaluate_every=1),
        seeds=tuple(range(10)),
    )
