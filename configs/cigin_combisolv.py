"""CIGIN on solvation free energies, computed -> measured, at the size of the CPU benchmark.

    molrel ablate cigin_combisolv --grid method.gather=sum,mean --out runs/gather

Expected: target RMSE 2.24 [1.54, 2.91] kcal/mol with the sum, 4.09 [3.47, 4.61] with the mean
(5 seeds); CPU size. Needs combisolv in MOLREL_DATA.
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
