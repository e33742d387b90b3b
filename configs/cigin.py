"""CIGIN (Pathak et al., AAAI 2020): the atoms of two molecules meet in an interaction map.

    molrel train cigin --out runs/cigin

The built-in set: hydrocarbon pairs -> hydrocarbon-heteroatom pairs.

Expected: target AUROC 0.690 [0.620, 0.756] (3 seeds); 100 seconds on 2 CPU cores.
"""

from molrel.config import DataConfig, Experiment
from molrel.methods.cigin import CIGINConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="cigin",
        data=DataConfig(source="mixtures/hydrocarbons", target="mixtures/heteroatoms"),
        method=CIGINConfig(width=64, depth=3),
        optimiser=OptimiserConfig(learning_rate=1e-3),
        train=TrainConfig(
            steps=200,
            source_molecules=96,
            source_examples=512,
            target_examples=0,
            evaluate_every=50,
        ),
        seeds=(0, 1, 2),
    )
