"""What two domains share, measured before anything is trained on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from molrel.chem.smiles import inchikey_of
from molrel.data.splits import relation_ids, strata
from molrel.data.types import Bag, Dataset, Examples, join


def overlap(source: Dataset, target: Dataset) -> dict:
    """Counts molecules, pairs and labels that two data sets have in common.

    Molecules are compared by standard InChIKey, hence across tautomers' and salts' ways of
    writing as far as InChI goes; "connectivity" compares its first 14 characters only,
    that is without stereochemistry, isotopes and protonation. Pairs are unordered.
    Labels contradict one another only where the sides agree too, if these are roles.
    Only molecules that occur in examples count, and only examples that a set lists: negatives
    that were drawn (``rows`` of -1) are no data.

    Returns:
      dict of counts: ``molecules_source``, ``molecules_target``, ``molecules_shared``,
      ``connectivity_shared`` (target molecules whose connectivity is in the source),
      ``pairs_source``, ``pairs_target`` (different unordered pairs), ``pairs_shared``,
      ``contradictory_labels`` (shared pairs for which some label of one set differs from
      some label of the other; None for regression), ``repeated_contradictions`` (of
      "source" and "target": pairs that carry both labels within the set; None likewise),
      and ``target_strata`` (stratum -> target examples, by whether the molecules occur in
      the source).
    """
    source, target = (each.take(each.rows >= 0) for each in (source, target))
    names = sorted(set(source.molecules) | set(target.molecules))
    key_of = {s: inchikey_of(s) for s in names}
    keys = {key: i for i, key in enumerate(sorted(set(key_of.values())))}

    def by_key(dataset: Dataset) -> Examples:
        mapping = np.array([keys[key_of[s]] for s in dataset.molecules], np.int32)
        return dataset.examples.relabel(mapping)

    a, b = by_key(source), by_key(target)
    in_source, in_target = set(a.molecules().tolist()), set(b.molecules().tolist())
    of_number = sorted(keys)
    skeletons = {of_number[i][:14] for i in in_source}
    relation_a, relation_b = relation_ids(a, b)
    labelled_a, labelled_b = relation_ids(a, b, symmetric=source.task.symmetric)
    classes = source.task.kind != "regression"
    seen = np.zeros(len(keys), bool)
    seen[list(in_source)] = True
    stratum, counts = np.unique(strata(b, seen), return_counts=True)
    return {
        "molecules_source": len(in_source),
        "molecules_target": len(in_target),
        "molecules_shared": len(in_source & in_target),
        "connectivity_shared": sum(of_number[i][:14] in skeletons for i in in_target),
        "pairs_source": len(np.unique(relation_a)),
        "pairs_target": len(np.unique(relation_b)),
        "pairs_shared": len(np.intersect1d(relation_a, relation_b)),
        "contradictory_labels": _contradictions(labelled_a, a.labels, labelled_b, b.labels)
        if classes
        else None,
        "repeated_contradictions": {
            "source": _contradictions(labelled_a, a.labels, labelled_a, a.labels),
            "target": _contradictions(labelled_b, b.labels, labelled_b, b.labels),
        }
        if classes
        else None,
        "target_strata": {str(s): int(n) for s, n in zip(stratum, counts, strict=True)},
    }


def divide_shared_pairs(
    source: Dataset, target: Dataset, *, seed: int
) -> tuple[Dataset, Dataset, tuple[int, int]]:
    """Leaves every relation that both domains could hold to one of them, by lot.

    Of the relations between molecules that occur in both domains, a random half belongs to
    the target and the other half to the source; examples of the other domain are left out.
    Nothing is left out where the domains share no relation.

    To take from the source what the target lists would pass the target's labels on to
    training: a target of positives and as many drawn negatives lists nearly all interacting
    pairs and few others, so what stayed in the source would mostly be pairs that the target
    says do not interact. Examples of the target without a label stay, as they have none to pass
    on.

    Returns:
      (source, target, numbers of examples left out of each), over one molecule list.
    """
    source, target = join(source, target)
    relations = relation_ids(source.examples, target.examples)
    if not np.isin(relations[0], relations[1]).any():
        return source, target, (0, 0)
    both = np.zeros(len(source.molecules), bool)
    both[np.intersect1d(source.examples.molecules(), target.examples.molecules())] = True
    n_relations = int(max(r.max() for r in relations)) + 1
    of_target = np.random.default_rng(seed).random(n_relations) < 0.5
    kept, left_out = [], []
    for dataset, relation, own in zip((source, target), relations, (~of_target, of_target)):
        inside = [_all_flagged(side, both) for side in dataset.examples.sides]
        keep = ~np.logical_and.reduce(inside) | own[relation]
        if dataset is target:
            keep |= np.isnan(dataset.examples.labels).all(axis=1)
        kept.append(replace(dataset.take(keep), rejected=dataset.rejected))
        left_out.append(int((~keep).sum()))
    return kept[0], kept[1], (left_out[0], left_out[1])


def _all_flagged(side: Bag, flag: np.ndarray) -> np.ndarray:
    """bool [N], whether every molecule of each bag has the flag, bool [M]."""
    without = np.concatenate([[0], np.cumsum(~flag[side.ids])])
    return without[side.offsets[1:]] == without[side.offsets[:-1]]


def _contradictions(
    relation_a: np.ndarray, labels_a: np.ndarray, relation_b: np.ndarray, labels_b: np.ndarray
) -> int:
    """Number of relations of which a label in a differs from one in b; NaN never does."""
    n_relations = int(max(relation_a.max(initial=-1), relation_b.max(initial=-1))) + 1
    if labels_a.shape[1] != labels_b.shape[1]:
        return 0
    found = np.zeros(n_relations, bool)
    for t in range(labels_a.shape[1]):
        low_a, high_a = label_extremes(relation_a, labels_a[:, t], n_relations)
        low_b, high_b = label_extremes(relation_b, labels_b[:, t], n_relations)
        found |= (low_a < high_b) | (low_b < high_a)
    return int(found.sum())


def label_extremes(
    relation: np.ndarray, labels: np.ndarray, n_relations: int
) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest label of each relation; (inf, -inf) where none is known."""
    known = ~np.isnan(labels)
    low, high = np.full(n_relations, np.inf), np.full(n_relations, -np.inf)
    np.minimum.at(low, relation[known], labels[known])
    np.maximum.at(high, relation[known], labels[known])
    return low, high
