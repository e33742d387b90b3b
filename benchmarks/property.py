"""The property benchmark: sets x methods x seeds, beside the fingerprint floors.

    python benchmarks/property.py --preset smoke     # minutes, built-in data
    python benchmarks/property.py --preset cpu       # five MoleculeNet sets at CPU size, hours
    python benchmarks/property.py --preset floors    # no network: activity cliffs
    python benchmarks/property.py --preset paper     # full size, for an accelerator
    python benchmarks/property.py --preset cpu --sets bace --methods GIN "GIN, TopExpert"

Runs the cells (set x method x seed) that are missing, keeps each as JSON, and writes
``benchmarks/results/property.{csv,md}`` (``property_PRESET`` but for ``cpu``). It can be stopped
at any point and started again.
``--table-only`` writes the table of what is there; ``--add`` keeps the sets of the table at
``--out`` that are not named.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from molrel.memory import enable_compilation_cache, keep_heap

keep_heap()
enable_compilation_cache()

from property_cells import jobs, work  # noqa: E402
from property_settings import BACKBONES, PRESETS, SETS, methods_of  # noqa: E402
from property_tables import write_tables  # noqa: E402
from store import base_parser, check_names, count_missing, place, run_missing, stay_on  # noqa: E402

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    """The command line, with names checked."""
    out = HERE / "results" / "property"
    parser = base_parser((__doc__ or "").splitlines()[0], PRESETS, "set", out)
    args = parser.parse_args()
    preset = PRESETS[args.preset]
    check_names(parser, args.sets, SETS, "set")
    check_names(parser, args.methods, methods_of(*BACKBONES), "method")
    args.sets = args.sets or list(preset.sets)
    args.methods = args.methods or list(preset.methods)
    args.seeds = list(range(args.seeds or preset.seeds))
    place(args, out)
    return args


def main() -> int:
    """Computes what is missing, then writes the tables."""
    args = arguments()
    preset = PRESETS[args.preset]
    if args.worker:
        set_name, core = args.worker
        stay_on(int(core))
        work(preset, set_name, args.methods, args.seeds, args.cells)
        return 0

    failed = []
    if not args.table_only:

        def missing() -> dict[str, int]:
            return count_missing(
                args.sets, lambda name: jobs(preset, name, args.methods, args.seeds, args.cells)
            )

        failed = run_missing(missing, args.workers)
    names = args.sets, args.methods, args.seeds
    write_tables(args.cells, args.preset, *names, args.out, add=args.add)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
