"""Geometry: in which sense a codeword is near a vector.

    Euclidean     argmin_k ‖z − e_k‖²                     y ≈ e_k
    Cosine        argmax_k ⟨ẑ, ê_k⟩                       y ≈ e_k
    Spherical     argmax_k ⟨ẑ, ê_k⟩                       y ≈ ê_k

with x̂ = x / ‖x‖. Between unit vectors ‖ẑ − ê‖² = 2 − 2⟨ẑ, ê⟩, so that one search, for the least
squared distance, serves all three: what differs is whether lengths are taken off before it, and
whether they come back after it. On the sphere everything is a unit vector: what is compared, what
is learned from and what comes out. With the cosine alone a codeword keeps a length of its own.

Lengths are taken off as `smalti.quantizers.unit_vectors` has it, with a bounded gradient.
"""

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.quantizers.kmeans import kmeans
from smalti.quantizers.unit_vectors import unit

__all__ = ["Cosine", "Euclidean", "Geometry", "Spherical"]


class Geometry:
    """A geometry; as it stands the Euclidean one."""

    def enter(self, x: Tensor) -> Tensor:
        """Vectors or codewords (..., D) as this geometry takes them in, with their gradient."""
        return x

    def compared(self, x: Tensor) -> Tensor:
        """What of vectors or codewords (..., D) that entered is compared, by squared distance."""
        return x

    def start(
        self, vectors: Tensor, size: int, iterations: int, generator: torch.Generator
    ) -> Tensor:
        """Codewords (K, D) from k-means over vectors (N, D) that entered; see `kmeans`."""
        return kmeans(vectors, size, iterations, generator)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@registered
class Euclidean(Geometry):
    """The nearest codeword is that of the least squared distance."""


@registered
class Cosine(Geometry):
    """The nearest codeword is that of the least angle; codewords keep their lengths."""

    def compared(self, x: Tensor) -> Tensor:
        return unit(x)

    def start(
        self, vectors: Tensor, size: int, iterations: int, generator: torch.Generator
    ) -> Tensor:
        # Directions from k-means over directions, and the mean length for all of them.
        length = torch.linalg.vector_norm(vectors, dim=1).mean()
        return length * unit(kmeans(self.compared(vectors), size, iterations, generator))


@registered
class Spherical(Geometry):
    """All vectors and codewords are put on the unit sphere first; what comes out lies on it too.

    References:
        Vector-quantized Image Modeling with Improved VQGAN, J. Yu et al., 2021, arXiv 2110.04627.
    """

    def enter(self, x: Tensor) -> Tensor:
        return unit(x)

    def start(
        self, vectors: Tensor, size: int, iterations: int, generator: torch.Generator
    ) -> Tensor:
        return unit(kmeans(vectors, size, iterations, generator))
