"""TopExpert as in its first commit: the temperature of the gate falls from 10 to 0.1.

    molrel train topexpert_annealed --data tox21 --out runs/annealed_tox21

Expected: not measured at this size (100 epochs, 10 seeds), which asks for an accelerator.
"""

from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig, Experiment
from molrel.methods.topexpert import ExpertWeights, TopExpertConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="topexpert_annealed",
        data=DataConfig(
            source="bace",
            target=None,
            smiles_columns=("smiles",),
            split="deterministic_scaffold",
        ),
        features=FeatureConfig(scheme="hu", max_atoms=500),
        method=TopExpertConfig(final_temperature=0.1, weights=ExpertWeights(alignment=0.1)),
        optimiser=OptimiserConfig(
            learning_rate=1e-3, weight_decay=0.0, clip=0.0, schedule="constant"
        ),
        train=TrainConfig(epochs=100, source_examples=512, evaluate_every=1),
        seeds=tuple(range(10)),
    )
