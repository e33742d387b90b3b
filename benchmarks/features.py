"""Featurising the molecules of a set against reading them from the cache.

    python benchmarks/features.py zhangddi [--rounds 5]

Each round computes all molecules into a new folder, in one process, and then reads them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rounds import in_turn, ratio_text

from molrel.chem.cache import featurise_all
from molrel.chem.features import FeatureConfig
from molrel.data import catalog
from molrel.evaluate.markdown import markdown_table


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("set", choices=catalog.names(), metavar="SET")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    config = FeatureConfig()
    molecules = catalog.load(args.set, max_atoms=config.max_atoms).molecules
    with TemporaryDirectory() as top:
        folders = iter(Path(top) / str(n) for n in range(args.rounds + 1))
        latest = Path(top)

        def featurise() -> float:
            started = time.perf_counter()
            featurise_all(molecules, config, cache=latest, workers=1, progress=False)
            return time.perf_counter() - started

        def compute() -> float:
            nonlocal latest
            latest = next(folders)
            return featurise()

        seconds = in_turn({"computed": compute, "read": featurise}, args.rounds)
    print(f"{args.set}: {len(molecules):,} molecules, pictures of {config.picture_size} pixels\n")
    rows = [
        {
            "features": name,
            "ms a molecule": f"{1e3 * np.median(spent) / len(molecules):.2f}",
            "molecules a second": f"{len(molecules) / np.median(spent):,.0f}",
            "times as fast": ratio_text(seconds["computed"], spent),
        }
        for name, spent in seconds.items()
    ]
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
