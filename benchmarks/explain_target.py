"""Where the target's difficulty lies: between its new molecules, or within each of them.

    python benchmarks/explain_target.py runs/demo runs/source_only

For runs whose target pairs hold one new molecule each (seen-new), as those of ``mixtures``:
the AUROC over all pairs, the AUROC among the pairs of one new molecule (mean over molecules,
weighted by pairs), and, as an oracle that no method can be, the AUROC of a score that knows
each new molecule's share of positives and nothing else.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from molrel.evaluate.markdown import markdown_table


def new_molecule(frame: pd.DataFrame) -> pd.Series:
    """SMILES of the molecule of each target pair that the source does not hold."""
    source = frame.loc[frame["domain"] == "source", ["smiles_a", "smiles_b"]]
    known = set(source.to_numpy().ravel())
    target = frame.loc[frame["domain"] == "target"]
    first = ~target["smiles_a"].isin(known)
    return target["smiles_a"].where(first, target["smiles_b"])


def within(labels: np.ndarray, scores: np.ndarray, groups: pd.Series) -> tuple[float, int]:
    """(mean AUROC among the pairs of one group, weighted by pairs; groups of both classes)."""
    values, sizes = [], []
    for _, rows in pd.Series(np.arange(len(groups))).groupby(groups.to_numpy()):
        if len(np.unique(labels[rows])) == 2:
            values.append(roc_auc_score(labels[rows], scores[rows]))
            sizes.append(len(rows))
    return float(np.average(values, weights=sizes)), len(values)


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    rows = []
    for run in parser.parse_args().runs:
        frame = pd.read_csv(run / "predictions.csv")
        groups = new_molecule(frame)
        target = frame.loc[groups.index]
        labels = target["label"].to_numpy()
        for name, scores in (
            (run.name, target["mean"].to_numpy()),
            ("oracle: share of positives", groups.map(target["label"].groupby(groups).mean())),
        ):
            scores = np.asarray(scores)
            ranked, n_groups = within(labels, scores, groups)
            rows.append(
                {
                    "score": name,
                    "AUROC, all pairs": round(float(roc_auc_score(labels, scores)), 3),
                    "AUROC within a new molecule": round(ranked, 3),
                    "new molecules (both classes)": f"{groups.nunique()} ({n_groups})",
                }
            )
    print(markdown_table(list({row["score"]: row for row in rows}.values())))


if __name__ == "__main__":
    main()
