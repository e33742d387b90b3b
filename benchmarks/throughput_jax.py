"""molrel worker of ``throughput.py``."""

import sys

from molrel.memory import enable_compilation_cache, keep_heap

keep_heap()
enable_compilation_cache()

import flax.linen as nn  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from worker import serve  # noqa: E402

from molrel.chem.cache import featurise_all  # noqa: E402
from molrel.chem.features import FeatureConfig  # noqa: E402
from molrel.data.batches import MoleculeSizes, index_batch, round_up  # noqa: E402
from molrel.data.types import Examples  # noqa: E402
from molrel.losses.supervised import binary_cross_entropy  # noqa: E402
from molrel.methods.method import LossOutput, Method, Variables  # noqa: E402
from molrel.nn.gine import GINLayer, mean_over_atoms  # noqa: E402
from molrel.nn.relation import side_mean  # noqa: E402
from molrel.prepare import molecule_table  # noqa: E402
from molrel.train.step import init_state, make_step  # noqa: E402

FOLDER, NAME = sys.argv[1:3]


class Encoder(nn.Module):
    """The benchmark's GIN, from the package's own layers."""

    width: int
    layers: int

    @nn.compact
    def __call__(self, molecules):
        h = nn.Dense(self.width, name="atoms_in")(molecules.graph.nodes)
        path = "segments" if "segment_sum" in NAME else "slots"
        for i in range(self.layers):
            h = GINLayer(
                self.width,
                relu_messages=False,
                norm=False,
                last=i == self.layers - 1,
                message_path=path,
                name=f"layer_{i}",
            )(h, molecules)
        return mean_over_atoms(h, molecules)


class Head(nn.Module):
    """The benchmark's head on symmetric pair features."""

    width: int

    @nn.compact
    def __call__(self, a, b):
        pair = jnp.concatenate([a + b, a * b, jnp.abs(a - b)], axis=-1)
        return nn.Dense(1, name="head_1")(jax.nn.relu(nn.Dense(self.width, name="head_0")(pair)))


def make_method(arrays) -> Method:
    """The siamese GIN as a method, with the weights of the problem file."""
    layers, width = int(arrays["layers"]), arrays["head_0.bias"].shape[0]
    encoder, head = Encoder(width, layers), Head(width)

    def dense(name):
        keys = [k for k in ("kernel", "bias") if f"{name}.{k}" in arrays.files]
        return {k: jnp.asarray(arrays[f"{name}.{k}"]) for k in keys}

    def init(key, batch):
        gin = {"atoms_in": dense("atoms_in")}
        for i in range(layers):
            parts = {p: dense(f"layer_{i}.{p}") for p in ("bonds", "up", "down")}
            gin[f"layer_{i}"] = {"eps": jnp.zeros(()), **parts}
        return Variables({"gin": gin, "head": {n: dense(n) for n in ("head_0", "head_1")}}, {})

    def loss(params, state, batch, context):
        # eps stays 0, as in the PyTorch model: its gradient is stopped.
        gin = dict(params["gin"])
        for i in range(layers):
            layer = gin[f"layer_{i}"]
            gin[f"layer_{i}"] = layer | {"eps": jax.lax.stop_gradient(layer["eps"])}
        z = encoder.apply({"params": gin}, batch.molecules)
        a, b = (side_mean(z, side) for side in batch.sides)
        value = binary_cross_entropy(
            logits=head.apply({"params": params["head"]}, a, b),
            labels=batch.labels,
            mask=batch.mask,
            weight=batch.weight,
            axis_name=context.axis_name,
        )
        return LossOutput(value, state, {}, {})

    return Method(init, loss)


def main() -> None:
    """Does one step for every line on standard input."""
    arrays = np.load(f"{FOLDER}/problem.npz")
    pairs, smiles = arrays["pairs"], arrays["smiles"].tolist()
    if "every pair side" in NAME:  # no sharing: each side of each pair is its own molecule
        smiles = [smiles[i] for i in pairs.ravel()]
        pairs = np.arange(pairs.size).reshape(pairs.shape)
    config = FeatureConfig()
    unique = {s: i for i, s in enumerate(dict.fromkeys(smiles))}
    features = featurise_all(list(unique), config, progress=False)
    table = molecule_table([features[unique[s]] for s in smiles], config, None, needs=())
    sizes = MoleculeSizes(table)
    examples = Examples.pairs(pairs, arrays["labels"])
    budget = round_up(sizes.of(examples.molecules()))
    batch = index_batch(examples, len(examples), budget, sizes, (1, 1))
    method, optimiser = make_method(arrays), optax.adam(float(arrays["learning_rate"]))
    state = init_state(method, optimiser, table, batch, jnp.asarray(0))
    step = jax.jit(make_step(method, optimiser, steps=1000), donate_argnums=0)

    def one_step() -> float:
        nonlocal state
        state, terms = step(state, table, batch)
        return float(terms["total"])

    serve(one_step)


if __name__ == "__main__":
    main()
