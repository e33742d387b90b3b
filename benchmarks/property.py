"""The property benchmark: sets x methods x seeds, beside the fingerprint floors.

    python benchmarks/property.py --preset smoke     # minutes, built-in data
    python benchmarks/property.py --preset cpu       # five MoleculeNet sets at CPU size, hours
    python benchmarks/property.py --preset paper     # full size, for an accelerator
    python benchmarks/property.py --preset cpu --sets bace --methods GIN "GIN, TopExpert"

Runs the cells (set x method x seed) that are missing, keeps each as JSON, and writes
``benchmarks/results/property.{csv,md}``. It can be stopped at any point and started again.
``--table-only`` writes the table of what is there.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from molrel.memory import enable_compilation_cache, keep_heap

keep_heap()
enable_compilation_cache()

from property_cells import jobs, work  # noqa: E402
from property_settings import BACKBONES, PRESETS, SETS, methods_of  # noqa: E402
from property_tables import write_tables  # noqa: E402
from store import run_missing, stay_on  # noqa: E402

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    """The command line, with names checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help=", ".join(SETS))
    parser.add_argument("--methods", nargs="+", metavar="NAME")
    parser.add_argument("--seeds", type=int, help="how many; the preset's by default")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 is one a CPU core")
    parser.add_argument("--cells", type=Path, default=Path("runs/property"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "property")
    parser.add_argument("--table-only", action="store_true", help="compute no cell")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    preset = PRESETS[args.preset]
    known_methods = methods_of(*BACKBONES)
    for given, known, what in (
        (args.sets, SETS, "set"),
        (args.methods, known_methods, "method"),
    ):
        unknown = sorted(set(given or ()) - set(known))
        if unknown:
            parser.error(f"no {what} is called {unknown[0]!r}; there are: {', '.join(known)}")
    args.sets = args.sets or list(preset.sets)
    args.methods = args.methods or list(preset.methods)
    args.seeds = list(range(args.seeds or preset.seeds))
    args.cells = args.cells / args.preset
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

    def missing() -> dict[str, int]:
        return {
            name: sum(
                len(job.missing) for job in jobs(preset, name, args.methods, args.seeds, args.cells)
            )
            for name in args.sets
        }

    failed = []
    if not args.table_only:
        failed = run_missing(missing, args.workers, sys.argv[1:])
    command = f"python benchmarks/property.py {shlex.join(sys.argv[1:])}"
    write_tables(args.cells, preset, args.sets, args.methods, args.seeds, args.out, command)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
