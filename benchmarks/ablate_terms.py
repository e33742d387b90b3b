"""Which term of DisTrans does what: one run a variant, one table.

    python benchmarks/ablate_terms.py configs/distrans_mixtures.py --out runs/ablation \
        --table benchmarks/results/ablation_mixtures

Each variant is an ordinary run folder; a finished one is not run again, and one that was
stopped is resumed. The table (Markdown and CSV) gives the target metric with its interval
clustered by molecule, and the paired difference against the source-only variant.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from molrel.memory import enable_compilation_cache, keep_heap  # noqa: E402

keep_heap()
enable_compilation_cache()

import pandas as pd  # noqa: E402

from molrel.config import Experiment, load_config_file  # noqa: E402
from molrel.evaluate.bootstrap import intervals, paired_difference  # noqa: E402
from molrel.evaluate.markdown import markdown_table  # noqa: E402
from molrel.evaluate.report import molecule_ids, seed_scores  # noqa: E402
from molrel.experiment import run  # noqa: E402


def variants(base: Experiment) -> dict[str, Experiment]:
    """The full method, its parts left out one by one, and the weightings of the reversal."""
    method, weights = base.method, base.method.weights

    def without(**terms: float) -> Experiment:
        return replace(base, method=replace(method, weights=replace(weights, **terms)))

    def with_method(**fields) -> Experiment:
        return replace(base, method=replace(method, **fields))

    return {
        "source-only": replace(base, method=method.source_only()),
        "full": base,
        "- reversal": without(adversarial_fragment=0.0, adversarial_pair=0.0),
        "- functional groups": without(prototype=0.0, guidance=0.0),
        "- agreement": without(agreement=0.0),
        "+ entropy": without(entropy=0.1),
        "all adaptation weights x 5": without(
            adversarial_fragment=0.5, adversarial_pair=0.5, prototype=0.5, guidance=0.5
        ),
        "weighting uniform (DANN)": with_method(weighting="uniform"),
        "weighting down": with_method(weighting="down"),
        "weighting signed": with_method(weighting="signed"),
        "weighting shuffled (control)": with_method(weighting="shuffled"),
        "- picture": with_method(branches="graph"),
        "- graph": with_method(branches="picture"),
    }


def finished(folder: Path, config: Experiment) -> pd.DataFrame:
    """Target predictions of a variant, which is run or resumed first if need be."""
    path = folder / "predictions.csv"
    if not (folder / "report.json").is_file():
        run(config, folder, resume=(folder / "config.json").is_file())
    frame = pd.read_csv(path)
    return frame[(frame["split"] == "target") & frame["label"].notna()]


def main() -> None:
    """Runs what is missing, then prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--replicates", type=int, default=500)
    parser.add_argument("--only", nargs="*", help="variants to run")
    args = parser.parse_args()
    base = load_config_file(args.config)
    base = replace(base, train=replace(base.train, baselines=False, replicates=20))
    frames, rows = {}, []
    for name, config in variants(base).items():
        if args.only and name not in args.only:
            continue
        folder = args.out / "".join(c if c.isalnum() else "_" for c in name)
        frames[name] = finished(folder, replace(config, name=name))
        frame = frames[name]
        data = frame["label"].to_numpy(), seed_scores(frame), molecule_ids(frame)
        value = intervals(["auroc", "ap"], *data, replicates=args.replicates)
        reference = seed_scores(frames["source-only"])
        difference = paired_difference(
            "auroc", data[0], data[1], reference, data[2], replicates=args.replicates
        )
        rows.append(
            {
                "variant": name,
                "target AUROC": _text(value["auroc"]),
                "target AP": _text(value["ap"]),
                "AUROC - source-only": "" if len(frames) == 1 else _text(difference, sign=True),
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    head = (
        f"{base.data.source} -> {base.data.target}, {len(base.seeds)} seeds, {base.train.steps} "
        f"steps; mean over seeds, 95 % interval clustered by molecule.\n\n"
        f"`python benchmarks/ablate_terms.py {shlex.join(sys.argv[1:])}`\n\n"
    )
    args.table.parent.mkdir(parents=True, exist_ok=True)
    args.table.with_suffix(".md").write_text(head + markdown_table(rows))
    pd.DataFrame(rows).to_csv(args.table.with_suffix(".csv"), index=False)
    print(head + markdown_table(rows))


def _text(interval, *, sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{interval.mean:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


if __name__ == "__main__":
    main()
