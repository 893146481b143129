"""Residual k-means: each stage's codewords are the centroids of what the stages before left over.

    r_0 = x      E_i = k-means of r_{i−1} over all rows      r_i = r_{i−1} − E_i[nearest(r_{i−1})]

Each stage starts from k-means++ on a sample, and then makes Lloyd's iterations over the whole set,
which is read in chunks: only sums are kept of it. An empty cluster is put on a row that is drawn
with a probability in proportion to its squared error, as k-means++ draws.

References:
    k-means++: The Advantages of Careful Seeding, D. Arthur and S. Vassilvitskii, 2007, SODA.
    Approximate Nearest Neighbor Search by Residual Vector Quantization, Y. Chen, T. Guan and C.
    Wang, 2010, Sensors 10(12), doi 10.3390/s101211259.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from smalti.errors import InputError
from smalti.quantizers.collectives import broadcast, process_count, process_index
from smalti.quantizers.fitting.fitting import Fitting, Progress
from smalti.quantizers.fitting.rows import Rows
from smalti.quantizers.geometry import Euclidean
from smalti.quantizers.quantizer import Quantizer
from smalti.quantizers.residual import ResidualQuantizer
from smalti.quantizers.search import some_nearest
from smalti.quantizers.vector import VectorQuantizer

__all__ = ["ResidualKMeans"]

SAMPLE = 64  # rows for each codeword that k-means++ draws from
WARMING = 10  # Lloyd's iterations on that sample


class ResidualKMeans(Fitting):
    """k-means of the residuals, stage by stage, over the whole set.

    Arguments:
        iterations: Lloyd's iterations of each stage over all rows, after those on a sample.

    Example:
        >>> from smalti.quantizers import EMACodebook
        >>> from smalti.quantizers.fitting import TensorRows
        >>> quantizer = ResidualQuantizer(
        ...     [VectorQuantizer(EMACodebook(codebook_size=2, dim=1)) for _ in range(2)]
        ... )
        >>> x = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        >>> ResidualKMeans().fit(quantizer, TensorRows(x), seed=0)
        >>> quantizer.decode(quantizer.encode(x)).flatten()
        tensor([ 0.,  1., 10., 11.])
    """

    def __init__(self, iterations: int = 20) -> None:
        if iterations < 0:
            raise InputError(
                f"iterations must be 0 or more, got {iterations}: 0 takes a sample alone."
            )
        self.iterations = iterations

    def check(self, quantizer: Quantizer, rows: int | None = None) -> None:
        """See `Fitting.check`."""
        stages = _stages_of(quantizer)
        largest = max(stage.codebook.codebook_size for stage in stages)
        if rows is not None and rows < largest:
            raise InputError(
                f"k-means takes at least a row for each of {largest} codewords, got {rows}: set "
                f"codebook_size to less, or give more training rows."
            )

    def stages(self, quantizer: Quantizer) -> int:
        """See `Fitting.stages`: those of the quantizer."""
        return len(_stages_of(quantizer))

    @torch.no_grad()
    def fit(
        self,
        quantizer: Quantizer,
        rows: Rows,
        *,
        seed: int,
        progress: Progress | None = None,
        first: int = 0,
        done: Callable[[int], None] | None = None,
    ) -> None:
        """See `Fitting.fit`."""
        self.check(quantizer, len(rows))
        stages = _stages_of(quantizer)
        if rows.dim != stages[0].dim:
            raise InputError(
                f"The quantizer takes vectors of {stages[0].dim} dimensions, got rows of "
                f"{rows.dim}: give its codebooks that dim."
            )
        for number in range(first, len(stages)):
            residuals = _Residuals(rows, stages[:number], stages[number].codebook.weight.device)
            generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)

            def tell(share: float, words: str, stage: int = number) -> None:
                if progress is not None:
                    whole = f"stage {stage + 1} of {len(stages)}, {words}"
                    progress((stage + share) / len(stages), whole)

            size = stages[number].codebook.codebook_size
            centroids = self._centroids(residuals, size, generator, tell)
            stages[number].codebook.initialize(centroids)
            if done is not None:
                done(number + 1)

    def _centroids(
        self, residuals: _Residuals, size: int, generator: torch.Generator, tell: Progress
    ) -> Tensor:
        """Computes the centroids (K, D) of the residuals."""
        sample = residuals.sample(SAMPLE * size, generator)
        centroids = _plus_plus(sample, size, generator)
        for _ in range(WARMING):
            centroids = _step([sample], centroids, generator).centroids
        centroids = broadcast(centroids)  # unlike devices could round differently
        for iteration in range(self.iterations):
            step = _step(residuals.chunks(), centroids, generator, together=True)
            centroids = step.centroids
            words = (
                f"iteration {iteration + 1} of {self.iterations}, squared error {step.error:.6g}"
            )
            tell((iteration + 1) / self.iterations, words)
        return centroids


class _Residuals(NamedTuple):
    """What the stages before left over of each row."""

    rows: Rows
    before: list[VectorQuantizer]
    device: torch.device

    def chunks(self) -> Iterator[Tensor]:
        """Yields those chunks (n, D) that are this process's."""
        for chunk in self.rows.chunks(first=process_index(), step=process_count()):
            yield self._left(chunk)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws n of them, the same in all processes; all, in order, if there are no more."""
        if n >= len(self.rows):
            chosen = torch.arange(len(self.rows))
        else:
            chosen = torch.randperm(len(self.rows), generator=generator)[:n].sort().values
        return self._left(self.rows.at(chosen))

    def _left(self, x: Tensor) -> Tensor:
        r = x.to(self.device)
        for stage in self.before:
            r = r - stage.decode(stage.encode(r))
        return r


class _Step(NamedTuple):
    """One of Lloyd's iterations: new centroids (K, D), the mean squared error of the old ones."""

    centroids: Tensor
    error: float


def _step(
    chunks: Iterable[Tensor],
    centroids: Tensor,
    generator: torch.Generator,
    together: bool = False,
) -> _Step:
    """Makes one of Lloyd's iterations.

    Arguments:
        chunks: Vectors (n, D).
        centroids: (K, D).
        generator: What empty clusters are filled by.
        together: Whether other processes have other chunks.
    """
    size, dim = centroids.shape
    counts = centroids.new_zeros(size, dtype=torch.float64)
    sums = centroids.new_zeros(size, dim, dtype=torch.float64)
    error = centroids.new_zeros(1, dtype=torch.float64)
    keys, spare = centroids.new_zeros(0), centroids.new_zeros(0, dim)
    for chunk in chunks:
        index = some_nearest(chunk, centroids)
        counts += torch.bincount(index, minlength=size)
        sums.index_add_(0, index, chunk.double())
        squared = (chunk - centroids[index]).square().sum(1)
        error += squared.double().sum()
        # The first arrivals of Poisson processes of these rates are draws in proportion to them.
        noise = torch.empty(len(chunk)).exponential_(generator=generator).to(chunk.device)
        keys = torch.cat([keys, squared / noise.clamp(min=1e-30)])
        spare = torch.cat([spare, chunk])
        keys, best = keys.topk(min(size, len(keys)))
        spare = spare[best]
    if together and process_count() > 1:
        for part in (counts, sums, error):
            dist.all_reduce(part)
        keys, spare = _gathered(keys, spare, size)
    if not bool(error.isfinite()):
        raise InputError(
            "k-means takes finite rows, got NaN or infinity: correct or leave out those rows."
        )
    means = (sums / counts.clamp(min=1)[:, None]).float()
    empty = (counts == 0).nonzero()[:, 0][: len(spare)]
    means[empty] = spare[: len(empty)]
    means = torch.where((counts == 0)[:, None] & ~_among(empty, size)[:, None], centroids, means)
    return _Step(means, float(error / counts.sum()))


def _among(chosen: Tensor, size: int) -> Tensor:
    """Returns which of `size` numbers are chosen: (size,), bool."""
    return torch.zeros(size, dtype=torch.bool, device=chosen.device).index_fill(0, chosen, True)


def _gathered(keys: Tensor, spare: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Returns the largest keys of all processes (R,), and what belongs to them (R, D)."""
    mine = torch.cat([keys[:, None], spare], 1)
    mine = torch.cat([mine, mine.new_full((size - len(mine), mine.shape[1]), -1.0)])
    all_of_them = [torch.empty_like(mine) for _ in range(process_count())]
    dist.all_gather(all_of_them, mine.contiguous())
    whole = torch.cat(all_of_them)
    whole = whole[whole[:, 0] >= 0]
    best = whole[:, 0].topk(min(size, len(whole))).indices
    return whole[best, 0], whole[best, 1:]


def _plus_plus(sample: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Draws K rows of a sample (S, D), each in proportion to its squared distance from those
    before: (K, D).
    """
    chosen = sample.new_empty(size, sample.shape[1])
    place = int(torch.randint(len(sample), (1,), generator=generator))
    squared = sample.new_full((len(sample),), torch.inf)
    for number in range(size):
        chosen[number] = sample[place]
        squared = torch.minimum(squared, (sample - chosen[number]).square().sum(1))
        rising = squared.double().cumsum(0)
        drawn = torch.rand(1, generator=generator, dtype=torch.float64).to(rising) * rising[-1]
        place = min(int(torch.searchsorted(rising, drawn)), len(sample) - 1)
    return chosen


def _stages_of(quantizer: Quantizer) -> list[VectorQuantizer]:
    """Returns the stages of a quantizer.

    Raises:
        InputError: If it is none that k-means can fit.
    """
    name = type(quantizer).__name__
    if isinstance(quantizer, VectorQuantizer):
        stages: list[Quantizer] = [quantizer]
    elif isinstance(quantizer, ResidualQuantizer):
        stages = [quantizer.stages[place] for place in quantizer.order]  # type: ignore[misc]
    else:
        raise InputError(
            f"ResidualKMeans fits a ResidualQuantizer of VectorQuantizers, got a {name}: choose "
            f"one, or train it by gradients."
        )
    if len({id(stage) for stage in stages}) < len(stages):
        raise InputError(
            f"ResidualKMeans gives each stage a codebook of its own, got a {name} whose stages "
            f"share one: give it several."
        )
    found: list[VectorQuantizer] = []
    for stage in stages:
        if not isinstance(stage, VectorQuantizer) or not isinstance(stage.geometry, Euclidean):
            geometry = getattr(stage, "geometry", None)
            kind = "" if geometry is None else f" with {type(geometry).__name__} geometry"
            raise InputError(
                f"ResidualKMeans fits VectorQuantizers with Euclidean geometry, got a "
                f"{type(stage).__name__}{kind}: choose such stages, or train by gradients."
            )
        found.append(stage)
    return found
