"""A batch is integers: which molecules, which pairs of them, which labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import flax.struct
import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from molrel.data.sampler import Sampler
from molrel.data.table import MoleculeTable
from molrel.data.types import Examples, concatenate
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
      molecules: int32 [U], unique molecule ids, padded with the table's padding id; where the
        domains are encoded apart a molecule of both is there twice.
      sides: one int32 [P, S] a side: indices into ``molecules``; -1 pads smaller bags.
      labels: float32 [P, T]; NaN where missing, and always NaN where domain is 1.
      mask: bool [P], whether the example is real.
      domain: int32 [P], 0 source, 1 target, 2 target with a label.
      weight: float32 [P], weight of the example in losses.
      molecule_domain: int32 [U], the domain whose statistics the molecule belongs to; 0 for all
        unless the domains are encoded apart.
      molecule_copies: int32 [U], number of devices that hold the molecule in this step, which
        together count it once.
      budget: static sizes for the gather.
    """

    molecules: Int[np.ndarray, " u"]
    sides: tuple[Int[np.ndarray, "p s"], ...]
    labels: Float[np.ndarray, "p t"]
    mask: Bool[np.ndarray, " p"]
    domain: Int[np.ndarray, " p"]
    weight: Float[np.ndarray, " p"]
    molecule_domain: Int[np.ndarray, " u"]
    molecule_copies: Int[np.ndarray, " u"]
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


def molecules_of(examples: Examples, apart: bool) -> tuple[np.ndarray, np.ndarray]:
    """(ids, domains), int32 [U] both, of the unique molecules of examples.

    Args:
      examples: of one or both domains.
      apart: whether a molecule that occurs in both domains is listed once for each; otherwise
        the domain of all is 0.
    """
    if not apart:
        ids = examples.molecules()
        return ids.astype(np.int32), np.zeros(len(ids), np.int32)
    found = [
        examples.take(index).molecules() for index in (examples.domain == 0, examples.domain > 0)
    ]
    domains = np.repeat(np.arange(2, dtype=np.int32), [len(ids) for ids in found])
    ids = np.concatenate(found).astype(np.int32)
    order = np.argsort(ids, kind="stable")
    return ids[order], domains[order]


def index_batch(
    examples: Examples,
    n_examples: int,
    budget: Budget,
    sizes: MoleculeSizes,
    widths: tuple[int, ...],
    *,
    apart: bool = False,
) -> IndexBatch | None:
    """Packs examples into one padded batch, or None where they do not fit the budget.

    Args:
      examples: at most n_examples relations, possibly none.
      n_examples: static number of rows P.
      budget: static sizes.
      sizes: of the table.
      widths: static bag size S of each side.
      apart: see ``molecules_of``.
    """
    molecules, domains = molecules_of(examples, apart)
    if not budget.fits(sizes.of(molecules)):
        return None
    real = len(examples)
    position = np.full((2, sizes.padding_id + 1), -1, np.int32)
    position[domains, molecules] = np.arange(len(molecules), dtype=np.int32)
    of_example = np.minimum(examples.domain, 1) * apart

    def pad(values: np.ndarray, fill: float, length: int = n_examples) -> np.ndarray:
        out = np.full((length, *values.shape[1:]), fill, values.dtype)
        out[: len(values)] = values
        return out

    sides = []
    for side, width in zip(examples.sides, widths):
        dense = side.dense(width)
        here = position[of_example[:, None], dense]
        sides.append(pad(np.where(dense < 0, -1, here).astype(np.int32), -1))
    hidden = np.where(examples.domain[:, None] == 1, np.nan, examples.labels)
    return IndexBatch(
        molecules=pad(molecules, sizes.padding_id, budget.molecules),
        sides=tuple(sides),
        labels=pad(hidden.astype(np.float32), np.nan),
        mask=np.arange(n_examples) < real,
        domain=pad(examples.domain, 0),
        weight=pad(examples.weight, 0.0),
        molecule_domain=pad(domains, 0, budget.molecules),
        molecule_copies=np.ones(budget.molecules, np.int32),
        budget=budget,
    )


def deal(examples: Examples, n_parts: int) -> list[np.ndarray]:
    """Indices of n parts of the examples, as equal in number as can be, that share few molecules.

    Ordered by a molecule of the first side, then within each of about sqrt(n) stretches by one
    of the last side: a part of all pairs among U molecules holds about 2 U / sqrt(n) of them.
    """
    if n_parts == 1 or not len(examples):
        return np.array_split(np.arange(len(examples)), n_parts)
    first, last = (side.dense()[:, 0] for side in (examples.sides[0], examples.sides[-1]))
    n_stretches = next(n for n in range(int(n_parts**0.5), 0, -1) if n_parts % n == 0)
    stretches = np.array_split(np.argsort(first, kind="stable"), n_stretches)
    order = np.concatenate([part[np.argsort(last[part], kind="stable")] for part in stretches])
    return np.array_split(order, n_parts)


def shards(sampler: Sampler, seed: int, step: int, n_parts: int) -> list[Examples]:
    """The examples of a step in n parts, each with its share of the source and of the target."""
    parts = sampler.parts(seed, step)
    dealt = [deal(part, n_parts) for part in parts]
    return [
        concatenate([part.take(index[i]) for part, index in zip(parts, dealt)])
        for i in range(n_parts)
    ]


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
    rows = sum(-(-most // n_devices) for most in sampler.rows)
    pieces, found = 1, None
    while found is None:
        if pieces > 2 * rows:
            raise _too_large(budget)
        found = _packed(sampler, sizes, budget, seeds, step, n_devices, pieces, rows)
        pieces *= 2

    def stack(*leaves):
        return np.stack(leaves)

    merged = [[jax.tree.map(stack, *row) for row in shards] for shards in found]
    return [m[0] if n_devices == 1 else jax.tree.map(stack, *m) for m in merged]


def _packed(
    sampler: Sampler,
    sizes: MoleculeSizes,
    budget: Budget,
    seeds: Sequence[int],
    step: int,
    n_devices: int,
    pieces: int,
    rows: int,
) -> list[list[list[IndexBatch]]] | None:
    """The batches [pieces][devices][seeds] of a step, or None where one does not fit."""
    found: list[list[list[IndexBatch]]] = [[[] for _ in range(n_devices)] for _ in range(pieces)]
    for seed in seeds:
        parts = shards(sampler, seed, step, n_devices * pieces)
        for piece in range(pieces):
            own = []
            for examples in parts[piece::pieces]:
                batch = index_batch(
                    examples, rows, budget, sizes, sampler.widths, apart=sampler.apart
                )
                if batch is None:
                    return None
                own.append(batch)
            for device, batch in enumerate(_counted_once(own)):
                found[piece][device].append(batch)
    return found


def _counted_once(batches: list[IndexBatch]) -> list[IndexBatch]:
    """The batches of several devices with ``molecule_copies`` over all of them."""
    if len(batches) == 1:
        return batches
    keys = [b.molecules.astype(np.int64) * 2 + b.molecule_domain for b in batches]
    _, inverse, counts = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    copies = counts[inverse].reshape(len(batches), -1).astype(np.int32)
    return [b.replace(molecule_copies=n) for b, n in zip(batches, copies)]  # pyright: ignore


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
