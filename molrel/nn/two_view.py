"""Two views of a molecule, graph and picture, and the relation of two molecules."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from molrel.dtypes import widen
from molrel.nn import graph as ops
from molrel.nn.dense import Dense
from molrel.nn.gine import FragmentPool, mean_over_atoms
from molrel.nn.gradient_reversal import reverse_gradient
from molrel.nn.graph import Molecules
from molrel.nn.relation import (
    MLP,
    GatedFusion,
    PairFeatures,
    Sides,
    cross_attention,
    side_mean,
    side_tokens,
)
from molrel.nn.vision import sample_map

Branches = Literal["both", "graph", "picture"]


@flax.struct.dataclass
class Encoded:
    """What is known of each of U molecules; rows of padding molecules hold no meaning.

    Attributes:
      z: f32 [U, D], both views fused.
      fragments: f32 [U, F, D]; fragment_mask: bool [U, F].
      graph, picture: f32 [U, 64], each view projected for the agreement loss.
      groups: f32 [Q, D], embedding of each functional-group instance, if asked for.
    """

    z: Float[Array, "u d"]
    fragments: Float[Array, "u f d"]
    fragment_mask: Bool[Array, "u f"]
    graph: Float[Array, "u k"] | None = None
    picture: Float[Array, "u k"] | None = None
    groups: Float[Array, "q d"] | None = None


class TwoViewNetwork(nn.Module):
    """Encoder of molecules by graph and picture, pair head, and two domain discriminators.

    Attributes:
      width: of atoms, fragments and molecules.
      atoms: encoder of the graph, ``Molecules`` -> [atoms, width]; None leaves the view out.
      pictures: encoder of the pictures, uint8 [U, H, W] -> (map [U, h, w, C], mean [U, C]);
        None leaves the view out.
      discriminator_width: of the two hidden layers of each discriminator.
      n_targets: label columns T.
      symmetric: whether f(a, b) = f(b, a).
      dropout: on the pair features.
      random_fragments: a control, atoms are in random fragments (``shuffle_fragments``).
      dtype: of matrix products; parameters, heads and outputs are float32.
    """

    width: int
    atoms: nn.Module | None
    pictures: nn.Module | None
    discriminator_width: int
    n_targets: int = 1
    symmetric: bool = True
    dropout: float = 0.0
    random_fragments: bool = False
    dtype: DTypeLike | None = None

    def setup(self):
        c, dtype = self, self.dtype
        if c.atoms is not None:
            self.fragments = FragmentPool(c.width, dtype=dtype)
            self.readout = Dense(c.width, dtype=dtype)
        if c.pictures is not None:
            self.picture_readout = Dense(c.width, dtype=dtype)
        if c.atoms is not None and c.pictures is not None:
            self.fusion = GatedFusion(c.width, dtype=dtype)
            self.project_graph = Dense(64)
            self.project_picture = Dense(64)
        self.group_projection = Dense(c.width)
        self.pair = PairFeatures(2 * c.width, self.symmetric, dtype=dtype)
        self.drop = nn.Dropout(c.dropout)
        self.head = MLP((c.width, self.n_targets))
        hidden = (c.discriminator_width, c.discriminator_width, 1)
        self.fragment_discriminator = MLP(hidden, norm=True)
        self.pair_discriminator = MLP(hidden, norm=True)

    def encode(self, m: Molecules, groups: bool = False) -> Encoded:
        """Encodes each unique molecule once; ``groups`` asks for functional groups as well."""
        both, parts = self.atoms is not None and self.pictures is not None, []
        fragments, graph, picture = jnp.zeros((*m.fragment_mask.shape, 1)), None, None
        if self.atoms is not None:
            h = self.atoms(m)
            fragments = self.fragments(h, ops.shuffle_fragments(m) if self.random_fragments else m)
            count = jnp.maximum(m.fragment_mask.sum(-1, keepdims=True), 1).astype(h.dtype)
            pooled = jnp.concatenate([mean_over_atoms(h, m), fragments.sum(1) / count], -1)
            z = z_graph = jax.nn.relu(self.readout(pooled))
            if groups:
                parts.append(ops.segment_mean(h[m.member_node], m.member_instance, self._slots(m)))
            graph = widen(self.project_graph(z_graph)) if both else None
        if self.pictures is not None:
            feature_map, pooled = self.pictures(m.pictures)
            z = z_picture = jax.nn.relu(self.picture_readout(pooled))
            if groups:
                at_atoms = sample_map(
                    feature_map, m.node_molecule[m.member_node], m.positions[m.member_node]
                )
                parts.append(ops.segment_mean(at_atoms, m.member_instance, self._slots(m)))
            picture = widen(self.project_picture(z_picture)) if both else None
        if both:
            z = self.fusion(z_graph, z_picture)
        return Encoded(
            z=widen(z),
            fragments=widen(fragments),
            fragment_mask=m.fragment_mask,
            graph=graph,
            picture=picture,
            groups=self.group_projection(jnp.concatenate([widen(p) for p in parts], -1))
            if groups
            else None,
        )

    def _slots(self, m: Molecules) -> int:
        return m.instance_group.shape[0]

    def relate(
        self, e: Encoded, sides: Sides, train: bool = False
    ) -> tuple[Float[Array, "p w"], Float[Array, "p t"]]:
        """(pair features z_ab, logits) of the sides."""
        a, b = sides
        if self.atoms is None:
            tokens = [(e.z[s], s >= 0) for s in (a, b)]
        else:
            tokens = [side_tokens(e.fragments, e.fragment_mask, e.z, s) for s in (a, b)]
        attended = cross_attention(*tokens[0], *tokens[1])
        z_ab = self.pair(side_mean(e.z, a), side_mean(e.z, b), *attended)
        z_ab = self.drop(z_ab, deterministic=not train)
        return widen(z_ab), widen(self.head(z_ab))

    def judge_fragments(self, fragments: Array, coefficient: Array) -> Float[Array, "u f"]:
        """Domain logits of fragments behind the reversal."""
        return self.fragment_discriminator(reverse_gradient(fragments, coefficient))[..., 0]

    def judge_pairs(self, z_ab: Array, coefficient: Array) -> Float[Array, " p"]:
        """Domain logits of pairs behind the reversal."""
        return self.pair_discriminator(reverse_gradient(z_ab, coefficient))[..., 0]

    def __call__(self, m: Molecules, sides: Sides) -> Array:
        """Touches every part, to initialise it."""
        e = self.encode(m, groups=True)
        z_ab, logits = self.relate(e, sides)
        self.judge_fragments(e.fragments, jnp.ones(()))
        self.judge_pairs(z_ab, jnp.ones(()))
        return logits
