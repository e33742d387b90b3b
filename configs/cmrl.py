"""CMRL (Lee et al., KDD 2023): a cause and a shortcut among the atoms of a molecule.

    molrel train cmrl --out runs/cmrl

The built-in set: hydrocarbon pairs -> hydrocarbon-heteroatom pairs.

Expected: target AUROC 0.684 [0.610, 0.753] (3 seeds); 3 minutes on 2 CPU cores.
"""

from molrel.config import DataConfig, Experiment
from molrel.methods.cmrl import CMRLConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="cmrl",
        data=DataConfig(source="mixtures/hydrocarbons", target="mixtures/heteroatoms"),
        method=CMRLConfig(width=64, depth=3),
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
