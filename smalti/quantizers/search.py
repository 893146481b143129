"""The search for the nearest codeword, without ever holding all distances at once.

    argmin_k ‖z − e_k‖² = argmax_k s_k,     s_k = ⟨z, e_k⟩ − ½‖e_k‖²

because ‖z‖² is the same for every k. The scores s of all N vectors against all K codewords are one
matrix product, but N×K numbers: 16 GB at N = K = 65,536. So a tile of at
most R vectors by T codewords is computed at a time, small enough to stay in the processor's cache,
and only the best score and its index are kept from tile to tile. Memory is flat in both N and K,
and as no tile goes out to main memory, the whole search takes about as long as that product alone.

The index of a maximum costs several times what the maximum itself does, since maxima of neighbours
can be taken many at a time, and without branches that depend on their values. So it is found in two
levels: the maxima over groups of 64 codewords, and only inside the best group, at the very end, the
place of its maximum.

Where the processor multiplies in bfloat16, long vectors are searched in two passes, which find the
same: `smalti.quantizers.screening`. On a CUDA device with Triton the whole is one kernel:
`smalti.quantizers.triton_search`.

Scores lose precision where ‖z‖² is much larger than the distances, so all vectors are taken
relative to the mean of the codewords. Of equally near codewords the one with the lowest index is
chosen.
"""

from collections.abc import Iterator
from importlib.util import find_spec

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers.screening import Screen, can_screen
from smalti.quantizers.tiles import GROUP, TILE, Tile, first_place, in_tiles

# A build of torch without CUDA never needs Triton, which takes its time to import.
if torch.version.cuda is not None and find_spec("triton") is not None:
    from smalti.quantizers.triton_search import fused_nearest
else:
    fused_nearest = None  # type: ignore[assignment]

__all__ = ["nearest"]

SCORES = {"cpu": 2**21}  # R·T: 8 MB of float32
SCORES_ELSEWHERE = 2**24  # 64 MB: on an accelerator a launch should have enough to do
LONG = 128  # the dimension from which oneDNN is faster, which adds the offset as it goes
PREPARED = 2**21  # numbers of the codebook that are made ready at a time: 8 MB
FUSED_FROM = (8, 0)  # the compute capability from which tensor cores multiply TF32


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
        vectors = z.reshape(-1, z.shape[-1])
        if fused_nearest is not None and _fusible(z.device):
            index = fused_nearest(vectors, codebook)[0]
        else:
            index = _blocked(vectors, codebook)
    return index.view(z.shape[:-1])


def _fusible(device: torch.device) -> bool:
    # An exported program should run where smalti, and so its operation, is not there.
    if device.type != "cuda" or torch.compiler.is_exporting():
        return False
    return torch.cuda.get_device_capability(device) >= FUSED_FROM


def _blocked(vectors: Tensor, codebook: Tensor) -> Tensor:
    """The nearest codewords of vectors (N, D), block by block: (N,)."""
    scores = SCORES.get(vectors.device.type, SCORES_ELSEWHERE)
    # To choose between the best of two tiles takes longer than a tile twice as large.
    tile = min(len(codebook), TILE if len(codebook) > 2 * TILE else 2 * TILE)  # T
    tile += -tile % GROUP
    rows = max(min(scores // tile, scores // 4 // max(codebook.shape[1], 1)), 1)  # R
    centre = codebook.mean(0, dtype=torch.float32)
    best = vectors.new_full(vectors.shape[:1], -torch.inf, dtype=torch.float32)
    index = torch.zeros_like(best, dtype=torch.int64)
    if torch.compiler.is_exporting():
        # The program takes any N, so the number of blocks must not depend on it.
        blocks = [(vectors, best, index)]
    else:
        blocks = list(zip(vectors.split(rows), best.split(rows), index.split(rows), strict=True))

    # New memory for each tile would be slower than what is computed in it.
    space = None if torch.compiler.is_compiling() else _Space(blocks[0][0], tile)
    screened = space is not None and can_screen(codebook)
    for start, part in _parts(codebook):
        search = _Search(list(in_tiles(part.float() - centre, start, tile)), space, screened)
        # In place, since results that stay between what comes and goes would scatter the memory.
        for block, score, place in blocks:
            found, where = search(_centred(block, centre, space), score)
            place.copy_(torch.where(found > score, where, place))
            score.copy_(torch.maximum(found, score))
        del search  # before the next part is made ready
    return index


class _Space:
    """Memory that the search of one block after another computes in.

    Arguments:
        block: The first and largest of them (R, D).
        tile: T, the codewords it is compared with at a time.
    """

    def __init__(self, block: Tensor, tile: int) -> None:
        rows = len(block)
        self.vectors = torch.empty_like(block, dtype=torch.float32)
        self.scores = self.vectors.new_empty(rows * tile)
        self.winners = self.vectors.new_empty(rows, GROUP)


def _centred(block: Tensor, centre: Tensor, space: _Space | None) -> Tensor:
    """z − c in float32: (R, D)."""
    out = None if space is None else space.vectors[: len(block)]
    return torch.sub(block.float(), centre, out=out)


def _parts(codebook: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The codebook in parts of at most PREPARED numbers, each with the index it starts at."""
    size = max(PREPARED // max(TILE * codebook.shape[1], 1), 1) * TILE
    for start in range(0, len(codebook), size):
        yield start, codebook[start : start + size]


class _Search:
    """Searches in a part of the codebook.

    Arguments:
        tiles: The part.
        space: Where to compute; None for new memory each time.
        screened: Whether bfloat16 should tell first where to look.
    """

    def __init__(self, tiles: list[Tile], space: _Space | None, screened: bool) -> None:
        self.tiles = tiles
        self.space = space
        self.screen = Screen(tiles) if screened else None

    def __call__(self, z: Tensor, beaten: Tensor) -> tuple[Tensor, Tensor]:
        """The best score of each row of z, and its codeword: (R, D) to (R,) and (R,).

        Where the score is not a number, or −∞, the codeword is none.

        Arguments:
            z: Vectors.
            beaten: Scores (R,) from other parts; rows that cannot exceed theirs may get −∞.
        """
        found = self.screen.search(z, beaten) if self.screen is not None else None
        if found is None:
            self.screen = None  # what screens one block badly hardly does better with others
            found = _search(z, self.tiles, self.space)
        return found


def _search(z: Tensor, tiles: list[Tile], space: _Space | None) -> tuple[Tensor, Tensor]:
    """The best score of each row of z, and its codeword: (R, D) to (R,) and (R,).

    Arguments:
        z: Vectors.
        tiles: Of the codebook.
        space: Where to compute; None for new memory each time.
    """
    rows = z.shape[0]
    best = first = winners = None
    for start, offset, codewords in tiles:
        scores = _scores(z, codewords, offset, space).view(-1, GROUP)
        groups = len(offset) // GROUP
        score, group = scores.amax(1).view(rows, groups).max(1)
        place = group + torch.arange(0, rows * groups, groups, device=z.device)
        group = start + group * GROUP
        if best is None or first is None or winners is None:
            best, first = score, group
            out = None if space is None else space.winners[:rows]
            winners = torch.index_select(scores, 0, place, out=out)  # (R, GROUP)
        elif space is None:
            better = score > best
            winners = torch.where(better[:, None], scores.index_select(0, place), winners)
            first = torch.where(better, group, first)
            best = torch.maximum(score, best)
        else:
            # The further on, the fewer rows find better: those alone are touched.
            better = (score > best).nonzero()[:, 0]
            winners[better] = scores[place[better]]
            first[better] = group[better]
            best[better] = score[better]
    assert best is not None and first is not None and winners is not None
    return best, first + first_place(winners, best)


def _scores(z: Tensor, codewords: Tensor, offset: Tensor, space: _Space | None) -> Tensor:
    """⟨z, e⟩ − ½‖e‖²: (R, T)."""
    if space is None:
        return torch.addmm(offset, z, codewords.T)
    if z.device.type == "cpu" and z.shape[1] >= LONG and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(z, codewords, offset, "none", [], "")
    out = space.scores[: len(z) * len(offset)].view(len(z), len(offset))
    return torch.addmm(offset, z, codewords.T, out=out)
