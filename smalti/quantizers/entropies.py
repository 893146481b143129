"""Entropies of binary codes whose bits are independent, without a list of the 2^d codewords.

Let each of d bits be 1 with the probability p_i = σ(a_i), by itself. The entropy of the whole word
is then the sum of the entropies of its bits,

    H(p) = Σ_i h(a_i)          h(a) = −p ln p − (1 − p) ln (1 − p)

exactly. The mean p̄ of p over a batch does not factorise, and its entropy needs all 2^d
probabilities. Over groups of g bits it needs 2^g for each, and entropy is subadditive:

    H(p̄) ≤ Σ_G H(p̄_G)          d ln 2 − H(p̄) ≥ Σ_G KL(p̄_G ‖ uniform)

with equality at g = d. Even one group's probabilities never exist for a single vector: with A and B
(N, 2^(g/2)) those of the two halves of a group, p̄_G = AᵀB / N. So memory is N · 2 · 2^(g/2) · d/g
and 2^g · d/g numbers, linear in d.
"""

import torch
from einops import einsum, rearrange
from torch import Tensor
from torch.nn import functional as F

from smalti.quantizers.means import mean_weights

__all__ = ["bit_entropy", "entropy_deficit"]

SURE = 1e30  # what an infinite logit counts as: no entropy, and ∞ · 0 would be NaN


def bit_entropy(logits: Tensor) -> Tensor:
    """Computes the entropy h(a) in nats of bits with logits a of any shape, element by element.

    Example:
        >>> bit_entropy(torch.tensor([0.0, 1000.0]))
        tensor([0.6931, 0.0000])
    """
    size = logits.abs().clamp(max=SURE)
    return F.softplus(-size) + size * torch.sigmoid(-size)


def entropy_deficit(logits: Tensor, mask: Tensor | None, group: int) -> Tensor:
    """Computes how unevenly a batch uses binary codewords: Σ_G KL(p̄_G ‖ uniform) in nats.

    Arguments:
        logits: a (..., d), float32, finite.
        mask: Which words count (...), bool; None for all. Without any the deficit is 0.
        group: Bits a group g; the last group has the rest.

    Example:
        >>> balanced = torch.tensor([[9.0, 9.0], [-9.0, -9.0]])  # but its bits are always equal
        >>> entropy_deficit(balanced, None, group=1), entropy_deficit(balanced, None, group=2)
        (tensor(0.), tensor(0.6909))
    """
    flat = rearrange(logits, "... d -> (...) d")
    share = mean_weights(logits, mask)  # (N,)

    whole = flat.shape[1] // group * group
    deficit = flat.new_zeros(())
    for part, bits in ((flat[:, :whole], group), (flat[:, whole:], flat.shape[1] - whole)):
        if part.shape[1]:
            groups = rearrange(part, "n (G g) -> n G g", g=bits)
            deficit = deficit + _divergence(_mean_probabilities(groups, share))
    return deficit


def _divergence(p: Tensor) -> Tensor:
    """Returns Σ_G KL(p_G ‖ uniform) of the distributions p (G, K)."""
    ratio = p * p.shape[1]
    # Clamped, for where p is 0 its logarithm has no finite gradient.
    return (p * ratio.clamp(min=torch.finfo(p.dtype).tiny).log()).sum()


def _mean_probabilities(logits: Tensor, share: Tensor) -> Tensor:
    """Returns p̄ (G, 2^g) of the logits (N, G, g), each vector with its share (N,)."""
    half = logits.shape[-1] // 2
    a = _joint(logits[..., :half]) * share[:, None, None]
    b = _joint(logits[..., half:])
    return rearrange(einsum(a, b, "n G i, n G j -> G i j"), "G i j -> G (i j)")


def _joint(logits: Tensor) -> Tensor:
    """Returns the probabilities (N, G, 2^h) of all words of h bits, of their logits (N, G, h)."""
    p = logits.new_ones(*logits.shape[:-1], 1)
    for bit in logits.unbind(-1):
        pair = torch.stack((-bit, bit), -1).sigmoid()  # (N, G, 2)
        p = rearrange(p[..., None, :] * pair[..., None], "n G b k -> n G (b k)")
    return p
