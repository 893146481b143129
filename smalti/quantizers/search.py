"""The search for the nearest codeword, without ever holding all distances at once.

    argmin_k ‖z − e_k‖² = argmax_k s_k,     s_k = ⟨z, e_k⟩ − ½‖e_k‖²

because ‖z‖² is the same for every k. The scores s of all N vectors against all K codewords are one
matrix product, but N×K numbers: 16 GB at N = K = 65,536. So a tile of at most R vectors by T
codewords is computed at a time, small enough to stay in the processor's cache, and only the best
score and its index are kept from tile to tile. Memory is flat in both N and K, and as no tile goes
out to main memory, the whole search takes no longer than that product alone.

The index of a maximum costs several times what the maximum itself does, since maxima of neighbours
can be taken many at a time. So it is found in two levels: the maxima over groups of 64 codewords,
the best group among those, and only inside that group the place of its maximum.

Scores lose precision where ‖z‖² is much larger than the distances, so all vectors are taken
relative to the mean of the codewords. Of equally near codewords the one with the lowest index is
chosen.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.errors import InputError

__all__ = ["nearest"]

GROUP = 64
TILE = 1024  # T, codewords
SCORES = {"cpu": 2**18}  # R·T: 1 MB of float32, the share of a core's cache
SCORES_ELSEWHERE = 2**24  # 64 MB: on an accelerator a launch should have enough to do


@torch.no_grad()
def nearest(z: Tensor, codebook: Tensor) -> Tensor:
    """The index of the nearest codeword, by Euclidean distance.

    It is found in float32, whatever the dtype of the input and also under autocast.

    Arguments:
        z: Vectors (..., D).
        codebook: Codewords (K, D).

    Returns:
        Indices (...), int64, in [0, K).

    Raises:
        InputError: If the shapes do not fit.

    Example:
        >>> nearest(torch.tensor([[0.9, 0.1], [-2.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
        tensor([1, 0])
    """
    if codebook.ndim != 2 or not len(codebook) or z.shape[-1:] != codebook.shape[1:]:
        raise InputError(
            f"nearest takes vectors (..., D) and a codebook (K, D) with K > 0, got the shapes "
            f"{tuple(z.shape)} and {tuple(codebook.shape)}: their last dimensions must be equal."
        )
    # An autocast region would otherwise round the product to bfloat16 and flip near ties.
    with torch.autocast(z.device.type, enabled=False):
        vectors = z.reshape(-1, z.shape[-1]).float()
        centre = codebook.float().mean(0)
        tiles = list(_tiles(codebook.float() - centre))
        rows = SCORES.get(z.device.type, SCORES_ELSEWHERE) // len(tiles[0][1])
        blocks = [_search(block - centre, tiles) for block in vectors.split(rows)]
    return torch.cat(blocks).view(z.shape[:-1])


def _tiles(codebook: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The codebook in parts: its start, −½‖e‖² (T,) and e (D, T); T is a multiple of GROUP."""
    offset = codebook.square().sum(1).mul(-0.5)  # (K,)
    missing = -len(codebook) % GROUP
    if missing:
        # Padding is never the nearest.
        codebook = F.pad(codebook, (0, 0, 0, missing))
        offset = F.pad(offset, (0, missing), value=-torch.inf)
    for start in range(0, len(codebook), TILE):
        stop = start + TILE
        yield start, offset[start:stop], codebook[start:stop].T


def _search(z: Tensor, tiles: list[tuple[int, Tensor, Tensor]]) -> Tensor:
    """The nearest codeword of each row of z: (R, D) to (R,)."""
    row = torch.arange(len(z), device=z.device)
    best = index = None
    for start, offset, codewords in tiles:
        scores = torch.addmm(offset, z, codewords)  # (R, T)
        scores = scores.view(len(z), len(offset) // GROUP, GROUP)
        score, group = scores.amax(2).max(1)
        found = scores[row, group].argmax(1) + group * GROUP + start
        if best is None or index is None:
            best, index = score, found
        else:
            index = torch.where(score > best, found, index)
            best = torch.maximum(score, best)
    assert index is not None
    return index
