"""DisTrans on the built-in set: hydrocarbon pairs -> hydrocarbon-heteroatom pairs.

    molrel train distrans_mixtures --out runs/demo

Expected: target AUROC 0.681 [0.630, 0.730] (3 seeds); a minute on 2 CPU cores.
"""

from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig, Experiment
from molrel.methods.distrans import DisTransConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="distrans_mixtures",
        data=DataConfig(source="mixtures/hydrocarbons", target="mixtures/heteroatoms"),
        features=FeatureConfig(picture_size=32),
        method=DisTransConfig(width=64, depth=2, fingerprints=True),
        optimiser=OptimiserConfig(learning_rate=1e-3),
        train=TrainConfig(
            steps=120,
            source_molecules=80,
            source_examples=1024,
            target_molecules=40,
            target_examples=256,
            evaluate_every=40,
            valid_examples=2000,
        ),
        seeds=(0, 1, 2),
    )
