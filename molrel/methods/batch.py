"""A batch as a method sees it: integers whose molecules have been gathered."""

from __future__ import annotations

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from molrel.data.batches import IndexBatch
from molrel.data.table import MoleculeTable
from molrel.nn.graph import Molecules, gather, segment_sum
from molrel.nn.relation import Sides


@flax.struct.dataclass
class Batch:
    """An ``IndexBatch`` whose molecules have been gathered.

    Attributes:
      molecules: U unique molecules, U static.
      sides: int32 [P, S] each, indices into the molecules, -1 padding.
      labels: f32 [P, T], NaN where missing (always NaN where domain is 1).
      mask: bool [P], whether the example is real.
      domain: int32 [P], 0 source, 1 target, 2 target with one of the few labels that a run names.
      weight: f32 [P], weight in losses.
    """

    molecules: Molecules
    sides: Sides
    labels: Float[Array, "p t"]
    mask: Bool[Array, " p"]
    domain: Int[Array, " p"]
    weight: Float[Array, " p"]

    @property
    def labelled(self) -> Float[Array, " p"]:
        """Weight of the real examples that are learned from by their labels, else 0."""
        return jnp.where(self.mask & (self.domain != 1), self.weight, 0)

    def in_domain(self, domain: int) -> Float[Array, " p"]:
        """Weight of the real examples of a domain (0 source, 1 target without labels), else 0."""
        return jnp.where(self.mask & (self.domain == domain), self.weight, 0)

    def occurrences(self, domain: int) -> Float[Array, " u"]:
        """How often each molecule occurs in the examples of a domain, by their weights.

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
        molecules=gather(
            table,
            jnp.asarray(batch.molecules),
            batch.budget,
            jnp.asarray(batch.molecule_domain),
            jnp.asarray(batch.molecule_copies),
        ),
        sides=batch.sides,  # pyright: ignore[reportArgumentType]
        labels=batch.labels,  # pyright: ignore[reportArgumentType]
        mask=batch.mask,  # pyright: ignore[reportArgumentType]
        domain=batch.domain,  # pyright: ignore[reportArgumentType]
        weight=batch.weight,  # pyright: ignore[reportArgumentType]
    )
