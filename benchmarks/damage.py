"""What is left of a run that is killed, of a file that is garbled, of a folder that is damaged.

    python benchmarks/damage.py --kills 200 --rows 100000 --folders 100 --seed 0

- Kills: a tiny run, started as ``python -m molrel train ... --resume``, meets SIGKILL at random
  moments of its life, two runs at a time; then it goes on to its end. Its files must equal those
  of a run that nothing interrupted.
- Rows: mutated SMILES, and CSV files with mutated bytes, are scored. Rows and their order must
  be kept, each row must have a score or an error, and good rows the score that they have alone.
- Folders: copies of a finished run are damaged. ``predict`` and ``evaluate`` must give what the
  undamaged run gives, or end with exit code 2 and one line.

Counts are kept in ``--work``/counts.json and what went wrong in ``--work``/findings.jsonl, so a
run of this script that was cut short goes on where it was. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from damage_folders import folders
from damage_kills import kills
from damage_rows import rows
from damage_run import Counts, write_data

from molrel.evaluate.markdown import markdown_table
from molrel.memory import enable_compilation_cache, keep_heap

# What must not happen; the table shows these also where they did not.
WRONG = {
    "kills": ["mismatches", "tracebacks", "refused to go on", "kills that left workers"],
    "rows": ["tracebacks", "rows lost or moved", "rows without score or error", "scores changed"],
    "folders": ["silently different", "tracebacks, other exit codes, several lines"],
}


def main() -> None:
    """Runs what is not done yet and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folders", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs") / "damage")
    args = parser.parse_args()
    work = (args.work / f"seed_{args.seed}").resolve()
    work.mkdir(parents=True, exist_ok=True)
    keep_heap()
    enable_compilation_cache()
    write_data(work)
    counts = Counts(work)
    folders(work, counts, args.folders, args.seed)
    rows(work, counts, args.rows, args.seed)
    kills(work, counts, args.kills, args.seed)
    table = [
        {"part": name, "what": what, "count": f"{count:,}"}
        for name in ("kills", "rows", "folders")
        for what, count in (dict.fromkeys(WRONG[name], 0) | counts.part(name)["counts"]).items()
    ]
    print(f"`python benchmarks/damage.py {' '.join(sys.argv[1:])}`\n\n{markdown_table(table)}")
    print(f"What went wrong, one by one: {counts.findings}")


if __name__ == "__main__":
    main()
