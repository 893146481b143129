"""Splits a codebook into tiles, centred and scaled, for the searches on the CPU."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.processors import fused_linear

__all__ = [
    "GROUP",
    "TILE",
    "CodebookFrame",
    "Tile",
    "fit_frame",
    "split_in_tiles",
    "find_matches",
    "tile_scores",
]

GROUP = 64
TILE = 512  # T, codewords
FAR = 16  # codewords further from the centre than so many times the median are searched apart
SAMPLE = 4096  # codewords that the median centre is taken of
AT_ONCE = 2**18  # numbers that are widened at a time
SCALED = 30  # lengths outside 2^-30 .. 2^30 are scaled


class CodebookFrame(NamedTuple):
    """The centre and scale to which codewords are normalized, to keep rounding errors small.

    Attributes:
        centre: c (D,), float64 if the codebook is, else float32.
        scale: A power of two that brings e − c near 1.
        radius: max ‖e − c‖ · scale over all codewords but far outliers.
        far: min ‖e − c‖ · scale over the far outliers; ∞ if there are none.
    """

    centre: Tensor
    scale: float
    radius: float
    far: float

    def place(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Computes (x − c) · scale in float32, for vectors or codewords (N, D)."""
        if self.centre.dtype == torch.float64 or x.dtype == torch.float64:
            return (x.double() - self.centre).mul_(self.scale).float()
        placed = torch.sub(x.float(), self.centre, out=out)
        return placed if self.scale == 1 else placed.mul_(self.scale)


def fit_frame(codebook: Tensor) -> CodebookFrame:
    """Computes the centre and scale of codewords (K, D), K > 0.

    Its centre is their mean, or their median, dimension by dimension, where some lie so far out
    that they draw the mean away from the others. What is not finite counts as far.
    """
    wide = torch.float64 if codebook.dtype == torch.float64 else torch.float32
    centre = codebook.mean(0, dtype=wide)
    lengths = _lengths(codebook, centre)
    typical = lengths.nanmedian()
    if not bool(lengths.amax() <= FAR * typical):
        sample = codebook[:: -(-len(codebook) // SAMPLE)].to(wide)
        centre = torch.where(sample.isfinite(), sample, torch.nan).nanmedian(0).values
        centre = centre.nan_to_num_(0.0)
        lengths = _lengths(codebook, centre)
        typical = lengths.nanmedian()
    limit = FAR * typical if bool(typical > 0) else torch.full_like(typical, torch.inf)
    near = lengths.isfinite() & (lengths <= limit)
    radius = float(torch.where(near, lengths, 0.0).amax())
    far = torch.where(near | lengths.isnan(), torch.inf, lengths)
    scale = 1.0
    if radius > 0 and not 2.0**-SCALED < radius < 2.0**SCALED:
        scale = 2.0 ** -max(min(torch.tensor(radius).log2().round().int().item(), 126), -126)
    return CodebookFrame(centre, scale, radius * scale, float(far.amin()) * scale)


def _lengths(codebook: Tensor, centre: Tensor) -> Tensor:
    """Computes ‖e − c‖ in float64, where no square of it overflows: (K,)."""
    size = max(AT_ONCE // max(codebook.shape[1], 1), 1)
    parts = [
        torch.linalg.vector_norm(part.to(centre.dtype) - centre, dim=1, dtype=torch.float64)
        for part in codebook.split(size)
    ]
    return torch.cat(parts)


class Tile(NamedTuple):
    """A block of T codewords, of which the search compares one tile after another.

    T is a multiple of 64 (`GROUP`), so that maxima can be taken of groups; padding fills the last.

    Attributes:
        start: The index of the first codeword.
        offset: −½‖e‖² (T,), −∞ for padding.
        codewords: e (T, D).
    """

    start: int
    offset: Tensor
    codewords: Tensor


def split_in_tiles(
    codewords: Tensor, start: int, size: int = TILE, radius: float = torch.inf
) -> Iterator[Tile]:
    """Splits codewords (K, D), the first with the index `start`, into tiles of `size` ≥ 1.

    Codewords longer than the radius are treated as padding.
    """
    limit = radius * radius * (1 + 1e-5)
    for tile in codewords.split(size):
        squares = tile.square().sum(1)  # (T,)
        offset = squares.mul(-0.5)
        if radius < torch.inf:
            # Also where the length is not a number; a codeword of 0 cannot spoil what is beside it.
            out = ~(squares <= limit)
            if bool(out.any()):
                offset = offset.masked_fill(out, -torch.inf)
                tile = tile.masked_fill(out[:, None], 0.0)
        missing = -len(tile) % GROUP
        if missing:
            # Padding is never the nearest.
            tile = F.pad(tile, (0, 0, 0, missing))
            offset = F.pad(offset, (0, missing), value=-torch.inf)
        yield Tile(start, offset, tile)
        start += size


def tile_scores(z: Tensor, tile: Tile) -> Tensor:
    """Computes the scores ⟨z, e⟩ − ½‖e‖² of z (R, D) against a tile: (R, T), highest is nearest."""
    linear = fused_linear() if z.device.type == "cpu" else None
    if linear is not None:
        # oneDNN adds the offset as it goes, and is faster than most in few dimensions.
        return linear(z, tile.codewords, tile.offset, "none", [], "")
    return torch.addmm(tile.offset, z, tile.codewords.T)


def find_matches(scores: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Finds where scores (R, G) reach a row's `least` (R,): number of places, sum of places.

    If there is one such place, the sum is its column. Overwrites the scores.
    """
    ways = torch.arange(scores.shape[1], device=scores.device, dtype=scores.dtype)
    ways = torch.stack([torch.ones_like(ways), ways], 1)  # (G, 2)
    count, place = (scores.ge_(least[:, None]) @ ways).unbind(1)
    return count, place.long()
