"""CIGIN on solvation free energies, computed -> measured, at the size of the CPU benchmark.

molrel ablate cigin_combisolv --grid method.gather=sum,mean --out runs/gather
"""

from molrel.config import DataConfig, Experiment
from molrel.methods.cigin import CIGINConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


def get_config() -> Experiment:
    return Experiment(
        name="cigin_combisolv",
        data=DataConfig(
            source="combisolv/qm", target="combisolv/exp", kind="regression", symmetric=False
        ),
        method=CIGINConfig(width=64, depth=2),
        optimiser=OptimiserConfig(learning_rate=1e-3),
        train=TrainConfig(
            steps=200,
            source_examples=64,
            target_examples=32,
            evaluate_every=100,
            valid_examples=1000,
        ),
        seeds=(0, 1, 2, 3, 4),
    )
