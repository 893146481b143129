"""k-means, which initializes codebooks.

Lloyd's iterations lower the mean squared distance from N vectors to K centroids: each vector goes
to its nearest centroid, each centroid to the mean of its vectors. They start here from a random
choice among the vectors. The usual failure is a centroid that no vector goes to, so in each
iteration the empty centroids are put on vectors drawn with a probability in proportion to their
squared distance from the centroid they went to, which is the rule of k-means++: they land where
centroids are missing, and never on vectors that are well served.

References:
    k-means++: The Advantages of Careful Seeding, D. Arthur and S. Vassilvitskii, 2007, SODA.
"""

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers.search import nearest_or_zero

__all__ = ["kmeans"]


@torch.no_grad()
def kmeans(
    vectors: Tensor, size: int, iterations: int = 10, generator: torch.Generator | None = None
) -> Tensor:
    """Computes K centroids of N vectors by k-means, in float32.

    With fewer vectors than centroids each vector is one, and the others are copies of them with a
    little noise.

    Arguments:
        vectors: (N, D), N > 0.
        size: K.
        iterations: Lloyd's iterations, ≥ 0.
        generator: The source of randomness, on the CPU; torch's global one if None.

    Returns:
        Centroids (K, D).

    Raises:
        InputError: If there are no vectors.

    Example:
        >>> vectors = torch.tensor([[0.0], [0.2], [5.0], [5.2]])
        >>> kmeans(vectors, 2).sort(dim=0).values.flatten()
        tensor([0.1000, 5.1000])
    """
    if vectors.ndim != 2 or not len(vectors):
        raise InputError(
            f"k-means takes vectors (N, D) with N > 0, got the shape {tuple(vectors.shape)}: "
            f"flatten them first."
        )
    vectors = vectors.float()
    if len(vectors) <= size:
        return _with_noisy_copies(vectors, size, generator)
    chosen = torch.randperm(len(vectors), generator=generator)[:size]
    centroids = vectors[chosen.to(vectors.device)]
    for _ in range(iterations):
        centroids = _iterate(vectors, centroids, generator)
    return centroids


def _iterate(vectors: Tensor, centroids: Tensor, generator: torch.Generator | None) -> Tensor:
    """Makes one of Lloyd's iterations: centroids (K, D) to (K, D)."""
    index = nearest_or_zero(vectors, centroids)  # (N,)
    counts = torch.bincount(index, minlength=len(centroids))
    sums = torch.zeros_like(centroids).index_add_(0, index, vectors)
    means = sums / counts.clamp(min=1)[:, None]

    empty = (counts == 0).nonzero()[:, 0]
    if len(empty):
        squared = _squared_error(vectors, means, index)
        means[empty] = vectors[_draw(squared, len(empty), generator)]
    return means


def _draw(weights: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """Draws n different places in proportion to the weights (N,)."""
    # The n first arrivals of N Poisson processes: exact, and without multinomial's limit on N.
    noise = torch.empty(weights.shape).exponential_(generator=generator).to(weights.device)
    return (weights / noise.clamp(min=1e-30)).topk(n).indices


def _squared_error(vectors: Tensor, centroids: Tensor, index: Tensor) -> Tensor:
    return (vectors - centroids[index]).square().sum(1)  # (N,)


def _with_noisy_copies(centroids: Tensor, size: int, generator: torch.Generator | None) -> Tensor:
    """Fills (N, D) centroids up to (K, D): each copy can then go a way of its own."""
    n, missing = len(centroids), size - len(centroids)
    source = torch.randint(n, (missing,), generator=generator).to(centroids.device)
    noise = torch.randn(missing, centroids.shape[1], generator=generator).to(centroids.device)
    spread = centroids.std(0, correction=0)  # (D,)
    return torch.cat([centroids, centroids[source] + 0.01 * spread * noise])
