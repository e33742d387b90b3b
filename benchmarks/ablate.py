"""Ablation of any config over a grid of options and seeds: ``molrel ablate`` with these arguments.

    python benchmarks/ablate.py configs/distrans_mixtures.py --seeds 5 --out runs/guidance \\
        --grid method.weights.guidance=0,0.1,0.5 --grid method.reversal=0,1
"""

from __future__ import annotations

import sys

from molrel.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["ablate", *sys.argv[1:]]))
