"""k-means of vectors that are read in chunks.

It starts from k-means++ on a sample. Lloyd's iterations then go over all chunks: only counts and
sums are kept of them. An empty cluster is put on a vector that is drawn with a probability in
proportion to its squared error, as k-means++ draws.

With a capacity no cluster takes many more vectors than the others: `CapacityLimit`.

References:
    k-means++: The Advantages of Careful Seeding, D. Arthur and S. Vassilvitskii, 2007, SODA.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from smalti.errors import InputError
from smalti.quantizers.collectives import broadcast, process_count
from smalti.quantizers.fitting.capacity import CapacityLimit
from smalti.quantizers.fitting.fitting import Progress
from smalti.quantizers.fitting.reservoir import Reservoir
from smalti.quantizers.search import nearest_or_zero

__all__ = [
    "BLOCK",
    "SAMPLE",
    "VectorChunks",
    "draw_by_squared_distance",
    "check_finite",
    "chunked_kmeans",
    "residuals_of",
]

SAMPLE = 64  # vectors for each codeword that k-means++ draws from
WARMING = 10  # Lloyd's iterations on that sample
HELD = 8  # of so many vectors of it, one is held out where starts are compared
FEWEST = 4  # vectors of it for each codeword, for starts to be compared
BLOCK = 4096  # vectors whose sums stay in the processor's cache, and are exact enough in float32


class VectorChunks(ABC):
    """Abstract: vectors that are read in chunks, as input of k-means."""

    @abstractmethod
    def chunks(self) -> Iterator[Tensor]:
        """Yields the chunks (n, D), float32, that are this process's."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws n vectors, the same in all processes; all, in order, if there are no more."""


class _Pass(NamedTuple):
    """What one pass over the vectors gives.

    Attributes:
        counts: How many went to each centroid (K,), float64.
        sums: Their sums (K, D), float64.
        error: Their squared distances, added up, (1,), float64.
    """

    counts: Tensor
    sums: Tensor
    error: Tensor


def chunked_kmeans(
    vectors: VectorChunks,
    size: int,
    iterations: int,
    generator: torch.Generator,
    progress: Progress | None = None,
    *,
    compare_starts: bool = False,
    capacity: float | None = None,
) -> Tensor:
    """Computes K centroids (K, D) by k-means of vectors in chunks, the same in all processes.

    Arguments:
        vectors: The vectors, at least K.
        size: K.
        iterations: Lloyd's iterations over all vectors, after those on a sample.
        generator: The source of randomness, on the CPU.
        progress: The callback of the progress; None for none.
        compare_starts: Whether to try random vectors as initial centroids, too, and take the better
            start.
        capacity: c ≥ 1, where no cluster takes more than c N/K vectors, rounded up, in each
            process; None for no limit.

    Raises:
        InputError: If a vector is not finite.
    """
    sample = vectors.sample(SAMPLE * size, generator)
    check_finite(sample)
    limit = None if capacity is None else CapacityLimit(capacity, len(sample), sample)
    if compare_starts and len(sample) >= FEWEST * size:
        centroids = _better_start(sample, size, generator)
    else:
        centroids = _warmed(_plus_plus(sample, size, generator), sample, generator, limit)
    centroids = broadcast(centroids)  # unlike devices could round differently
    if limit is not None:
        limit.count = sum(map(len, vectors.chunks()))
    for iteration in range(iterations):
        centroids, error = _means(vectors.chunks(), centroids, generator, vectors, limit=limit)
        if progress is not None:
            words = f"iteration {iteration + 1} of {iterations}, squared error {error:.6g}"
            progress((iteration + 1) / iterations, words)
    return centroids


def _better_start(sample: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Returns centroids from k-means++ or from random vectors: those nearer to vectors held out.

    k-means++ finds clumps that random vectors miss. Where there are none it takes more of the
    vectors far out, which stand for few others than themselves.
    """
    order = torch.randperm(len(sample), generator=generator).to(sample.device)
    held, rest = sample[order].split([len(sample) // HELD, len(sample) - len(sample) // HELD])
    found = [
        _warmed(start, rest, generator)
        for start in (_plus_plus(rest, size, generator), rest[:size])
    ]
    errors = [residuals_of(held, nearest_or_zero(held, c), c).square().sum() for c in found]
    return found[0] if errors[0] <= errors[1] else found[1]


def _warmed(
    centroids: Tensor,
    sample: Tensor,
    generator: torch.Generator,
    limit: CapacityLimit | None = None,
) -> Tensor:
    for _ in range(WARMING):
        centroids, _ = _means([sample], centroids, generator, limit=limit, together=False)
    return centroids


def residuals_of(x: Tensor, index: Tensor, codewords: Tensor, out: Tensor | None = None) -> Tensor:
    """Computes residuals: x (n, D) minus the codewords of their indices (n,), in `out` if given."""
    left = torch.empty_like(x) if out is None else out
    for start in range(0, len(x), BLOCK):
        span = slice(start, start + BLOCK)
        torch.sub(x[span], codewords[index[span]], out=left[span])
    return left


def _means(
    chunks: Iterable[Tensor],
    centroids: Tensor,
    generator: torch.Generator,
    vectors: VectorChunks | None = None,
    *,
    limit: CapacityLimit | None = None,
    together: bool = True,
) -> tuple[Tensor, float]:
    """Makes one of Lloyd's iterations: new centroids (K, D), and the mean error of the old ones.

    Arguments:
        chunks: Vectors (n, D).
        centroids: (K, D).
        generator: What empty clusters are filled by.
        vectors: What gives the chunks again, if they can be read but once.
        limit: Of how many vectors a centroid takes.
        together: Whether other processes have other chunks.
    """
    counts, sums, error = found = _read(chunks, centroids, limit)
    if together and process_count() > 1:
        for part in found:
            dist.all_reduce(part)
    check_finite(error)
    means = (sums / counts.clamp(min=1)[:, None]).float()
    means = torch.where(counts[:, None] > 0, means, centroids)
    empty = (counts == 0).nonzero()[:, 0]
    if len(empty):
        again = chunks if vectors is None else vectors.chunks()
        spare = draw_by_squared_distance(again, means, len(empty), generator, together)
        means[empty[: len(spare)]] = spare
    return means, float(error / counts.sum())


def _read(chunks: Iterable[Tensor], centroids: Tensor, limit: CapacityLimit | None) -> _Pass:
    if limit is not None:
        limit.begin(centroids)
    size, dim = centroids.shape
    counts = centroids.new_zeros(size, dtype=torch.float64)
    sums = centroids.new_zeros(size, dim, dtype=torch.float64)
    error = centroids.new_zeros(1, dtype=torch.float64)
    block = max(BLOCK, size)
    for chunk in chunks:
        index = nearest_or_zero(chunk, centroids) if limit is None else limit.assign(chunk)
        counts += torch.bincount(index, minlength=size)
        for x, place in zip(chunk.split(block), index.split(block), strict=True):
            sums += torch.zeros_like(centroids).index_add_(0, place, x)
            error += (x - centroids[place]).flatten().square().sum()
        del chunk, x  # before the next one is read
    return _Pass(counts, sums, error)


def draw_by_squared_distance(
    chunks: Iterable[Tensor],
    centroids: Tensor,
    count: int,
    generator: torch.Generator,
    together: bool,
) -> Tensor:
    """Draws vectors (R, D) in proportion to their squared distance from their centroids."""
    drawn = Reservoir(count, centroids)
    for chunk in chunks:
        left = residuals_of(chunk, nearest_or_zero(chunk, centroids), centroids)
        drawn.add(chunk, left.square_().sum(1), generator)
        del chunk, left  # before the next one is read
    return drawn.gathered(together)


def _plus_plus(sample: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Draws K rows of a sample (S, D), each in proportion to its squared distance from those
    before: (K, D).
    """
    chosen = torch.empty(size, dtype=torch.int64)
    place = int(torch.randint(len(sample), (1,), generator=generator))
    placed = sample - sample.mean(0)  # whose squares lose less
    half = placed.square().sum(1) / 2
    nearest = sample.new_full((len(sample),), torch.inf)  # half of the squared distance
    for number in range(size):
        chosen[number] = place
        distance = (half + half[place] - placed @ placed[place]).clamp(min=0)
        distance[place] = 0
        nearest = torch.minimum(nearest, distance)
        rising = nearest.double().cumsum(0)
        drawn = torch.rand(1, generator=generator, dtype=torch.float64).to(rising) * rising[-1]
        place = min(int(torch.searchsorted(rising, drawn)), len(sample) - 1)
    return sample[chosen.to(sample.device)]


def check_finite(x: Tensor) -> None:
    """Raises `InputError` if rows, or what is computed from them, are not finite."""
    if not bool(x.isfinite().all()):
        raise InputError(
            "k-means takes finite rows, got NaN or infinity: correct or leave out those rows."
        )
