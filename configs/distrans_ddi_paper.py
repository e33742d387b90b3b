"""DisTrans ZhangDDI -> DDInter 2.0 at the size usual in papers, for a GPU.

    molrel train distrans_ddi_paper --out runs/ddi_paper

300-wide graph branch, ResNet-18 on 224-px pictures, bfloat16 matrix products.

Expected: not measured, as no accelerator was at hand.
"""

from dataclasses import replace
from pathlib import Path

from molrel.chem.features import FeatureConfig
from molrel.config import Experiment
from molrel.config_files import load_config_file
from molrel.methods.distrans import DisTransConfig
from molrel.train.settings import TrainConfig


def get_config() -> Experiment:
    base = load_config_file(Path(__file__).with_name("distrans_ddi.py"))
    return replace(
        base,
        name="distrans_ddi_paper",
        features=FeatureConfig(picture_size=224),
        method=DisTransConfig(
            width=300, depth=3, picture_encoder="resnet18", fingerprints=True, bfloat16=True
        ),
        train=TrainConfig(
            steps=10_000,
            source_molecules=256,
            source_examples=8192,
            target_molecules=256,
            target_examples=4096,
            evaluate_every=500,
            patience=4,
        ),
        seeds=(0, 1, 2, 3, 4),
    )
