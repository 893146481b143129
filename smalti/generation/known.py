"""The known tokens of a signal that is to be completed, with -1 where the prior fills in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.arguments import as_integers, as_tensor
from smalti.autoencoders import Autoencoder
from smalti.errors import InputError
from smalti.layout import Layout

__all__ = ["pack_known_tokens", "keep_given", "known_tokens"]


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
            latents are no tokens.
    """
    layout = autoencoder.layout
    if layout is None:
        raise InputError(
            "A part of a signal is kept as tokens, which a continuous model has none of: use a "
            "run with a tokenizer."
        )
    if any(len(grid) != autoencoder.signal.spatial_dims for grid in layout.grids):
        raise InputError(
            f"No part of a signal is kept where each token sees the whole, as those of this "
            f"{type(autoencoder).__name__} do: use a run with tokens on a grid."
        )
    x, given = as_tensor(x, "The signals"), as_tensor(given, "given")
    autoencoder.signal.check(x)
    if given.dtype != torch.bool or given.shape != (len(x), *x.shape[2:]):
        raise InputError(
            f"given must be bool of the shape {(len(x), *x.shape[2:])}, got {given.dtype} of "
            f"the shape {tuple(given.shape)}: True marks what is given."
        )
    tokens = autoencoder.encode_flat(x)
    coarsest = autoencoder.downsampling
    padding = [side for length in reversed(x.shape[2:]) for side in (0, -length % coarsest)]
    given = F.pad(given.to(tokens.device), padding, value=True)
    return layout.pack([keep_given(grid, given) for grid in layout.unpack(tokens)])


def keep_given(indices: Tensor, given: Tensor) -> Tensor:
    """Replaces indices by -1 where their patch of the signal is not wholly given.

    Arguments:
        indices: (B, *grid), or (B, *grid, Q).
        given: (B, *size), bool, of a size that the grid divides.

    Example:
        >>> keep_given(torch.tensor([[5, 6]]), torch.tensor([[True, True, True, False]]))
        tensor([[ 5, -1]])
    """
    grid = indices.shape[1 : given.ndim]
    patches = [n for g, length in zip(grid, given.shape[1:], strict=True) for n in (g, length // g)]
    whole = given.reshape(len(given), *patches)
    for dim in reversed(range(2, whole.ndim, 2)):
        whole = whole.all(dim)
    return torch.where(whole.reshape(*whole.shape, *[1] * (indices.ndim - whole.ndim)), indices, -1)


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
