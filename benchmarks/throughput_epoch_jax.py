"""molrel worker of ``throughput.py --task epoch``: one pass over a property set for each line."""

import itertools
import sys

from molrel.memory import enable_compilation_cache, keep_heap

keep_heap()
enable_compilation_cache()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from flax.traverse_util import unflatten_dict  # noqa: E402
from worker import serve  # noqa: E402

from molrel.chem.cache import featurise_all  # noqa: E402
from molrel.chem.features import FeatureConfig  # noqa: E402
from molrel.data.batches import MoleculeSizes, step_batches  # noqa: E402
from molrel.data.sampler import Sampler  # noqa: E402
from molrel.data.types import Bag, Examples  # noqa: E402
from molrel.methods.method import Variables  # noqa: E402
from molrel.methods.molecule import MoleculeGNNConfig  # noqa: E402
from molrel.prepare import molecule_table  # noqa: E402
from molrel.train.loop import sample_budget  # noqa: E402
from molrel.train.step import compile_step, stack, unstack  # noqa: E402

FOLDER, NAME = sys.argv[1:3]


class InOrder(Sampler):
    """Walks the examples in the order of the problem file."""

    def _order(self, seed: int, domain: int, epoch: int) -> np.ndarray:
        return np.arange(len(self.source))


def main() -> None:
    """Does one epoch for every line on standard input."""
    arrays = dict(np.load(f"{FOLDER}/problem.npz"))
    features_config = FeatureConfig(scheme="hu", picture_size=16, max_atoms=500)
    features = featurise_all(arrays["smiles"].tolist(), features_config, progress=False)
    table = molecule_table(features, features_config, None, needs=())
    n = len(features)
    labels = arrays["labels"]
    examples = Examples(
        (Bag.singles(np.arange(n)),), labels, np.zeros(n, np.int32), np.ones(n, np.float32)
    )
    sampler = InOrder(examples, None, n_source=int(arrays["batch"]), n_target=0, whole_epochs=True)
    sizes = MoleculeSizes(table)
    budget = sample_budget(sampler, sizes, 1)
    config = MoleculeGNNConfig(
        width=int(arrays["width"]), depth=int(arrays["layers"]), dropout=float(arrays["dropout"])
    )
    method = config.build(None, kind="multilabel", n_outputs=labels.shape[1], symmetric=True)
    params = {k.removeprefix("p."): jnp.asarray(v) for k, v in arrays.items() if k[:2] == "p."}

    def init(key, batch):
        return Variables(unflatten_dict(params, sep="."), made.init(key, batch).state)

    made, method = method, method._replace(init=init)
    n_steps = -(-n // sampler.n_source)
    program = compile_step(method, optax.adam(float(arrays["learning_rate"])), steps=10**6)
    first = step_batches(sampler, sizes, budget, seeds=[0], step=0)[0]
    state = stack([program.init(np.int32(0), table, unstack(first, 0))])
    state, table = program.enter(state, table)
    steps = itertools.count()

    def epoch() -> float:
        nonlocal state
        for step in itertools.islice(steps, n_steps):
            for batch in step_batches(sampler, sizes, budget, seeds=[0], step=step):
                state, terms = program.step(state, table, batch)
        return float(jax.block_until_ready(terms)["total"][0])

    serve(epoch)


if __name__ == "__main__":
    main()
