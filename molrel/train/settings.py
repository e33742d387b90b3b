"""Settings of the optimiser and the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SeedsMode = Literal["auto", "vmap", "loop"]


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW with linear warm-up, cosine decay and clipping by global norm."""

    learning_rate: float = 5e-4
    weight_decay: float = 1e-5
    warmup: float = 0.05
    """Share of the steps."""
    clip: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    steps: int = 1000
    source_examples: int = 256
    """Source examples a step, over all devices."""
    target_examples: int = 256
    evaluate_every: int = 100
    """Steps between validations, log lines and checkpoints."""
    valid_examples: int = 10_000
    """Most source-validation examples used for model selection."""
    seeds_mode: SeedsMode = "auto"
    devices: int = 0
    """Devices to share a batch; 0 takes all accelerators, or one CPU device."""
    replicates: int = 200
    """Bootstrap replicates of the intervals."""
    baselines: bool = True
    """Also fit the fingerprint random forest."""
