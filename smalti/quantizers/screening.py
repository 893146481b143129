"""Finds nearest codewords in a part of the codebook in two passes: group first, then codeword.

A first pass takes the maximum score of each group of 64 codewords, and a second looks for the
codeword in the groups that may hold it: one, nearly always. With a single tile both look at the
same scores; else the second computes those of the chosen groups once more.

The first pass may be in bfloat16, which processors that multiply in it do at least twice as fast as
in float32. Let ẑ, ê be z and e rounded to bfloat16 and ŝ the score ⟨ẑ, ê⟩ − ½‖e‖², rounded to
bfloat16 too. By Cauchy and Schwarz

    |ŝ − s| ≤ ε = ‖z − ẑ‖ ‖e‖ + ‖ẑ‖ ‖e − ê‖ + 2⁻⁸ |ŝ|,

beside what float32 rounds, so the nearest codeword scores at least max ŝ − 2ε in the first pass,
and at least s′ − ε where another part of the codebook has one that scores s′. Most often one group
of codewords, or two, reach that, and only those are searched in float32. What comes out is what a
search in float32 alone finds. Where the bound says little, because codewords hardly differ beside
their size, nothing is gained, and the first pass is left to float32.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from smalti.processors import fast_in_bfloat16, fused_linear
from smalti.quantizers.tiles import GROUP, Tile, find_matches, tile_scores

__all__ = ["CodebookPart", "can_screen"]

SHORTEST = 8  # the dimension from which on the product takes most of the time
FEWEST = 2**17  # numbers in the codebook from which on the second pass is small beside the first
ULP = 2.0**-8  # what rounding to bfloat16 changes at most, relative to the result
SUM = 2.0**-16  # the same of sums of products in float32, relative to their lengths
SPARE = 1.01  # for the rounding of the bound itself
TINY = 1e-30  # below it, bfloat16 rounds to zero on some processors
MOST = 2**21  # numbers of the second pass at a time: 8 MB
WORTH = 3  # how much longer a group takes in the second pass than in a search in float32 alone
GATHERED = 2**18  # numbers of codewords that are gathered at a time
SEVERAL = 4  # groups per row that a first pass in float32 may leave; of more, none is looked at
SHORT = (
    16  # up to this dimension codewords are gathered for each vector, not vectors for each group
)

Found = tuple[Tensor, Tensor, Tensor]


def can_screen(codebook: Tensor) -> bool:
    """Returns whether a first pass in bfloat16 makes the search in codewords (K, D) faster."""
    if codebook.shape[1] < SHORTEST or codebook.numel() < FEWEST or codebook.device.type != "cpu":
        return False
    return fast_in_bfloat16() and fused_linear(torch.bfloat16) is not None


class CodebookPart:
    """A part of a codebook that is prepared for the search; several threads may search it at once.

    Arguments:
        tiles: The tiles that hold its codewords, minus the centre of the codebook.
        coarse: Whether the first pass is in bfloat16.
    """

    def __init__(self, tiles: list[Tile], coarse: bool) -> None:
        self.tiles, self.start = tiles, tiles[0].start
        self.offsets = torch.cat([tile.offset for tile in tiles]).view(-1, GROUP)  # (G, GROUP)
        self.screen = _Screen(tiles, self.offsets) if coarse else None

    def search(self, z: Tensor, error: Tensor, beaten: Tensor) -> Found:
        """Finds the best score of each row of z, its codeword, and whether no other is near.

        Where the score is NaN or −∞, the codeword does not count.

        Arguments:
            z: Vectors (R, D).
            error: How far their scores in float32 may be from the truth (R,).
            beaten: Scores (R,) from other parts; rows that cannot exceed theirs may get −∞.
        """
        screen = self.screen
        if screen is not None:
            near = screen.near(z, beaten).nonzero()  # (P, 2)
            most = len(z) * len(self.offsets)
            if len(near) * WORTH <= most and len(near) * (z.shape[1] + GROUP) <= MOST:
                return self._second(z, error, *near.unbind(1))
            self.screen = None  # what screens one block badly hardly does better with others
        if len(self.tiles) == 1:
            return self._both(z, error)
        maxima = _over_tiles([partial(_maxima, z, tile) for tile in self.tiles], len(z))  # (R, G)
        least = torch.maximum(maxima.amax(1), beaten) - 2 * error
        near = maxima >= least[:, None]
        pairs = near.nonzero()
        if len(pairs) > SEVERAL * len(z):
            pairs = (near & (near.sum(1, keepdim=True) <= SEVERAL)).nonzero()
        found, index, sure = self._second(z, error, *pairs.unbind(1))
        # Of rows that were not looked at the score is known all the same.
        return torch.maximum(found, maxima.amax(1)), index, sure

    def _both(self, z: Tensor, error: Tensor) -> Found:
        """Runs both passes over the scores of a single tile."""
        scores = tile_scores(z, self.tiles[0])
        maxima = scores.view(-1, GROUP).amax(1).view(len(z), -1)
        best, groups = maxima.amax(1), maxima.shape[1]
        least = best - 2 * error
        near, group = find_matches(maxima, least)
        group.clamp_(0, groups - 1)
        place = group + torch.arange(0, len(z) * groups, groups, device=z.device)
        count, within = find_matches(scores.view(-1, GROUP).index_select(0, place), least)
        return best, self.start + group * GROUP + within, (near == 1) & (count == 1)

    def _second(self, z: Tensor, error: Tensor, row: Tensor, group: Tensor) -> Found:
        """Looks at pairs (P,) of a row and a group of codewords."""
        if z.shape[1] > SHORT:
            group, order = group.sort()
            row = row[order]
        scores = self._scores(z, row, group)  # (P, GROUP)
        best = scores.new_full(z.shape[:1], -torch.inf)
        best.scatter_reduce_(0, row, scores.amax(1), "amax")
        count, within = find_matches(scores, (best - 2 * error)[row])
        within += self.start + group * GROUP
        index = within.new_zeros(z.shape[:1]).index_add_(0, row, within.masked_fill_(count == 0, 0))
        return best, index, count.new_zeros(z.shape[:1]).index_add_(0, row, count) == 1

    def _scores(self, z: Tensor, row: Tensor, group: Tensor) -> Tensor:
        """Computes the scores of pairs of a row and a group (P,): (P, GROUP)."""
        vectors = z[row]
        if z.shape[1] <= SHORT:
            turned = self._turned()  # (G, D, GROUP)
            scores = self.offsets.index_select(0, group)
            size = max(GATHERED // turned[0].numel(), 1)
            for out, rows, of in zip(
                scores.split(size), vectors.split(size), group.split(size), strict=True
            ):
                codewords = turned.index_select(0, of)
                torch.baddbmm(out[:, None], rows[:, None], codewords, out=out[:, None])
            return scores
        # Group by group, so that all rows which may find their codeword there are one product.
        scores = z.new_empty(len(row), GROUP)
        groups = (each for tile in self.tiles for each in tile.codewords.split(GROUP))
        sizes = torch.bincount(group, minlength=len(self.offsets)).tolist()
        for offset, codewords, rows, out in zip(
            self.offsets, groups, vectors.split(sizes), scores.split(sizes), strict=True
        ):
            if len(rows):
                torch.addmm(offset, rows, codewords.T, out=out)
        return scores

    def _turned(self) -> Tensor:
        """Transposes the codewords of each group: (G, D, GROUP)."""
        if self._columns is None:
            each = [tile.codewords.view(-1, GROUP, tile.codewords.shape[1]) for tile in self.tiles]
            self._columns = torch.cat(each).transpose(1, 2).contiguous()
        return self._columns

    _columns: Tensor | None = None


class _Screen:
    """The first pass in bfloat16, which rules out codewords that cannot be the nearest.

    Arguments:
        tiles: The tiles of the part.
        offsets: Offsets of all its codewords.
    """

    def __init__(self, tiles: list[Tile], offsets: Tensor) -> None:
        # Relative to this, the best score of each vector is above 0, where the first pass clips.
        finite = offsets.isfinite()
        self.level = torch.where(finite, offsets, 0.0).sum() / finite.sum().clamp(min=1)
        self.coarse = [(tile.codewords.bfloat16(), tile.offset - self.level) for tile in tiles]
        lengths, errors = [], []  # ‖e‖ and ‖e − ê‖
        for tile, (rounded, _) in zip(tiles, self.coarse, strict=True):
            lengths.append(tile.codewords.norm(dim=1).amax())
            errors.append((tile.codewords - rounded).norm(dim=1).amax())
        self.longest, self.error = torch.stack(lengths).amax(), torch.stack(errors).amax()

    def near(self, z: Tensor, beaten: Tensor) -> Tensor:
        """Returns which groups may hold the nearest codeword of each row (R, D): (R, G), bool."""
        rounded = z.bfloat16()
        each = [partial(_clipped_maxima, rounded, *tile) for tile in self.coarse]
        maxima = _over_tiles(each, len(z))  # max ŝ (R, G)
        best = maxima.amax(1, keepdim=True)
        coarse = rounded.float()
        error = (z - coarse).norm(dim=1, keepdim=True) * self.longest + ULP * best
        error += coarse.norm(dim=1, keepdim=True) * (self.error + SUM * self.longest)
        error += SUM * self.longest.square()
        error = SPARE * error + TINY
        return maxima >= torch.maximum(best - 2 * error, (beaten - self.level)[:, None] - error)


def _over_tiles(maxima: Sequence[Callable[[], Tensor]], rows: int) -> Tensor:
    """Joins the maxima (R, g) of each tile to (R, G)."""
    first = maxima[0]()
    together = first.new_empty(rows, first.shape[1] * len(maxima))
    start = 0
    for number, of in enumerate(maxima):
        found = of() if number else first
        together[:, start : start + found.shape[1]] = found
        start += found.shape[1]
    return together[:, :start]


def _maxima(z: Tensor, tile: Tile) -> Tensor:
    """Computes the best score of each group of codewords: (R, D) to (R, T / GROUP)."""
    return tile_scores(z, tile).view(-1, GROUP).amax(1).view(len(z), -1)


def _clipped_maxima(z: Tensor, codewords: Tensor, offset: Tensor) -> Tensor:
    """Returns max(ŝ, 0) over each group of codewords: (R, D) to (R, T / GROUP)."""
    linear = fused_linear(torch.bfloat16)
    assert linear is not None, "can_screen has seen to it"
    scores = linear(z, codewords, offset, "relu", [], "")
    # Numbers ≥ 0 are ordered as their bits are, and maxima of integers are found faster.
    groups = scores.view(torch.int16).view(-1, GROUP).amax(1)
    return groups.view(torch.bfloat16).view(len(z), -1).float()
