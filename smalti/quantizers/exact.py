"""Finds nearest codewords by distances in float64, where float32 cannot decide.

The search in float32 knows how far its scores can be from the truth. Where two codewords lie closer
together than that, because they are equally near, or because the vectors lie far from the codewords
or these far from each other, the choice is made here, in two steps. Scores in float64 leave only
few codewords; of those the distances are taken directly, as ‖z − e‖² = Σ (z_i − e_i)², which loses
nothing. Distances that differ by less than 1 in 2³⁰ count as equal, and of equals the lowest index
is chosen, so that what is found does not hang on how a library rounds.
"""

import torch
from torch import Tensor

__all__ = ["TIE", "exact_nearest"]

TIE = 2.0**-30  # distances² that differ by less, relative to themselves, are equal
ULP = 2.0**-53
AT_ONCE = 2**17  # numbers at a time: 1 MB
MANY = 2**24  # multiplications from which on it pays to look for equal rows first


@torch.no_grad()
def exact_nearest(z: Tensor, codebook: Tensor) -> Tensor:
    """Finds the nearest codewords of vectors (N, D) by float64 distances: indices (N,), int64.

    Vectors that are not finite get 0, and codewords that are not finite are never chosen, unless
    there are no others.
    """
    index = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    finite = z.isfinite().all(1).nonzero()[:, 0]
    z = z[finite]
    if len(z) * codebook.numel() <= MANY:
        return index.index_copy_(0, finite, _search(z, codebook))
    rows, row = _distinct(z)
    # The first of equal codewords stands for all, in the order of their indices.
    codewords, _ = _distinct(codebook)
    found = _search(z[rows], codebook[codewords])
    return index.index_copy_(0, finite, codewords[found][row])


def _search(z: Tensor, codebook: Tensor) -> Tensor:
    """Returns the nearest codewords (N,) in float64, block by block."""
    if not len(z):
        return torch.zeros(0, dtype=torch.int64, device=z.device)
    scale, dim = _scale(codebook), codebook.shape[1]
    centre = _centre(codebook) * scale
    parts = codebook.split(max(AT_ONCE // dim, 1))
    rows = max(AT_ONCE // max(len(parts[0]), dim), 1)
    blocks = (block.double() * scale for block in z.split(rows))
    return torch.cat([_block(block, parts, centre, scale) for block in blocks])


def _block(z: Tensor, parts: tuple[Tensor, ...], centre: Tensor, scale: float) -> Tensor:
    """Finds the nearest codewords of vectors (R, D), float64 as the centre is: (R,)."""
    relative = z - centre
    length = torch.linalg.vector_norm(relative, dim=1)  # (R,)
    bounds = (_bounds(relative, length, part.double() * scale - centre) for part in parts)
    kept = list(bounds) if len(parts) == 1 else None
    least = torch.full_like(length, torch.inf)  # the smallest distance² is at most
    for _, upper in kept or bounds:
        least = torch.minimum(least, upper.amin(1))
    least = least.masked_fill(~least.isfinite(), -torch.inf) * (1 + TIE)
    rows, columns, start = [], [], 0
    bounds = (_bounds(relative, length, part.double() * scale - centre) for part in parts)
    for (lower, _), part in zip(kept or bounds, parts, strict=True):
        row, column = (lower <= least[:, None]).nonzero().unbind(1)
        rows.append(row)
        columns.append(column + start)
        start += len(part)
    return _settle(z, parts, torch.cat(rows), torch.cat(columns), scale)


def _bounds(z: Tensor, length: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds ‖z − e‖² from below and above, for z (R, D) and e (T, D): (R, T) each.

    ∞ where it is not a number.
    """
    squares = e.square().sum(1)
    distance = torch.addmm(squares, z, e.T, alpha=-2).add_(length.square()[:, None])
    slack = (length[:, None] + squares.sqrt()).square_().mul_(4 * (z.shape[1] + 8) * ULP)
    none = {"nan": torch.inf, "posinf": torch.inf, "neginf": torch.inf}
    return (distance - slack).nan_to_num_(**none), (distance + slack).nan_to_num_(**none)


def _settle(
    z: Tensor, parts: tuple[Tensor, ...], row: Tensor, column: Tensor, scale: float
) -> Tensor:
    """Returns the nearest codeword of each row (R,), of pairs (P,) of a row and a codeword."""
    size = len(parts[0])
    distance = torch.full(row.shape, torch.inf, dtype=torch.float64, device=row.device)
    for place in torch.arange(len(row), device=row.device).split(max(AT_ONCE // z.shape[1], 1)):
        of = column[place]
        e = torch.cat([part[of[of // size == n] - n * size] for n, part in enumerate(parts)])
        # The columns ascend from part to part, as the parts do.
        distance[place] = (z[row[place]] - e.double() * scale).square().sum(1)
    distance = distance.nan_to_num_(torch.inf, torch.inf)
    least = distance.new_full(z.shape[:1], torch.inf).scatter_reduce_(0, row, distance, "amin")
    equal = distance <= least[row] * (1 + TIE)
    none = torch.iinfo(column.dtype).max
    index = column.new_full(z.shape[:1], none)
    index.scatter_reduce_(0, row[equal], column[equal], "amin")
    return torch.where(index == none, 0, index)


def _centre(codebook: Tensor) -> Tensor:
    """Returns a point between the codewords, unmoved by far ones: (D,), float64."""
    sample = codebook[:: -(-len(codebook) // 4096)].double()
    return torch.where(sample.isfinite(), sample, torch.nan).nanmedian(0).values.nan_to_num(0.0)


def _scale(codebook: Tensor) -> float:
    """Returns a power of two that keeps squares in float64's range; 1 for other dtypes."""
    if codebook.dtype != torch.float64:
        return 1.0
    largest = torch.where(codebook.isfinite(), codebook, 0.0).abs().amax()
    if 2.0**-400 < float(largest) < 2.0**400 or not bool(largest > 0):
        return 1.0
    return 2.0 ** -max(min(int(largest.log2().round()), 1000), -1000)


def _distinct(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the first of each set of equal rows, ascending (M,), and the set of each row (N,).

    Equal rows are found by a hash of their bits. Rows of one hash that differ, which is all but
    impossible, are left as they are.
    """
    bits = x.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()])
    generator = torch.Generator().manual_seed(0)
    odd = torch.randint(2**62, (x.shape[1],), generator=generator) * 2 + 1
    odd = odd.to(x.device)
    hashes = torch.cat(
        [(part.long() * odd).sum(1) for part in bits.split(max(AT_ONCE // x.shape[1], 1))]
    )
    _, which = hashes.unique(return_inverse=True)
    n = torch.arange(len(x), device=x.device)
    first = torch.full_like(n, len(x)).scatter_reduce_(0, which, n, "amin")[which]  # (N,)
    alike = torch.cat(
        [(a == bits[b]).all(1) for a, b in zip(bits.split(65536), first.split(65536), strict=True)]
    )
    first = torch.where(alike, first, n)
    return first.unique(return_inverse=True)
