"""CGIB (Lee et al., ICML 2023): a bottleneck keeps the part that matters to the partner.

    molrel train cgib --out runs/cgib

The built-in set: hydrocarbon pairs -> hydrocarbon-heteroatom pairs.

Expected: target AUROC 0.686 [0.616, 0.750] (3 seeds); 3 minutes on 2 CPU cores.
"""

from molrel.config import DataConfig, Experiment
from molrel.methods.cgib import CGIBConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="cgib",
        data=DataConfig(source="mixtures/hydrocarbons", target="mixtures/heteroatoms"),
        method=CGIBConfig(width=64, depth=3),
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
