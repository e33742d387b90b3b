"""The cross-domain benchmark: every method under one protocol, on real source -> target settings.

    python benchmarks/cross_domain.py --preset smoke          # minutes, built-in data
    python benchmarks/cross_domain.py --preset cpu            # the full table at CPU size
    python benchmarks/cross_domain.py --preset cpu --settings mixtures --methods DANN DisTrans

Runs the cells (setting x method x seed) that are missing, keeps each as JSON, and writes
``benchmarks/results/cross_domain.{csv,md,png}`` (``cross_domain_PRESET`` but for ``cpu``). It can
be stopped at any point and started again: finished cells are not computed twice. ``--table-only``
writes the table of what is there; ``--add`` keeps the settings of the table at ``--out`` that are
not named, so that several machines can share the work.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from molrel.memory import enable_compilation_cache, keep_heap

keep_heap()
enable_compilation_cache()

from cells import jobs, work  # noqa: E402
from cross_settings import PRESETS, SETTINGS, entrants  # noqa: E402
from cross_tables import write_tables  # noqa: E402
from store import base_parser, check_names, count_missing, place, run_missing, stay_on  # noqa: E402

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    """The command line, with names checked."""
    out = HERE / "results" / "cross_domain"
    parser = base_parser((__doc__ or "").splitlines()[0], PRESETS, "setting", out)
    args = parser.parse_args()
    preset = PRESETS[args.preset]
    methods = list(entrants(preset.width, preset.depth))
    check_names(parser, args.settings, SETTINGS, "setting")
    check_names(parser, args.methods, methods, "method")
    args.settings = args.settings or list(preset.settings or SETTINGS)
    args.methods = args.methods or list(preset.methods or methods)
    args.seeds = list(range(args.seeds or preset.seeds))
    place(args, out)
    return args


def main() -> int:
    """Computes what is missing, then writes the tables."""
    args = arguments()
    preset = PRESETS[args.preset]
    if args.worker:
        setting, core = args.worker
        stay_on(int(core))
        work(args.preset, SETTINGS[setting], args.methods, args.seeds, args.cells)
        return 0
    failed = []
    if not args.table_only:

        def missing() -> dict[str, int]:
            return count_missing(
                args.settings,
                lambda name: jobs(preset, SETTINGS[name], args.methods, args.seeds, args.cells),
            )

        failed = run_missing(missing, args.workers)
    names = args.settings, args.methods, args.seeds
    write_tables(args.cells, args.preset, *names, args.out, add=args.add)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
