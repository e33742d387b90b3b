"""Which examples the step of a run holds: drawn by molecules where examples share them.

The encoder's cost is that of the molecules of a step, its signal that of all their examples. So
a step draws molecules and takes every example among them (``ByMolecules``). Where that would find
few, it draws examples and adds those among their molecules (``AroundExamples``); where none
share a molecule nothing is added. ``ByExamples`` draws examples alone.

Every draw is a function of seed and step, so a resumed run sees the same batches.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.special import gammaln

from molrel.data.types import Bag, Examples, concatenate
from molrel.errors import InputError

MEASURED = 200  # draws from which the number of rows of a step is taken


class Draw(Protocol):
    """Draws from the examples of one domain.

    Attributes:
      examples: N examples to draw from.
      rows: most examples of a step.
    """

    examples: Examples
    rows: int

    def __call__(self, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(indices int [n], weights float [n]) of a step.

        Every example is drawn equally often, or weighs more where it is drawn too rarely.
        """
        ...


class ByExamples:
    """Examples in a fresh random order each epoch, a fixed number of them a step.

    Args:
      examples: N examples.
      rows: examples of a step.
      domain: 0 source, 1 target; each has orders of its own.
      balance: re-draw negatives 1:1 each epoch (binary labels only).
      whole_epochs: the last batch of an epoch holds what is left of it; otherwise it is filled
        up from the next.
    """

    def __init__(
        self,
        examples: Examples,
        rows: int,
        domain: int = 0,
        *,
        balance: bool = False,
        whole_epochs: bool = False,
    ):
        self.examples, self.rows, self.domain = examples, rows, domain
        self.whole_epochs = whole_epochs
        label = examples.labels[:, 0]  # NaN, which is neither, where unknown
        self.positives, self.negatives = np.flatnonzero(label > 0.5), np.flatnonzero(label <= 0.5)
        self.balance = balance and len(self.positives) < len(self.negatives)
        self._orders: dict[tuple[int, int], np.ndarray] = {}

    @property
    def epoch_size(self) -> int:
        """Number of examples of one pass."""
        return 2 * len(self.positives) if self.balance else len(self.examples)

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        """Order of one epoch; cached, since consecutive steps share it."""
        key = (seed, epoch)
        if key not in self._orders:
            rng = np.random.default_rng([seed, self.domain, epoch])
            if self.balance:
                drawn = rng.choice(self.negatives, len(self.positives), replace=False)
                order = rng.permutation(np.concatenate([self.positives, drawn]))
            else:
                order = rng.permutation(len(self.examples))
            for stale in [k for k in self._orders if k[0] == seed and k[1] < epoch - 1]:
                del self._orders[stale]
            self._orders[key] = order
        return self._orders[key]

    def __call__(self, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """See ``Draw``."""
        size, count = self.epoch_size, self.rows
        if self.whole_epochs:
            epoch, place = divmod(step, -(-size // count))
            index = self._order(seed, epoch)[place * count : (place + 1) * count]
        else:
            position = np.arange(step * count, (step + 1) * count)
            epochs = position // size
            index = np.concatenate(
                [self._order(seed, int(e))[position[epochs == e] % size] for e in np.unique(epochs)]
            )
        return index, np.ones(len(index))


class Units:
    """What the examples of a domain share: the molecule, or the bag of molecules, of each side.

    Args:
      examples: N examples.
      symmetric: whether a molecule is one unit on every side; otherwise the same molecule in two
        roles, such as solute and solvent, is two.

    Attributes:
      of: int64 [N, S], unit of each side of each example.
      molecules: int64 [K], number of molecules of each unit.
      role: int64 [K], side that each unit stands on; 0 for all of a symmetric task.
    """

    def __init__(self, examples: Examples, symmetric: bool):
        dense = [np.sort(side.dense(), axis=1) for side in examples.sides]
        width = max(d.shape[1] for d in dense)
        bags = np.stack(
            [np.pad(d, ((0, 0), (width - d.shape[1], 0)), constant_values=-1) for d in dense],
            axis=1,
        ).reshape(-1, width)
        sides = np.arange(len(dense)) * (not symmetric)
        rows = np.column_stack([np.tile(sides, len(examples)), bags])
        # Molecules are numbered from 0, so that a row of few columns is one number.
        base = int(bags.max()) + 2
        number = rows[:, 0]
        for column in (rows[:, 1:] + 1).T:
            _, number = np.unique(number * base + column, return_inverse=True)
        first = np.unique(number, return_index=True)[1]
        self.of = number.reshape(len(examples), len(dense))
        self.molecules = (bags[first] >= 0).sum(axis=1)
        self.role = rows[first, 0]
        self._by_unit = [
            Bag(order, np.searchsorted(column[order], np.arange(len(first) + 1)))
            for column in self.of.T
            for order in [np.argsort(column, kind="stable")]
        ]

    def among(self, units: np.ndarray) -> np.ndarray:
        """Sorted indices of the examples all of whose sides are of these units (int, unique)."""
        inside = np.zeros(len(self.molecules), bool)
        inside[units] = True
        # By the side on which fewest examples must be looked at.
        by_unit = min(self._by_unit, key=lambda bag: bag.sizes[units].sum())
        index = by_unit.take(units).ids
        return np.sort(index[inside[self.of[index]].all(axis=1)])

    def together(self) -> np.ndarray:
        """int64 [N], number of examples that hold the units of each example."""
        ordered = np.sort(self.of, axis=1)
        key = ordered[:, 0] * len(self.molecules) + ordered[:, -1]
        _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
        return counts[inverse]


class ByMolecules:
    """Units at random, and every example among them.

    Args:
      units: of the examples.
      molecules: how many a step holds, shared evenly by the roles as far as they have so many.
      domain: 0 source, 1 target.

    Attributes:
      chance: float64 [N], of each example to be among the units of a step.
    """

    def __init__(self, units: Units, molecules: int, domain: int):
        self.units, self.domain = units, domain
        roles = [np.flatnonzero(units.role == r) for r in np.unique(units.role)]
        roles.sort(key=lambda role: units.molecules[role].sum())
        self.drawn: list[tuple[np.ndarray, int]] = []
        share, left = np.zeros(len(units.role)), float(molecules)
        least = units.of.shape[1] if len(roles) == 1 else 1
        for i, role in enumerate(roles):
            each = units.molecules[role].mean()
            count = round(left / (len(roles) - i) / each)
            count = min(max(count, least), len(role))
            self.drawn.append((role, count))
            left -= count * each
            share[role] = count / len(role)
        a, b = units.of[:, 0], units.of[:, -1]
        self.chance = np.where(a == b, share[a], share[a] * share[b])
        if len(roles) == 1:  # of the units that are left when the first is drawn
            role, count = self.drawn[0]
            self.chance *= np.where(
                a == b, 1, (count - 1) * len(role) / max(len(role) - 1, 1) / count
            )

    def __call__(self, seed: int, step: int) -> np.ndarray:
        """Indices of the examples among the units of a step."""
        rng = np.random.default_rng([seed, self.domain, step])
        drawn = [rng.choice(role, count, replace=False) for role, count in self.drawn]
        return self.units.among(np.concatenate(drawn))


class AroundExamples:
    """Examples in a fresh random order each epoch, and those among their units.

    Args:
      units: of the examples.
      examples: N examples.
      molecules: about how many a step holds.
      most: examples to begin with at most.
      domain: 0 source, 1 target.

    Attributes:
      chance: float64 [N], of each example to be among the units of a step.
    """

    def __init__(self, units: Units, examples: Examples, molecules: int, most: int, domain: int):
        self.units, n = units, len(examples)
        a, b = units.of[:, 0], units.of[:, -1]
        degree = np.bincount(np.concatenate([a, b[a != b]]), minlength=len(units.molecules))

        def missed(degree: np.ndarray, count: int) -> np.ndarray:
            """Chance that none of ``degree`` examples is among ``count`` of all N."""
            left = n - count - degree
            log = gammaln(n - degree + 1) - gammaln(np.maximum(left, 0) + 1)
            return np.where(left < 0, 0, np.exp(log + gammaln(n - count + 1) - gammaln(n + 1)))

        def expected(count: int) -> float:
            return float(((1 - missed(degree, count)) * units.molecules).sum())

        low, high = 1, min(most, n)
        while low < high:  # the largest count that is expected to need no more molecules
            middle = (low + high + 1) // 2
            low, high = (
                (middle, high) if expected(middle) <= molecules + 1e-6 else (low, middle - 1)
            )
        # An example is there when neither of its units is missed.
        either = degree[a] + degree[b] - units.together()
        both = 1 - missed(degree[a], low) - missed(degree[b], low) + missed(either, low)
        self.chance = np.where(a == b, 1 - missed(degree[a], low), both)
        self.start = ByExamples(examples, low, domain)

    def __call__(self, seed: int, step: int) -> np.ndarray:
        """Indices of the examples among the units of a step's examples."""
        index, _ = self.start(seed, step)
        return self.units.among(np.unique(self.units.of[index]))


class Weighted:
    """The better of ``ByMolecules`` and ``AroundExamples``, with weights and a largest number.

    Better is which draws the larger effective number of examples, (sum of weights)^2 / sum of
    their squares (Kish, Survey Sampling, 1965), by expectation N^2 / sum(1 / chance).

    Args:
      examples: N examples of one or two sides.
      molecules: how many a step holds.
      most: examples of a step at most; what is beyond is left out at random, and the rest
        weighs more.
      domain: 0 source, 1 target.
      symmetric: whether the order of the sides means nothing.
      balance: negatives weigh as much as positives together.

    Raises:
      InputError: the most is less than one molecule brings, or there are more than two sides.
    """

    def __init__(
        self,
        examples: Examples,
        molecules: int,
        most: int,
        domain: int,
        *,
        symmetric: bool,
        balance: bool = False,
    ):
        part = ("source", "target")[domain]
        n, n_sides = len(examples), len(examples.sides)
        if n_sides > 2:
            raise InputError(
                f"batches of molecules are drawn from examples of one or two sides, not {n_sides}",
                remedy=f"Set train.{part}_molecules to 0",
            )
        self.examples = examples
        units = Units(examples, symmetric)
        around = AroundExamples(units, examples, molecules, most, domain)
        among = ByMolecules(units, molecules, domain)
        # Where both are alike, as without any shared molecule, in the order of epochs.
        effective = [min(n**2 / np.sum(1 / draw.chance), most) for draw in (around, among)]
        self.draw = among if effective[1] > 1.001 * effective[0] else around
        each = self.draw.chance.sum() * n_sides / molecules
        if most < each:
            raise InputError(
                f"train.{part}_examples is {most}, and a draw of {molecules} molecules holds about "
                f"{each:.0f} examples of each of them",
                remedy=f"Raise train.{part}_examples, or lower train.{part}_molecules",
            )
        self.weight = self.draw.chance.min() / self.draw.chance
        if balance:
            label = examples.labels[:, 0]
            positive, negative = label > 0.5, label <= 0.5  # NaN is neither
            self.weight[negative] *= min(1, positive.sum() / max(negative.sum(), 1))
            self.weight[~positive & ~negative] = 0
        needed = max(len(self.draw(0, step)) for step in range(MEASURED))
        self.rows = min(most, -(-int(needed * 1.03) // 64) * 64, n)
        self._seed_of_rest = 2 + domain

    def __call__(self, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """See ``Draw``."""
        index = self.draw(seed, step)
        weight = self.weight[index]
        if len(index) > self.rows:
            rng = np.random.default_rng([seed, self._seed_of_rest, step])
            kept = np.sort(rng.choice(len(index), self.rows, replace=False))
            weight = weight[kept] * (len(index) / self.rows)
            index = index[kept]
        return index, weight


class Sampler:
    """Draws the examples of step n of a seed without any state.

    Args:
      source: labelled examples.
      target: unlabelled examples, or None to train without a target.
      labelled: the few target examples whose labels are trained on, or None; as many of them a
        step as of the source at most, which together weigh as much as the source's.
      n_source, n_target: examples per step, or the most where molecules are drawn.
      source_molecules, target_molecules: of a step; 0 draws examples alone.
      symmetric: whether the order of the sides of an example means nothing.
      balance: positives and negatives count alike (binary labels only): negatives are re-drawn
        1:1 each epoch, or weigh less where molecules are drawn.
      whole_epochs: the last source batch of an epoch holds what is left of it; otherwise it
        is filled up from the next.
      apart: whether a molecule of both domains is encoded once for each.
    """

    def __init__(
        self,
        source: Examples,
        target: Examples | None,
        *,
        n_source: int,
        n_target: int,
        labelled: Examples | None = None,
        source_molecules: int = 0,
        target_molecules: int = 0,
        symmetric: bool = True,
        balance: bool = False,
        whole_epochs: bool = False,
        apart: bool = False,
    ):
        self.source, self.target, self.apart = source, target, apart
        if source_molecules:
            first = Weighted(
                source, source_molecules, n_source, 0, symmetric=symmetric, balance=balance
            )
        else:
            first = ByExamples(source, n_source, 0, balance=balance, whole_epochs=whole_epochs)
        self.draws: list[Draw] = [first]
        if target is not None and n_target:
            self.draws.append(
                Weighted(target, target_molecules, n_target, 1, symmetric=symmetric)
                if target_molecules
                else ByExamples(target, n_target, 1)
            )
        if labelled is not None:
            self.draws.append(ByExamples(labelled, min(n_source, len(labelled)), 2))
        self.labelled = labelled
        parts = [part for part in (source, target, labelled) if part is not None]
        # Largest bag of each side, which every batch is padded to.
        self.widths = tuple(
            int(max(part.sides[i].sizes.max(initial=1) for part in parts))
            for i in range(len(source.sides))
        )

    def parts(self, seed: int, step: int) -> list[Examples]:
        """The source's examples of this step and, where there are any, the target's: those without
        labels, and the few with."""
        found = []
        for draw in self.draws:
            index, weight = draw(seed, step)
            part = draw.examples.take(index)
            found.append(part.replace(weight=part.weight * weight.astype(np.float32)))
        if self.labelled is not None:
            total = found[0].weight.sum() / max(found[-1].weight.sum(), 1e-9)
            found[-1] = found[-1].replace(weight=found[-1].weight * np.float32(total))
        return found

    def every_labelled(self) -> Examples:
        """All examples whose labels are trained on, each once."""
        return self.source if self.labelled is None else concatenate([self.source, self.labelled])

    def examples(self, seed: int, step: int) -> Examples:
        """Source examples, then target examples, of this step."""
        return concatenate(self.parts(seed, step))

    @property
    def epoch_size(self) -> int:
        """Number of examples of one pass over the source."""
        first = self.draws[0]
        return first.epoch_size if isinstance(first, ByExamples) else len(self.source)

    @property
    def rows(self) -> list[int]:
        """Most examples of a step of each of ``parts``."""
        return [draw.rows for draw in self.draws]
