"""Domains inside one data set: parts whose molecules look unlike each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from molrel.chem.fingerprints import morgan_counts
from molrel.chem.scaffolds import murcko_scaffold
from molrel.chem.smiles import canonicalise
from molrel.data.types import Dataset

N_CLUSTERS = 40


def scaffold_clusters(
    dataset: Dataset, domain: str, *, share: float = 0.6, seed: int = 0
) -> Dataset:
    """One of two domains that share neither a molecule nor a cluster of scaffolds.

    Molecules are clustered by the Morgan counts of their Murcko scaffolds (k-means on
    log(1 + counts), acyclic molecules by themselves). The clusters are put in order along the
    first principal component of their centres, and domain ``a`` takes them from one end until
    it has its share of the molecules, so that whole clusters are apart and far clusters are
    farthest apart. Examples that join both domains are in neither.

    Args:
      dataset: examples of single molecules.
      domain: "a" or "b".
      share: of the molecules in domain a.
      seed: of k-means.
    """
    cluster, centres = _clusters(dataset.molecules, seed)
    along = PCA(1, random_state=seed).fit_transform(centres)[:, 0]
    # The sign of a principal component is arbitrary: the end with more molecules is the start.
    sizes = np.bincount(cluster, minlength=len(centres))
    order = np.argsort(along)
    half = len(order) // 2
    if sizes[order[:half]].sum() < sizes[order[half:]].sum():
        order = order[::-1]
    before = np.cumsum(sizes[order]) - sizes[order]
    in_a = np.zeros(len(centres), bool)
    in_a[order] = before < share * len(cluster)
    inside = in_a[cluster] ^ np.bool_(domain != "a")
    ends = np.stack([inside[side.ids] for side in dataset.examples.sides])
    part = dataset.take(np.flatnonzero(ends.all(axis=0)))
    examples, present = part.examples.compact()
    molecules = tuple(dataset.molecules[m] for m in present)
    return replace(part, molecules=molecules, examples=examples)


def _clusters(molecules: tuple[str, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(cluster of each molecule, centres [K, B])."""
    frames = [murcko_scaffold(smiles) or smiles for smiles in molecules]
    counts = np.stack([morgan_counts(canonicalise(s, max_atoms=10**6)[0]) for s in frames])
    points = np.log1p(counts.astype(np.float64))
    n_clusters = min(N_CLUSTERS, len(np.unique(points, axis=0)))
    model = KMeans(n_clusters, random_state=seed, n_init=5)  # pyright: ignore[reportArgumentType]
    return model.fit_predict(points), model.cluster_centers_
