"""SSI-DDI (Nyamabo et al., 2021): substructures of two molecules attend to one another.

    molrel train ssi_ddi --out runs/ssi_ddi

The built-in set: hydrocarbon pairs -> hydrocarbon-heteroatom pairs.

Expected: target AUROC 0.665 [0.596, 0.727] (3 seeds); a minute on 2 CPU cores.
"""

from molrel.config import DataConfig, Experiment
from molrel.methods.ssi_ddi import SSIDDIConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="ssi_ddi",
        data=DataConfig(source="mixtures/hydrocarbons", target="mixtures/heteroatoms"),
        method=SSIDDIConfig(width=64, blocks=4),
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
