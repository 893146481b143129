"""Geometries: the distance by which the nearest codeword of a vector is found.

    Euclidean     argmin_k ‖z − e_k‖²                     y ≈ e_k
    Cosine        argmax_k ⟨ẑ, ê_k⟩                       y ≈ e_k
    Spherical     argmax_k ⟨ẑ, ê_k⟩                       y ≈ ê_k

with x̂ = x / ‖x‖. Between unit vectors ‖ẑ − ê‖² = 2 − 2⟨ẑ, ê⟩, so that one search, for the least
squared distance, serves all three: what differs is whether lengths are taken off before it, and
whether they come back after it. On the sphere everything is a unit vector: what is compared, what
is learned from and what comes out. With the cosine alone a codeword keeps a length of its own.

Lengths are taken off as `smalti.quantizers.unit_vectors` has it, with a bounded gradient.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.quantizers.kmeans import kmeans
from smalti.quantizers.unit_vectors import normalize_vectors

__all__ = ["Cosine", "Euclidean", "Geometry", "Spherical"]


class Geometry(ABC):
    """Abstract: the distance between vectors and codewords, and the projections that it needs."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """Projects vectors or codewords (..., D) to the space of the outputs, with gradient."""

    @abstractmethod
    def search_space(self, x: Tensor) -> Tensor:
        """Maps projected vectors or codewords (..., D) to where squared distances are compared."""

    @abstractmethod
    def kmeans_init(
        self, vectors: Tensor, size: int, iterations: int, generator: torch.Generator
    ) -> Tensor:
        """Returns codewords (K, D) from k-means over projected vectors (N, D); see `kmeans`.

        Arguments:
            vectors: Projected vectors (N, D), finite.
            size: K.
            iterations: Iterations of k-means.
            generator: Random numbers, on the CPU.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@registered
class Euclidean(Geometry):
    """Euclidean distance: the nearest codeword has the least squared distance."""

    def project(self, x: Tensor) -> Tensor:
        return x

    def search_space(self, x: Tensor) -> Tensor:
        return x

    def kmeans_init(
        self, vectors: Tensor, size: int, iterations: int, generator: torch.Generator
    ) -> Tensor:
        return kmeans(vectors, size, iterations, generator)


@registered
class Cosine(Geometry):
    """Cosine similarity: the nearest codeword has the least angle; codewords keep their lengths."""

    def project(self, x: Tensor) -> Tensor:
        return x

    def search_space(self, x: Tensor) -> Tensor:
        return normalize_vectors(x)

    def kmeans_init(
        self, vectors: Tensor, size: int, iterations: int, generator: torch.Generator
    ) -> Tensor:
        # Directions from k-means over directions, and the mean length for all of them.
        length = torch.linalg.vector_norm(vectors, dim=1).mean()
        return length * normalize_vectors(
            kmeans(normalize_vectors(vectors), size, iterations, generator)
        )


@registered
class Spherical(Geometry):
    """Puts vectors and codewords on the unit sphere; the outputs lie on it too.

    References:
        Vector-quantized Image Modeling with Improved VQGAN, J. Yu et al., 2021, arXiv 2110.04627.
    """

    def project(self, x: Tensor) -> Tensor:
        return normalize_vectors(x)

    def search_space(self, x: Tensor) -> Tensor:
        return x

    def kmeans_init(
        self, vectors: Tensor, size: int, iterations: int, generator: torch.Generator
    ) -> Tensor:
        return normalize_vectors(kmeans(vectors, size, iterations, generator))
