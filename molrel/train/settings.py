"""Settings of the optimiser and the loop."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from molrel.fields import at

SeedsMode = Literal["auto", "vmap", "loop"]


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW, by default with linear warm-up, cosine decay and clipping by global norm."""

    learning_rate: float = at(5e-4, least=0, below=math.inf)
    weight_decay: float = at(1e-5, least=0, below=math.inf)
    warmup: float = at(0.05, least=0, below=1, static=True)
    """Share of the steps."""
    clip: float = at(1.0, least=0, static=True)
    """Largest norm of the gradient; 0 clips nothing."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """constant has no warm-up either."""


@dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    steps: int = at(1000, least=1)
    epochs: int = at(0, least=0)
    """Number of epochs; 0 trains for ``steps`` instead. With epochs, the last batch of each epoch
    may be smaller and ``evaluate_every`` is in epochs; with steps, batches run across the ends of
    epochs."""
    source_molecules: int = at(0, least=0)
    """Source molecules a step, over all devices, with every example among them
    (``data.sampler``); 0 draws examples alone."""
    source_examples: int = at(256, least=1)
    """Source examples a step, over all devices; the most where molecules are drawn."""
    target_molecules: int = at(0, least=0)
    target_examples: int = at(256, least=0)
    evaluate_every: int = at(100, least=1)
    """Steps (or epochs) between validations, log lines and checkpoints."""
    patience: int = at(0, least=0)
    """The run ends when the validation of no seed has improved for so many validations, and at
    ``steps`` at the latest; 0 always goes on to ``steps``."""
    valid_examples: int = at(10_000, least=1)
    """Most source-validation examples used for model selection."""
    seeds_mode: SeedsMode = "auto"
    devices: int = at(0, least=0)
    """Devices to share a batch; 0 takes all accelerators, or one CPU device."""
    replicates: int = at(200, least=0)
    """Bootstrap replicates of the intervals."""
    baselines: bool = True
    """Also fit the fingerprint random forest."""

    def in_steps(self, n_examples: int) -> TrainConfig:
        """The same in steps, for a training part of so many examples."""
        if not self.epochs:
            return self
        each = math.ceil(n_examples / self.source_examples)
        return replace(
            self, steps=self.epochs * each, evaluate_every=self.evaluate_every * each, epochs=0
        )
