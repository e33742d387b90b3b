"""Training steps side by side: molrel against PyTorch Geometric, on the same weights.

    python benchmarks/throughput.py [--torch-python .venv-torch/bin/python] [--rounds 7]

One siamese GIN (Hu et al., 2020: messages h_j + W e_ij, no norm, mean pooling, MLP head on
the symmetric pair features, binary cross-entropy, Adam) on ZhangDDI pairs. PyTorch encodes
both molecules of every pair; molrel gathers and encodes each unique molecule once. Every
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
from pathlib import Path

import numpy as np

from molrel.memory import enable_compilation_cache

# Workers inherit its settings; JAX, once imported here, would set others for them.
enable_compilation_cache()

HERE = Path(__file__).parent
JAX = ("molrel", "molrel, jraph segment_sum", "molrel, every pair side encoded")
TORCH = ("PyG, edge index", "PyG, CSR")
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


def check_losses(losses: dict[str, list[float]]) -> None:
    """All implementations must walk the same losses, or they do not do the same work."""
    reference = np.array(next(iter(losses.values())))
    for name, values in losses.items():
        worst = np.max(np.abs(np.array(values) - reference) / np.abs(reference))
        if worst > 1e-3:
            raise SystemExit(f"{name}: losses differ by {worst:.1e}: {values} / {reference}")
    print(f"losses agree over {len(reference)} steps (1e-3): {reference.round(4).tolist()}")


def table(results: dict[str, list[dict]], pairs: int) -> list[dict]:
    """Medians, and ratios round by round against every other implementation."""
    rows = []
    for name, rounds in results.items():
        seconds = np.array([r["seconds"] for r in rounds])
        row = {
            "implementation": name,
            "ms": round(float(np.median(seconds)) * 1e3, 1),
            "ms_min": round(float(seconds.min()) * 1e3, 1),
            "ms_max": round(float(seconds.max()) * 1e3, 1),
            "pairs_per_s": round(pairs / float(np.median(seconds))),
            "cpu_s": round(float(np.median([r["cpu_seconds"] for r in rounds])), 2),
            "peak_memory_mb": round(max(r["peak_memory_mb"] for r in rounds)),
        }
        for other in TORCH:
            if other in results:
                ratio = np.array([r["seconds"] for r in results[other]]) / seconds
                row[f"speed vs {other}"] = (
                    f"{np.median(ratio):.2f} ({ratio.min():.2f}-{ratio.max():.2f})"
                )
        rows.append(row)
    return rows


def main() -> None:
    """Runs the rounds and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="zhangddi")
    parser.add_argument("--pairs", type=int, default=2048)
    parser.add_argument("--width", type=int, default=300)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--torch-python", default=".venv-torch/bin/python")
    parser.add_argument("--only", nargs="*", help="implementations to run")
    parser.add_argument("--out", type=Path, help="JSON file for the rows")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pairs = write_problem(folder, args)
        workers = [Worker(n, sys.executable, HERE / "throughput_jax.py", folder) for n in JAX]
        if Path(args.torch_python).exists():
            script = HERE / "throughput_torch.py"
            workers += [Worker(n, args.torch_python, script, folder) for n in TORCH]
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
    check_losses({n: [r["loss"] for r in rounds] for n, rounds in results.items()})
    rows = table({n: rounds[1:] for n, rounds in results.items()}, pairs)  # first: compile
    print("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(v) for v in row.values()) + " |")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
