"""Which tokens of a signal are kept, and which are drawn anew, with -1 where the prior fills in.

A token is kept if nothing of its patch is drawn anew. Its patch is the part of the signal that its
position in the grid stands for. An encoder sees more than one patch, and so the part that is drawn
anew: fill it smoothly first (`smalti.generation.filling`), so that the kept tokens hold nothing of
what was there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.arguments import as_integers, as_tensor
from smalti.autoencoders import Autoencoder
from smalti.autoencoders.padding import pad
from smalti.autoencoders.tokenizer import Tokenizer
from smalti.errors import InputError
from smalti.layout import Layout

__all__ = [
    "token_layout",
    "known_tokens",
    "pack_known_tokens",
    "spatial_layout",
    "token_mask",
    "downsample_mask",
]


def known_tokens(autoencoder: Autoencoder, x: Any, given: Any) -> Tensor:
    """Encodes partly given signals to tokens, -1 where a patch holds a value not given.

    Arguments:
        autoencoder: The autoencoder.
        x: (B, C, *size) in the signal's range.
        given: (B, *size), True where the signal is given; the rest should be something smooth.

    Returns:
        (B, *grid), of a hierarchy rows (B, L).

    Raises:
        InputError: If x is no batch of the signal, `given` is not bool of its size, or the
            latents are no tokens, or no tokens with a place in the signal.
    """
    spatial_layout(autoencoder)
    x, given = as_tensor(x, "The signals"), as_tensor(given, "given")
    autoencoder.signal.check(x)
    if given.dtype != torch.bool or given.shape != (len(x), *x.shape[2:]):
        raise InputError(
            f"given must be bool of the shape {(len(x), *x.shape[2:])}, got {given.dtype} of "
            f"the shape {tuple(given.shape)}: True marks what is given."
        )
    tokens = autoencoder.encode_flat(x)
    return torch.where(token_mask(autoencoder, ~given).to(tokens.device), -1, tokens)


def token_layout(autoencoder: Autoencoder) -> Layout:
    """Returns the layout of an autoencoder's tokens; raises `InputError` if it has none."""
    if autoencoder.layout is None:
        raise InputError(
            "A part of a signal is kept as tokens, which a continuous model has none of: use a "
            "run with a tokenizer."
        )
    return autoencoder.layout


def spatial_layout(autoencoder: Autoencoder) -> Layout:
    """Returns the layout of an autoencoder's tokens on grids over the signal.

    It is the autoencoder's own layout, or that of its multi-scale quantizer.

    Raises:
        InputError: If the autoencoder has no tokens, or its tokens have no place in the signal.
    """
    layouts = [token_layout(autoencoder)]
    if isinstance(autoencoder, Tokenizer) and len(autoencoder.levels) == 1:
        scales = getattr(autoencoder.levels[0], "layout", None)
        layouts += [scales] if isinstance(scales, Layout) else []
    for layout in layouts:
        if all(len(grid) == autoencoder.signal.spatial_dims > 0 for grid in layout.grids):
            return layout
    raise InputError(
        f"No part of a signal is kept where each token sees the whole, as those of this "
        f"{type(autoencoder).__name__} do: use a run with tokens on a grid."
    )


def token_mask(autoencoder: Autoencoder, mask: Tensor) -> Tensor:
    """Returns the mask of tokens for a mask of signals: bool, (B, *grid) or rows (B, L).

    A token is masked if its patch holds a marked value. Each level of a hierarchy is masked by
    itself. Where a signal is padded by reflection for its encoder, so is the mask.

    Arguments:
        autoencoder: An autoencoder whose tokens lie on grids over the signal.
        mask: (B, *size), bool.

    Raises:
        InputError: If the tokens have no place in the signal.
    """
    layout = spatial_layout(autoencoder)
    padded = pad(mask[:, None].float(), autoencoder.downsampling)[:, 0] > 0
    finest = downsample_mask(padded, max(layout.grids, key=math.prod))
    marked = []
    for grid, shape in zip(layout.grids, layout.shapes, strict=True):
        depth = shape[len(grid) :]
        there = downsample_mask(finest, grid)
        marked.append(there.reshape(*there.shape, *[1] * len(depth)).expand(len(mask), *shape))
    return layout.pack(marked)


def downsample_mask(mask: Tensor, grid: Sequence[int]) -> Tensor:
    """Returns which positions of a grid hold a marked value: (B, *grid), bool.

    Position i of g stands for the values ⌊i n / g⌋ to ⌈(i + 1) n / g⌉ − 1 of n: where g does not
    divide n, neighbours share some.

    Arguments:
        mask: (B, *size), bool, of one or two dimensions.
        grid: The grid, no longer than the size.

    Example:
        >>> downsample_mask(torch.tensor([[True, False, False, False, False]]), (2,))
        tensor([[ True, False]])
        >>> downsample_mask(torch.tensor([[False, False, True, False, False]]), (2,))
        tensor([[True, True]])
    """
    pool = F.adaptive_max_pool1d if len(grid) == 1 else F.adaptive_max_pool2d
    return pool(mask[:, None].float(), tuple(grid))[:, 0] > 0


def pack_known_tokens(known: Any, layout: Layout | None, n: int) -> Tensor:
    """Packs the tokens that samples must keep into the one tensor that a prior takes, (n, *shape).

    Arguments:
        known: Tokens (n, *shape), or (1, *shape) for all samples, -1 where the prior fills in; or a
            tuple with the grids of all levels, coarse to fine. `shape` is that of the layout.
        layout: The layout of the model's tokens; None for a model without tokens.
        n: The number of samples.

    Raises:
        InputError: If the tokens have another shape, are not integers, or there are neither 1 nor
            n grids.
    """
    if layout is None:
        return as_tensor(known, "known")  # which the prior refuses
    if isinstance(known, tuple):
        grids = [as_integers(grid, "known") for grid in known]
        shapes = tuple(tuple(grid.shape[1:]) for grid in grids)
        if shapes != layout.shapes or len({len(grid) for grid in grids}) > 1:
            got = ", ".join(str(tuple(grid.shape)) for grid in grids) or "none"
            raise InputError(
                f"The grids of known tokens have the shapes {layout.shapes} after the batch, got "
                f"{got}: give those of all levels, coarse to fine."
            )
        known = layout.pack(grids)
    known = as_integers(known, "known")
    if tuple(known.shape[1:]) != layout.shape or len(known) not in (1, n):
        wanted = ", ".join(map(str, layout.shape))
        raise InputError(
            f"known must have the shape ({n}, {wanted}), or (1, {wanted}) for all, got "
            f"{tuple(known.shape)}: give one grid a sample, with -1 where to fill in."
        )
    return known.expand(n, *known.shape[1:])
