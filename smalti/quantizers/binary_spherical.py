"""Binary spherical quantization: the signs of a unit vector.

    u = z / ‖z‖          z_q = sign(u) / √d

Codewords and latents lie on one sphere, so the quantization error is bounded, ‖u − z_q‖² < 2, and
the encoder cannot drift away. The gradient passes straight through the sign, and through the
normalization: g_z = (g − ⟨g, u⟩ u) / max(‖z‖, 0.01), see `smalti.quantizers.unit_vectors`. See
`smalti.quantizers.binary` for the rest.
"""

import math

from torch import Tensor

from smalti.artifacts import registered
from smalti.quantizers.binary import BinaryQuantizer
from smalti.quantizers.unit_vectors import normalize_vectors

__all__ = ["BinarySphericalQuantizer"]


@registered
class BinarySphericalQuantizer(BinaryQuantizer):
    """Quantizes vectors (..., D) to their signs on the unit sphere; indices are (...), of 2^D.

    A vector without a direction (no coordinate above 1e-12) has u = 0 and no gradient; its
    codeword is that of its signs, 1 for a 0.

    Losses, unweighted, in nats per vector where they are entropies: `"commitment"`,
    `"sample_entropy"` and `"entropy_deficit"`. The first two are means over the valid vectors; the
    first, a mean over dimensions too, is below 2/D. The deficit is a property of a whole batch: it
    does not change if the batch is repeated, but a part of a batch is used less evenly than the
    whole, so that its deficit is larger on average. Each process takes it from its own part.

    All arithmetic is in float32, also under autocast; the output has the input's dtype. Nothing is
    learned, so `update` does nothing.

    Arguments:
        bits: D, from 1 to 62.
        inverse_temperature: τ > 0: bit i is 1 with the probability σ(4 τ u_i / √D). D if None,
            which is as sharp as τ = 1 is for codewords of ±1.
        group: Bits, from 1 to 16, that the entropy deficit takes together; see
            `LookupFreeQuantizer`.

    References:
        Image and Video Tokenization with Binary Spherical Quantization, Y. Zhao, Y. Xiong and P.
        Krähenbühl, 2024, arXiv 2406.07548.

    Example:
        >>> import torch
        >>> quantizer = BinarySphericalQuantizer(bits=4)
        >>> quantized, indices, losses = quantizer(torch.tensor([[5.0, -0.1, 0.2, -3.0]]))
        >>> quantized, indices
        (tensor([[ 0.5000, -0.5000,  0.5000, -0.5000]]), tensor([5]))
    """

    def __init__(self, bits: int, inverse_temperature: float | None = None, group: int = 9) -> None:
        temperature = float(bits) if inverse_temperature is None else inverse_temperature
        super().__init__(bits, 1 / math.sqrt(max(bits, 1)), temperature, group)

    def latent(self, z_e: Tensor) -> Tensor:
        return normalize_vectors(z_e)
