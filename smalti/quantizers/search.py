"""Finds the nearest codeword, without ever holding all distances at once.

    argmin_k ‖z − e_k‖² = argmax_k s_k,     s_k = ⟨z, e_k⟩ − ½‖e_k‖²

because ‖z‖² is the same for every k. The scores s of all N vectors against all K codewords are one
matrix product, but N×K numbers: 16 GB at N = K = 65,536. So a tile of at
most R vectors by T codewords is computed at a time, small enough to stay in the processor's cache,
and only the best score of each group of 64 codewords is kept. Memory is flat in both N and K,
and as no tile goes out to main memory, the whole search takes about as long as that product alone.

The index of a maximum costs several times what the maximum itself does, since maxima of neighbours
can be taken many at a time, and without branches that depend on their values. So it is found in two
levels: the maxima over groups, and only inside the best group, at the very end, the place of its
maximum. Where the codebook has several tiles, or the processor multiplies in bfloat16, the second
level is a search of its own: `smalti.quantizers.screening`. In few dimensions, where there is a
compiler, the whole is compiled code that skips what is far: `smalti.quantizers.native`. On a CUDA
device with Triton it is one kernel: `smalti.quantizers.triton_search`.

Scores lose precision where ‖z‖² or ‖e‖² is much larger than the distances, so both are taken
relative to the middle of the codewords. What is lost all the same is known: with u = 2⁻²⁴

    |ŝ − s| ≤ ε = (D + 8) u (‖z‖ max ‖e‖ + max ‖e‖²)

so that a codeword whose score is the best by more than 2ε is the nearest. Vectors for which there
is none are searched again in float64: `smalti.quantizers.exact`. Codewords that lie so far out that
they would make ε large are left out, and so are vectors to which one of them might be the nearest.
Of equally near codewords the one with the lowest index is chosen.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers.exact import exact_nearest
from smalti.quantizers.native import native_nearest
from smalti.quantizers.screening import CodebookPart, can_screen
from smalti.quantizers.search_threads import run_in_one_thread, run_in_threads
from smalti.quantizers.tiles import GROUP, TILE, fit_frame, split_in_tiles

# A build of torch without CUDA never needs Triton, which takes its time to import.
if torch.version.cuda is not None and find_spec("triton") is not None:
    from smalti.quantizers.triton_search import fused_nearest
else:
    fused_nearest = None  # type: ignore[assignment]

__all__ = ["nearest", "nearest_or_zero"]

SCORES = {"cpu": 2**20}  # R·T: 4 MB of float32
SCORES_ELSEWHERE = 2**24  # 64 MB: on an accelerator a launch should have enough to do
PREPARED = 2**20  # numbers of the codebook that are made ready at a time: 4 MB
FUSED_FROM = (8, 0)  # the compute capability from which tensor cores multiply TF32
SMALL = 2**18  # multiplications that take no longer than to wake a thread
ULP = 2.0**-24
SPARE = 1.01  # for the rounding of the bound itself
TINY = 1e-30  # beside lengths near 1: what the products lose that are smaller than float32 holds
UNSURE = 1024  # vectors that are searched in float64 at a time


@torch.no_grad()
def nearest(z: Tensor, codebook: Tensor) -> Tensor:
    """Finds the index of the nearest codeword, by Euclidean distance.

    Its distance is the smallest there is, up to the rounding of float32 (for arguments in float64
    up to 1 in 2³⁰), wherever vectors and codewords lie, whatever their dtypes and also under
    autocast. A vector with NaN or infinity in it has no nearest codeword: its index is -1. A
    codeword with NaN or infinity in it is the nearest to nothing; where all are like this, every
    index is -1.

    Arguments:
        z: Vectors (..., D).
        codebook: Codewords (K, D).

    Returns:
        Indices (...), int64, in [0, K), or -1. Of equally near codewords the lowest.

    Raises:
        InputError: If the shapes do not fit.

    Example:
        >>> nearest(torch.tensor([[0.9, 0.1], [-2.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
        tensor([1, 0])
        >>> nearest(torch.tensor([[torch.nan], [0.9]]), torch.tensor([[torch.inf], [0.0], [1.0]]))
        tensor([-1,  2])
    """
    index = nearest_or_zero(z, codebook)
    marked = partial(_mark_not_finite, index, z, codebook)
    # One thread, for several would wait for each other at each of these short operations.
    eager = z.device.type == "cpu" and not torch.compiler.is_compiling()
    return run_in_one_thread(marked) if eager and z.numel() * len(codebook) > SMALL else marked()


@torch.no_grad()
def nearest_or_zero(z: Tensor, codebook: Tensor) -> Tensor:
    """Works like `nearest`, but returns 0 in the place of -1, so that it can be used to gather."""
    if codebook.ndim != 2 or not len(codebook) or z.shape[-1:] != codebook.shape[1:]:
        raise InputError(
            f"nearest takes vectors (..., D) and a codebook (K, D) with K > 0, got the shapes "
            f"{tuple(z.shape)} and {tuple(codebook.shape)}: their last dimensions must be equal."
        )
    vectors = z.reshape(-1, z.shape[-1])
    # An autocast region would otherwise round the product to bfloat16 and flip near ties.
    with torch.autocast(z.device.type, enabled=False):
        if len(codebook) == 1 or not codebook.shape[1]:
            index = torch.zeros(len(vectors), dtype=torch.int64, device=z.device)
        elif torch.compiler.is_exporting():
            index = _exported(vectors, codebook)  # it should run where smalti is not there
        elif fused_nearest is not None and _fusible(z.device):
            index = fused_nearest(vectors, codebook)[0]
        elif torch.compiler.is_compiling():
            index = _opaque(vectors, codebook)
        else:
            index = _Search(vectors, codebook).run()
    return index.view(z.shape[:-1])


def _mark_not_finite(index: Tensor, z: Tensor, codebook: Tensor) -> Tensor:
    """Returns the indices (...), -1 where a vector z (..., D) or all codewords are not finite."""
    return torch.where(_finite(z) & _finite(codebook).any(), index, -1)


def _finite(x: Tensor) -> Tensor:
    """Returns which vectors (..., D) are finite in their own dtype: (...) bool."""
    if not x.shape[-1]:
        return x.new_ones(x.shape[:-1], dtype=torch.bool)
    low, high = x.aminmax(dim=-1)
    return low.isfinite() & high.isfinite()


def _fusible(device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    return torch.cuda.get_device_capability(device) >= FUSED_FROM


def _exported(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Finds the nearest codewords of vectors (N, D) without branches, for export: (N,)."""
    centre = codebook.double().median(0).values
    z = vectors.double() - centre
    best = z.new_full(z.shape[:1], -torch.inf)
    index = torch.zeros_like(best, dtype=torch.int64)
    for start in range(0, len(codebook), TILE):
        e = codebook[start : start + TILE].double() - centre
        score, place = torch.addmm(e.square().sum(1).mul(-0.5), z, e.T).max(1)
        index = torch.where(score > best, start + place, index)
        best = torch.maximum(score, best)
    return index


# To torch.compile one operation, that it does not look into.
@torch.library.custom_op("smalti::nearest", mutates_args=())
def _opaque(vectors: Tensor, codebook: Tensor) -> Tensor:
    return _Search(vectors, codebook).run()


@_opaque.register_fake
def _(vectors: Tensor, codebook: Tensor) -> Tensor:
    return vectors.new_empty(len(vectors), dtype=torch.int64)


class _Search:
    """A search of vectors (N, D) in a codebook (K, D).

    Arguments:
        vectors: (N, D).
        codebook: (K, D).
    """

    def __init__(self, vectors: Tensor, codebook: Tensor) -> None:
        self.vectors, self.codebook = vectors, codebook
        self.best = vectors.new_full(vectors.shape[:1], -torch.inf, dtype=torch.float32)
        self.index = torch.zeros_like(self.best, dtype=torch.int64)
        self.sure = torch.zeros_like(self.best, dtype=torch.bool)
        # What is small is done before another thread is awake.
        shared = vectors.device.type == "cpu" and len(vectors) * codebook.numel() > SMALL
        self.alone, self.spread = (
            (run_in_one_thread, run_in_threads) if shared else (_at_once, _in_turn)
        )

    def run(self) -> Tensor:
        """Returns the index of each vector's nearest codeword: (N,)."""
        found = native_nearest(self.vectors, self.codebook, self.alone, self.spread)
        return self._blocked() if found is None else found

    def _blocked(self) -> Tensor:
        """Searches all vectors in blocks on all threads, and those in doubt exactly."""
        self.alone(self._measure)
        blocks = -(-len(self.vectors) // self.rows)
        for start, codewords in _parts(self.codebook):
            part = self.alone(partial(self._prepare, start, codewords))
            self.spread(blocks, partial(self._look, part))
            del part  # before the next one is made ready
        self.alone(self._doubt)
        unsure = (~self.sure).nonzero()[:, 0].split(UNSURE)
        self.spread(len(unsure), partial(self._settle, unsure))
        return self.index

    def _measure(self) -> None:
        """Decides how the work is divided."""
        dim, device = self.codebook.shape[1], self.codebook.device.type
        self.frame, self.coarse = fit_frame(self.codebook), can_screen(self.codebook)
        # A tile twice as large takes no longer than to choose between two.
        few = len(self.codebook) <= 2 * TILE and not self.coarse
        self.tile = min(len(self.codebook), 2 * TILE if few else TILE)  # T
        self.tile += -self.tile % GROUP
        scores = SCORES.get(device, SCORES_ELSEWHERE)
        self.rows = max(min(scores // self.tile, scores // 4 // dim), 1)  # R

    def _prepare(self, start: int, codewords: Tensor) -> CodebookPart:
        limit = self.frame.radius if self.frame.far < torch.inf else torch.inf
        tiles = split_in_tiles(self.frame.place(codewords), start, self.tile, limit)
        return CodebookPart(list(tiles), self.coarse)

    def _look(self, part: CodebookPart, numbers: Iterator[int]) -> None:
        """Searches blocks of vectors in a part of the codebook."""
        radius, dim, place = self.frame.radius, self.codebook.shape[1], None
        for number in numbers:
            span = slice(number * self.rows, (number + 1) * self.rows)
            block = self.vectors[span]
            # New memory for each block would be slower than what is computed in it.
            place = torch.empty_like(block, dtype=torch.float32) if place is None else place
            z = self.frame.place(block, place[: len(block)])
            error = torch.linalg.vector_norm(z, dim=1).add_(radius)
            error.mul_(SPARE * (dim + 8) * ULP * radius).add_(TINY)
            found, where, sure = part.search(z, error, self.best[span])
            best, error = self.best[span], 2 * error
            # In place, since results that stay between what comes and goes scatter the memory.
            better, rivals = found > best + error, found >= best - error
            self.sure[span] = torch.where(better, sure, self.sure[span] & ~rivals)
            self.index[span] = torch.where(better, where, self.index[span])
            self.best[span] = torch.maximum(best, found)

    def _doubt(self) -> None:
        """Doubts of vectors to which one of the far codewords may be the nearest."""
        if self.frame.far == torch.inf:
            return
        for number in range(0, len(self.vectors), self.rows):
            span = slice(number, number + self.rows)
            length = torch.linalg.vector_norm(self.frame.place(self.vectors[span]), dim=1)
            distance = (length.square() - 2 * self.best[span]).clamp(min=0).sqrt()
            self.sure[span] &= length + distance < self.frame.far * (1 - 1e-5)

    def _settle(self, unsure: Sequence[Tensor], numbers: Iterator[int]) -> None:
        """Searches in float64 what float32 left open."""
        for number in numbers:
            rows = unsure[number]
            if len(rows):
                self.index[rows] = exact_nearest(self.vectors[rows], self.codebook)


def _parts(codebook: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yields the codebook in parts of at most PREPARED numbers, each with its first index."""
    size = max(PREPARED // max(TILE * codebook.shape[1], 1), 1) * TILE
    for start in range(0, len(codebook), size):
        yield start, codebook[start : start + size]


def _at_once(work: Callable[[], Any]) -> Any:
    return work()


def _in_turn(count: int, work: Callable[[Iterator[int]], None]) -> None:
    work(iter(range(count)))
