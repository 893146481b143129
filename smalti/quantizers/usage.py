"""Usage and perplexity of a codebook.

With c_k the number of times that codeword k was chosen and p_k = c_k / Σ_j c_j:

    usage = |{k : c_k > 0}| / K        perplexity = exp(-Σ_k p_k ln p_k)

Perplexity is the size of the codebook that would carry as much if all its codewords were equally
likely: K at best, 1 when everything falls on one codeword. Both mean something only over a
**whole** evaluation set: a batch of N vectors cannot use more than N codewords.
"""

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers.quantizer import check_indices

__all__ = ["codebook_usage", "count_indices", "perplexity", "usage"]

LARGEST_TABLE = 2**27  # codewords: a count of each takes 1 GB


def count_indices(indices: Tensor, codebook_size: int) -> Tensor:
    """Counts how often each index occurs: (...) integers to (K,) int64; skips -1.

    Counts of several batches may be added. Of a codebook without a table, such as the 2^36 words of
    36 bits, no table of counts fits in memory either: use `codebook_usage`, which counts the
    codewords that occur.

    Raises:
        InputError: If an index is out of range, or there are more than 2^27 codewords.

    Example:
        >>> count_indices(torch.tensor([[0, 2], [2, -1]]), 4)
        tensor([1, 0, 2, 0])
    """
    check_indices(indices, codebook_size)
    if codebook_size > LARGEST_TABLE:
        raise InputError(
            f"A count of each codeword takes a codebook of at most 2**27, got {codebook_size}: use "
            f"codebook_usage(indices, codebook_size), which counts those that occur."
        )
    flat = indices.reshape(-1).long()
    return torch.bincount(flat + 1, minlength=codebook_size + 1)[1:]


def usage(counts: Tensor, codebook_size: int | None = None) -> float:
    """Returns the share of codewords with a count above 0, in [0, 1].

    Arguments:
        counts: (K,), how often each codeword was used; or only the counts above 0.
        codebook_size: K; the number of counts if None.

    Example:
        >>> usage(torch.tensor([1, 0, 2, 0])), usage(torch.tensor([1, 2]), 4)
        (0.5, 0.5)
    """
    size = len(_checked(counts)) if codebook_size is None else codebook_size
    return int((counts > 0).sum()) / size


def perplexity(counts: Tensor) -> float:
    """Computes the perplexity of counts (K,): exp of the entropy of their shares, in [1, K].

    It is 1 where nothing was counted.

    Example:
        >>> round(perplexity(torch.tensor([5, 5, 5, 5])), 6)
        4.0
    """
    share = _checked(counts).double()
    share = share / share.sum().clamp(min=1e-12)
    return float(torch.special.entr(share).sum().exp())


def codebook_usage(indices: Tensor, codebook_size: int) -> tuple[float, float]:
    """Computes usage and perplexity from the indices (...) of a whole evaluation set, for any K.

    Example:
        >>> codebook_usage(torch.tensor([0, 1, 0, 1]), 4)
        (0.5, 2.0)
    """
    check_indices(indices, codebook_size)
    chosen, counts = indices.reshape(-1).long().unique(return_counts=True)
    counts = counts[chosen >= 0]
    if not len(counts):
        return 0.0, 1.0
    return usage(counts, codebook_size), perplexity(counts)


def _checked(counts: Tensor) -> Tensor:
    """Returns counts (K,); raises `InputError` for another shape."""
    if counts.ndim != 1 or not len(counts):
        raise InputError(
            f"Counts are one number per codeword, (K,), got the shape {tuple(counts.shape)}: "
            f"use count_indices(indices, codebook_size)."
        )
    return counts
