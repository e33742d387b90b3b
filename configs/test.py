"""A run of a few seconds through every part, for tests and for trying things out.

    molrel train test --out runs/test

Expected: no figure worth reading after 12 steps of a small network; 10 seconds on 2 CPU cores.
"""

from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig, Experiment
from molrel.methods.distrans import DisTransConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="test",
        data=DataConfig(source="mixtures/hydrocarbons", target="mixtures/heteroatoms"),
        features=FeatureConfig(picture_size=32),
        method=DisTransConfig(width=16, depth=1, discriminator_width=16, prototype_ready=2),
        optimiser=OptimiserConfig(learning_rate=3e-3),
        train=TrainConfig(
            steps=12,
            source_examples=16,
            target_examples=16,
            evaluate_every=4,
            valid_examples=500,
            replicates=20,
            baselines=False,
        ),
        seeds=(0, 1),
    )
