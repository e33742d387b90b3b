"""What makes networks learn their source: one change a row, on ZhangDDI.

    MOLREL_DATA=data python benchmarks/learning.py --steps 200 --seeds 3

Prints and writes AUROC on 3,000 pairs of source validation (random split) after each row's steps,
beside a random forest on the same pairs. ``cosine`` is the mean over pairs of drugs of the cosine
of their embeddings before anything is learned: near 1, a head sees the same vector for all.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from molrel.memory import enable_compilation_cache, keep_heap

keep_heap()
enable_compilation_cache()

import flax.linen as nn  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from molrel.chem.features import FeatureConfig  # noqa: E402
from molrel.config import DataConfig, Experiment  # noqa: E402
from molrel.data.batches import MoleculeSizes, step_batches  # noqa: E402
from molrel.evaluate.markdown import markdown_table  # noqa: E402
from molrel.methods.adaptation import AdaptationConfig  # noqa: E402
from molrel.methods.batch import gather_batch  # noqa: E402
from molrel.methods.classical import ForestConfig  # noqa: E402
from molrel.methods.fingerprint_mlp import FingerprintMLPConfig  # noqa: E402
from molrel.methods.method import Context, SourceOnlyConfig  # noqa: E402
from molrel.methods.networks import source_only_method  # noqa: E402
from molrel.methods.siamese import SiameseConfig  # noqa: E402
from molrel.nn.batch_norm import BatchNorm  # noqa: E402
from molrel.nn.dense import Dense  # noqa: E402
from molrel.nn.gine import GINE  # noqa: E402
from molrel.nn.readout import Pooled, moments_over_atoms  # noqa: E402
from molrel.nn.relation import MLP, PairFeatures, side_mean  # noqa: E402
from molrel.prepare import prepare  # noqa: E402
from molrel.problem import Fit  # noqa: E402
from molrel.train.loop import sample_budget  # noqa: E402
from molrel.train.settings import OptimiserConfig, TrainConfig  # noqa: E402
from molrel.train.step import unstack  # noqa: E402

WIDTH, DEPTH = 64, 2
PARTS = {"mean": 0, "sum": 1, "spread": 2}


class PlainNetwork(nn.Module):
    """A siamese GIN with a readout of some moments, normalised across molecules or not."""

    parts: tuple[str, ...]
    normalised: bool

    def setup(self):
        self.atoms, self.readout = GINE(WIDTH, DEPTH), Dense(WIDTH)
        self.norm = BatchNorm()
        self.pair, self.head = PairFeatures(2 * WIDTH), MLP((WIDTH, 1))

    def encode(self, m, train=False, axis_name=None):
        moments = jnp.split(moments_over_atoms(self.atoms(m), m), 3, axis=-1)
        x = jnp.concatenate([moments[PARTS[p]] for p in self.parts], axis=-1)
        if self.normalised:
            x = self.norm(x, m.weight, train=train, axis_name=axis_name)
        return Pooled(jax.nn.relu(self.readout(x)))

    def relate(self, e, sides, train=False):
        z = self.pair(*(side_mean(e.z, side) for side in sides))
        return z, self.head(z)

    def __call__(self, m, sides):
        return self.relate(self.encode(m), sides)[1]


@dataclass(frozen=True)
class PlainConfig(SourceOnlyConfig):
    """``PlainNetwork``, trained on the source alone."""

    parts: tuple[str, ...] = ("mean",)
    normalised: bool = False

    def build(self, knowledge, *, kind, n_outputs, symmetric):
        return source_only_method(PlainNetwork(self.parts, self.normalised), kind)


PAIRS = TrainConfig(source_examples=64)
MOLECULES = TrainConfig(source_molecules=96, source_examples=8192)
ROWS: dict[str, tuple[Any, TrainConfig]] = {
    "GIN, mean over atoms": (PlainConfig(), PAIRS),
    "the same, every pair among 96 molecules": (PlainConfig(), MOLECULES),
    "+ BatchNorm across molecules": (PlainConfig(normalised=True), MOLECULES),
    "+ sum over atoms": (PlainConfig(("mean", "sum"), True), MOLECULES),
    "+ spread over atoms": (PlainConfig(("mean", "sum", "spread"), True), MOLECULES),
    "the package's siamese GIN": (SiameseConfig("gin", WIDTH, DEPTH), MOLECULES),
    "the same, 64 pairs": (SiameseConfig("gin", WIDTH, DEPTH), PAIRS),
    "Morgan counts": (FingerprintMLPConfig(width=WIDTH), MOLECULES),
    "graph + picture": (AdaptationConfig(width=WIDTH, depth=DEPTH, weight=0.0), MOLECULES),
    "graph + picture + Morgan counts": (
        AdaptationConfig(width=WIDTH, depth=DEPTH, weight=0.0, fingerprints=True),
        MOLECULES,
    ),
    "random forest": (ForestConfig(), PAIRS),
}


def mean_cosine(fit: Fit) -> float:
    """Of the embeddings of the molecules of the first batch, before training."""
    method, table = fit.problem.method, fit.problem.prepared.table
    sizes, sampler = MoleculeSizes(table), fit.problem.sampler
    budget = sample_budget(sampler, sizes, 1)
    index = unstack(step_batches(sampler, sizes, budget, seeds=[0], step=0)[0], 0)
    batch = gather_batch(table, jax.tree.map(jnp.asarray, index))
    variables = method.init(jax.random.key(0), batch)
    out = method.loss(*variables, batch, Context(jax.random.key(0), 0.0)).out
    z = np.asarray(out["molecule/z"], np.float64)[index.molecules < table.padding_id]
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return float(((z @ z.T).sum() - len(z)) / (len(z) * (len(z) - 1)))


def measure(name: str, steps: int, seeds: int) -> Mapping[str, str]:
    """One row of the table."""
    method, train = ROWS[name]
    config = Experiment(
        data=DataConfig(source="zhangddi", target=None),
        features=FeatureConfig(picture_size=32),
        method=method,
        optimiser=OptimiserConfig(learning_rate=1e-3, schedule="constant"),
        train=replace(train, steps=steps, evaluate_every=steps, valid_examples=3000),
    )
    fit = Fit(config, prepare(config, needs=method.needs))
    found, cost = fit(range(seeds))
    values = [f.selection for f in found]
    row = {"network": name, "AUROC": f"{np.mean(values):.3f} ± {np.std(values):.3f}"}
    if fit.program is None:
        return row | {"cosine": "", "examples a step": "all", "ms a step": ""}
    drawn = [len(fit.problem.sampler.examples(0, i)) for i in range(20)]
    return row | {
        "cosine": f"{mean_cosine(fit):.3f}",
        "examples a step": f"{np.mean(drawn):,.0f}",
        "ms a step": f"{1e3 * cost['seconds_per_step'] / seeds:.0f}",
    }


def main() -> None:
    """Prints and writes a Markdown table, row by row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/learning.md")
    args = parser.parse_args()
    rows = []
    for name in args.rows:
        rows.append(measure(name, args.steps, args.seeds))
        print(" | ".join(rows[-1].values()), flush=True)
    text = (
        f"# What makes networks learn\n\n`python benchmarks/learning.py "
        f"{shlex.join(sys.argv[1:])}`\n\nZhangDDI, random split, width {WIDTH}, depth {DEPTH}, "
        f"Adam 1e-3: AUROC on 3,000 pairs of source validation after {args.steps} steps, mean and "
        f"standard deviation of {args.seeds} seeds; {jax.devices()[0].device_kind}. Times are of "
        f"one seed, and of rows that ran one after the other.\n\n{markdown_table(rows)}"
    )
    args.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
