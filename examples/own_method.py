"""A method of your own: one layer on Morgan counts, with a penalty on its weights.

    molrel train examples/own_method.py --out runs/own_method
    molrel train examples/own_method.py --out runs/own_method --resume
    molrel predict runs/own_method --input pairs.csv --output scored.csv --trust-code
    molrel ablate examples/own_method.py --grid method.penalty=0,0.01 --seeds 4 --out runs/penalty

Seconds on two CPU cores.
"""

from dataclasses import dataclass, replace

import jax.numpy as jnp

from molrel import load_preset
from molrel.methods.fingerprint_mlp import FingerprintNetwork
from molrel.methods.method import SourceOnlyConfig, with_term
from molrel.methods.networks import source_only_method


@dataclass(frozen=True)
class LinearConfig(SourceOnlyConfig):
    bits: int = 256
    penalty: float = 0.01
    needs = frozenset({"fingerprints"})

    def build(self, knowledge, *, kind, n_outputs, symmetric):
        network = FingerprintNetwork(self.bits, 16, n_outputs, symmetric)
        method = source_only_method(network, kind)
        return with_term(method, "size", self.penalty, size)


def size(out, batch, context):
    return jnp.mean(out["pair/z"] ** 2)


def get_config():
    return replace(load_preset("test"), method=LinearConfig())
