"""Collisions resolved: an ID of its own for each item, which nothing later changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ids_space import clumped, decoder, residual_codes
from smalti.errors import InputError
from smalti.ids import CodeSpace, IdTable, PrefixTree, resolve_collisions
from smalti.ids.resolving import GivenIds

SIZES = (4, 8, 4)


def unique(codes):
    return len({tuple(row) for row in codes.tolist()})


def names(n, start=0):
    return [f"item-{i}" for i in range(start, start + n)]


def test_a_further_code_numbers_those_who_share_their_codes():
    own = np.array([[1, 2], [0, 0], [1, 2], [1, 2], [0, 1]])
    codes, sizes = resolve_collisions(own, (2, 3), "index")
    assert codes.tolist() == [[1, 2, 0], [0, 0, 0], [1, 2, 1], [1, 2, 2], [0, 1, 0]]
    assert sizes == (2, 3, 3)
    assert resolve_collisions(own[[0] * 9], (2, 3), "index").codebook_sizes == (2, 3, 9)


def test_none_leaves_the_codes_as_they_are():
    own = np.array([[1, 2], [1, 2]])
    assert resolve_collisions(own, (2, 3), "none").codes.tolist() == own.tolist()


@pytest.mark.parametrize("implicit", [False, True], ids=["sums", "of the prefix"])
@pytest.mark.parametrize(("n", "sizes"), [(60, SIZES), (128, SIZES), (30, (32,)), (50, (8, 8))])
def test_nearest_gives_each_an_id_of_its_own_below_the_longest_prefix_with_room(n, sizes, implicit):
    _, own, space = clumped(n, sizes, implicit=implicit)
    assert unique(own) < n
    codes, same = resolve_collisions(own, sizes, "nearest", space=space)
    assert same == sizes and unique(codes) == n
    shared = np.logical_and.accumulate(codes == own, axis=1).sum(1)
    tree = PrefixTree(codes, sizes)
    for row in np.flatnonzero(shared < len(sizes)):
        # Whatever longer prefix of its own codes it might have kept is full.
        kept = int(shared[row])
        assert tree.count(own[row, : kept + 1].tolist()) == math.prod(sizes[kept + 1 :])
    # One of those who shared their codes has kept them.
    moved = (codes != own).any(1)
    assert {tuple(row) for row in own.tolist()} == {tuple(row) for row in own[~moved].tolist()}


def test_who_is_nearest_keeps_the_codes_and_the_other_takes_the_nearest_that_are_free():
    decode = decoder((4, 16))
    generator = torch.Generator().manual_seed(5)
    for _ in range(20):
        own = torch.stack([torch.randint(4, (1,), generator=generator)[0], torch.tensor(7)])
        x = decode(own[None]) + torch.randn(2, 4, generator=generator) * torch.tensor(
            [[0.4], [0.1]]
        )
        space = CodeSpace(decode, x.__getitem__)
        codes, _ = resolve_collisions(np.tile(own.numpy(), (2, 1)), (4, 16), "nearest", space=space)
        near = int((x - decode(own[None])).square().sum(1).argmin())
        assert codes[near].tolist() == own.tolist()
        other = 1 - near
        options = torch.tensor([[int(own[0]), k] for k in range(16) if k != 7])
        nearest = options[(x[other] - decode(options)).square().sum(1).argmin()]
        assert codes[other].tolist() == nearest.tolist()


def test_without_vectors_the_first_keeps_the_codes_and_distances_are_from_them():
    decode = decoder((2, 16))
    own = np.array([[1, 3], [0, 0], [1, 3], [1, 3]])
    codes, _ = resolve_collisions(own, (2, 16), "nearest", space=CodeSpace(decode))
    options = torch.tensor([[1, k] for k in range(16) if k != 3])
    near = (decode(torch.tensor([[1, 3]])) - decode(options)).square().sum(1).argsort()
    assert codes.tolist() == [[1, 3], [0, 0], *options[near[:2]].tolist()]


def test_a_crowd_fills_all_ids_there_are():
    n = math.prod(SIZES)
    space = CodeSpace(decoder(SIZES), lambda rows: torch.zeros(len(rows), 4))
    codes, _ = resolve_collisions(np.zeros((n, 3), np.int64), SIZES, "nearest", space=space)
    assert unique(codes) == n
    with pytest.raises(InputError, match="129 items cannot have an ID each of 128 IDs"):
        resolve_collisions(np.zeros((n + 1, 3), np.int64), SIZES, "nearest", space=space)


@pytest.mark.parametrize("collisions", ["index", "nearest", "none"])
@pytest.mark.parametrize("parts", [(40, 60), (1, 99), (30, 30, 40)])
def test_items_that_come_later_change_no_id(collisions, parts):
    x, own, space = clumped(100, SIZES)
    start, table = parts[0], None
    table = IdTable.of(
        names(start), own[:start], SIZES, collisions, space=space.of(np.arange(start))
    )
    for n in parts[1:]:
        rows = np.arange(start, start + n)
        before = table
        table = table.extended(names(n, start), own[rows], space=space.of(rows))
        start += n
        assert table.codes[: len(before)].tolist() == before.codes.tolist()
        assert table.strings[: len(before)].to_pylist()[0].startswith("<a_")
    assert table.item_ids.to_pylist() == names(100)
    assert (table.own == own).all()
    assert unique(table.codes) == (unique(own) if collisions == "none" else 100)


def test_an_item_that_has_an_id_keeps_it_whatever_its_codes_are_now():
    table = IdTable.of(["a", "b"], [[1, 1], [1, 1]], (2, 2), "index")
    more = table.extended(["b", "c"], [[0, 0], [1, 1]])
    assert more.item_ids.to_pylist() == ["a", "b", "c"]
    assert more.codes.tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 2]]


def test_numbers_go_on_after_the_largest_that_is_given():
    """Also where an item before it is gone."""
    given = GivenIds(np.array([[1, 1]]), np.array([[1, 1, 5]]))
    codes, sizes = resolve_collisions(np.array([[1, 1], [0, 0]]), (2, 2), "index", given=given)
    assert codes.tolist() == [[1, 1, 6], [0, 0, 0]] and sizes == (2, 2, 7)


def test_nearest_codes_lie_nearer_than_any_others_would():
    """The added error is less than that of codes drawn at random below the same prefix."""
    x, own, space = clumped(60, (4, 128))
    codes, _ = resolve_collisions(own, (4, 128), "nearest", space=space)
    moved = (codes != own).any(1)
    error = space.distances(np.flatnonzero(moved), codes[moved]).mean()
    drawn = own[moved].copy()
    drawn[:, 1] = np.random.default_rng(0).integers(128, size=len(drawn))
    assert error < 0.5 * space.distances(np.flatnonzero(moved), drawn).mean()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"collisions": "first"}, "one of index, nearest, none, got 'first'"),
        ({"collisions": "nearest"}, "among the vectors of codes, got none"),
    ],
)
def test_what_cannot_be_resolved_is_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        resolve_collisions(np.array([[0, 0]]), (2, 2), **arguments)


def test_codebooks_that_cannot_be_searched_are_refused():
    space = CodeSpace(decoder((2,)))
    with pytest.raises(InputError, match="at most 2²⁰ codes, got 2097152"):
        resolve_collisions(np.array([[0], [0]]), (2**21,), "nearest", space=space)


def test_residual_codes_of_tests_are_those_of_a_search():
    x, own, space = clumped(5, (3, 3))
    assert residual_codes(x, (3, 3), space.decode).tolist() == own.tolist()
