"""``metrics.jsonl`` and TensorBoard: what a run has logged."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from molrel.errors import writing
from molrel.files import refuse_links, remove, write_whole
from molrel.machine import say_once


class MetricsLog:
    """``metrics.jsonl``, one line a seed and logged step: the record of the run.

    ``tensorboard/`` shows the same numbers; it is a view, and written again on resuming.
    """

    def __init__(self, path: Path, seeds: Sequence[int]):
        self.path, self.events, self.seeds = path, path.parent / "tensorboard", seeds
        self.writers: dict[int, SummaryWriter] = {}

    def truncate(self, step: int) -> None:
        """Drops lines after a step, which a resumed run will write again.

        Raises:
          InputError: the log is a symbolic link, or no text.
          RunError: it cannot be written.
        """
        refuse_links(self.path.parent)
        with writing(self.path):
            lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        kept = [line for line in lines if _step_of(line) <= step]
        write_whole(self.path, b"".join(line + b"\n" for line in kept))
        remove(self.events)
        try:
            self.writers = {s: SummaryWriter(str(self.events / f"seed_{s}")) for s in self.seeds}
        except (OSError, ImportError) as error:  # such as no shared memory for its queue
            say_once(f"{self.events}: not written ({error}); metrics.jsonl has the same numbers")
            self.writers = {}
        for row in self.rows():
            self._show(row)

    def write(
        self, step: int, terms: dict[str, np.ndarray], validations: list[dict[str, float]]
    ) -> None:
        """Appends one line a seed."""
        with writing(self.path), self.path.open("a") as file:
            for i, seed in enumerate(self.seeds):
                row = {
                    "step": step,
                    "seed": seed,
                    "terms": {name: float(v[i]) for name, v in terms.items()},
                    # JSON has no NaN: an AUROC of one class is left out.
                    "validation": {k: v for k, v in validations[i].items() if math.isfinite(v)},
                }
                file.write(json.dumps(row, allow_nan=False) + "\n")
                self._show(row)

    def _show(self, row: dict[str, Any]) -> None:
        for group in ("terms", "validation"):
            for name, value in row[group].items():
                if row["seed"] in self.writers:
                    self.writers[row["seed"]].add_scalar(f"{group}/{name}", value, row["step"])

    def close(self) -> None:
        """Flushes the TensorBoard events."""
        for writer in self.writers.values():
            writer.close()

    def rows(self) -> list[dict[str, Any]]:
        """All lines."""
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def _step_of(line: bytes) -> float:
    """Step of a line; what a kill or a damaged disk made of a line is beyond every step."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
