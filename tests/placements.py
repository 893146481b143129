"""Where vectors and codewords may lie, for the law that the codeword which is found is the nearest.

Which of two codewords is nearer by less than float32 can tell is nobody's business, so the law is
about its distance: it is the smallest there is, up to what float32 rounds.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["PLACES", "assert_nearest", "distances", "normal", "one_far"]

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def distances(z: Tensor, codebook: Tensor) -> Tensor:
    """In float64, and none by way of a scalar product."""
    return torch.stack([(row - codebook.double()).square().sum(1).sqrt() for row in z.double()])


def assert_nearest(index: Tensor, z: Tensor, codebook: Tensor, rtol: float = 1e-6) -> None:
    distance = distances(z, codebook).nan_to_num(nan=torch.inf)
    found = distance.gather(1, index[:, None])[:, 0]
    least = distance.amin(1)
    assert (found <= least * (1 + rtol)).all(), f"{int((found > least * (1 + rtol)).sum())} wrong"


def one_far(k: int, dim: int) -> tuple[Tensor, Tensor]:
    codebook = normal(k, dim)
    codebook[k // 2] = 1e5
    return normal(64, dim), codebook


def some_far(k: int, dim: int) -> tuple[Tensor, Tensor]:
    codebook = normal(k, dim)
    codebook[: k // 3] *= 10.0 ** torch.arange(-8, 8)[torch.arange(k // 3) % 16, None]
    return torch.cat([normal(64, dim), codebook[:: k // 16 + 1] + 1e-3 * normal(1, dim)]), codebook


def two_clusters(k: int, dim: int) -> tuple[Tensor, Tensor]:
    codebook = normal(k, dim)
    codebook[::2] += 1e6
    return codebook[torch.randint(k, (64,), generator=GENERATOR)] + normal(64, dim), codebook


def far_vectors(k: int, dim: int) -> tuple[Tensor, Tensor]:
    return normal(64, dim) * 10.0 ** torch.arange(-32, 32)[:, None].clamp(-30, 30), normal(k, dim)


def offset(k: int, dim: int) -> tuple[Tensor, Tensor]:
    away = 1e5 * normal(dim)
    return normal(64, dim) + away, normal(k, dim) + away


def scales(k: int, dim: int) -> tuple[Tensor, Tensor]:
    scale = 10.0 ** torch.linspace(-6, 6, dim)
    return normal(64, dim) * scale, normal(k, dim) * scale


def close_to_codewords(k: int, dim: int) -> tuple[Tensor, Tensor]:
    codebook = 1 + 1e-4 * normal(k, dim)
    return codebook[:64] + 1e-6 * normal(min(k, 64), dim), codebook


def times(scale: float):
    return lambda k, dim: (scale * normal(64, dim), scale * normal(k, dim))


def on_a_grid(k: int, dim: int) -> tuple[Tensor, Tensor]:
    return normal(64, dim).round(), (2 * normal(k, dim)).round()


def all_equal(k: int, dim: int) -> tuple[Tensor, Tensor]:
    return normal(64, dim), normal(1, dim).repeat(k, 1)


def on_a_sphere(k: int, dim: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(64, dim), torch.nn.functional.normalize(normal(k, dim), dim=1)


PLACES = {
    "one codeword far": one_far,
    "codewords of all sizes": some_far,
    "two clusters": two_clusters,
    "vectors of all sizes": far_vectors,
    "a common offset": offset,
    "dimensions of all scales": scales,
    "near the codewords": close_to_codewords,
    "tiny": times(1e-20),
    "small": times(1e-12),
    "huge": times(1e18),
    "as large as float32 goes": times(3e37),
    "on a grid": on_a_grid,
    "all equal": all_equal,
    "on a sphere": on_a_sphere,
}
