"""Finds the nearest codeword by one fused kernel, written in Triton, on CUDA devices.

    argmax_k s_k,     s_k = ⟨z − c, e_k − c⟩ − ½‖e_k − c‖²,     c the middle of the codewords

as in `smalti.quantizers.search`, which says why. Each program of the kernel takes R vectors and
goes over a span of the codebook in tiles of T codewords. The scores of a tile (R, T) stay in
registers, as do the two best scores so far and the index of the first (R,), so that nothing but
these is ever written to memory. Where there are too few vectors to occupy the device, the codebook
is split into several spans, and the best of the spans is taken afterwards.

Where the two best scores differ by less than the product may have rounded, or a codeword that was
left out because it lies far from all others may be nearer, a second kernel computes all distances
of that vector in float64, as Σ (z_i − e_i)², and takes the first of the smallest. It is started
for every vector, and ends at once for nearly all of them, so that the host never has to wait.

The product is computed in one of three precisions:

    "tf32x3"    three products on the tensor cores, of 10 bits of mantissa each, that together have
                about those of float32
    "float32"   float32 throughout, which no tensor core computes: exact, and several times slower
    "bfloat16"  z − c and e_k − c are rounded to bfloat16 first: of codewords that are about equally
                near, the wrong one may be chosen, and only equals are looked at again

This module needs Triton, which comes with torch for CUDA; its interpreter, with TRITON_INTERPRET=1
in the environment before Triton is imported, runs it on the CPU.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers.exact import TIE
from smalti.quantizers.tiles import FAR, SAMPLE

__all__ = ["PRECISIONS", "fused_nearest"]

PROGRAMS = 264  # enough to occupy the largest devices, which have 132 multiprocessors


class TileSizes(NamedTuple):
    """Sizes and precision of the tiles that the kernel works on.

    Attributes:
        rows: R, vectors per program.
        columns: T, codewords per tile.
        depth: Dimensions that are multiplied at a time, at most.
        warps: Groups of 32 threads per program.
        dtype: The dtype of both factors of the product.
        product: Triton's name for the precision of the product.
        ulp: The relative rounding error of the product; 0 if it need not be accounted for.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    dtype: torch.dtype
    product: str
    ulp: float


PRECISIONS = {
    "tf32x3": TileSizes(128, 64, 32, 4, torch.float32, "tf32x3", 2.0**-21),
    "float32": TileSizes(64, 64, 32, 4, torch.float32, "ieee", 2.0**-24),
    "bfloat16": TileSizes(128, 128, 64, 8, torch.bfloat16, "ieee", 0.0),
}


@torch.no_grad()
def fused_nearest(z: Tensor, codebook: Tensor, precision: str = "tf32x3") -> tuple[Tensor, Tensor]:
    """Finds the index of the nearest codeword by Euclidean distance, and its score.

    Of equally near codewords the one with the lowest index is chosen. Vectors that are not finite
    get 0, and codewords that are not finite are never the nearest, unless there are no others. The
    memory it takes beside its results is a few copies of both arguments.

    Arguments:
        z: Vectors (N, D), on a CUDA device.
        codebook: Codewords (K, D), K > 0.
        precision: "tf32x3", "float32" or "bfloat16", see above; whatever the arguments' dtype.

    Returns:
        Indices (N,), int64, in [0, K), and scores (N,), float32: ½‖z − c‖² − ½‖z − e‖²
        up to the rounding of the product.

    Raises:
        InputError: If the precision is none of these.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    return _fused_nearest(z, codebook, precision)


# To torch.compile and torch.export one opaque operation.
@torch.library.custom_op("smalti::fused_nearest", mutates_args=())
def _fused_nearest(z: Tensor, codebook: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Searches in one kernel, with the codewords rounded to `precision`."""
    tiles = PRECISIONS[precision]
    (n, dim), size = z.shape, len(codebook)
    centre, scale, radius, far = _frame(codebook)
    wide = torch.promote_types(z.dtype, centre.dtype)
    placed = ((z.to(wide) - centre) * scale).float()
    vectors = placed.to(tiles.dtype).contiguous()
    codewords = ((codebook.to(wide) - centre) * scale).float().to(tiles.dtype).contiguous()
    # Of the codewords as rounded, so that the search is exact for those.
    squares = codewords.float().square().sum(1)  # (K,)
    out = ~(squares <= radius.square() * (1 + 2.0**-6))
    offset = squares.mul(-0.5).masked_fill_(out, -torch.inf)
    codewords.masked_fill_(out[:, None], 0.0)

    blocks = triton.cdiv(n, tiles.rows)
    spans = min(max(PROGRAMS // max(blocks, 1), 1), triton.cdiv(size, tiles.columns))
    span = triton.cdiv(triton.cdiv(size, spans), tiles.columns) * tiles.columns
    spans = triton.cdiv(size, span)
    index = torch.empty(spans, n, dtype=torch.int64, device=z.device)
    score = torch.empty(spans, n, dtype=torch.float32, device=z.device)
    rival = torch.empty_like(score)
    if not n:
        return index[0], score[0]
    _search[(blocks, spans)](
        *(vectors, codewords, offset, index, score, rival, n, size, span),
        D=dim,
        DEPTH=min(max(triton.next_power_of_2(dim), 16), tiles.depth),
        R=tiles.rows,
        T=tiles.columns,
        PRODUCT=tiles.product,
        # The interpreter would multiply the bits of bfloat16 as if they were integers.
        WIDEN=triton.knobs.runtime.interpret,
        num_warps=tiles.warps,
    )
    # Of equal maxima the first, which is of the span with the lower indices.
    best, which = score.max(0)
    found = index.gather(0, which[None])[0]
    others = score.scatter(0, which[None], -torch.inf).amax(0)
    second = torch.maximum(rival.amax(0), others)
    length = torch.linalg.vector_norm(placed, dim=1)
    error = (1.01 * (dim + 8) * tiles.ulp) * (length + radius) * radius + (
        1e-30 if tiles.ulp else 0
    )
    distance = (length.square() - 2 * best).clamp(min=0).sqrt()
    sure = (best - second > 2 * error) & (length + distance < far * (1 - 1e-5))
    if wide == torch.float64:
        z, codebook = z.double() * scale, codebook.double() * scale
    _settle[(n,)](
        *(z.contiguous(), codebook.contiguous(), sure.to(torch.int8), found, size),
        D=dim,
        DEPTH=min(triton.next_power_of_2(dim), 8),
        T=512,
        TIE=1 + TIE,
    )
    return found, best / scale.float().square()


def _frame(codebook: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns centre (D,), scale, radius and far on the device; see `tiles.CodebookFrame`."""
    wide = codebook.double()
    sample = wide[:: triton.cdiv(len(wide), SAMPLE)]
    median = torch.where(sample.isfinite(), sample, torch.nan).nanmedian(0).values.nan_to_num(0.0)
    mean = wide.mean(0)
    lengths = torch.linalg.vector_norm(wide - mean, dim=1)
    centre = torch.where(lengths.amax() <= FAR * lengths.nanmedian(), mean, median)
    if codebook.dtype != torch.float64:
        centre = centre.float()
    lengths = torch.linalg.vector_norm(wide - centre, dim=1)
    typical = lengths.nanmedian()
    near = lengths.isfinite() & ((lengths <= FAR * typical) | ~(typical > 0))
    radius = torch.where(near, lengths, 0.0).amax()
    far = torch.where(near | lengths.isnan(), torch.inf, lengths).amin()
    power = torch.where(radius > 0, -radius.log2().round(), 0.0)
    scale = torch.exp2(power.clamp(-1000, 1000) if centre.dtype == torch.float64 else power)
    return centre, scale.to(centre.dtype), (radius * scale).float(), (far * scale).float()


@_fused_nearest.register_fake
def _(z: Tensor, codebook: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    index = z.new_empty(len(z), dtype=torch.int64)
    return index, z.new_empty(len(z), dtype=torch.float32)


@triton.jit
def _search(  # type: ignore[no-untyped-def]  # noqa: ANN202, PLR0913 - pointers and sizes
    z,  # noqa: ANN001
    codebook,  # noqa: ANN001
    offset,  # noqa: ANN001
    index,  # noqa: ANN001
    score,  # noqa: ANN001
    rival,  # noqa: ANN001
    n,  # noqa: ANN001
    size,  # noqa: ANN001
    span,  # noqa: ANN001
    D: tl.constexpr,
    DEPTH: tl.constexpr,
    R: tl.constexpr,
    T: tl.constexpr,
    PRODUCT: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """Finds the best of the codewords [span·j, span·(j + 1)) for vectors [R·i, R·(i + 1))."""
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    first = tl.program_id(1) * span
    last = tl.minimum(first + span, size)
    best = tl.full((R,), float("-inf"), tl.float32)
    second = tl.full((R,), float("-inf"), tl.float32)
    found = tl.full((R,), 0, tl.int64)
    for start in range(first, last, T):
        column = (start + tl.arange(0, T)).to(tl.int64)
        scores = tl.zeros((R, T), tl.float32)
        for part in range(0, D, DEPTH):
            dim = part + tl.arange(0, DEPTH)
            vectors = tl.load(
                z + row[:, None] * D + dim[None, :],
                mask=(row < n)[:, None] & (dim < D)[None, :],
                other=0.0,
            )
            codewords = tl.load(
                codebook + column[None, :] * D + dim[:, None],
                mask=(column < last)[None, :] & (dim < D)[:, None],
                other=0.0,
            )
            if WIDEN:
                vectors, codewords = vectors.to(tl.float32), codewords.to(tl.float32)
            scores = tl.dot(vectors, codewords, scores, input_precision=PRODUCT)
        # Codewords past the end are never the nearest.
        scores += tl.load(offset + column, mask=column < last, other=float("-inf"))[None, :]
        top, place = tl.max(scores, 1, return_indices=True)  # the first of equals
        others = tl.where(tl.arange(0, T)[None, :] == place[:, None], float("-inf"), scores)
        second = tl.maximum(second, tl.maximum(tl.minimum(best, top), tl.max(others, 1)))
        # Not a number is never better, so the index always is one of a codeword.
        found = tl.where(top > best, start + place, found)
        best = tl.maximum(best, top)
    tl.store(index + tl.program_id(1).to(tl.int64) * n + row, found, mask=row < n)
    tl.store(score + tl.program_id(1).to(tl.int64) * n + row, best, mask=row < n)
    tl.store(rival + tl.program_id(1).to(tl.int64) * n + row, second, mask=row < n)


@triton.jit
def _settle(  # type: ignore[no-untyped-def]  # noqa: ANN202, PLR0913 - pointers and sizes
    z,  # noqa: ANN001
    codebook,  # noqa: ANN001
    sure,  # noqa: ANN001
    index,  # noqa: ANN001
    size,  # noqa: ANN001
    D: tl.constexpr,
    DEPTH: tl.constexpr,
    T: tl.constexpr,
    TIE: tl.constexpr,
):
    """Finds the first of the nearest codewords of one vector, by distances in float64."""
    row = tl.program_id(0).to(tl.int64)
    if tl.load(sure + row) == 0:
        least = tl.full((), float("inf"), tl.float64)
        for start in range(0, size, T):
            distance = _distances(z + row * D, codebook, start, size, D, DEPTH, T)
            least = tl.minimum(least, tl.min(distance, 0))
        found = tl.full((), 0, tl.int64) + size
        for start in range(0, size, T):
            distance = _distances(z + row * D, codebook, start, size, D, DEPTH, T)
            column = (start + tl.arange(0, T)).to(tl.int64)
            equal = (distance <= least * TIE) & (column < size)
            found = tl.minimum(found, tl.min(tl.where(equal, column, size), 0))
        # Where no distance is finite, all are as far.
        tl.store(index + row, tl.where((found < size) & (least < float("inf")), found, 0))


@triton.jit
def _distances(  # type: ignore[no-untyped-def]  # noqa: ANN202
    z,  # noqa: ANN001
    codebook,  # noqa: ANN001
    start,  # noqa: ANN001
    size,  # noqa: ANN001
    D: tl.constexpr,
    DEPTH: tl.constexpr,
    T: tl.constexpr,
):
    """Returns ‖z − e‖² of one vector and T codewords, ∞ where it is not a number."""
    column = (start + tl.arange(0, T)).to(tl.int64)
    distance = tl.zeros((T,), tl.float64)
    for part in range(0, D, DEPTH):
        dim = part + tl.arange(0, DEPTH)
        vector = tl.load(z + dim, mask=dim < D, other=0.0).to(tl.float64)
        codewords = tl.load(
            codebook + column[:, None] * D + dim[None, :],
            mask=(column < size)[:, None] & (dim < D)[None, :],
            other=0.0,
        ).to(tl.float64)
        difference = vector[None, :] - codewords
        distance += tl.sum(difference * difference, 1)
    usable = (column < size) & (distance == distance)
    return tl.where(usable, distance, float("inf"))
