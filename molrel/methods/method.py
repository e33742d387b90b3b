"""What a method is: a tuple of pure functions, like an optax transformation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self, runtime_checkable

from jaxtyping import Array, Float, Int, Key

from molrel.data.knowledge import DomainKnowledge
from molrel.data.table import MoleculeTable
from molrel.data.types import Examples
from molrel.errors import NotDefined
from molrel.methods.batch import Batch
from molrel.nn.graph import Molecules
from molrel.nn.relation import Sides

Params = Any
State = Any
Need = Literal["pictures", "fingerprints", "scaffolds"]


class Variables(NamedTuple):
    """What ``init`` returns.

    Attributes:
      params: trained by gradient.
      state: everything else that a step changes (prototypes, statistics).
    """

    params: Params
    state: State


class Context(NamedTuple):
    """Where a loss stands in the run.

    Attributes:
      key: PRNG key of this step, seed and device.
      progress: float32 [], 0 at the first step and 1 at the last.
      step: int32 [], updates done.
      axis_name: of the device axis; None on a single device.
    """

    key: Key[Array, ""]
    progress: Float[Array, ""] | float
    step: Int[Array, ""] | int = 0
    axis_name: str | None = None


class LossOutput(NamedTuple):
    """What a loss returns.

    Attributes:
      loss: float32 [], this device's share: shares add up to the loss over the devices.
      state: of the method, after the step.
      terms: name -> share, float32 [], logged as means over the interval.
      out: name -> intermediate array of this pass, such as "molecule/z" [U, D], "pair/z" [P, W]
        and "pair/logits" [P, T]; what nobody reads costs nothing inside jit.
    """

    loss: Float[Array, ""]
    state: State
    terms: dict[str, Float[Array, ""]]
    out: dict[str, Array]


Loss = Callable[[Params, State, Batch, Context], LossOutput]
Term = Callable[[dict[str, Array], Batch, Context], Float[Array, ""]]


def undefined(*_: Any) -> Any:
    """In place of a function that a method does not have."""
    raise NotDefined("this method has no such function: it has a loss alone, or is fitted whole")


class Method(NamedTuple):
    """A learning method as pure functions; ``init`` and ``loss`` are enough to train.

    Attributes:
      init: (key, batch) -> Variables.
      loss: (params, state, batch, context) -> LossOutput.
      encode: (params, state, molecules) -> pytree of per-molecule arrays [U, ...].
      predict: (params, state, encoded, sides) -> logits [P, T].
      embed: (encoded) -> [U, D], one vector a molecule.
      target: whether training uses (unlabelled) target examples.
      apart: whether a molecule of both domains is encoded once for each, because statistics of
        the domains are kept apart.
      start: (key, variables, table, batches) -> Variables; called once before training with
        index batches that hold every training example of the source once, on one device, and
        not inside a jit. None for methods that start from ``init`` as it is.
      fit: (seed, table, examples) -> Variables of NumPy arrays; learns from all training examples
        of the source at once, on the host, in place of ``init`` and steps with ``loss``. Arrays
        that differ in size between seeds are filled up with zeros. None for other methods.
    """

    init: Callable[[Array, Batch], Variables]
    loss: Loss
    encode: Callable[[Params, State, Molecules], Any] = undefined
    predict: Callable[[Params, State, Any, Sides], Float[Array, "p t"]] = undefined
    embed: Callable[[Any], Float[Array, "u d"]] = undefined
    target: bool = False
    apart: bool = False
    start: Callable[..., Variables] | None = None
    fit: Callable[[int, MoleculeTable, Examples], Variables] | None = None


@runtime_checkable
class MethodConfig(Protocol):
    """The settings of a method, a frozen dataclass that builds it.

    Attributes:
      takes_sides: how many sides the examples that it takes may have.
      scheme: atom and bond features that it needs (``FeatureConfig.scheme``); None takes any.
      notes: sentences that a report must say of it.
    """

    @property
    def takes_sides(self) -> tuple[int, ...]: ...

    @property
    def scheme(self) -> str | None: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

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
    scheme: ClassVar[str | None] = None
    notes: ClassVar[tuple[str, ...]] = ()

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
class Wrapper:
    """Base of a config that adds something to another method's.

    A subclass has a field ``base`` with the config that it wraps, and its own ``build``, which
    calls ``self.base.build``; ``with_term`` adds a loss there.
    """

    base: Any

    @property
    def takes_sides(self) -> tuple[int, ...]:
        """As the wrapped method."""
        return self.base.takes_sides

    @property
    def scheme(self) -> str | None:
        """As the wrapped method."""
        return self.base.scheme

    @property
    def notes(self) -> tuple[str, ...]:
        """As the wrapped method."""
        return self.base.notes

    @property
    def adapts(self) -> bool:
        """As the wrapped method."""
        return self.base.adapts

    @property
    def needs(self) -> frozenset[Need]:
        """As the wrapped method."""
        return self.base.needs

    def source_only(self) -> Self:
        """The same around the wrapped method without its terms that look at the target."""
        return replace(self, base=self.base.source_only())


def with_term(method: Method, name: str, weight: Any, term: Term) -> Method:
    """The method with one more loss term.

    Args:
      method: what the term is added to.
      name: of the term in the log.
      weight: factor of the term; with the number 0 the method stays as it is.
      term: (out, batch, context) -> this device's share, float32 []. ``out`` is that of
        ``LossOutput``.

    Raises:
      ValueError: when the loss is traced, if it has a term of this name already.
    """
    if not active(weight):
        return method

    def loss(params: Params, state: State, batch: Batch, context: Context) -> LossOutput:
        base = method.loss(params, state, batch, context)
        if name in base.terms:
            raise ValueError(f"the loss has a term {name!r} already")
        value = term(base.out, batch, context)
        return base._replace(loss=base.loss + weight * value, terms={**base.terms, name: value})

    return method._replace(loss=loss)


def active(weight: Any) -> bool:
    """Whether a term is computed: its weight is not the plain number 0.

    A weight that is an array (of a sweep over weights) always counts.
    """
    return not isinstance(weight, (int, float)) or weight != 0
