"""The search in two passes: bfloat16 finds where the nearest codeword can be, float32 which it is.

Processors that multiply in bfloat16 do so at least twice as fast as in float32. Let ẑ, ê be z and e
rounded to bfloat16 and ŝ the score ⟨ẑ, ê⟩ − ½‖e‖², rounded to bfloat16 too. By Cauchy and Schwarz

    |ŝ − s| ≤ ε = ‖z − ẑ‖ ‖e‖ + ‖ẑ‖ ‖e − ê‖ + 2⁻⁸ |ŝ|,

beside what float32 rounds, so the nearest codeword scores at least max ŝ − 2ε in the first pass,
and at least s′ − ε where another part of the codebook has one that scores s′. Most often one group
of codewords, or two, reach that, and only those are searched in float32. What comes out is what a
search in float32 alone finds.

Where the bound says little, because codewords hardly differ beside their size, nothing is gained,
and the search is left to float32.
"""

import torch
from torch import Tensor

from smalti.processors import fast_in_bfloat16
from smalti.quantizers.tiles import GROUP, Tile, first_place

__all__ = ["Screen", "can_screen"]

SHORTEST = 64  # the dimension from which on the product takes most of the time
FEWEST = 2**17  # numbers in the codebook from which on the second pass is small beside the first
ULP = 2.0**-8  # what rounding to bfloat16 changes at most, relative to the result
SUM = 2.0**-16  # the same of sums of products in float32, relative to their lengths
SPARE = 1.01  # for the rounding of the bound itself
TINY = 1e-30  # below it, bfloat16 rounds to zero on some processors
MOST = 2**22  # numbers of the second pass at a time: 16 MB
WORTH = 3  # how much longer a group takes in the second pass than in a search in float32 alone


def can_screen(codebook: Tensor) -> bool:
    """Whether a first pass in bfloat16 saves more than it costs, for codewords (K, D)."""
    if codebook.shape[1] < SHORTEST or codebook.numel() < FEWEST or codebook.device.type != "cpu":
        return False
    return torch.backends.mkldnn.is_available() and fast_in_bfloat16()


class Screen:
    """Searches in a part of a codebook.

    Arguments:
        tiles: The part, relative to the mean of the codebook.
    """

    def __init__(self, tiles: list[Tile]) -> None:
        self.start = tiles[0].start
        self.groups = [
            group
            for _, offset, codewords in tiles
            for group in zip(offset.split(GROUP), codewords.split(GROUP), strict=True)
        ]
        # Relative to this, the best score of each vector is above 0, where the first pass clips.
        offsets = torch.cat([tile.offset for tile in tiles])
        self.level = offsets[offsets.isfinite()].mean()
        self.coarse = [(tile.codewords.bfloat16(), tile.offset - self.level) for tile in tiles]
        lengths, errors = [], []  # ‖e‖ and ‖e − ê‖
        for tile, (rounded, _) in zip(tiles, self.coarse, strict=True):
            lengths.append(tile.codewords.norm(dim=1).amax())
            errors.append((tile.codewords - rounded).norm(dim=1).amax())
        self.longest, self.error = torch.stack(lengths).amax(), torch.stack(errors).amax()

    def search(self, z: Tensor, beaten: Tensor) -> tuple[Tensor, Tensor] | None:
        """The best score of each row of z, and its codeword: (R, D) to (R,) and (R,).

        Arguments:
            z: Vectors.
            beaten: Scores (R,) from other parts.

        Returns:
            −∞, and no codeword, for rows that cannot exceed `beaten`; None where float32 alone
            would be faster.
        """
        near = self._near(z, beaten)  # (R, G)
        pairs = int(near.count_nonzero())
        if pairs * WORTH > near.numel() or pairs * (z.shape[1] + GROUP) > MOST:
            return None
        # Group by group, so that all rows which may find their codeword there are one product.
        group, row = near.T.nonzero().unbind(1)  # (P,)
        vectors = z[row]
        scores = z.new_empty(pairs, GROUP)
        sizes = near.sum(0).tolist()
        for (offset, codewords), rows, out in zip(
            self.groups, vectors.split(sizes), scores.split(sizes), strict=True
        ):
            torch.addmm(offset, rows, codewords.T, out=out)

        score = scores.amax(1)
        index = self.start + group * GROUP + first_place(scores, score)
        best = score.new_full(z.shape[:1], -torch.inf).scatter_reduce_(0, row, score, "amax")
        found = score == best[row]
        first = index.new_full(z.shape[:1], torch.iinfo(index.dtype).max)
        return best, first.scatter_reduce_(0, row[found], index[found], "amin")

    def _near(self, z: Tensor, beaten: Tensor) -> Tensor:
        """Which groups may hold the nearest codeword of each row (R, D): (R, G), bool."""
        rounded = z.bfloat16()
        maxima = torch.cat([_maxima(rounded, *tile) for tile in self.coarse], 1)  # max ŝ (R, G)
        best = maxima.amax(1, keepdim=True)
        coarse = rounded.float()
        error = (z - coarse).norm(dim=1, keepdim=True) * self.longest + ULP * best
        error += coarse.norm(dim=1, keepdim=True) * (self.error + SUM * self.longest)
        error += SUM * self.longest.square()
        error = SPARE * error + TINY
        return maxima >= torch.maximum(best - 2 * error, (beaten - self.level)[:, None] - error)


def _maxima(z: Tensor, codewords: Tensor, offset: Tensor) -> Tensor:
    """max(ŝ, 0) over each group of codewords: (R, D) to (R, T / GROUP)."""
    scores = torch.ops.mkldnn._linear_pointwise(z, codewords, offset, "relu", [], "")
    # Numbers ≥ 0 are ordered as their bits are, and maxima of integers are found faster.
    groups = scores.view(torch.int16).view(-1, GROUP).amax(1)
    return groups.view(torch.bfloat16).view(len(z), -1).float()
