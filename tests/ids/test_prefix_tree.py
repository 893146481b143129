"""The tree of prefixes says what a search through all IDs says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.errors import InputError
from smalti.ids import PrefixTree

SIZES = (3, 4, 2)


@st.composite
def ids(draw):
    row = st.tuples(*(st.integers(0, size - 1) for size in SIZES))
    return np.array(draw(st.lists(row, min_size=1, max_size=40)))


@settings(max_examples=60, deadline=None)
@given(ids(), st.integers(0, len(SIZES)))
def test_it_says_what_a_search_says(codes, depth):
    tree = PrefixTree(codes, SIZES)
    for prefix in {tuple(row[:depth]) for row in codes.tolist()}:
        below = [row for row, id_ in enumerate(codes.tolist()) if tuple(id_[:depth]) == prefix]
        rows = tree.rows(prefix).tolist()
        assert sorted(rows) == below
        assert rows == sorted(below, key=lambda row: (codes[row].tolist(), row))
        assert tree.count(prefix) == len(below)
        follows = {codes[row][depth] for row in below} if depth < len(SIZES) else set()
        assert tree.allowed(prefix).tolist() == sorted(follows)


@settings(max_examples=60, deadline=None)
@given(ids(), ids())
def test_a_prefix_is_found_where_some_item_has_it(codes, asked):
    tree = PrefixTree(codes, SIZES)
    for depth in range(1, 4):
        known = {tuple(row) for row in codes[:, :depth].tolist()}
        found = tree.find(asked[:, :depth])
        assert [tuple(row) in known for row in asked[:, :depth].tolist()] == (found >= 0).tolist()
        at = found >= 0
        assert (tree.codes_of(found[at], depth) == asked[at, depth - 1]).all()


def test_an_empty_tree_has_no_prefix():
    tree = PrefixTree(np.zeros((0, 2), np.int64), (4, 4))
    assert len(tree) == 0 and tree.count([1]) == 0 and tree.rows([]).tolist() == []
    assert tree.find(np.array([[1, 2]])).tolist() == [-1]


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ([2], "No item has the prefix 2: try 1 or 3."),
        ([3, 0], "No item has the prefix 3,0: try 3,1 or 3,9."),
        ([4], "Code 1 of an ID lies between 0 and 3, got 4 in 4: correct it."),
        ([3, -1], "Code 2 of an ID lies between 0 and 9, got -1 in 3,-1: correct it."),
        ([3, 9, 1], "An ID has 2 codes, got 3: 3,9,1; give the first of them."),
    ],
)
def test_a_prefix_that_none_has_is_said_with_those_that_are_near(prefix, said):
    tree = PrefixTree([[3, 9], [3, 1], [1, 5]], (4, 10))
    with pytest.raises(InputError) as error:
        tree.rows(prefix)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("codes", "sizes", "said"),
    [
        ([[0, 5]], (4, 4), "level 2 lie between 0 and 3, got 5 to 5"),
        ([[0, -1]], (4, 4), "level 2 lie between 0 and 3, got -1 to -1"),
        ([[0, 1]], (4,), r"a table \(N, 1\) here, a column per level, got the shape \(1, 2\)"),
        ([[0, 1], [2]], (4, 4), "rows of several lengths"),
        ([[0.5, 1.0]], (4, 4), "Codes are integers, got float64"),
        ([[0]], (2**31 + 1,), "at least one level, each of 1 to 2³¹ codes"),
        ([[0]], (), "at least one level"),
    ],
)
def test_what_is_no_table_of_codes_is_refused(codes, sizes, said):
    with pytest.raises(InputError, match=said):
        PrefixTree(codes, sizes)
