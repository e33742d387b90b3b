"""DisTrans ZhangDDI -> DDInter 2.0 at CPU size.

    molrel train distrans_ddi --out runs/ddi

Needs the two sets in MOLREL_DATA (``molrel data info zhangddi`` says how).

Expected: target AUROC 0.533 [0.521, 0.544], source test 0.935 [0.924, 0.944] (3 seeds); 7
minutes on 2 CPU cores, 1.6 GB.
"""

from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig, Experiment
from molrel.methods.distrans import DisTransConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="distrans_ddi",
        data=DataConfig(source="zhangddi", target="ddinter2", balance=True),
        features=FeatureConfig(picture_size=32),
        method=DisTransConfig(width=64, depth=2, fingerprints=True),
        optimiser=OptimiserConfig(learning_rate=1e-3),
        train=TrainConfig(
            steps=1000,
            source_molecules=96,
            source_examples=2048,
            target_molecules=96,
            target_examples=1024,
            evaluate_every=100,
            patience=3,
            valid_examples=4000,
            replicates=100,
        ),
        seeds=(0, 1, 2),
    )
