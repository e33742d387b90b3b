"""Training side by side: molrel against PyTorch Geometric, on the same weights.

    python benchmarks/throughput.py [--torch-python .venv-torch/bin/python] [--rounds 7]
    python benchmarks/throughput.py --task epoch --data tox21 --batch 512 --rounds 3

The task ``epoch`` is one pass over a property set with the GIN of Hu et al. (BatchNorm, dropout;
no molecule occurs twice, so none is saved). Losses are compared where ``--dropout`` is 0.

The other task is one step on pairs: one siamese GIN (Hu et al., 2020: messages h_j + W e_ij, no
norm, mean pooling, MLP head on the symmetric pair features, binary cross-entropy, Adam) on
ZhangDDI pairs. PyTorch encodes both molecules of every pair; molrel gathers and encodes each
unique molecule once. Every
implementation is a live process that does one step in turn (A B C A B C ...), and a ratio
is taken round by round, so drift of the machine's speed cancels. Losses of all must agree.
The CSR worker also keeps its heap, as molrel does (``molrel.memory``).

PyTorch lives in an environment of its own and runs with OMP_WAIT_POLICY=PASSIVE (spinning
OpenMP threads would make it look several times slower):

    python -m venv .venv-torch && .venv-torch/bin/pip install -r benchmarks/requirements-torch.txt
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rounds import ratio_text

from molrel.memory import enable_compilation_cache

# Workers inherit its settings; JAX, once imported here, would set others for them.
enable_compilation_cache()

HERE = Path(__file__).parent
JAX = {
    "step": ("molrel", "molrel, jraph segment_sum", "molrel, every pair side encoded"),
    "epoch": ("molrel",),
}
TORCH = {"step": ("PyG, edge index", "PyG, CSR"), "epoch": ("PyG, edge index",)}
SCRIPTS = {
    "step": ("throughput_jax.py", "throughput_torch.py"),
    "epoch": ("throughput_epoch_jax.py", "throughput_epoch_torch.py"),
}
BASELINE = "PyG, edge index"


class Worker:
    """A live process that does one training step whenever it is asked."""

    def __init__(self, name: str, python: str, script: Path, folder: Path):
        self.name = name
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(
            [python, str(script), str(folder), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            bufsize=1,
        )

    def step(self) -> dict[str, float]:
        """Runs one step: {"seconds", "cpu_seconds", "loss", "peak_memory_mb"}."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("step\n")
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the worker stopped")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def write_problem(folder: Path, args: argparse.Namespace) -> int:
    """Writes molecules, pairs, labels and initial weights as one npz; returns the pairs."""
    from molrel.chem.cache import featurise_all
    from molrel.chem.features import FeatureConfig, expand
    from molrel.chem.schemes import FEATURE_SCHEMES
    from molrel.data import catalog

    source = catalog.load(args.data)
    config = FeatureConfig()
    features = featurise_all(source.molecules, config)
    scheme = FEATURE_SCHEMES[config.scheme]
    rng = np.random.default_rng(0)
    index = np.sort(rng.choice(len(source.examples), args.pairs, replace=False))
    examples = source.examples.take(index)
    atoms = [expand(f.atom_codes, f.atom_values, scheme.atom_sizes) for f in features]
    bonds = [expand(f.bond_codes, f.bond_values, scheme.bond_sizes) for f in features]
    arrays = {
        "atoms": np.concatenate(atoms),
        "bonds": np.concatenate(bonds),
        "senders": np.concatenate([f.senders for f in features]),
        "receivers": np.concatenate([f.receivers for f in features]),
        "n_atoms": np.array([len(a) for a in atoms]),
        "n_bonds": np.array([len(b) for b in bonds]),
        "pairs": np.stack([side.ids for side in examples.sides], axis=1),
        "labels": examples.labels[:, 0],
        "smiles": np.array(source.molecules),
        "learning_rate": 1e-5,
    }
    width = args.width

    def dense(name: str, n_in: int, n_out: int, bias: bool = True) -> None:
        arrays[f"{name}.kernel"] = rng.normal(0, n_in**-0.5, (n_in, n_out)).astype(np.float32)
        if bias:
            arrays[f"{name}.bias"] = np.zeros(n_out, np.float32)

    dense("atoms_in", arrays["atoms"].shape[1], width)
    for layer in range(args.layers):
        dense(f"layer_{layer}.bonds", arrays["bonds"].shape[1], width, bias=False)
        dense(f"layer_{layer}.up", width, 2 * width)
        dense(f"layer_{layer}.down", 2 * width, width)
    dense("head_0", 3 * width, width)
    dense("head_1", width, 1)
    arrays["head_1.kernel"] *= 0.01  # small first logits, so that rounding cannot grow
    np.savez(folder / "problem.npz", **arrays, layers=args.layers)
    unique = len(np.unique(arrays["pairs"]))
    print(
        f"{args.data}: {args.pairs} pairs of {unique} unique molecules, "
        f"GIN {args.layers} x {width}, {os.cpu_count()} cores"
    )
    return args.pairs


def write_epoch(folder: Path, args: argparse.Namespace) -> int:
    """Writes a property set's training part and initial weights; returns its molecules."""
    import jax
    from flax.traverse_util import flatten_dict

    from molrel.chem.features import FeatureConfig
    from molrel.config import DataConfig, Experiment
    from molrel.data.batches import MoleculeSizes, index_batch, round_up
    from molrel.methods.batch import gather_batch
    from molrel.methods.molecule import MoleculeGNNConfig
    from molrel.prepare import prepare

    config = Experiment(
        data=DataConfig(source=args.data, target=None, split="deterministic_scaffold"),
        features=FeatureConfig(scheme="hu", picture_size=16, max_atoms=500),
        method=MoleculeGNNConfig(width=args.width, depth=args.layers),
    )
    prepared = prepare(config, needs=())
    train = prepared.source["train"]
    order = np.random.default_rng(0).permutation(len(train))
    ids, labels = train.sides[0].ids[order], train.labels[order]
    method = config.method.build(None, kind="multilabel", n_outputs=labels.shape[1], symmetric=True)
    sizes, first = MoleculeSizes(prepared.table), train.take(np.arange(2))
    budget = round_up(sizes.of(first.molecules()))
    batch = gather_batch(prepared.table, index_batch(first, 2, budget, sizes, (1,)))
    params = flatten_dict(method.init(jax.random.key(0), batch).params, sep=".")
    chosen = [prepared.features[i] for i in ids]
    np.savez(
        folder / "problem.npz",
        atoms=np.concatenate([f.atom_codes for f in chosen]),
        bonds=np.concatenate([f.bond_codes for f in chosen]),
        senders=np.concatenate([f.senders for f in chosen]),
        receivers=np.concatenate([f.receivers for f in chosen]),
        n_atoms=np.array([len(f.atom_codes) for f in chosen]),
        n_bonds=np.array([len(f.senders) for f in chosen]),
        labels=labels,
        smiles=np.array([f.smiles for f in chosen]),
        learning_rate=1e-5,
        batch=args.batch,
        layers=args.layers,
        width=args.width,
        dropout=args.dropout,
        **{f"p.{name}": np.asarray(value) for name, value in params.items()},
    )
    print(
        f"{args.data}: {len(ids)} molecules, batches of {args.batch}, GIN {args.layers} x "
        f"{args.width}, dropout {args.dropout}, {os.cpu_count()} cores"
    )
    return len(ids)


def check_losses(losses: dict[str, list[float]]) -> None:
    """All implementations must walk the same losses, or they do not do the same work."""
    reference = np.array(next(iter(losses.values())))
    for name, values in losses.items():
        worst = np.max(np.abs(np.array(values) - reference) / np.abs(reference))
        if worst > 1e-3:
            raise SystemExit(f"{name}: losses differ by {worst:.1e}: {values} / {reference}")
    print(f"losses agree over {len(reference)} steps (1e-3): {reference.round(4).tolist()}")


def table(results: dict[str, list[dict]], count: int, torch: Sequence[str]) -> list[dict]:
    """Medians, and ratios round by round against every other implementation."""
    rows = []
    for name, rounds in results.items():
        seconds = np.array([r["seconds"] for r in rounds])
        row = {
            "implementation": name,
            "ms": round(float(np.median(seconds)) * 1e3, 1),
            "ms_min": round(float(seconds.min()) * 1e3, 1),
            "ms_max": round(float(seconds.max()) * 1e3, 1),
            "examples_per_s": round(count / float(np.median(seconds))),
            "cpu_s": round(float(np.median([r["cpu_seconds"] for r in rounds])), 2),
            "peak_memory_mb": round(max(r["peak_memory_mb"] for r in rounds)),
        }
        for other in torch:
            if other in results:
                theirs = np.array([r["seconds"] for r in results[other]])
                row[f"speed vs {other}"] = ratio_text(theirs, seconds)
        rows.append(row)
    return rows


def main() -> None:
    """Runs the rounds and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=SCRIPTS, default="step")
    parser.add_argument("--data", default="zhangddi")
    parser.add_argument("--pairs", type=int, default=2048, help="of a step")
    parser.add_argument("--batch", type=int, default=512, help="molecules of a step of an epoch")
    parser.add_argument("--dropout", type=float, default=0.5, help="of an epoch")
    parser.add_argument("--width", type=int, default=300)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--torch-python", default=".venv-torch/bin/python")
    parser.add_argument("--only", nargs="*", help="implementations to run")
    parser.add_argument("--out", type=Path, help="JSON file for the rows")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        count = (write_problem if args.task == "step" else write_epoch)(folder, args)
        ours, torch = (HERE / script for script in SCRIPTS[args.task])
        workers = [Worker(n, sys.executable, ours, folder) for n in JAX[args.task]]
        if Path(args.torch_python).exists():
            workers += [Worker(n, args.torch_python, torch, folder) for n in TORCH[args.task]]
        else:
            print(f"no PyTorch environment at {args.torch_python}: its columns are skipped")
        if args.only:
            workers = [w for w in workers if w.name in args.only or w.close()]
        results = {w.name: [] for w in workers}
        for number in range(args.rounds + 1):
            for worker in workers:
                results[worker.name].append(worker.step())
            print(f"round {number} of {args.rounds}", file=sys.stderr)
        for worker in workers:
            worker.close()
    if args.task == "step" or args.dropout == 0:
        check_losses({n: [r["loss"] for r in rounds] for n, rounds in results.items()})
    rounds = {n: each[1:] for n, each in results.items()}  # the first compiles
    rows = table(rounds, count, TORCH[args.task])
    print("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(v) for v in row.values()) + " |")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
