# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""Bags, examples and joining of data sets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from molrel.data.types import Bag, Dataset, Examples, Task, join

bags = st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=8)


def make_bag(lists):
    sizes = [len(x) for x in lists]
    ids = np.array([i for x in lists for i in x], np.int32)
    return Bag(ids, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))


def contents(bag):
    return [bag.ids[a:b].tolist() for a, b in zip(bag.offsets[:-1], bag.offsets[1:], strict=True)]


def dataset(name, molecules, pairs, labels):
    pairs = np.array(pairs)
    return Dataset(name, Task(), molecules, Examples.pairs(pairs, labels), np.arange(len(pairs)))


@given(bags, st.data())
def test_take_is_list_indexing(lists, data):
    index = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=10))
    bag = make_bag(lists)
    assert contents(bag.take(np.array(index, int))) == [lists[i] for i in index]
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(lists), max_size=len(lists))))
    assert contents(bag.take(mask)) == [x for x, keep in zip(lists, mask, strict=True) if keep]


@given(bags)
def test_dense_pads_with_minus_one(lists):
    bag = make_bag(lists)
    dense = bag.dense(6)
    assert dense.shape == (len(lists), 6)
    assert [[i for i in row if i >= 0] for row in dense.tolist()] == lists
    assert bag.dense().shape[1] == max(1, max(map(len, lists)))


def test_join_gives_one_molecule_list_and_keeps_what_is_meant():
    a = dataset("a", ("C", "CC", "CCC"), [(0, 1), (1, 2)], [1, 0])
    b = dataset("b", ("CCC", "O", "C"), [(0, 1), (2, 0)], [0, 1])
    source, target = join(a, b)
    assert source.molecules == target.molecules == ("C", "CC", "CCC", "O")

    def smiles(d):
        return [[d.molecules[i] for i in side.ids] for side in d.examples.sides]

    assert smiles(source) == smiles(a)
    assert smiles(target) == smiles(b) == [["CCC", "C"], ["O", "CCC"]]
    assert source.examples.domain.tolist() == [0, 0]
    assert target.examples.domain.tolist() == [1, 1]
    assert target.examples.labels.ravel().tolist() == [0, 1]


def test_molecules_of_examples_are_those_in_use():
    examples = Examples.pairs(np.array([(5, 2), (2, 7)]), np.array([0, 1]))
    assert examples.molecules().tolist() == [2, 5, 7]
    assert examples.take(np.array([1])).molecules().tolist() == [2, 7]
