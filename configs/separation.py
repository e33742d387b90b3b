"""Domain separation networks (Bousmalis et al., NeurIPS 2016) on the encoder of DisTrans.

    molrel train separation --out runs/separation

The built-in set: hydrocarbon pairs -> hydrocarbon-heteroatom pairs.

Expected: target AUROC 0.659 [0.596, 0.720] (3 seeds); a minute on 2 CPU cores.
"""

from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig, Experiment
from molrel.methods.separation import SeparationConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="separation",
        data=DataConfig(source="mixtures/hydrocarbons", target="mixtures/heteroatoms"),
        features=FeatureConfig(picture_size=32),
        method=SeparationConfig(width=64, depth=2, fingerprints=True),
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
