"""Lookup-free quantization: z_q = sign(z), and an entropy loss that uses all of the signs.

The latent is z itself, and the codewords are the corners {−1, 1}^d. See
`smalti.quantizers.binary` for the rest.
"""

from torch import Tensor

from smalti.artifacts import registered
from smalti.quantizers.binary import BinaryQuantizer

__all__ = ["LookupFreeQuantizer"]


@registered
class LookupFreeQuantizer(BinaryQuantizer):
    """Quantizes vectors (..., D) to their signs, 1 for a 0; indices are (...), of 2^D.

    Losses, unweighted, in nats per vector where they are entropies: `"commitment"`,
    `"sample_entropy"` and `"entropy_deficit"`. The first two are means over the valid vectors. The
    deficit is a property of a whole batch: it does not change if the batch is repeated, but a part
    of a batch is used less evenly than the whole, so that its deficit is larger on average. Take it
    from batches of many vectors, and from as large parts as fit if gradients are accumulated. Each
    process takes it from its own part.

    All arithmetic is in float32, also under autocast; the output has the input's dtype. Nothing is
    learned, so `update` does nothing.

    Arguments:
        bits: D, from 1 to 62.
        inverse_temperature: τ > 0: bit i is 1 with the probability σ(4 τ z_i).
        group: Bits, from 1 to 16, that the entropy deficit takes together: of one bit it knows
            only that it is 1 half of the time, of g bits that all their 2^g words are used alike.
            Memory grows with 2^(group/2), and linearly with the bits.

    References:
        Language Model Beats Diffusion – Tokenizer is Key to Visual Generation, L. Yu, J. Lezama, N.
        B. Gundavarapu et al., 2023, arXiv 2310.05737.

    Example:
        >>> import torch
        >>> quantizer = LookupFreeQuantizer(bits=18)
        >>> quantized, indices, losses = quantizer(torch.randn(2, 8, 8, 18))
        >>> quantized.shape, indices.shape, quantizer.codebook_sizes
        (torch.Size([2, 8, 8, 18]), torch.Size([2, 8, 8]), (262144,))
        >>> sorted(losses)
        ['commitment', 'entropy_deficit', 'sample_entropy']
        >>> LookupFreeQuantizer(bits=3).decode(torch.tensor([1, 6]))
        tensor([[ 1., -1., -1.],
                [-1.,  1.,  1.]])
    """

    def __init__(self, bits: int, inverse_temperature: float = 1.0, group: int = 9) -> None:
        super().__init__(bits, 1.0, inverse_temperature, group)

    def latent(self, z_e: Tensor) -> Tensor:
        return z_e
