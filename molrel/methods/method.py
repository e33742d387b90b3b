"""What a method is: a tuple of pure functions, like an optax transformation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from molrel.data.batches import IndexBatch
from molrel.data.knowledge import DomainKnowledge
from molrel.data.table import MoleculeTable
from molrel.losses import supervised
from molrel.nn.batch_norm import STATISTICS
from molrel.nn.graph import Molecules, gather, segment_sum
from molrel.nn.hu import Convolution
from molrel.nn.molecule import MoleculeNetwork
from molrel.nn.two_view import Branches

Params = Any
State = Any
Sides = tuple[Int[Array, "p s"], ...]


@flax.struct.dataclass
class Batch:
    """An ``IndexBatch`` whose molecules have been gathered.

    Attributes:
      molecules: U unique molecules, U static.
      sides: int32 [P, S] each, indices into the molecules, -1 padding.
      labels: f32 [P, T], NaN where missing (always NaN in the target domain).
      mask: bool [P], whether the example is real.
      domain: int32 [P], 0 source, 1 target.
      weight: f32 [P], weight in supervised losses.
    """

    molecules: Molecules
    sides: Sides
    labels: Float[Array, "p t"]
    mask: Bool[Array, " p"]
    domain: Int[Array, " p"]
    weight: Float[Array, " p"]

    def in_domain(self, domain: int) -> Float[Array, " p"]:
        """1 for the real examples of a domain (0 source, 1 target), else 0."""
        return (self.mask & (self.domain == domain)).astype(jnp.float32)

    def occurrences(self, domain: int) -> Float[Array, " u"]:
        """How often each molecule occurs in the examples of a domain.

        Losses over molecules are weighted with it, so that they do not depend on how
        examples are dealt to devices, although each device encodes a molecule once.
        """
        n = len(self.molecules.ids)
        used = self.in_domain(domain)
        total = jnp.zeros(n)
        for side in self.sides:
            segments = jnp.where(side >= 0, side, n).reshape(-1)
            total += segment_sum(jnp.repeat(used, side.shape[1]), segments, n)
        return total


def gather_batch(table: MoleculeTable, batch: IndexBatch) -> Batch:
    """Gathers the molecules of an index batch from the table (inside jit)."""
    return Batch(
        molecules=gather(table, jnp.asarray(batch.molecules), batch.budget),
        sides=batch.sides,  # pyright: ignore[reportArgumentType]
        labels=batch.labels,  # pyright: ignore[reportArgumentType]
        mask=batch.mask,  # pyright: ignore[reportArgumentType]
        domain=batch.domain,  # pyright: ignore[reportArgumentType]
        weight=batch.weight,  # pyright: ignore[reportArgumentType]
    )


class Variables(NamedTuple):
    """What ``init`` returns.

    Attributes:
      params: trained by gradient.
      state: everything else that a step changes (prototypes, statistics).
    """

    params: Params
    state: State


class Method(NamedTuple):
    """A learning method as pure functions.

    Attributes:
      init: (key, batch) -> Variables.
      loss: (params, state, batch, key, progress, axis_name) -> (share, (state, terms)).
        ``share`` is this device's share of the loss: shares add up to the loss over the
        devices of ``axis_name``. ``terms`` maps names to shares that are logged. ``progress``
        runs from 0 to 1.
      encode: (params, state, molecules) -> pytree of per-molecule arrays [U, ...].
      predict: (params, state, encoded, sides) -> logits [P, T].
      embed: (encoded) -> [U, D], one vector a molecule.
      target: whether training uses (unlabelled) target examples.
      start: (key, variables, table, batches) -> Variables; called once before training with
        index batches that hold every training example of the source once, on one device, and
        not inside a jit. None for methods that start from ``init`` as it is.
    """

    init: Callable[..., Variables]
    loss: Callable[..., tuple[Array, tuple[State, dict[str, Array]]]]
    encode: Callable[[Params, State, Molecules], Any]
    predict: Callable[[Params, State, Any, Sides], Float[Array, "p t"]]
    embed: Callable[[Any], Float[Array, "u d"]]
    target: bool
    start: Callable[..., Variables] | None = None


Need = Literal["pictures", "fingerprints", "scaffolds"]


class MethodConfig(Protocol):
    """The settings of a method, a frozen dataclass that builds it.

    Attributes:
      takes_sides: how many sides the examples that it takes may have.
    """

    takes_sides: ClassVar[tuple[int, ...]]

    @property
    def adapts(self) -> bool:
        """Whether any term looks at the target domain."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """Parts of the molecule table that only some methods read."""
        ...

    def source_only(self) -> MethodConfig:
        """The same method without any term that looks at the target domain."""
        ...

    def build(
        self, knowledge: DomainKnowledge | None, *, kind: str, n_outputs: int, symmetric: bool
    ) -> Method:
        """The method for a task.

        Args:
          knowledge: label-free statistics of both domains; None is enough to predict.
          kind: of the task.
          n_outputs: logits of an example.
          symmetric: whether f(a, b) = f(b, a).
        """
        ...


@dataclass(frozen=True)
class SourceOnlyConfig:
    """What the configs of methods that never look at the target have in common."""

    takes_sides: ClassVar[tuple[int, ...]] = (2,)

    @property
    def adapts(self) -> bool:
        """Never: the target is not looked at."""
        return False

    @property
    def needs(self) -> frozenset[Need]:
        """Only the graph."""
        return frozenset()

    def source_only(self) -> Self:
        """See ``MethodConfig``."""
        return self


@dataclass(frozen=True)
class MoleculeNetworkConfig(SourceOnlyConfig):
    """Size of the graph network of Hu et al. that the methods on top of it share.

    Features: scheme "hu". Examples may be single molecules.
    """

    takes_sides: ClassVar[tuple[int, ...]] = (1, 2)

    convolution: Convolution = "gin"
    width: int = 300
    depth: int = 5
    dropout: float = 0.5

    def body(self, n_outputs: int, symmetric: bool) -> MoleculeNetwork:
        """The graph network for a task."""
        return MoleculeNetwork(
            self.convolution, self.width, self.depth, self.dropout, n_outputs, symmetric
        )


@dataclass(frozen=True, kw_only=True)
class TwoViewConfig:
    """Size of the encoder, head and discriminators that all adaptation methods share."""

    takes_sides: ClassVar[tuple[int, ...]] = (2,)

    width: int = 128
    """Width of atoms, fragments and molecules."""
    depth: int = 3
    """Message-passing layers."""
    branches: Branches = "both"
    """Which views of a molecule are encoded."""
    picture_encoder: Literal["small", "resnet18"] = "small"
    discriminator_width: int = 128
    dropout: float = 0.0
    """On the pair features."""
    reversal: float = 1.0
    """Largest reversal coefficient, lambda_max."""
    warmup: float = 0.1
    """Share of the steps before adaptation starts."""

    @property
    def needs(self) -> frozenset[Need]:
        """Pictures, unless only the graph is encoded."""
        return frozenset() if self.branches == "graph" else frozenset({"pictures"})

    def size(self, n_outputs: int, symmetric: bool) -> dict[str, Any]:
        """What a ``TwoViewNetwork`` of this size is made with."""
        return {
            "width": self.width,
            "depth": self.depth,
            "branches": self.branches,
            "picture_encoder": self.picture_encoder,
            "discriminator_width": self.discriminator_width,
            "n_targets": n_outputs,
            "symmetric": symmetric,
            "dropout": self.dropout,
        }


class Network(Protocol):
    """A flax module that encodes each molecule once and then relates encoded molecules.

    ``encode(molecules)`` gives a pytree of per-molecule arrays [U, ...] with a field ``z``
    [U, D]; ``relate(encoded, sides, train)`` gives (pair features [P, W], logits [P, T]) and
    draws dropout and other noise from the stream ``dropout`` where ``train`` is set.
    ``module(molecules, sides)`` touches every part, to initialise it.
    """

    def encode(self, m: Molecules) -> Any: ...

    def relate(self, e: Any, sides: Sides, train: bool = False) -> tuple[Array, Array]: ...

    def __call__(self, m: Molecules, sides: Sides) -> Array: ...


def from_network(
    network: nn.Module,
    loss: Callable[..., tuple[Array, tuple[State, dict[str, Array]]]],
    *,
    target: bool,
    state: State | None = None,
) -> Method:
    """The method that trains a ``Network`` with a loss.

    Args:
      network: the module. Statistics of BatchNorm that it keeps are part of the method's state.
      loss: see ``Method``.
      target: whether training uses target examples.
      state: initial value of what else is not trained by gradient; none by default.
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

    return Method(init, loss, encode, predict, lambda encoded: encoded.z, target)


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
    found, new = network.apply(
        {"params": params} | statistics(state),
        *inputs,
        train=True,
        mutable=[STATISTICS],
        rngs={"dropout": key},
        **settings,
    )
    return found, {**state, **new}


def apply_network(
    network: nn.Module, params: Params, batch: Batch, key: Array, **encoding: Any
) -> tuple[Any, Float[Array, "p w"], Float[Array, "p t"]]:
    """(encoded molecules, pair features, logits) of a batch in training.

    ``encoding`` are further arguments of the network's ``encode``.
    """
    encoded = network.apply({"params": params}, batch.molecules, method="encode", **encoding)
    related: Any = network.apply(
        {"params": params},
        encoded,
        batch.sides,
        train=True,
        method="relate",
        rngs={"dropout": key},
    )
    return encoded, *related


def source_only_method(network: nn.Module, kind: str) -> Method:
    """The method that trains a ``Network`` on the source's labels and nothing else."""

    def loss(params, state, batch, key, progress, axis_name=None):
        total = supervise(kind, apply_network(network, params, batch, key)[2], batch, axis_name)
        return total, (state, {"supervised": total})

    return from_network(network, loss, target=False)


def active(weight: Any) -> bool:
    """Whether a term is computed: its weight is not the plain number 0.

    A weight that is an array (of an ablation that maps over weights) always counts.
    """
    return not isinstance(weight, (int, float)) or weight != 0


def add_terms(
    supervised_term: Array, found: Sequence[Mapping[str, Array]], weights: Any
) -> tuple[Array, dict[str, Array]]:
    """Adds weighted terms, found once for each gated side of a pair, to the supervised one.

    Args:
      supervised_term: counts as it is.
      found: name -> value, the same names in each; their mean counts.
      weights: has an attribute for each name.

    Returns:
      (total, all terms that are in it by name).
    """
    total, terms = supervised_term, {"supervised": supervised_term}
    for name, term in jax.tree.map(lambda *each: sum(each) / len(each), *found).items():
        if active(getattr(weights, name)):
            terms[name] = term
            total += getattr(weights, name) * term
    return total, terms


def supervise(kind: str, logits: Float[Array, "p t"], batch: Batch, axis_name: str | None) -> Array:
    """Share of the supervised loss of the source examples: cross-entropy or squared error."""
    labelled = {"labels": batch.labels, "mask": batch.in_domain(0) > 0, "weight": batch.weight}
    if kind == "regression":
        return supervised.squared_error(predictions=logits, **labelled, axis_name=axis_name)
    if kind == "multiclass":
        return supervised.softmax_cross_entropy(logits=logits, **labelled, axis_name=axis_name)
    return supervised.binary_cross_entropy(logits=logits, **labelled, axis_name=axis_name)
