"""A random forest on Morgan counts: often the best learner of a table, and the one to beat.

    molrel train forest --out runs/forest

The built-in set: hydrocarbon pairs -> hydrocarbon-heteroatom pairs.

Expected: target AUROC 0.668 [0.613, 0.725] (3 seeds); 20 seconds on 2 CPU cores.
"""

from molrel.config import DataConfig, Experiment
from molrel.methods.classical import ForestConfig
from molrel.train.settings import TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="forest",
        data=DataConfig(source="mixtures/hydrocarbons", target="mixtures/heteroatoms"),
        method=ForestConfig(),
        train=TrainConfig(baselines=False),
        seeds=(0, 1, 2),
    )
