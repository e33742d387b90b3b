"""Views of a molecule, graph, picture and Morgan counts, and the relation of two molecules."""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from molrel.dtypes import widen
from molrel.nn import graph as ops
from molrel.nn.batch_norm import BatchNorm
from molrel.nn.dense import Dense
from molrel.nn.gine import FragmentPool
from molrel.nn.gradient_reversal import reverse_gradient
from molrel.nn.graph import Molecules
from molrel.nn.readout import CountsReadout, Readout, moments_over_atoms
from molrel.nn.relation import MLP, GatedFusion, PairLayer, Sides
from molrel.nn.vision import sample_map

Branches = Literal["both", "graph", "picture"]


@flax.struct.dataclass
class Encoded:
    """What is known of each of U molecules; rows of padding molecules hold no meaning.

    Attributes:
      z: f32 [U, D], all views fused.
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
    """Encoder of molecules by their views, pair head, and two domain discriminators.

    Each view ends in a readout that is normalised across molecules. Graph and picture are joined
    by a gate; Morgan counts are added.

    Attributes:
      width: of atoms, fragments and molecules.
      atoms: encoder of the graph, ``Molecules`` -> [atoms, width]; None leaves the view out.
      pictures: encoder of the pictures, uint8 [U, H, W] -> (map [U, h, w, C], mean [U, C]);
        None leaves the view out.
      fingerprints: whether Morgan counts are a view.
      discriminator_width: of the two hidden layers of each discriminator.
      n_targets: label columns T.
      symmetric: whether f(a, b) = f(b, a).
      dropout: on the pair features.
      by_domain: whether BatchNorm keeps statistics of each domain.
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
    by_domain: bool = False
    random_fragments: bool = False
    fingerprints: bool = False
    dtype: DTypeLike | None = None

    def setup(self):
        c, dtype = self, self.dtype
        if c.atoms is not None:
            self.fragments = FragmentPool(c.width, dtype=dtype)
            self.fragment_norm = BatchNorm(by_domain=c.by_domain)
            self.readout = Readout(c.width, c.by_domain, dtype)
        if c.pictures is not None:
            self.picture_readout = Readout(c.width, c.by_domain, dtype)
        if c.fingerprints:
            self.counts_readout = CountsReadout(c.width, by_domain=c.by_domain)
        if c.atoms is not None and c.pictures is not None:
            self.fusion = GatedFusion(c.width, dtype=dtype)
            self.project_graph = Dense(64)
            self.project_picture = Dense(64)
        self.group_projection = Dense(c.width)
        self.pair = PairLayer(2 * c.width, self.symmetric, dtype=dtype)
        self.drop = nn.Dropout(c.dropout)
        self.head = MLP((c.width, self.n_targets))
        hidden = (c.discriminator_width, c.discriminator_width, 1)
        self.fragment_discriminator = MLP(hidden, norm=True)
        self.pair_discriminator = MLP(hidden, norm=True)

    def encode(
        self,
        m: Molecules,
        train: bool = False,
        axis_name: str | None = None,
        groups: bool = False,
    ) -> Encoded:
        """Encodes each unique molecule once; ``groups`` asks for functional groups as well."""
        mode = {"train": train, "axis_name": axis_name}
        both, parts = self.atoms is not None and self.pictures is not None, []
        fragments, graph, picture = jnp.zeros((*m.fragment_mask.shape, 1)), None, None
        if self.atoms is not None:
            h = self.atoms(m)
            fragments = self.fragments(h, ops.shuffle_fragments(m) if self.random_fragments else m)
            fragments = self._normalise_fragments(widen(fragments), m, mode)
            z = z_graph = self.readout(moments_over_atoms(h, m), m, **mode)
            if groups:
                parts.append(ops.segment_mean(h[m.member_node], m.member_instance, self._slots(m)))
            graph = widen(self.project_graph(z_graph)) if both else None
        if self.pictures is not None:
            feature_map, pooled = self.pictures(m.pictures)
            z = z_picture = self.picture_readout(pooled, m, **mode)
            if groups:
                at_atoms = sample_map(
                    feature_map, m.node_molecule[m.member_node], m.positions[m.member_node]
                )
                parts.append(ops.segment_mean(at_atoms, m.member_instance, self._slots(m)))
            picture = widen(self.project_picture(z_picture)) if both else None
        if both:
            z = self.fusion(z_graph, z_picture)
        if self.fingerprints:
            z = widen(z) + self.counts_readout(m, **mode)
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

    def _normalise_fragments(
        self, fragments: Float[Array, "u f d"], m: Molecules, mode: dict[str, Any]
    ) -> Float[Array, "u f d"]:
        """Fragments across molecules, each fragment counted once; 0 for padding."""
        mask = m.fragment_mask
        weight = (m.weight[:, None] * mask.astype(m.weight.dtype)).reshape(-1)
        flat = fragments.reshape(-1, fragments.shape[-1])
        domain = jnp.repeat(m.domain, mask.shape[1])
        flat = self.fragment_norm(flat, weight, domain, **mode)
        return jnp.where(mask[..., None], flat.reshape(fragments.shape), 0)

    def _slots(self, m: Molecules) -> int:
        return m.instance_group.shape[0]

    def relate(
        self, e: Encoded, sides: Sides, train: bool = False
    ) -> tuple[Float[Array, "p w"], Float[Array, "p t"]]:
        """(pair features z_ab, logits) of the sides."""
        z_ab = self.drop(self.pair(e.z, sides), deterministic=not train)
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
