"""Beam search for the codes of residual quantizers.

    argmin over k_1 … k_Q of ‖z − (e_{k_1} + … + e_{k_Q})‖²

Greedy search takes at each stage the codeword nearest to what is left over, and cannot take back a
choice that later stages would have been better off without. Beam search keeps the B best sums after
each stage, of all that go on from the B of before. With B = 1 it is the greedy one; with B at least
the number of all sums of Q − 1 stages it looks at every sum there is.

    ‖z − Σ_q e_q‖² / 2 = ‖z‖² / 2 + Σ_q (‖e_q‖² / 2 − ⟨z, e_q⟩) + Σ_{p<q} ⟨e_p, e_q⟩

With the products of z and all codewords, one matrix product, and those of the codewords with each
other, which are the same for all z, going on with one more code is an addition for each code before
it. So B = 5 costs little more than the products. That is compiled code (`beam.cpp`); where there is
none, or where the products of the codewords would be too many to keep, what is left over of z after
each of the B sums is multiplied by the codewords, as usual.

Vectors that are a million times longer than any codeword are searched greedily: float32 cannot tell
their sums apart. So are those with NaN or infinity in them, which then have the index -1.

References:
    Approximate Nearest Neighbor Search by Residual Vector Quantization, Y. Chen, T. Guan and C.
    Wang, 2010, Sensors 10(12), doi 10.3390/s101211259.
    Competitive Quantization for Approximate Nearest Neighbor Search, E. C. Ozan, S. Kiranyaz and M.
    Gabbouj, 2016, IEEE TKDE 28(11), doi 10.1109/TKDE.2016.2597834.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.quantizers.compiled import as_int64, compiled_library, data_pointer
from smalti.quantizers.search import nearest_or_zero
from smalti.quantizers.search_threads import run_in_one_thread, run_in_threads

__all__ = ["beam_search", "greedy_search"]

LANES = 16  # codewords that compiled code takes at a time
MOST_KEPT = 2**24  # products of codewords with each other: 64 MB
BLOCK = 2**18  # products of a block of vectors and all codewords: 1 MB
SCORES = 2**22  # of a block of vectors without compiled code
NEVER = 3e38  # the score of what is no codeword
FARTHEST = 2.0**20  # in lengths of codewords, beyond which float32 does not tell sums apart


@torch.no_grad()
def beam_search(z: Tensor, books: Sequence[Tensor], beam: int) -> Tensor:
    """Finds codes whose codewords sum up to near z, by beam search over the stages.

    Arguments:
        z: Vectors (N, D), float32.
        books: The codewords of each of Q stages, (K_q, D), float32.
        beam: B > 0, the number of partial sums that are kept after each stage.

    Returns:
        Indices (N, Q), int64; -1 where a vector is not finite.

    Example:
        >>> books = [torch.tensor([[0.0], [4.0]]), torch.tensor([[0.0], [3.0]])]
        >>> z = torch.tensor([[3.0]])
        >>> beam_search(z, books, 1), beam_search(z, books, 2)
        (tensor([[1, 0]]), tensor([[0, 1]]))
    """
    if beam == 1 or len(books) == 1:
        return greedy_search(z, books)
    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        # In float64, which needs no look at the numbers to be sure of what they can tell.
        index = _without_code(z.double(), [book.double() for book in books], beam)
        return torch.where(z.isfinite().all(1)[:, None], index, -1)
    frame = _frame_of(books)
    placed, near = frame.place(z), frame.is_near(z)
    if bool(near.all()):
        return _search(placed, frame.books, beam)
    index, rows = greedy_search(z, books), near.nonzero()[:, 0]
    return index.index_copy_(0, rows, _search(placed[rows], frame.books, beam))


@torch.no_grad()
def greedy_search(z: Tensor, books: Sequence[Tensor]) -> Tensor:
    """Finds codes greedily: at each stage the codeword nearest to the residual."""
    indices, left = [], z
    for book in books:
        index = nearest_or_zero(left, book)
        left = left - F.embedding(index, book)
        indices.append(index)
    return torch.where(z.isfinite().all(1)[:, None], torch.stack(indices, 1), -1)


class _Frame(NamedTuple):
    """Where the sums lie, so that float32 tells them apart.

    Attributes:
        centre: The middle of the codewords of the first stage (D,), which is taken off them.
        scale: What brings the longest codeword to 1.
        books: The codewords so placed, (K_q, D) each; NaN where one is not finite.
    """

    centre: Tensor
    scale: Tensor
    books: list[Tensor]

    def place(self, z: Tensor) -> Tensor:
        return (z - self.centre) * self.scale

    def is_near(self, z: Tensor) -> Tensor:
        """Returns which of z (N, D) are finite and not too far out: (N,), bool."""
        return self.place(z).abs().amax(1) < FARTHEST


def _frame_of(books: Sequence[Tensor]) -> _Frame:
    first = books[0]
    finite = first.isfinite().all(1)
    share = torch.where(finite, 1.0, 0.0) / finite.sum().clamp(min=1)
    centre = (torch.where(finite[:, None], first, 0.0) * share[:, None]).sum(0)
    placed = [first - centre, *books[1:]]
    good = [torch.where(book.isfinite().all(1)[:, None], book, torch.nan) for book in placed]
    longest = max(float(book.abs().nan_to_num(0.0).amax()) for book in good)
    scale = first.new_tensor(1 / longest if 1e-37 < longest < 1e37 else 1.0)
    return _Frame(centre, scale, [book * scale for book in good])


def _search(z: Tensor, books: Sequence[Tensor], beam: int) -> Tensor:
    """Finds the codes (N, Q) of vectors that are placed (N, D)."""
    filled = sum(len(book) + -len(book) % LANES for book in books)
    library = compiled_library() if z.device.type == "cpu" and filled**2 <= MOST_KEPT else None
    if library is not None:
        return _compiled(library, z, books, beam)
    beams = min(beam, max(len(book) for book in books[:-1]) ** (len(books) - 1))
    rows = max(SCORES // (beams * max(len(book) for book in books)), 1)
    return torch.cat([_without_code(block, books, beam) for block in z.split(rows)])


def _compiled(library: ctypes.CDLL, z: Tensor, books: Sequence[Tensor], beam: int) -> Tensor:
    """Finds the codes (N, Q) of vectors (N, D) by compiled code."""
    known = run_in_one_thread(
        lambda: [F.pad(b, (0, 0, 0, -len(b) % LANES), value=torch.nan) for b in books]
    )
    starts = torch.tensor([0, *accumulate(len(book) for book in known)])
    codewords, half = run_in_one_thread(partial(_with_halves, torch.cat(known)))
    gram = run_in_one_thread(lambda: codewords @ codewords.T)
    total, depth = len(codewords), len(books)
    index = torch.empty(len(z), depth, dtype=torch.int64)
    rows = max(BLOCK // total, 1)

    def work(numbers: Iterator[int]) -> None:
        products = torch.empty(min(rows, len(z)), total)
        room = torch.empty(2 * total + (6 + 2 * depth) * beam)
        for number in numbers:
            part = slice(number * rows, (number + 1) * rows)
            block, found = z[part], index[part]
            torch.mm(block, codewords.T, out=products[: len(block)])
            library.smalti_beam(
                *(
                    data_pointer(products),
                    as_int64(len(block)),
                    as_int64(total),
                    data_pointer(half),
                ),
                *(data_pointer(gram), data_pointer(starts), as_int64(depth), as_int64(beam)),
                *(data_pointer(room), data_pointer(found)),
            )

    run_in_threads(-(-len(z) // rows), work)
    return index


def _with_halves(codewords: Tensor) -> tuple[Tensor, Tensor]:
    """Returns codewords with 0 for NaN, and half their squared lengths, `NEVER` for those."""
    half = codewords.square().sum(1) / 2
    return codewords.nan_to_num(0.0), torch.where(half.isnan(), NEVER, half)


def _without_code(z: Tensor, books: Sequence[Tensor], beam: int) -> Tensor:
    """Finds the codes (N, Q) of vectors (N, D) by what each sum leaves over of them."""
    n, dim = z.shape
    left = z[:, None]  # (N, B, D)
    codes = torch.zeros(n, 1, 0, dtype=torch.int64, device=z.device)
    for stage, book in enumerate(books):
        codewords, half = _with_halves(book)
        # ‖r − e‖² / 2, where r is no longer common to all.
        own = left.square().sum(2, keepdim=True) / 2
        scores = own + (half - left @ codewords.T)  # (N, B, K)
        kept = min(beam if stage + 1 < len(books) else 1, left.shape[1] * len(book))
        place = scores.flatten(1).topk(kept, dim=1, largest=False).indices
        parent, code = place // len(book), place % len(book)
        left = torch.gather(left, 1, parent[..., None].expand(-1, -1, dim)) - codewords[code]
        before = torch.gather(codes, 1, parent[..., None].expand(-1, -1, stage))
        codes = torch.cat([before, code[..., None]], 2)
    return codes[:, 0]
