"""Product k-means: each part's codewords are the centroids of its dimensions of the rows.

    x = (x_1, …, x_P)        E_p = k-means of x_p over all rows

The parts know nothing of each other, so the error of the whole is the sum of theirs.

References:
    Product Quantization for Nearest Neighbor Search, H. Jégou, M. Douze and C. Schmid, 2011, IEEE
    TPAMI 33(1), doi 10.1109/TPAMI.2010.57.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers.collectives import process_count, process_index
from smalti.quantizers.fitting.fitting import Fitting, Progress, StageFit
from smalti.quantizers.fitting.lloyd import VectorChunks, chunked_kmeans
from smalti.quantizers.fitting.parts import (
    check_iterations,
    check_sizes,
    draw_rows,
    vector_quantizers,
)
from smalti.quantizers.fitting.rows import Rows
from smalti.quantizers.product import ProductQuantizer
from smalti.quantizers.quantizer import Quantizer
from smalti.quantizers.vector import VectorQuantizer

__all__ = ["DimensionRange", "ProductKMeans", "product_parts", "dimension_spans"]


class ProductKMeans(Fitting):
    """Fits each part of a `ProductQuantizer` by k-means, over the whole set.

    It starts from k-means++ or from random rows, whichever is better on rows held out of a sample.
    Parts may have unequal dims and unequal codebook sizes. A part is a stage that can be gone on
    from; each reads all rows in each of its iterations.

    Arguments:
        iterations: Lloyd's iterations of each part over all rows, after those on a sample.

    Example:
        >>> from smalti.quantizers import EMACodebook
        >>> from smalti.quantizers.fitting import TensorRows
        >>> parts = [VectorQuantizer(EMACodebook(codebook_size=2, dim=1)) for _ in range(2)]
        >>> quantizer = ProductQuantizer(parts)
        >>> x = torch.tensor([[0.0, 5.0], [1.0, 5.0], [0.0, 9.0], [1.0, 9.0]])
        >>> ProductKMeans().fit(quantizer, TensorRows(x), seed=0)
        >>> torch.equal(quantizer.decode(quantizer.encode(x)), x)
        True
    """

    stage_name = "part"

    def __init__(self, iterations: int = 20) -> None:
        check_iterations(iterations)
        self.iterations = iterations

    def check(self, quantizer: Quantizer, rows: int | None = None) -> None:
        """See `Fitting.check`."""
        check_sizes(_parts_of(quantizer), rows)

    def stages(self, quantizer: Quantizer) -> int:
        """See `Fitting.stages`: the parts of the quantizer."""
        return len(_parts_of(quantizer))

    def _begin(self, quantizer: Quantizer, rows: Rows) -> StageFit:
        """See `Fitting._begin`."""
        parts = _parts_of(quantizer)
        spans = dimension_spans([part.dim for part in parts])

        def fit_part(number: int, generator: torch.Generator, progress: Progress) -> None:
            codebook = parts[number].codebook
            block = DimensionRange(rows, spans[number], codebook.weight.device)
            size = codebook.codebook_size
            centroids = chunked_kmeans(
                *(block, size, self.iterations, generator, progress), compare_starts=True
            )
            codebook.initialize(centroids)

        return fit_part


class DimensionRange(VectorChunks):
    """The vectors of a range of dimensions of rows, for k-means; rows may be rotated first.

    Arguments:
        rows: The rows.
        span: The range of dimensions.
        device: The device of the computations.
        rotation: R (D, D); None for the rows as they are.
    """

    def __init__(
        self, rows: Rows, span: slice, device: torch.device, rotation: Tensor | None = None
    ) -> None:
        self.rows, self.span, self.device = rows, span, device
        self.towards = None if rotation is None else rotation[span].to(device)  # (d, D)

    def chunks(self) -> Iterator[Tensor]:
        """See `VectorChunks.chunks`."""
        # By map, which holds no chunk while the next one is read.
        yield from map(self._of, self.rows.chunks(first=process_index(), step=process_count()))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """See `VectorChunks.sample`."""
        return self._of(draw_rows(self.rows, n, generator))

    def _of(self, x: Tensor) -> Tensor:
        x = x.to(self.device)
        return x[:, self.span].contiguous() if self.towards is None else x @ self.towards.T


def dimension_spans(dims: Sequence[int]) -> list[slice]:
    """Returns the range of dimensions of each part in a vector, for parts of given dims."""
    ends = [*accumulate(dims, initial=0)]
    return [slice(start, end) for start, end in pairwise(ends)]


def product_parts(fitting: str, product: ProductQuantizer) -> list[VectorQuantizer]:
    """Returns the vector quantizers of a product; raises `InputError` if k-means cannot fit one."""
    parts: list[Quantizer] = [product.parts[place] for place in product.order]  # type: ignore[misc]
    return vector_quantizers(fitting, "parts", product, parts)


def _parts_of(quantizer: Quantizer) -> list[VectorQuantizer]:
    if not isinstance(quantizer, ProductQuantizer):
        raise InputError(
            f"ProductKMeans fits a ProductQuantizer of VectorQuantizers, got a "
            f"{type(quantizer).__name__}: choose one, or another fitting."
        )
    return product_parts("ProductKMeans", quantizer)
