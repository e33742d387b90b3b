"""DANN (Ganin et al., JMLR 2016) on the encoder of DisTrans.

    molrel train adaptation --out runs/adaptation

The built-in set: hydrocarbon pairs -> hydrocarbon-heteroatom pairs.
Other alignments: --method.alignment cdan, cdan_e, mk_mmd, coral, mcc or entropy.

Expected: target AUROC 0.605 [0.526, 0.694] (3 seeds); 45 seconds on 2 CPU cores.
"""

from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig, Experiment
from molrel.methods.adaptation import AdaptationConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="adaptation",
        data=DataConfig(source="mixtures/hydrocarbons", target="mixtures/heteroatoms"),
        features=FeatureConfig(picture_size=32),
        method=AdaptationConfig(width=64, depth=2, fingerprints=True),
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
