"""The molecules of a run as arrays on the device: built once, indexed by every batch."""

from __future__ import annotations

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from molrel.chem.features import FeatureConfig, MoleculeFeatures
from molrel.chem.schemes import FEATURE_SCHEMES

# Almost every atom has at most four neighbours; bonds beyond that (hypervalent S and P,
# metals) go to a short list of extra bonds, so that the common case needs no scatter.
MAX_NEIGHBOURS = 4


@flax.struct.dataclass
class Ragged:
    """Rows of several arrays that belong to molecules: ``offsets[m]:offsets[m + 1]`` are m's.

    Attributes:
      offsets: int32 [M + 2]; the last molecule (index M) is the padding molecule, empty.
      values: name -> array [K, ...].
    """

    offsets: Int[Array, " m_plus_2"]
    values: dict[str, Array]


@flax.struct.dataclass
class MoleculeTable:
    """M unique molecules and one empty padding molecule (id M), ready to be gathered.

    Indices of atoms, fragments and group instances inside the values count from 0 within
    their molecule. Parts that a method does not need are None.

    Attributes:
      atoms: values ``codes`` int32 [A, C], ``values`` f32 [A, V], ``neighbours`` int32 [A, 4]
        (-1 where there is none), ``bond_codes`` int32 [A, 4, Cb], ``bond_values`` f32
        [A, 4, Vb] of the bond to each neighbour, ``fragment`` int32 [A], ``positions`` f32
        [A, 2] (row, column in the picture, 0 to 1).
      bonds: every directed bond, sorted by receiver: ``senders``, ``receivers`` int32 [E],
        ``codes`` int32 [E, Cb], ``values`` f32 [E, Vb].
      extra_bonds: the directed bonds that ``neighbours`` has no room for; like ``bonds``.
      instances: one row for each (molecule, functional group that it has): ``group`` int32.
      members: one row for each atom of each instance: ``atom``, ``instance`` int32.
      fragment_types: int32 [M + 1, F], coarse type of each fragment, -1 padding.
      fragment_adjacency: uint8 [M + 1, F, F], 1 where a bond was cut between two fragments.
      pictures: uint8 [M + 1, S, S, 3].
      fingerprints: uint8 [M + 1, B], Morgan counts.
      scaffolds: int32 [M + 1], number of the molecule's scaffold among those of the training
        molecules, -1 for any other.
      code_sizes, bond_code_sizes: number of values of each categorical column.
      max_atoms: atoms of the largest molecule.
      n_scaffolds: of the training molecules; 0 without ``scaffolds``.
    """

    atoms: Ragged
    bonds: Ragged
    extra_bonds: Ragged
    instances: Ragged
    members: Ragged
    fragment_types: Int[Array, "m f"]
    fragment_adjacency: UInt8[Array, "m f f"]
    pictures: UInt8[Array, "m s s 3"] | None
    fingerprints: UInt8[Array, "m b"] | None
    scaffolds: Int[Array, " m"] | None
    code_sizes: tuple[int, ...] = flax.struct.field(pytree_node=False)
    bond_code_sizes: tuple[int, ...] = flax.struct.field(pytree_node=False)
    max_atoms: int = flax.struct.field(pytree_node=False)
    n_scaffolds: int = flax.struct.field(pytree_node=False)

    @property
    def padding_id(self) -> int:
        """Id of the empty molecule that fills unused places."""
        return len(self.fragment_types) - 1


def expand_codes(
    codes: Int[Array, "... c"], values: Float[Array, "... v"], sizes: tuple[int, ...]
) -> Float[Array, "... d"]:
    """One-hot encodes each code column and appends the values; code -1 gives zeros."""
    columns = [jax.nn.one_hot(codes[..., i], n, dtype=values.dtype) for i, n in enumerate(sizes)]
    return jnp.concatenate([*columns, values], axis=-1)


def _ragged(parts: Sequence[dict[str, np.ndarray]]) -> Ragged:
    """Concatenates one dict of equally long arrays per molecule; adds the padding molecule."""
    lengths = [len(next(iter(part.values()))) for part in parts]
    offsets = np.concatenate([[0], np.cumsum(lengths), [sum(lengths)]]).astype(np.int32)
    values = {}
    for name in parts[0]:
        stacked = np.concatenate([part[name] for part in parts])
        values[name] = stacked.astype(np.float32 if stacked.dtype.kind == "f" else np.int32)
    # A ragged array with no row at all still needs one row to be indexed (and masked).
    if offsets[-1] == 0:
        values = {k: np.zeros((1, *v.shape[1:]), v.dtype) for k, v in values.items()}
    return Ragged(offsets, values)  # pyright: ignore[reportArgumentType]


def neighbour_slots(
    senders: np.ndarray, receivers: np.ndarray, n_atoms: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sorts directed bonds into at most four neighbour slots per atom.

    A bond is put into slots in both directions or in neither: the fast message passing
    relies on the slots being symmetric.

    Args:
      senders, receivers: int [E], both directions of each bond present.
      n_atoms: number of atoms.

    Returns:
      (int32 [n_atoms, 4] index of the directed bond that arrives in each slot, -1 empty;
      int [X] the directed bonds left over).
    """
    slots = np.full((n_atoms, MAX_NEIGHBOURS), -1, np.int32)
    filled = np.zeros(n_atoms, int)
    reverse = {(s, r): i for i, (s, r) in enumerate(zip(senders.tolist(), receivers.tolist()))}
    extra = []
    for i, (s, r) in enumerate(zip(senders.tolist(), receivers.tolist())):
        if s > r:
            continue
        back = reverse[(r, s)]
        if filled[s] < MAX_NEIGHBOURS and filled[r] < MAX_NEIGHBOURS:
            slots[r, filled[r]], slots[s, filled[s]] = i, back
            filled[r] += 1
            filled[s] += 1
        else:
            extra += [i, back]
    return slots, np.array(sorted(extra), int)


def _bond_parts(f: MoleculeFeatures) -> tuple[dict, dict, dict]:
    """(per-atom neighbour columns, all bonds, extra bonds) of one molecule."""
    bonds = {
        "senders": f.senders,
        "receivers": f.receivers,
        "codes": f.bond_codes,
        "values": f.bond_values,
    }
    slots, extra = neighbour_slots(f.senders, f.receivers, len(f.atom_codes))
    empty = slots < 0
    senders = np.append(f.senders, -1)  # index -1 of an empty slot picks this entry
    codes = np.concatenate([f.bond_codes, np.full((1, f.bond_codes.shape[1]), -1)])
    values = np.concatenate([f.bond_values, np.zeros((1, f.bond_values.shape[1]), np.float32)])
    neighbours = {
        "neighbours": np.where(empty, -1, senders[slots]),
        "bond_codes": codes[slots],
        "bond_values": values[slots],
    }
    return neighbours, bonds, {k: v[extra] for k, v in bonds.items()}


def build_table(
    features: Sequence[MoleculeFeatures],
    config: FeatureConfig,
    *,
    type_map: np.ndarray,
    groups: np.ndarray,
    pictures: bool = True,
    fingerprints: bool = False,
    scaffolds: np.ndarray | None = None,
) -> MoleculeTable:
    """Lays out the features of M molecules as one table.

    Args:
      features: one entry a molecule; their order defines the ids 0 to M - 1.
      config: what the features were computed with.
      type_map: int [72], raw coarse fragment type -> type used by the model.
      groups: int [G], indices of the functional groups to keep, in model order.
      pictures, fingerprints: whether the method needs them.
      scaffolds: int [M], see ``MoleculeTable``.
    """
    scheme = FEATURE_SCHEMES[config.scheme]
    atoms, bonds, extra, instances, members = [], [], [], [], []
    position = np.full(int(max(groups, default=0)) + 1, -1)
    position[groups] = np.arange(len(groups))
    n_fragments = max(len(f.fragment_type) for f in features)
    types = np.full((len(features) + 1, n_fragments), -1, np.int32)
    adjacency = np.zeros((len(features) + 1, n_fragments, n_fragments), np.uint8)
    for m, f in enumerate(features):
        neighbours, all_bonds, extra_bonds = _bond_parts(f)
        atoms.append(
            {
                "codes": f.atom_codes,
                "values": f.atom_values,
                "fragment": f.fragment_of_atom,
                "positions": f.positions,
                **neighbours,
            }
        )
        bonds.append(all_bonds)
        extra.append(extra_bonds)
        known = f.group_atoms[f.group_atoms[:, 0] < len(position)]
        known = known[position[known[:, 0]] >= 0]
        group, instance = np.unique(known[:, 0], return_inverse=True)
        instances.append({"group": position[group]})
        members.append({"atom": known[:, 1], "instance": instance})
        types[m, : len(f.fragment_type)] = type_map[f.fragment_type]
        for u, v in f.fragment_bonds:
            adjacency[m, u, v] = adjacency[m, v, u] = 1
    drawn = None
    if pictures:
        blank = np.full_like(features[0].picture, 255)
        drawn = np.stack([*(f.picture for f in features), blank])
    counts = None
    if fingerprints:
        counts = np.stack([*(f.fingerprint for f in features), features[0].fingerprint * 0])
    table = MoleculeTable(
        *(_ragged(part) for part in (atoms, bonds, extra, instances, members)),
        fragment_types=types,  # pyright: ignore[reportArgumentType]
        fragment_adjacency=adjacency,  # pyright: ignore[reportArgumentType]
        pictures=drawn,  # pyright: ignore[reportArgumentType]
        fingerprints=counts,  # pyright: ignore[reportArgumentType]
        scaffolds=None if scaffolds is None else np.append(scaffolds, -1).astype(np.int32),  # pyright: ignore[reportArgumentType]
        code_sizes=scheme.atom_sizes,
        bond_code_sizes=scheme.bond_sizes,
        max_atoms=max(len(f.atom_codes) for f in features),
        n_scaffolds=0 if scaffolds is None else int(scaffolds.max(initial=-1)) + 1,
    )
    return jax.tree.map(jnp.asarray, table)
