"""Optimised product quantization (OPQ): fits a rotation and the parts' codewords together.

    minimise Σ_i ‖R x_i − y_i‖²        R Rᵀ = I,  y_i = (c_1k₁(i), …, c_Pk_P(i))

It starts from the principal axes, which are dealt to the parts so that each has about the same
product of variances: for a Gaussian that is the best there is. Then, pass by pass over all rows,

    codes         k_p(i) = argmin_k ‖R_p x_i − c_pk‖²
    codewords     c_pk = R_p m_pk                          m_pk the mean of the rows of codeword k
    rotation      R = V Uᵀ                                 U S Vᵀ = Σ_i (x_i − m) (y_i − R m)ᵀ

where R_p are the rows of R that make part p. The codewords turn with the rotation. A pass keeps the
sums of the rows of each codeword alone, (K, D) for each part. No step raises the error.

References:
    Optimized Product Quantization for Approximate Nearest Neighbor Search, T. Ge, K. He, Q. Ke and
    J. Sun, 2013, CVPR, doi 10.1109/CVPR.2013.379.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import methodcaller
from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from smalti.errors import InputError
from smalti.quantizers.collectives import broadcast, process_count, process_index
from smalti.quantizers.fitting.fitting import Fitting, Progress, StageFit
from smalti.quantizers.fitting.lloyd import (
    BLOCK,
    SAMPLE,
    check_finite,
    chunked_kmeans,
    draw_by_squared_distance,
)
from smalti.quantizers.fitting.parts import (
    check_iterations,
    check_sizes,
    codewords_of,
    draw_rows,
)
from smalti.quantizers.fitting.product_kmeans import DimensionRange, dimension_spans, product_parts
from smalti.quantizers.fitting.rows import Rows, TensorRows
from smalti.quantizers.product import ProductQuantizer
from smalti.quantizers.quantizer import Quantizer
from smalti.quantizers.rotated import RotatedQuantizer
from smalti.quantizers.search import nearest_or_zero
from smalti.quantizers.vector import VectorQuantizer

__all__ = ["OptimizedProduct"]

WARMING = 20  # passes over a sample
LEAST = 1e-10  # variance of an axis, relative to the largest


class OptimizedProduct(Fitting):
    """Fits rotation and codewords of a product quantizer to the whole set (OPQ).

    It fits a `RotatedQuantizer` of a `ProductQuantizer` of `VectorQuantizer`s, of equal or unequal
    dims and codebook sizes. Each pass is a stage that can be gone on from.

    Arguments:
        iterations: Passes over all rows, after those over a sample.

    Example:
        >>> from smalti.quantizers import EMACodebook
        >>> parts = [VectorQuantizer(EMACodebook(codebook_size=8, dim=1)) for _ in range(2)]
        >>> quantizer = RotatedQuantizer(ProductQuantizer(parts))
        >>> t = torch.arange(8.0)[:, None]
        >>> x = torch.cat([t, t], 1)  # one number, written twice
        >>> OptimizedProduct().fit(quantizer, TensorRows(x), seed=0)
        >>> torch.allclose(quantizer.decode(quantizer.encode(x)), x, atol=1e-5)
        True
    """

    stage_name = "pass"

    def __init__(self, iterations: int = 50) -> None:
        check_iterations(iterations)
        self.iterations = iterations

    def check(self, quantizer: Quantizer, rows: int | None = None) -> None:
        """See `Fitting.check`."""
        check_sizes(_parts_of(quantizer)[1], rows)

    def stages(self, quantizer: Quantizer) -> int:
        """See `Fitting.stages`: the start, and each pass."""
        return 1 + self.iterations

    def _begin(self, quantizer: Quantizer, rows: Rows) -> StageFit:
        """See `Fitting._begin`."""
        rotated, parts = _parts_of(quantizer)

        def make_pass(number: int, generator: torch.Generator, progress: Progress) -> None:
            if number == 0:
                product, words = _start(rows, parts, generator), "started"
            else:
                product = _Product(rotated.rotation, codewords_of(parts))
                product, error = _improved(rows, product, generator)
                words = f"squared error {error:.6g}"
            rotated.rotation.copy_(product.rotation)
            for part, book in zip(parts, product.books, strict=True):
                part.codebook.initialize(book)
            progress(1.0, words)

        return make_pass


class _Product(NamedTuple):
    """A rotation R (D, D), and the codewords of each part (K, d)."""

    rotation: Tensor
    books: list[Tensor]

    @property
    def spans(self) -> list[slice]:
        """Returns which rows of R make each part."""
        return dimension_spans([book.shape[1] for book in self.books])


class _Sums(NamedTuple):
    """What a pass over rows leaves of them, in float64.

    Attributes:
        counts: Of each part, how many rows went to each codeword (K,).
        rows: Of each part, the sums of these rows (K, D).
        error: Squared errors, added up (1,).
    """

    counts: list[Tensor]
    rows: list[Tensor]
    error: Tensor


def _start(rows: Rows, parts: Sequence[VectorQuantizer], generator: torch.Generator) -> _Product:
    """Returns principal axes and codewords of a sample of rows."""
    device = parts[0].codebook.weight.device
    dims = [part.dim for part in parts]
    sizes = [part.codebook.codebook_size for part in parts]
    sample = draw_rows(rows, SAMPLE * max(sizes), generator).to(device)
    check_finite(sample)
    chunks = rows.chunks(first=process_index(), step=process_count())
    placed = map(methodcaller("to", device), chunks)
    covariance = _covariance(placed, sample.mean(0), len(rows))
    rotation = broadcast(_dealt(covariance, dims, sizes).float())
    few = TensorRows(sample)
    product = _Product(
        rotation,
        [
            chunked_kmeans(
                DimensionRange(few, span, device, rotation), size, 0, generator, compare_starts=True
            )
            for size, span in zip(sizes, dimension_spans(dims), strict=True)
        ],
    )
    for _ in range(WARMING):
        product, _ = _improved(few, product, generator, together=False)
    return _Product(broadcast(product.rotation), [broadcast(book) for book in product.books])


def _covariance(chunks: Iterable[Tensor], origin: Tensor, n: int) -> Tensor:
    """Computes the covariance (D, D), float64, of the rows of all processes.

    Arguments:
        chunks: This process's rows.
        origin: A vector (D,) near them, the same in all processes.
        n: How many rows there are, in all processes.
    """
    dim = len(origin)
    total = origin.new_zeros(dim, dtype=torch.float64)
    outer = origin.new_zeros(dim, dim, dtype=torch.float64)
    for chunk in chunks:
        for x in (chunk - origin).split(BLOCK):
            total += x.sum(0)
            outer += x.T @ x
        del chunk, x  # before the next one is read
    if process_count() > 1:
        dist.all_reduce(total)
        dist.all_reduce(outer)
    check_finite(outer)
    return outer / n - torch.outer(total / n, total / n)


def _dealt(covariance: Tensor, dims: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Returns the principal axes as rows (D, D), dealt to parts of so many dims.

    The next axis, of those of the largest variance first, goes to the part with the smallest
    product of variances, for the square of its codebook's size, that has room.
    """
    variances, axes = torch.linalg.eigh(covariance)
    variances = variances.flip(0).clamp(min=LEAST * float(variances[-1].clamp(min=1e-300)))
    worth = (variances / variances[-1]).log().tolist()
    dealt: list[list[int]] = [[] for _ in dims]
    level = [-2 * float(torch.tensor(float(size)).log()) for size in sizes]
    for axis, gain in enumerate(worth):
        room = [part for part, dim in enumerate(dims) if len(dealt[part]) < dim]
        part = min(room, key=lambda part: (level[part], len(dealt[part])))
        dealt[part].append(axis)
        level[part] += gain
    order = torch.tensor([axis for part in dealt for axis in part], device=axes.device)
    return axes.flip(1).T[order]


def _improved(
    rows: Rows, product: _Product, generator: torch.Generator, *, together: bool = True
) -> tuple[_Product, float]:
    """Makes one pass: a better product, and the mean squared error of the old one.

    Arguments:
        rows: All rows.
        product: What is improved.
        generator: What codewords without rows are put on rows by.
        together: Whether the processes share the rows.
    """
    device = product.rotation.device
    step = {"first": process_index(), "step": process_count()} if together else {}
    sums = _read(map(methodcaller("to", device), rows.chunks(**step)), product)
    if together and process_count() > 1:
        for part in (*sums.counts, *sums.rows, sums.error):
            dist.all_reduce(part)
    check_finite(sums.error)
    better = _turned(sums, product)
    if together:
        better = _Product(broadcast(better.rotation), [broadcast(book) for book in better.books])
    for counts, book, span in zip(sums.counts, better.books, better.spans, strict=True):
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):
            block = DimensionRange(rows, span, device, better.rotation)
            spare = draw_by_squared_distance(block.chunks(), book, len(empty), generator, together)
            book[empty[: len(spare)]] = spare
    return better, float(sums.error / sums.counts[0].sum())


def _read(chunks: Iterable[Tensor], product: _Product) -> _Sums:
    rotation, books = product
    dim = len(rotation)
    counts = [rotation.new_zeros(len(book), dtype=torch.float64) for book in books]
    sums = [rotation.new_zeros(len(book), dim, dtype=torch.float64) for book in books]
    error = rotation.new_zeros(1, dtype=torch.float64)
    for chunk in chunks:
        for part, (book, span) in enumerate(zip(books, product.spans, strict=True)):
            y = chunk @ rotation[span].T
            index = nearest_or_zero(y, book)
            counts[part] += torch.bincount(index, minlength=len(book))
            block = max(BLOCK, len(book))
            for of_all, of_part, place in zip(
                chunk.split(block), y.split(block), index.split(block), strict=True
            ):
                sums[part] += chunk.new_zeros(len(book), dim).index_add_(0, place, of_all)
                error += (of_part - book[place]).flatten().square().sum()
        del chunk, of_all  # before the next one is read
    return _Sums(counts, sums, error)


def _turned(sums: _Sums, product: _Product) -> _Product:
    """Returns the rotation and codewords that fit the rows of each codeword better."""
    spans, rotation = product.spans, product.rotation.double()
    mean = sums.rows[0].sum(0) / sums.counts[0].sum()  # m (D,)
    means = [
        rows / counts.clamp(min=1)[:, None] - mean * (counts > 0)[:, None]
        for rows, counts in zip(sums.rows, sums.counts, strict=True)
    ]  # of each codeword's rows, less m; 0 if it has none
    products = [
        (m * counts[:, None]).T @ (m @ rotation[span].T)
        for m, counts, span in zip(means, sums.counts, spans, strict=True)
    ]
    u, _, vh = torch.linalg.svd(torch.cat(products, 1))
    rotation = (u @ vh).T
    books = []
    for m, counts, span, book in zip(means, sums.counts, spans, product.books, strict=True):
        moved = ((m + mean) @ rotation[span].T).float()
        books.append(torch.where(counts[:, None] > 0, moved, book))
    return _Product(rotation.float(), books)


def _parts_of(quantizer: Quantizer) -> tuple[RotatedQuantizer, list[VectorQuantizer]]:
    inner = quantizer.inner if isinstance(quantizer, RotatedQuantizer) else None
    if not isinstance(quantizer, RotatedQuantizer) or not isinstance(inner, ProductQuantizer):
        of = "" if inner is None else f" of a {type(inner).__name__}"
        raise InputError(
            f"OptimizedProduct fits a RotatedQuantizer of a ProductQuantizer, got a "
            f"{type(quantizer).__name__}{of}: put RotatedQuantizer(…) around the product."
        )
    return quantizer, product_parts("OptimizedProduct", inner)
