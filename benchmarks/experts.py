"""Do experts specialise? Gates and experts of TopExpert on one set, as released and annealed.

    python benchmarks/experts.py bace --out benchmarks/results/experts_bace [--preset cpu]

Trains both recipes with one seed and prints, for training and test molecules: how undecided the
gate is, how many molecules each expert gets, how far the experts disagree, how well each alone
predicts, and which scaffolds it is given most. The picture shows the gate embeddings (t-SNE)
by expert.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from molrel.memory import enable_compilation_cache, keep_heap

keep_heap()
enable_compilation_cache()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from property_settings import PRESETS, SETS, experiment  # noqa: E402

from molrel.chem.scaffolds import murcko_scaffold  # noqa: E402
from molrel.data.batches import MoleculeSizes, all_batches, round_up  # noqa: E402
from molrel.data.types import Examples  # noqa: E402
from molrel.evaluate.markdown import markdown_table  # noqa: E402
from molrel.evaluate.selection import selection_metrics  # noqa: E402
from molrel.methods.batch import gather_batch  # noqa: E402
from molrel.methods.topexpert import Gated, TopExpertConfig, look  # noqa: E402
from molrel.prepare import Prepared, prepare  # noqa: E402
from molrel.problem import Fit, Fitted, make_method  # noqa: E402
from molrel.train.predict import to_scores  # noqa: E402

RECIPES = ("GIN, TopExpert", "GIN, TopExpert annealed")
ROWS = 128


def look_at(
    config: TopExpertConfig, prepared: Prepared, method: Any, fitted: Fitted, examples: Examples
) -> Gated:
    """``look`` of every example in order, as NumPy arrays."""
    task = prepared.task
    network = config.network(task.n_outputs, task.symmetric)
    sizes = MoleculeSizes(prepared.table)
    budget = round_up(sizes.worst(ROWS))

    @jax.jit
    def see(table, batch):
        gathered = gather_batch(table, batch)
        encoded = method.encode(*fitted.best, gathered.molecules)
        return look(config, network, *fitted.best, encoded, gathered.sides)

    parts = []
    for batch in all_batches(examples, ROWS, budget, sizes):
        found = see(prepared.table, batch)
        parts.append(jax.tree.map(lambda x, keep=batch.mask: np.asarray(x)[keep], found))
    return Gated(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def rows_of(name: str, part: str, found: Gated, prepared: Prepared) -> list[dict[str, Any]]:
    """One row for the mixture of one part, then one for each expert."""
    examples, kind = prepared.source[part], prepared.task.kind
    k = found.q.shape[1]
    entropy = -(found.q * np.log(found.q + 1e-12)).sum(1).mean() / np.log(k)
    scale = prepared.label_mean, prepared.label_scale
    by_expert = [to_scores(found.logits[..., i], kind, *scale) for i in range(k)]
    each = np.stack([scores.reshape(len(examples), -1) for scores in by_expert], axis=-1)
    mixed = np.einsum("ntk,nk->nt", each, found.q)
    chosen = found.q.argmax(1)
    smiles = [prepared.molecules[m] for m in examples.sides[0].ids]

    def quality(scores: np.ndarray) -> str:
        metrics = selection_metrics(examples.labels, scores, kind)
        return f"{metrics.get('auroc', metrics.get('rmse')):.3f}"

    rows = [
        {
            "recipe": name,
            "part": part,
            "expert": "mixture",
            "gate entropy / log K": f"{entropy:.3f}",
            "spread of experts": f"{each.std(axis=-1).mean():.3f}",
            "AUROC or RMSE": quality(mixed),
        }
    ]
    for i in range(k):
        mine = np.flatnonzero(chosen == i)
        named = Counter(murcko_scaffold(smiles[n]) or "no ring" for n in mine)
        frequent = ", ".join(f"{s[:40]} ({c})" for s, c in named.most_common(2))
        rows.append(
            {
                "recipe": name,
                "part": part,
                "expert": str(i),
                "share of molecules": f"{len(mine) / len(chosen):.2f}",
                "mean weight": f"{found.q[:, i].mean():.2f}",
                "AUROC or RMSE": quality(each[..., i]),
                "most frequent scaffolds": frequent,
            }
        )
    return rows


def draw(path: Path, seen: dict[str, Gated], title: str) -> None:
    """t-SNE of the gate embeddings of test molecules, one panel a recipe, by expert."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from sklearn.manifold import TSNE

    figure = Figure(figsize=(6 * len(seen), 5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(seen), squeeze=False)[0]
    for axes, (name, found) in zip(panels, seen.items(), strict=True):
        perplexity = min(30.0, (len(found.z) - 1) / 3)
        places = TSNE(perplexity=perplexity, random_state=0).fit_transform(found.z)
        chosen = found.q.argmax(1)
        for i in range(found.q.shape[1]):
            mine = chosen == i
            # Faint where the gate is undecided.
            strength = np.clip(found.q[mine, i], 0.2, 1) if mine.any() else None
            label = f"expert {i} ({mine.sum()})"
            axes.scatter(*places[mine].T, s=14, alpha=strength, linewidths=0, label=label)
        axes.set(title=name, xticks=[], yticks=[])
        axes.legend(fontsize=9)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def main() -> int:
    """Trains both recipes and writes the table and the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("set", choices=SETS, metavar="SET")
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="written as .md and .png")
    args = parser.parse_args()
    preset, rows, seen = PRESETS[args.preset], [], {}
    prepared: Prepared | None = None
    for name in RECIPES:
        config = experiment(preset, args.set, name)
        assert isinstance(config.method, TopExpertConfig)
        prepared = prepared or prepare(config, needs=config.method.needs)
        (fitted,), _ = Fit(config, prepared)([args.seed])
        method = make_method(config, prepared)
        for part in ("train", "test"):
            found = look_at(config.method, prepared, method, fitted, prepared.source[part])
            rows += rows_of(name, part, found, prepared)
        seen[name] = found
    page = (
        f"`python benchmarks/experts.py {shlex.join(sys.argv[1:])}`\n\n"
        f"{args.set}, networks of width {preset.width}, {preset.train.epochs} epochs, one seed. "
        "The gate entropy is 1 where every expert has the same weight. The spread is the "
        "standard deviation over the experts' predictions, mean over molecules.\n\n"
        f"{markdown_table(rows)}"
    )
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".md").write_text(page)
        draw(args.out.with_suffix(".png"), seen, f"{args.set}, test molecules: gate embedding")
    print(page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
