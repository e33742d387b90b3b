"""TopExpert's experts over pairs: hydrocarbon pairs -> hydrocarbon-heteroatom pairs.

    molrel train topexpert_mixtures --out runs/topexpert_mixtures

Expected: target AUROC 0.702 [0.627, 0.760] (3 seeds); 40 seconds on 2 CPU cores.
"""

from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig, Experiment
from molrel.methods.topexpert import TopExpertConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="topexpert_mixtures",
        data=DataConfig(source="mixtures/hydrocarbons", target="mixtures/heteroatoms"),
        features=FeatureConfig(scheme="hu"),
        method=TopExpertConfig(width=64, depth=3, dropout=0.1, final_temperature=0.1),
        optimiser=OptimiserConfig(learning_rate=1e-3),
        train=TrainConfig(steps=100, source_examples=512, target_examples=0, evaluate_every=25),
        seeds=(0, 1, 2),
    )
