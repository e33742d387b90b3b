"""A batch is integers: which molecules, which pairs of them, which labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import flax.struct
import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from molrel.data.table import MoleculeTable
from molrel.data.types import Examples
from molrel.errors import InputError


@dataclass(frozen=True)
class Budget:
    """Static sizes of one gathered batch; every field is a number of rows.

    Attributes: unique molecules, atoms, directed bonds, extra bonds, functional-group
    instances, and atoms in those instances.
    """

    molecules: int
    atoms: int
    bonds: int
    extra_bonds: int
    instances: int
    members: int

    def fits(self, other: Budget) -> bool:
        """Whether a batch of the other's sizes fits into this budget."""
        return all(getattr(other, f.name) <= getattr(self, f.name) for f in fields(self))


@flax.struct.dataclass
class IndexBatch:
    """What travels to the device each step, a few kilobytes.

    Attributes:
      molecules: int32 [U], unique molecule ids, padded with the table's padding id.
      sides: one int32 [P, S] a side: indices into ``molecules``; -1 pads smaller bags.
      labels: float32 [P, T]; NaN where missing, and always NaN in the target domain.
      mask: bool [P], whether the example is real.
      domain: int32 [P], 0 source, 1 target.
      weight: float32 [P], weight in supervised losses.
      budget: static sizes for the gather.
    """

    molecules: Int[np.ndarray, " u"]
    sides: tuple[Int[np.ndarray, "p s"], ...]
    labels: Float[np.ndarray, "p t"]
    mask: Bool[np.ndarray, " p"]
    domain: Int[np.ndarray, " p"]
    weight: Float[np.ndarray, " p"]
    budget: Budget = flax.struct.field(pytree_node=False)


class MoleculeSizes:
    """Number of rows that each molecule takes in each ragged part of the table (host)."""

    def __init__(self, table: MoleculeTable):
        parts = (table.atoms, table.bonds, table.extra_bonds, table.instances, table.members)
        self.per_molecule = np.stack([np.diff(np.asarray(p.offsets)) for p in parts], axis=1)
        self.padding_id = table.padding_id

    def of(self, molecules: np.ndarray) -> Budget:
        """Exact sizes of a batch of these unique molecules (int [u])."""
        return Budget(len(molecules), *self.per_molecule[molecules].sum(axis=0).tolist())

    def worst(self, n_molecules: int) -> Budget:
        """Sizes that any choice of n molecules fits into."""
        largest = -np.sort(-self.per_molecule[:-1], axis=0)[:n_molecules]
        return Budget(len(largest), *largest.sum(axis=0).tolist())


def round_up(budget: Budget) -> Budget:
    """Rounds every size up to a multiple of 8 (molecules) or 64, zero stays zero."""

    def up(n: int, step: int) -> int:
        return -(-n // step) * step

    sizes = {f.name: up(getattr(budget, f.name), 64) for f in fields(budget)}
    return Budget(**sizes | {"molecules": up(budget.molecules, 8)})


def choose_budget(sizes: MoleculeSizes, samples: Sequence[np.ndarray]) -> Budget:
    """Budget that holds every sampled batch with 3 % to spare, never above the worst case.

    Args:
      sizes: of the table.
      samples: unique molecule ids of typical batches.
    """
    rows = np.array([[getattr(sizes.of(s), f.name) for f in fields(Budget)] for s in samples])
    typical = np.ceil(rows.max(axis=0) * 1.03).astype(int)
    worst = sizes.worst(int(typical[0]))
    typical[0] = min(typical[0], len(sizes.per_molecule) - 1)
    names = [f.name for f in fields(Budget)]
    return round_up(Budget(**{n: min(int(t), getattr(worst, n)) for n, t in zip(names, typical)}))


def index_batch(
    examples: Examples,
    n_examples: int,
    budget: Budget,
    sizes: MoleculeSizes,
    widths: tuple[int, ...],
) -> IndexBatch | None:
    """Packs examples into one padded batch, or None where they do not fit the budget.

    Args:
      examples: at most n_examples relations, possibly none.
      n_examples: static number of rows P.
      budget: static sizes.
      sizes: of the table.
      widths: static bag size S of each side.
    """
    molecules = examples.molecules()
    if not budget.fits(sizes.of(molecules)):
        return None
    real = len(examples)
    padded = np.full(budget.molecules, sizes.padding_id, np.int32)
    padded[: len(molecules)] = molecules
    position = np.full(sizes.padding_id + 1, -1, np.int32)
    position[molecules] = np.arange(len(molecules), dtype=np.int32)

    def pad(values: np.ndarray, fill: float) -> np.ndarray:
        out = np.full((n_examples, *values.shape[1:]), fill, values.dtype)
        out[:real] = values
        return out

    sides = []
    for side, width in zip(examples.sides, widths):
        dense = side.dense(width)
        sides.append(pad(np.where(dense < 0, -1, position[dense]).astype(np.int32), -1))
    hidden = np.where(examples.domain[:, None] == 1, np.nan, examples.labels)
    return IndexBatch(
        molecules=padded,
        sides=tuple(sides),
        labels=pad(hidden.astype(np.float32), np.nan),
        mask=np.arange(n_examples) < real,
        domain=pad(examples.domain, 0),
        weight=pad(examples.weight, 0.0),
        budget=budget,
    )


def concatenate(parts: Sequence[Examples]) -> Examples:
    """Examples of several parts, one after the other."""
    sides = []
    for bags in zip(*(p.sides for p in parts)):
        lengths = np.concatenate([b.sizes for b in bags])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        sides.append(type(bags[0])(np.concatenate([b.ids for b in bags]), offsets))
    return Examples(
        tuple(sides),
        np.concatenate([p.labels for p in parts]),
        np.concatenate([p.domain for p in parts]),
        np.concatenate([p.weight for p in parts]),
    )


class Sampler:
    """Draws the examples of step n of a seed without any state, so that a resumed run
    sees the same batches.

    Source and target are walked in a fresh random order each epoch. With ``balance`` the
    source's negatives are re-drawn each epoch, as many as there are positives.

    Args:
      source: labelled examples.
      target: unlabelled examples, or None to train without a target.
      n_source, n_target: examples per step.
      balance: re-draw negatives 1:1 each epoch (binary labels only).
      whole_epochs: the last source batch of an epoch holds what is left of it; otherwise it
        is filled up from the next.
    """

    def __init__(
        self,
        source: Examples,
        target: Examples | None,
        *,
        n_source: int,
        n_target: int,
        balance: bool = False,
        whole_epochs: bool = False,
    ):
        self.source, self.target, self.whole_epochs = source, target, whole_epochs
        self.n_source, self.n_target = n_source, 0 if target is None else n_target
        label = source.labels[:, 0]  # NaN, which is neither, where unknown
        self.positives, self.negatives = np.flatnonzero(label > 0.5), np.flatnonzero(label <= 0.5)
        self.balance = balance and len(self.positives) < len(self.negatives)
        self._orders: dict[tuple[int, int, int], np.ndarray] = {}
        parts = (source,) if target is None else (source, target)
        # Largest bag of each side, which every batch is padded to.
        self.widths = tuple(
            int(max(part.sides[i].sizes.max(initial=1) for part in parts))
            for i in range(len(source.sides))
        )

    def _order(self, seed: int, domain: int, epoch: int) -> np.ndarray:
        """Order of one epoch; cached, since consecutive steps share it."""
        key = (seed, domain, epoch)
        if key not in self._orders:
            rng = np.random.default_rng([seed, domain, epoch])
            if domain == 0 and self.balance:
                drawn = rng.choice(self.negatives, len(self.positives), replace=False)
                order = rng.permutation(np.concatenate([self.positives, drawn]))
            else:
                order = rng.permutation(len(self.source if domain == 0 else self.target or ()))
            stale = [k for k in self._orders if k[:2] == key[:2] and k[2] < epoch - 1]
            for k in stale:
                del self._orders[k]
            self._orders[key] = order
        return self._orders[key]

    def epoch_size(self, domain: int) -> int:
        """Number of examples of one pass over the source (0) or the target (1)."""
        if domain == 1:
            return len(self.target or ())
        return 2 * len(self.positives) if self.balance else len(self.source)

    def _draw(self, seed: int, domain: int, step: int, count: int) -> np.ndarray:
        size = self.epoch_size(domain)
        if self.whole_epochs and domain == 0:
            epoch, place = divmod(step, -(-size // count))
            return self._order(seed, domain, epoch)[place * count : (place + 1) * count]
        position = np.arange(step * count, (step + 1) * count)
        epochs = position // size
        return np.concatenate(
            [
                self._order(seed, domain, int(e))[position[epochs == e] % size]
                for e in np.unique(epochs)
            ]
        )

    def examples(self, seed: int, step: int) -> Examples:
        """Source examples, then target examples, of this step."""
        parts = [self.source.take(self._draw(seed, 0, step, self.n_source))]
        if self.target is not None and self.n_target:
            parts.append(self.target.take(self._draw(seed, 1, step, self.n_target)))
        return concatenate(parts)

    @property
    def size(self) -> int:
        """Examples per step."""
        return self.n_source + self.n_target


def step_batches(
    sampler: Sampler,
    sizes: MoleculeSizes,
    budget: Budget,
    *,
    seeds: Sequence[int],
    step: int,
    n_devices: int = 1,
) -> list[IndexBatch]:
    """The batches of one training step: one, or more where the budget would overflow.

    An overflowing batch is split in halves that are trained on one after the other, all of
    the same static shape, so no example is dropped and nothing is compiled anew.

    Args:
      sampler: draws the examples.
      sizes: of the table.
      budget: static sizes for one device.
      seeds: the runs that train together.
      step: number of the step.
      n_devices: devices that share the examples of each seed.

    Returns:
      Batches whose arrays have leading axes [devices (if more than one), seeds].
    """
    rows = -(-sampler.size // n_devices)
    drawn = [sampler.examples(seed, step) for seed in seeds]
    pieces = 1
    while True:
        batches = []
        for piece in range(pieces):
            shards = [
                [
                    index_batch(
                        examples.take(_shard(len(examples), d, n_devices, piece, pieces)),
                        rows,
                        budget,
                        sizes,
                        sampler.widths,
                    )
                    for examples in drawn
                ]
                for d in range(n_devices)
            ]
            batches.append(shards)
        if all(b is not None for shards in batches for row in shards for b in row):
            break
        if pieces > rows:
            raise _too_large(budget)
        pieces *= 2

    def stack(*leaves):
        return np.stack(leaves)

    merged = [[jax.tree.map(stack, *row) for row in shards] for shards in batches]
    return [m[0] if n_devices == 1 else jax.tree.map(stack, *m) for m in merged]


def all_batches(
    examples: Examples, rows: int, budget: Budget, sizes: MoleculeSizes
) -> list[IndexBatch]:
    """Every example once, in order, in batches of one shape; fuller ones are halved.

    Args:
      examples: N relations.
      rows: static number of examples of a batch.
      budget: static sizes.
      sizes: of the table.

    Raises:
      InputError: one example alone does not fit the budget.
    """
    widths = tuple(int(side.sizes.max(initial=1)) for side in examples.sides)
    waiting = [np.arange(i, min(i + rows, len(examples))) for i in range(0, len(examples), rows)]
    found: list[IndexBatch] = []
    while waiting:
        index = waiting.pop(0)
        batch = index_batch(examples.take(index), rows, budget, sizes, widths)
        if batch is not None:
            found.append(batch)
        elif len(index) == 1:
            raise _too_large(budget)
        else:
            waiting[:0] = np.array_split(index, 2)
    return found


def _too_large(budget: Budget) -> InputError:
    return InputError(
        f"one example needs more than the batch budget {budget}",
        remedy="Lower the molecule size limit (features.max_atoms) or raise the batch size",
    )


def _shard(n: int, device: int, n_devices: int, piece: int, pieces: int) -> np.ndarray:
    """Indices of one device's share of one piece of n examples, interleaved."""
    return np.arange(n)[device::n_devices][piece::pieces]
