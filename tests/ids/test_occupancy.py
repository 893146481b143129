"""How items lie among IDs, and what is said of it: on sets made to be right or wrong in one way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.ids import PrefixTree, occupancy, verdicts

DRAW = np.random.default_rng(0)


def used(codes, sizes):
    return occupancy(PrefixTree(np.array(codes), sizes))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=40))
def test_the_figures_are_those_of_their_definitions(rows):
    found = used(rows, (3, 5))
    n = len(rows)
    for depth in (1, 2):
        prefixes = [row[:depth] for row in rows]
        counts = [prefixes.count(prefix) for prefix in set(prefixes)]
        at = found.depths[depth - 1]
        assert (at.prefixes, at.largest) == (len(counts), max(counts))
        assert at.alone == pytest.approx(counts.count(1) / n)
        assert at.pairs == sum(prefixes[i] == prefixes[j] for i in range(n) for j in range(i))
    for level, size in enumerate((3, 5)):
        column = [row[level] for row in rows]
        counts = np.array([column.count(code) for code in range(size)])
        of = found.levels[level]
        assert of.used == (counts > 0).sum()
        shares = counts[counts > 0] / n
        assert of.entropy == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-12)
        # Gini: mean absolute difference over twice the mean.
        differences = abs(counts[:, None] - counts[None]).mean()
        assert of.gini == pytest.approx(differences / (2 * counts.mean()), abs=1e-12)


def test_the_whole_set_says_more_than_its_batches():
    """The mean over batches, in which hardly two items meet, would call these IDs good."""
    codes = DRAW.integers(64, size=(4096, 1))
    whole = used(codes, (64,)).alone
    batches = np.mean([used(part, (64,)).alone for part in np.split(codes, 256)])
    assert whole == 0 and batches > 0.7


def even(n, sizes):
    """IDs as even as can be, each level telling apart what the last did not."""
    numbers = np.arange(n) % math.prod(sizes)
    return np.stack(np.unravel_index(numbers, sizes), 1)


def said(codes, sizes, copies=0, pairs=0):
    return verdicts(used(codes, sizes), copies, pairs)


def test_of_good_ids_nothing_is_said():
    codes = np.concatenate([even(900, (8, 8, 16)), even(60, (8, 8, 16))])
    assert said(codes, (8, 8, 16)) == []
    assert said(DRAW.integers(32, size=(2000, 3)), (32, 32, 32)) == []


@pytest.mark.parametrize(
    ("n", "begins"),
    [
        (1024, None),
        (1130, None),
        (1136, None),
        (1138, "A fifth"),
        (1220, "A third"),
        (1370, "Half"),
        (2048, "All"),
    ],
)
def test_items_that_share_an_id_are_told_of_from_a_fifth_on(n, begins):
    lines = said(even(n, (8, 8, 16)), (8, 8, 16))
    if begins is None:
        assert lines == []
    else:
        assert lines == [f"{begins} of the items share an ID: raise codebook_size or add a level."]


def test_copies_are_no_fault_of_the_codebooks():
    codes = even(1024, (8, 8, 16)).repeat(2, 0)
    assert said(codes, (8, 8, 16), 2048, 1024) == [
        "All of the items share an ID, mostly because they are exact copies of each other (2048 "
        "items): resolve collisions by index, or join them."
    ]
    assert "raise codebook_size" in said(codes, (8, 8, 16), 200, 100)[0]


def test_a_level_that_says_what_the_others_say_adds_nothing():
    codes = even(320, (8, 8))
    doubled = np.column_stack([codes, codes[:, 1]])
    (first, second) = said(doubled, (8, 8, 8))
    assert first == "All of the items share an ID: mend the levels that are named below."
    assert second.startswith(
        "Level 3 adds nothing: all of the pairs of items with the same first 2 codes have the same"
    )
    apart = np.column_stack([codes, np.arange(320) // 64])
    assert said(apart, (8, 8, 5)) == []


def test_a_level_adds_nothing_where_those_before_it_tell_all_apart():
    codes = np.column_stack([even(60, (8, 8)), DRAW.integers(4, size=60)])
    said_of_third = (
        "Level 3 adds nothing: no two items that differ share their first 2 codes as it is. Leave "
        "it out, unless reconstructions need it."
    )
    assert said(codes, (8, 8, 4)) == [said_of_third]
    # Copies are told apart by no level.
    assert said(np.concatenate([codes, codes[:3]]), (8, 8, 4), 6, 3) == [said_of_third]


def test_a_first_level_with_one_code_adds_nothing():
    codes = np.column_stack([np.zeros(640, int), even(640, (32, 32))])
    lines = said(codes, (8, 32, 32))
    assert lines[0].startswith("Level 1 adds nothing: all of the pairs of items have the same code")
    assert lines[1].startswith("Level 1 uses 1 of its 8 codes: ")


@pytest.mark.parametrize(("dead", "told"), [(0, False), (7, False), (8, True), (20, True)])
def test_codes_that_no_item_has_are_told_of_from_a_quarter_on(dead, told):
    codes = even((32 - dead) * 8 * 32, (32 - dead, 8, 32))
    lines = said(codes, (32, 8, 32))
    assert len(lines) == told
    if told:
        assert lines[0].startswith(f"Level 1 uses {32 - dead} of its 32 codes: start its codebook ")
    # Fewer items than codes cannot have all of them.
    assert not any("uses" in line for line in said(even(20, (20, 1)), (32, 1)))


@pytest.mark.parametrize(("share", "told"), [(0.5, False), (0.9, True)])
def test_a_level_with_a_few_codes_for_most_items_is_told_of(share, told):
    n = 4000
    first = np.where(np.arange(n) < share * n, 0, np.arange(n) % 32)
    codes = np.column_stack([first, even(n, (64, 64))])
    lines = said(codes, (32, 64, 64))
    assert [line[:14] for line in lines if "bits" in line] == (["Level 1 holds "] if told else [])


@pytest.mark.parametrize(("crowd", "told"), [(9, False), (10, True), (30, True)])
def test_one_id_for_many_items_is_told_of(crowd, told):
    codes = np.concatenate([even(970, (8, 8, 16)), np.zeros((crowd - 1, 3), int)])
    lines = [line for line in said(codes, (8, 8, 16)) if "One ID stands for" in line]
    assert bool(lines) == told
    if told:
        assert f"One ID stands for {crowd} items" in lines[0]
