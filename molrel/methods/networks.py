"""From flax modules to methods: the configs and the plumbing that several methods share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from molrel.fields import at
from molrel.losses import supervised
from molrel.methods.batch import Batch
from molrel.methods.method import (
    Context,
    Loss,
    LossOutput,
    Method,
    Need,
    Params,
    SourceOnlyConfig,
    State,
    Variables,
    active,
)
from molrel.nn.batch_norm import STATISTICS
from molrel.nn.gine import GINE
from molrel.nn.graph import Molecules
from molrel.nn.hu import Convolution
from molrel.nn.molecule import MoleculeNetwork
from molrel.nn.relation import Sides
from molrel.nn.two_view import Branches
from molrel.nn.vision import PICTURE_ENCODERS


@dataclass(frozen=True)
class MoleculeNetworkConfig(SourceOnlyConfig):
    """Size of the graph network of Hu et al. that the methods on top of it share.

    Examples may be single molecules.
    """

    takes_sides: ClassVar[tuple[int, ...]] = (1, 2)
    scheme: ClassVar[str | None] = "hu"

    convolution: Convolution = "gin"
    width: int = at(300, least=1, most=2**16)
    depth: int = at(5, least=1, most=1000)
    dropout: float = at(0.5, least=0, below=1, static=True)

    def body(self, n_outputs: int, symmetric: bool) -> MoleculeNetwork:
        """The graph network for a task."""
        return MoleculeNetwork(
            self.convolution, self.width, self.depth, self.dropout, n_outputs, symmetric
        )


@dataclass(frozen=True)
class EncoderConfig:
    """Base of a config of an encoder, which a method takes as a field."""

    def build(self, width: int) -> nn.Module:
        """A module that maps ``Molecules`` to float32 [atoms, width]."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class TwoViewConfig:
    """Size of the encoder, head and discriminators that all adaptation methods share."""

    takes_sides: ClassVar[tuple[int, ...]] = (2,)
    scheme: ClassVar[str | None] = None
    notes: ClassVar[tuple[str, ...]] = ()

    width: int = at(128, least=1, most=2**16)
    """Width of atoms, fragments and molecules."""
    depth: int = at(3, least=1, most=1000)
    """Message-passing layers."""
    atoms: EncoderConfig | None = None
    """Encoder of atoms; by default GINE of ``depth`` layers."""
    branches: Branches = "both"
    """Which of graph and picture of a molecule are encoded."""
    fingerprints: bool = False
    """Whether Morgan counts are a view beside them."""
    domain_statistics: bool = False
    """Whether BatchNorm keeps statistics of each domain (AdaBN, Li et al. 2016,
    arXiv:1603.04779)."""
    picture_encoder: Literal["small", "resnet18"] = "small"
    discriminator_width: int = at(128, least=1, most=2**16)
    dropout: float = at(0.0, least=0, below=1, static=True)
    """On the pair features."""
    reversal: float = 1.0
    """Largest reversal coefficient, lambda_max."""
    warmup: float = at(0.1, least=0, below=1, static=True)
    """Share of the steps before adaptation starts."""

    @property
    def needs(self) -> frozenset[Need]:
        """Pictures, unless only the graph is encoded, and fingerprints where they are a view."""
        needs: set[Need] = set() if self.branches == "graph" else {"pictures"}
        if self.fingerprints:
            needs.add("fingerprints")
        return frozenset(needs)

    def size(
        self, n_outputs: int, symmetric: bool, dtype: DTypeLike | None = None
    ) -> dict[str, Any]:
        """What a ``TwoViewNetwork`` of this size is made with."""
        atoms = GINE(self.width, self.depth, dtype=dtype)
        if self.atoms is not None:
            atoms = self.atoms.build(self.width)
        pictures = PICTURE_ENCODERS[self.picture_encoder](dtype=dtype)
        return {
            "width": self.width,
            "atoms": None if self.branches == "picture" else atoms,
            "pictures": None if self.branches == "graph" else pictures,
            "discriminator_width": self.discriminator_width,
            "n_targets": n_outputs,
            "symmetric": symmetric,
            "dropout": self.dropout,
            "by_domain": self.domain_statistics,
            "fingerprints": self.fingerprints,
            "dtype": dtype,
        }


@runtime_checkable
class Network(Protocol):
    """A flax module that encodes each molecule once and then relates encoded molecules.

    ``encode(molecules)`` gives a pytree of per-molecule arrays [U, ...] with a field ``z``
    [U, D]; where ``train`` is set, BatchNorm takes the statistics of these molecules, and of those
    of the other devices of ``axis_name``. ``relate(encoded, sides, train)`` gives (pair features
    [P, W], logits [P, T]) and draws dropout and other noise from the stream ``dropout`` where
    ``train`` is set. ``module(molecules, sides)`` touches every part, to initialise it.
    """

    def encode(self, m: Molecules, train: bool = False, axis_name: str | None = None) -> Any: ...

    def relate(self, e: Any, sides: Sides, train: bool = False) -> tuple[Array, Array]: ...

    def __call__(self, m: Molecules, sides: Sides) -> Array: ...


def from_network(
    network: nn.Module,
    loss: Loss,
    *,
    target: bool,
    apart: bool = False,
    state: State | None = None,
) -> Method:
    """The method that trains a ``Network`` with a loss.

    Args:
      network: the module. Statistics of BatchNorm that it keeps are part of the method's state.
      loss: see ``Method``.
      target: whether training uses target examples.
      apart: whether the network keeps statistics of each domain apart.
      state: initial non-trained variables besides BatchNorm statistics, such as prototypes.
    """

    def init(key: Array, batch: Batch) -> Variables:
        variables = dict(network.init(key, batch.molecules, batch.sides))
        params = variables.pop("params")
        return Variables(params, variables | jax.tree.map(jnp.asarray, state or {}))

    def encode(params: Params, state: State, molecules: Molecules) -> Any:
        variables = {"params": params} | statistics(state)
        return network.apply(variables, molecules, method="encode")

    def predict(params: Params, _: State, encoded: Any, sides: Sides) -> Array:
        return network.apply({"params": params}, encoded, sides, method="relate")[1]  # pyright: ignore

    return Method(init, loss, encode, predict, lambda encoded: encoded.z, target, apart)


def statistics(state: State) -> dict[str, Any]:
    """The part of a method's state that holds BatchNorm's running averages."""
    return {STATISTICS: state[STATISTICS]} if STATISTICS in state else {}


def apply_with_statistics(
    network: nn.Module, params: Params, state: State, key: Array, *inputs: Any, **settings: Any
) -> tuple[Any, State]:
    """(what the network gives in training, state with new running averages).

    ``inputs`` and ``settings`` are those of ``network.apply``, of which ``train`` is set; the key
    is that of dropout.
    """
    result, new = network.apply(
        {"params": params} | statistics(state),
        *inputs,
        train=True,
        mutable=[STATISTICS],
        rngs={"dropout": key},
        **settings,
    )
    return result, {**state, **new}


def apply_network(
    network: nn.Module,
    params: Params,
    state: State,
    batch: Batch,
    context: Context,
    **encoding: Any,
) -> tuple[Any, Float[Array, "p w"], Float[Array, "p t"], State]:
    """(encoded molecules, pair features, logits, new state) of a batch in training.

    ``encoding`` are further arguments of the network's ``encode``.
    """
    encoded, state = apply_with_statistics(
        network,
        params,
        state,
        context.key,
        batch.molecules,
        axis_name=context.axis_name,
        method="encode",
        **encoding,
    )
    related: Any = network.apply(
        {"params": params},
        encoded,
        batch.sides,
        train=True,
        method="relate",
        rngs={"dropout": context.key},
    )
    return encoded, *related, state


def outputs(encoded: Any, pair: Array | None, logits: Array) -> dict[str, Array]:
    """The usual intermediates of a pass, by name (``LossOutput.out``)."""
    out = {"molecule/z": encoded.z, "pair/z": pair, "pair/logits": logits}
    return {name: value for name, value in out.items() if value is not None}


def source_only_method(network: nn.Module, kind: str, *, apart: bool = False) -> Method:
    """The method that trains a ``Network`` on the source's labels and nothing else.

    Where statistics of the domains are kept ``apart``, it encodes the target's molecules as well:
    their statistics are all that it adapts (AdaBN).
    """

    def loss(params: Params, state: State, batch: Batch, context: Context) -> LossOutput:
        encoded, pair, logits, state = apply_network(network, params, state, batch, context)
        total = supervise(kind, logits, batch, context.axis_name)
        return LossOutput(total, state, {"supervised": total}, outputs(encoded, pair, logits))

    return from_network(network, loss, target=apart, apart=apart)


def add_terms(
    supervised_term: Array, sides: Sequence[Mapping[str, Array]], weights: Any
) -> tuple[Array, dict[str, Array]]:
    """Adds weighted terms, computed once for each gated side of a pair, to the supervised one.

    Args:
      supervised_term: counts as it is.
      sides: name -> value, the same names in each; their mean counts.
      weights: has an attribute for each name.

    Returns:
      (total, all terms that are in it by name).
    """
    total, terms = supervised_term, {"supervised": supervised_term}
    for name, term in jax.tree.map(lambda *values: sum(values) / len(values), *sides).items():
        if active(getattr(weights, name)):
            terms[name] = term
            total += getattr(weights, name) * term
    return total, terms


def supervise(kind: str, logits: Float[Array, "p t"], batch: Batch, axis_name: str | None) -> Array:
    """Share of the supervised loss of the labelled examples: cross-entropy or squared error."""
    labelled = {"labels": batch.labels, "mask": batch.labelled > 0, "weight": batch.weight}
    if kind == "regression":
        return supervised.squared_error(predictions=logits, **labelled, axis_name=axis_name)
    if kind == "multiclass":
        return supervised.softmax_cross_entropy(logits=logits, **labelled, axis_name=axis_name)
    return supervised.binary_cross_entropy(logits=logits, **labelled, axis_name=axis_name)
