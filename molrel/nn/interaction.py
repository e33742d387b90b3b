"""Networks whose two sides meet atom by atom: CIGIN, and the gates of CGIB and CMRL on it.

One pair, from atoms to logits:

    H_a, H_b     atoms of the two molecules (GINE), each row of length 1
    I            = H_a H_b^T, the interaction map
    H'_a, H'_b   = [H_a | I H_b], [H_b | I^T H_a]
    readouts     = Set2Set(H'_a), Set2Set(H'_b)
    logits       = MLP(pair features of the readouts)

CIGIN: Pathak et al., AAAI 2020. CGIB (Lee et al., ICML 2023) and CMRL (Lee et al., KDD 2023)
put a gate on every row of H' and read the rows that it keeps once more.

What differs from the published networks, in all three:

* atoms are encoded by the package's own GINE, with LayerNorm (CIGIN: an edge-conditioned
  network; the code of CGIB and CMRL for drug pairs: GINE without normalisation);
* the head sees pair features (order-invariant where the task is symmetric) and has one hidden
  layer; published is a linear map or an MLP of the plain concatenation of the readouts, which
  depends on the order of the pair;
* both sides share one encoder and one Set2Set (the code of CIGIN has one of each for either
  side, that of CMRL a Set2Set for either side and, for regressions, an encoder too);
* a side that is a bag of several molecules shows the molecules, pooled by the mean over
  their atoms, in place of atoms.
"""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from molrel.dtypes import widen
from molrel.nn.dense import Dense
from molrel.nn.gine import GINE, mean_over_atoms
from molrel.nn.graph import Molecules, dense_atoms
from molrel.nn.relation import MLP, PairFeatures, Sides, side_tokens

Gather = Literal["sum", "mean"]

# The released gates draw their noise from here: log(u / (1 - u)) stays within +-9.2.
SMALLEST_NOISE = 1e-4


def unit_rows(x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Rows of length 1; a row of zeros stays, with finite gradient."""
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-6)


def interaction_map(a: Float[Array, "p t d"], b: Float[Array, "p k d"]) -> Float[Array, "p t k"]:
    """I = H_a H_b^T of each pair; 0 wherever either row is 0, as padding is."""
    return jnp.einsum("ptd,pkd->ptk", a, b)


def interact(
    a: Float[Array, "p t d"],
    b: Float[Array, "p k d"],
    count_a: Float[Array, "p 1 1"] | float = 1.0,
    count_b: Float[Array, "p 1 1"] | float = 1.0,
) -> tuple[Float[Array, "p t d2"], Float[Array, "p k d2"]]:
    """([H_a | I H_b / count_b], [H_b | I^T H_a / count_a]); rows of padding are 0 and stay 0."""
    similarity = interaction_map(a, b)
    a_given_b = jnp.einsum("ptk,pkd->ptd", similarity, b) / count_b
    b_given_a = jnp.einsum("ptk,ptd->pkd", similarity, a) / count_a
    return jnp.concatenate([a, a_given_b], -1), jnp.concatenate([b, b_given_a], -1)


class Set2Set(nn.Module):
    """Readout that does not depend on the order of the tokens (Vinyals et al., ICLR 2016).

    An LSTM without input of its own asks, the tokens answer by attention:
    q_t = LSTM([q_{t-1} | r_{t-1}]), r_t = sum_i softmax_i(x_i . q_t) x_i; result [q | r].
    The usual cell has a second matrix for its hidden state. That state is q itself, which the
    first matrix already reads, so the cell here has one matrix and the same functions.

    Returns [P, 2 D]; where a row has no token, r is 0.
    """

    steps: int = 2

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "p t d"], mask: Bool[Array, "p t"]
    ) -> Float[Array, "p d2"]:
        n, _, width = tokens.shape
        cell = Dense(4 * width, name="cell")
        query = memory = answer = jnp.zeros((n, width), tokens.dtype)
        for _ in range(self.steps):
            write, keep, new, show = jnp.split(
                cell(jnp.concatenate([query, answer], axis=-1)), 4, axis=-1
            )
            memory = jax.nn.sigmoid(keep) * memory + jax.nn.sigmoid(write) * jnp.tanh(new)
            query = jax.nn.sigmoid(show) * jnp.tanh(memory)
            score = jnp.where(mask, jnp.einsum("ptd,pd->pt", tokens, query), -1e9)
            # A side without tokens has no largest score, and its weights must be 0.
            weight = jnp.where(mask, jax.nn.softmax(score, axis=-1), 0)
            answer = jnp.einsum("pt,ptd->pd", weight, tokens)
        return jnp.concatenate([query, answer], axis=-1)


@flax.struct.dataclass
class EncodedAtoms:
    """Molecules that have been encoded once; D is the width, A the most atoms of a molecule.

    Attributes:
      z: f32 [U, D], mean over the atoms before they are brought to length 1.
      atoms: f32 [U, A, D], rows of length 1, 0 for padding.
      mask: bool [U, A].
    """

    z: Float[Array, "u d"]
    atoms: Float[Array, "u a d"]
    mask: Bool[Array, "u a"]


class InteractionNetwork(nn.Module):
    """CIGIN: the network that the module's docstring sketches.

    Attributes:
      width, depth: of the atom encoder.
      n_outputs: logits of an example.
      symmetric: whether f(a, b) = f(b, a).
      dropout: on the pair features.
      gather: what an atom takes of the partner's atoms by similarity: their "sum", as
        published, or their "mean", which does not grow with the partner.
    """

    width: int
    depth: int
    n_outputs: int = 1
    symmetric: bool = True
    dropout: float = 0.0
    gather: Gather = "sum"

    def setup(self):
        self.atoms = GINE(self.width, self.depth)
        self.readout = Set2Set()
        self.pair = PairFeatures(2 * self.width, self.symmetric)
        self.drop = nn.Dropout(self.dropout)
        self.head = MLP((self.width, self.n_outputs))

    def encode(
        self, m: Molecules, train: bool = False, axis_name: str | None = None
    ) -> EncodedAtoms:
        """Encodes each unique molecule once, in training as at test."""
        h = widen(self.atoms(m))
        rows, mask = dense_atoms(unit_rows(h), m)
        return EncodedAtoms(mean_over_atoms(h, m), rows, mask)

    def tokens(
        self, e: EncodedAtoms, sides: Sides
    ) -> tuple[tuple[Float[Array, "p _ _"], Bool[Array, "p _"]], ...]:
        """(H', mask) of both sides, each having seen the other."""
        whole = unit_rows(e.z)
        (a, mask_a), (b, mask_b) = (side_tokens(e.atoms, e.mask, whole, s) for s in sides[:2])
        counts = (1.0, 1.0)
        if self.gather == "mean":
            sizes = (mask.sum(axis=1)[:, None, None] for mask in (mask_a, mask_b))
            counts = [jnp.maximum(size, 1).astype(a.dtype) for size in sizes]
        a, b = (jnp.where(m[..., None], x, 0) for x, m in ((a, mask_a), (b, mask_b)))
        a, b = interact(a, b, *counts)
        return (a, mask_a), (b, mask_b)

    def score(
        self, a: Float[Array, "p r"], b: Float[Array, "p r"], train: bool
    ) -> tuple[Float[Array, "p w"], Float[Array, "p t"]]:
        """(pair features, logits) of two readouts."""
        features = self.drop(self.pair(a, b), deterministic=not train)
        return features, self.head(features)

    def relate(
        self, e: EncodedAtoms, sides: Sides, train: bool = False
    ) -> tuple[Float[Array, "p w"], Float[Array, "p t"]]:
        """(pair features, logits) of the sides."""
        a, b = self.tokens(e, sides)
        return self.score(self.readout(*a), self.readout(*b), train)

    def __call__(self, m: Molecules, sides: Sides) -> Array:
        return self.relate(self.encode(m), sides)[1]


@flax.struct.dataclass
class Gated:
    """The tokens of one side behind the gate; R = 2 D.

    Attributes:
      tokens: [P, T, R], before the gate.
      mask: bool [P, T].
      gate: [P, T], lambda in (0, 1): how much of each token is kept.
      mean, std: [P, 1, R], of the side's tokens, without gradient; a single token has std 0.
      kept: [P, T, R], lambda h + (1 - lambda) (mean + noise std), 0 for padding.
    """

    tokens: Float[Array, "p t r"]
    mask: Bool[Array, "p t"]
    gate: Float[Array, "p t"]
    mean: Float[Array, "p 1 r"]
    std: Float[Array, "p 1 r"]
    kept: Float[Array, "p t r"]


def moments(
    tokens: Float[Array, "p t r"], mask: Bool[Array, "p t"]
) -> tuple[Float[Array, "p 1 r"], Float[Array, "p 1 r"]]:
    """Mean and (unbiased) standard deviation over the real tokens, without gradient."""
    tokens = jax.lax.stop_gradient(tokens)
    weight = mask[..., None].astype(tokens.dtype)
    count = weight.sum(axis=1, keepdims=True)
    mean = jnp.sum(tokens * weight, axis=1, keepdims=True) / jnp.maximum(count, 1)
    square = jnp.sum(jnp.square(tokens - mean) * weight, axis=1, keepdims=True)
    return mean, jnp.sqrt(square / jnp.maximum(count - 1, 1))


class GatedNetwork(InteractionNetwork):
    """``InteractionNetwork`` with a gate on the tokens, p = MLP(R -> D -> 1) per token."""

    def setup(self):
        super().setup()
        self.importance = MLP((self.width, 1), norm=True)

    def split(self, tokens: Float[Array, "p t r"], mask: Bool[Array, "p t"], train: bool) -> Gated:
        """Decides how much of each token is kept and fills the rest with noise.

        In training lambda = sigmoid(p + logistic noise), the Gumbel-sigmoid at temperature 1,
        and the noise that replaces a token is normal; both come from the stream ``dropout``.
        Otherwise lambda = sigmoid(p) and a token is replaced by the mean.
        """
        logits = self.importance(tokens)[..., 0]
        mean, std = moments(tokens, mask)
        fill = mean
        if train:
            u = jax.random.uniform(
                self.make_rng("dropout"),
                logits.shape,
                logits.dtype,
                minval=SMALLEST_NOISE,
                maxval=1 - SMALLEST_NOISE,
            )
            logits = logits + jnp.log(u) - jnp.log1p(-u)
            noise = jax.random.normal(self.make_rng("dropout"), tokens.shape, tokens.dtype)
            fill = mean + noise * std
        gate = jax.nn.sigmoid(logits)
        kept = jnp.where(mask[..., None], fill + gate[..., None] * (tokens - fill), 0)
        return Gated(tokens, mask, gate, mean, std, kept)

    def views(
        self, e: EncodedAtoms, sides: Sides, train: bool
    ) -> tuple[Float[Array, "p t"], list[tuple[Gated, Array, Array]]]:
        """Logits of the plain path, and (gated side, its readout, the other side's readout).

        A symmetric task gates each side in turn, so that nothing depends on the order of the
        pair; an ordered one gates the first side only.
        """
        a, b = self.tokens(e, sides)
        read = self.readout(*a), self.readout(*b)
        found = []
        for own, other in ((a, read[1]), (b, read[0]))[: 2 if self.symmetric else 1]:
            gated = self.split(*own, train)
            found.append((gated, self.readout(gated.kept, gated.mask), other))
        return self.score(*read, train)[1], found


@flax.struct.dataclass
class Bottleneck:
    """One gated side of CGIB.

    Attributes:
      gated: the side behind its gate.
      logits: [P, T] of the kept subgraph and the whole partner.
      partner, predicted: [P, 2 R], readout of the partner and its guess from the subgraph.
    """

    gated: Gated
    logits: Float[Array, "p t"]
    partner: Float[Array, "p r2"]
    predicted: Float[Array, "p r2"]


class BottleneckNetwork(GatedNetwork):
    """The network of CGIB: the kept subgraph must predict the label and the partner."""

    def setup(self):
        super().setup()
        self.partner = Dense(4 * self.width)

    def compress(
        self, e: EncodedAtoms, sides: Sides, train: bool = False
    ) -> tuple[Float[Array, "p t"], list[Bottleneck]]:
        """(logits of the plain path, each gated side)."""
        logits, views = self.views(e, sides, train)
        return logits, [
            Bottleneck(gated, self.score(read, other, train)[1], other, self.partner(read))
            for gated, read, other in views
        ]

    def __call__(self, m: Molecules, sides: Sides) -> Array:
        return self.compress(self.encode(m), sides)[0]


@flax.struct.dataclass
class Causal:
    """One gated side of CMRL; all logits are [P, T].

    Attributes:
      causal: of the kept substructure and the whole partner.
      shortcut: of the substructure that was left out, alone.
      intervened: as ``causal``, beside the left-out substructure of another pair.
    """

    causal: Float[Array, "p t"]
    shortcut: Float[Array, "p t"]
    intervened: Float[Array, "p t"]


class CausalNetwork(GatedNetwork):
    """The network of CMRL: kept atoms are the cause of the label, the others a shortcut."""

    def setup(self):
        super().setup()
        self.shortcut_head = Dense(self.n_outputs)
        self.intervened_head = MLP((self.width, self.n_outputs))

    def separate(
        self, e: EncodedAtoms, sides: Sides, other_pair: Int[Array, " p"], train: bool = False
    ) -> tuple[Float[Array, "p t"], list[Causal]]:
        """(logits of the plain path, each gated side).

        Args:
          e, sides, train: as in ``relate``.
          other_pair: row of the pair whose shortcut each pair is shown.
        """
        logits, views = self.views(e, sides, train)
        found = []
        for gated, read, other in views:
            features, causal = self.score(read, other, train)
            # Padding tokens are 0, so only the count needs the mask.
            left_out = jnp.einsum("pt,ptr->pr", 1 - gated.gate, gated.tokens)
            count = gated.mask.sum(axis=1, keepdims=True).astype(left_out.dtype)
            left_out = left_out / jnp.maximum(count, 1)
            shown = jnp.concatenate([features, left_out[other_pair]], axis=-1)
            found.append(Causal(causal, self.shortcut_head(left_out), self.intervened_head(shown)))
        return logits, found

    def __call__(self, m: Molecules, sides: Sides) -> Array:
        rows = jnp.arange(len(sides[0]), dtype=jnp.int32)
        return self.separate(self.encode(m), sides, rows)[0]
