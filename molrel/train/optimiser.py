"""The optimiser of a run."""

from __future__ import annotations

import optax

from molrel.train.settings import OptimiserConfig


def make_optimiser(config: OptimiserConfig, steps: int) -> optax.GradientTransformation:
    """Clipping, then AdamW on a warm-up and cosine schedule, or on a constant rate.

    The learning rate may be an array, and so differ between runs of one program.
    """
    schedule = optax.constant_schedule(1.0)
    if config.schedule == "cosine":
        schedule = optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=1.0,
            warmup_steps=max(1, round(config.warmup * steps)),
            decay_steps=max(2, steps),
        )
    return optax.chain(
        optax.clip_by_global_norm(config.clip) if config.clip else optax.identity(),
        optax.adamw(schedule, weight_decay=config.weight_decay),
        optax.scale(config.learning_rate),
    )
