"""Measuring side by side: everything does one step in turn, so drift meets all alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np


def in_turn(steps: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds [rounds] of each step, which itself tells what it took (A B C A B C ...).

    One more round goes before, and is not counted: it compiles, or finds cold caches.
    """
    every = [[step() for step in steps.values()] for _ in range(rounds + 1)]
    return dict(zip(steps, np.array(every[1:]).T, strict=True))


def ratio_text(seconds: np.ndarray, reference: np.ndarray) -> str:
    """Median, least and greatest ratio, taken round by round, such as "1.50 (1.20-1.80)"."""
    ratio = seconds / reference
    return f"{np.median(ratio):.2f} ({ratio.min():.2f}-{ratio.max():.2f})"
