"""Laws of layouts: packing and unpacking are inverses, and every token has its size and place."""

from __future__ import annotations

import pytest
import torch

from smalti.artifacts import build, describe
from smalti.errors import InputError
from smalti.layout import Layout

LAYOUTS = [
    Layout(((4, 5),), ((16,),)),
    Layout(((7,),), ((16, 8),)),
    Layout(((),), ((16, 8, 4),)),
    Layout(((2, 3), (4, 6)), ((16,), (8, 9))),
    Layout(((2,), (4,), (8,)), ((5,), (6,), (7,))),
]


@pytest.fixture(params=LAYOUTS, ids=str)
def layout(request):
    return request.param


def indices(layout, n=3):
    """Indices of each level, each below the size of its codebook."""
    return [
        torch.stack(
            [torch.randint(size, (n, *grid)) for size in sizes],
            -1,
        ).view(n, *shape)
        for grid, sizes, shape in zip(
            layout.grids, layout.codebook_sizes, layout.shapes, strict=True
        )
    ]


def test_unpacking_is_the_inverse_of_packing(layout):
    grids = indices(layout)
    tokens = layout.pack(grids)
    assert tuple(tokens.shape[1:]) == layout.shape
    assert tokens[0].numel() == layout.positions
    again = layout.unpack(tokens)
    assert all(torch.equal(a, b) for a, b in zip(grids, again, strict=True))


def test_the_size_at_a_token_is_that_of_its_codebook(layout):
    tokens = layout.pack(
        [
            torch.tensor(sizes).expand(*grid, len(sizes)).reshape(1, *shape)
            for grid, sizes, shape in zip(
                layout.grids, layout.codebook_sizes, layout.shapes, strict=True
            )
        ]
    )
    sizes = [layout.size_at(i) for i in range(layout.positions)]
    assert tokens.flatten().tolist() == sizes
    assert max(sizes) == layout.largest and set(sizes) == set(layout.sizes)
    with pytest.raises(IndexError, match="tokens 0 to"):
        layout.size_at(layout.positions)


def test_coordinates_say_where_each_token_lies(layout):
    places = layout.coordinates()
    assert len(places) == layout.positions == len(places.unique(dim=0))
    grids = indices(layout, 1)
    for token, (level, *position, depth) in zip(
        layout.pack(grids).flatten().tolist(), places.tolist(), strict=True
    ):
        grid, sizes = layout.grids[level], layout.codebook_sizes[level]
        at = (0, *position[: len(grid)], *([depth] if len(sizes) > 1 else []))
        assert grids[level][at].item() == token


def test_it_is_known_by_its_numbers_and_goes_through_json(layout):
    assert build(describe(layout)) == layout
    assert [each == layout for each in LAYOUTS].count(True) == 1


@pytest.mark.parametrize(
    ("grids", "sizes"), [((), ()), (((2, 2),), ()), (((2, 2),), ((),)), (((0, 2),), ((4,),))]
)
def test_what_is_no_layout_is_said(grids, sizes):
    with pytest.raises(InputError, match="all at least 1, got grids"):
        Layout(grids, sizes)


def test_other_tokens_are_refused():
    layout = LAYOUTS[3]
    with pytest.raises(InputError, match=r"2 grid\(s\) of tokens, got 1"):
        layout.pack(indices(layout)[:1])
    with pytest.raises(InputError, match=r"rows \(B, 54\), got the shape \(3, 53\)"):
        layout.unpack(torch.zeros(3, 53))
