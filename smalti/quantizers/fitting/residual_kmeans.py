"""Residual k-means: each stage's codewords are the centroids of what the stages before left over.

    r_0 = x      E_i = k-means of r_{i−1} over all rows      r_i = r_{i−1} − E_i[nearest(r_{i−1})]

Each stage starts from k-means++ on a sample, and then makes Lloyd's iterations over the whole set,
which is read in chunks. The codes of the stages that are done are kept, a few bytes for each row;
what they leave over is computed anew in each pass. Then all codebooks are refined together
(`smalti.quantizers.fitting.refinement`).

References:
    Approximate Nearest Neighbor Search by Residual Vector Quantization, Y. Chen, T. Guan and C.
    Wang, 2010, Sensors 10(12), doi 10.3390/s101211259.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers.collectives import process_count, process_index
from smalti.quantizers.fitting.capacity import check_capacity
from smalti.quantizers.fitting.fitting import Fitting, Progress, StageFit
from smalti.quantizers.fitting.lloyd import VectorChunks, chunked_kmeans, residuals_of
from smalti.quantizers.fitting.parts import (
    check_iterations,
    check_sizes,
    codewords_of,
    draw_rows,
    vector_quantizers,
)
from smalti.quantizers.fitting.refinement import MOST_CODEWORDS, Refinement
from smalti.quantizers.fitting.rows import Rows
from smalti.quantizers.quantizer import Quantizer
from smalti.quantizers.search import nearest_or_zero
from smalti.quantizers.staged import StagedQuantizer
from smalti.quantizers.vector import VectorQuantizer

__all__ = ["ResidualKMeans"]

ROUNDS = 60


class ResidualKMeans(Fitting):
    """k-means of the residuals, stage by stage, over the whole set; then all of them together.

    It fits a `ResidualQuantizer` of `VectorQuantizer`s, or the base codebooks that an
    `ImplicitResidualQuantizer` is trained from.

    Arguments:
        iterations: Lloyd's iterations of each stage over all rows, after those on a sample.
        refine: Rounds in which the codebooks of all stages are refined together; 0 leaves them as
            k-means found them. None for 60, or 0 where there is a capacity, which it does not keep
            to, or more than 4,096 codewords, too many to be refined. One stage alone is left as it
            is, and so are codewords that are no fewer than rows.
        beam: How many sums the search for codes keeps in these rounds. Codebooks for greedy codes
            serve a quantizer with a beam, too; those for a beam fit many rows a little better, and
            few rows too well.
        mixing: In [0, 1), the share of another row that each is mixed with in the last round of
            the refinement: the more, the less the codewords fit these rows alone.
        capacity: At least 1; no codeword takes more than so many times the average number of rows
            in k-means, so that codes are used more evenly. None for no limit.

    Example:
        >>> from smalti.quantizers import EMACodebook, ResidualQuantizer
        >>> from smalti.quantizers.fitting import TensorRows
        >>> quantizer = ResidualQuantizer(
        ...     [VectorQuantizer(EMACodebook(codebook_size=2, dim=1)) for _ in range(2)]
        ... )
        >>> x = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        >>> ResidualKMeans().fit(quantizer, TensorRows(x), seed=0)
        >>> quantizer.decode(quantizer.encode(x)).flatten()
        tensor([ 0.,  1., 10., 11.])
    """

    def __init__(
        self,
        iterations: int = 20,
        refine: int | None = None,
        beam: int = 1,
        mixing: float = 0.2,
        capacity: float | None = None,
    ) -> None:
        check_iterations(iterations)
        if refine is not None and refine < 0:
            raise InputError(
                f"refine must be 0 or more, got {refine}: 0 leaves the codebooks as k-means found "
                f"them."
            )
        if beam < 1:
            raise InputError(f"beam is a whole number above 0, got {beam}: 1 is greedy search.")
        if not 0 <= mixing < 1:
            raise InputError(
                f"mixing is at least 0 and below 1, got {mixing}: 0.2 suits most sets."
            )
        check_capacity(capacity)
        self.iterations, self.capacity = iterations, capacity
        self.refine, self.beam, self.mixing = refine, beam, mixing

    def check(self, quantizer: Quantizer, rows: int | None = None) -> None:
        """See `Fitting.check`."""
        stages = _stages_of(quantizer)
        check_sizes(stages, rows)
        total = sum(stage.codebook.codebook_size for stage in stages)
        if self.refine and len(stages) > 1 and total > MOST_CODEWORDS:
            raise InputError(
                f"ResidualKMeans refines at most {MOST_CODEWORDS} codewords together, got {total}: "
                f"set refine to 0, or codebook_size to less."
            )

    def stages(self, quantizer: Quantizer) -> int:
        """See `Fitting.stages`: those of the quantizer, and the refinement."""
        stages = _stages_of(quantizer)
        return len(stages) + (self._rounds(stages) > 0)

    def _begin(self, quantizer: Quantizer, rows: Rows) -> StageFit:
        """See `Fitting._begin`."""
        stages = _stages_of(quantizer)
        residuals = _Residuals(rows, stages[0].codebook.weight.device)

        def fit_stage(number: int, generator: torch.Generator, progress: Progress) -> None:
            if number == len(stages):
                residuals.codes.clear()
                self._refine(quantizer, stages, rows, generator.initial_seed(), progress)
                return
            for stage in stages[len(residuals.books) : number]:
                residuals.quantize(stage)
            codebook = stages[number].codebook
            size = codebook.codebook_size
            centroids = chunked_kmeans(
                *(residuals, size, self.iterations, generator, progress), capacity=self.capacity
            )
            codebook.initialize(centroids)

        return fit_stage

    def _rounds(self, stages: Sequence[VectorQuantizer]) -> int:
        """Returns in how many rounds the codebooks are refined."""
        if len(stages) == 1:
            return 0
        total = sum(stage.codebook.codebook_size for stage in stages)
        usual = ROUNDS if total <= MOST_CODEWORDS and self.capacity is None else 0
        return usual if self.refine is None else self.refine

    def _refine(
        self,
        quantizer: Quantizer,
        stages: list[VectorQuantizer],
        rows: Rows,
        seed: int,
        told: Progress,
    ) -> None:
        """Refines all codebooks together."""
        assert isinstance(quantizer, StagedQuantizer)
        refinement = Refinement(
            rows,
            rounds=self._rounds(stages),
            beam=self.beam,
            mixing=self.mixing,
            final_beam=quantizer.beam,
            seed=seed,
        )
        for stage, book in zip(stages, refinement(codewords_of(stages), told), strict=True):
            stage.codebook.initialize(book)


class _Residuals(VectorChunks):
    """What the stages before left over of each row.

    Arguments:
        rows: The rows.
        device: Where the stages are.
    """

    def __init__(self, rows: Rows, device: torch.device) -> None:
        self.rows, self.device = rows, device
        self.books: list[Tensor] = []
        self.codes: list[list[Tensor]] = []  # of each stage, those of each chunk (n,)

    def chunks(self) -> Iterator[Tensor]:
        """See `VectorChunks.chunks`."""
        chunks = self.rows.chunks(first=process_index(), step=process_count())
        number = 0
        for r in chunks:
            r = r.to(self.device)
            for stage, (book, codes) in enumerate(zip(self.books, self.codes, strict=True)):
                code = codes[number].to(self.device, torch.int64)
                r = residuals_of(r, code, book, out=r if stage else None)  # the first is not ours
            yield r
            number += 1
            del r  # before the next one is read

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """See `VectorChunks.sample`."""
        r = draw_rows(self.rows, n, generator).to(self.device)
        for book in self.books:
            r = residuals_of(r, nearest_or_zero(r, book), book)
        return r

    def quantize(self, stage: VectorQuantizer) -> None:
        """Takes what a further stage stands for off the rows."""
        book = stage.codewords().detach()
        small = torch.int16 if len(book) <= 2**15 else torch.int32

        def codes_of(chunk: Tensor) -> Tensor:
            return nearest_or_zero(chunk, book).to("cpu", small)

        codes = [*map(codes_of, self.chunks())]  # which holds no chunk while the next is read
        self.books.append(book)
        self.codes.append(codes)


def _stages_of(quantizer: Quantizer) -> list[VectorQuantizer]:
    """Returns the stages of a quantizer; raises `InputError` if k-means cannot fit them."""
    if isinstance(quantizer, VectorQuantizer):
        stages: list[Quantizer] = [quantizer]
    elif isinstance(quantizer, StagedQuantizer):
        stages = [quantizer.stages[place] for place in quantizer.order]  # type: ignore[misc]
    else:
        raise InputError(
            f"ResidualKMeans fits a ResidualQuantizer of VectorQuantizers, got a "
            f"{type(quantizer).__name__}: choose one, or train it by gradients."
        )
    return vector_quantizers("ResidualKMeans", "stages", quantizer, stages)
