"""Binary quantization: each dimension keeps its sign, and the signs are the index.

The 2^d corners of a cube are the codewords. Nothing has to be searched, for the nearest corner has
the signs of z, and nothing has to be stored:

    bit_i = [z_i ≥ 0]          z_q,i = ±r          index = Σ_i bit_i 2^i

where a 0, of either sign, counts as positive. The gradient passes straight through the sign, from
z_q to the latent u that the quantizer makes of z: y = z_q + u − sg(u).

Corners cannot move to where the vectors are, so the vectors must come to them, and to all of them.
Three losses do this. With the probability of a codeword c falling with its squared distance,

    p(c|u) ∝ exp(−τ ‖u − c‖²)          p(bit_i = 1 | u) = σ(4 τ r u_i)

they are, as means over the valid vectors,

    commitment = ‖u − sg(z_q)‖² / d          holds a vector to its corner
    sample_entropy = H(p(·|u))               makes it decide, away from the borders of the cells
    entropy_deficit = d ln 2 − H(p̄)          spreads the vectors, with p̄ the mean of p(·|u)

all to be made small. The deficit is 0 where p̄ uses all codewords alike. In the papers' notation the
entropy loss is H(p) − γ H(p̄), which is sample_entropy + γ · entropy_deficit but for a constant.
`smalti.quantizers.entropies` says how both are found without a list of 2^d codewords.
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers.entropies import bit_entropy, entropy_deficit
from smalti.quantizers.estimators import straight_through
from smalti.quantizers.means import masked_mean, mean_square
from smalti.quantizers.quantizer import (
    Quantized,
    Quantizer,
    check_indices,
    finite_vectors,
    make_output,
    prepare_input,
)

__all__ = ["BinaryQuantizer"]

MOST_BITS = 62
LARGEST_GROUP = 16  # a table of 65,536 probabilities


class BinaryQuantizer(Quantizer):
    """Abstract: quantizes each coordinate to its sign times a radius.

    Arguments:
        bits: d, the dimensions of a vector.
        radius: r, the size of a coordinate of a codeword.
        inverse_temperature: τ > 0.
        group: Bits that the entropy deficit takes together.
    """

    def __init__(self, bits: int, radius: float, inverse_temperature: float, group: int) -> None:
        super().__init__()
        if type(bits) is not int or not 1 <= bits <= MOST_BITS:
            raise InputError(
                f"bits must be a whole number from 1 to {MOST_BITS}, got {bits}: split more over "
                f"several quantizers."
            )
        if not 0 < inverse_temperature < math.inf:
            raise InputError(
                f"inverse_temperature must be above 0, got {inverse_temperature}: leave it out for "
                f"the usual one."
            )
        if type(group) is not int or not 1 <= group <= LARGEST_GROUP:
            raise InputError(
                f"group must be a whole number from 1 to {LARGEST_GROUP} bits, got {group}: 9 is "
                f"usual, and 1 the cheapest."
            )
        self.bits, self.radius = bits, radius
        self.inverse_temperature, self.group = inverse_temperature, group
        self.codebook_sizes, self.dim = (2**bits,), bits

    @abstractmethod
    def latent(self, z_e: Tensor) -> Tensor:
        """Computes u (..., D), which the losses compare, from vectors (..., D), float32."""

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantizes z, with the gradient of the latent.

        Arguments:
            z: Vectors (..., D), floating-point.
            mask: Valid positions (...), bool; None where all are. What the others hold, even NaN,
                has no effect.

        Raises:
            InputError: If z or the mask has the wrong shape or dtype.
        """
        with torch.autocast(z.device.type, enabled=False):
            z_e = prepare_input(z, self.dim, mask)
            u = self.latent(z_e)
            positive = z_e >= 0
            z_q = self._corner(positive)
            losses = self._losses(u, z_q, mask)
            y = straight_through(u, z_q)
        indices = _to_index(positive)
        return make_output(z, mask, y, indices, losses)

    def encode(self, z: Tensor) -> Tensor:
        return torch.where(finite_vectors(z), _to_index(prepare_input(z, self.dim) >= 0), -1)

    def decode(self, indices: Tensor) -> Tensor:
        (size,) = self.codebook_sizes
        check_indices(indices, size)
        place = torch.arange(self.bits, device=indices.device)
        positive = (indices.long()[..., None] >> place) & 1 == 1  # (..., D)
        return torch.where(indices[..., None] >= 0, self._corner(positive), 0.0)

    def update(self) -> None:
        """Does nothing: there is no codebook to learn."""

    def extra_repr(self) -> str:
        return f"{self.bits}, inverse_temperature={self.inverse_temperature}, group={self.group}"

    def _corner(self, positive: Tensor) -> Tensor:
        """Returns z_q (..., D), float32."""
        return torch.where(positive, self.radius, -self.radius).float()

    def _losses(self, u: Tensor, z_q: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """Returns commitment, sample entropy and entropy deficit."""
        logits = (4 * self.inverse_temperature * self.radius) * u
        return {
            "commitment": mean_square(u - z_q, mask),
            "sample_entropy": self.bits * masked_mean(bit_entropy(logits), mask),
            "entropy_deficit": entropy_deficit(logits, mask, self.group),
        }


def _to_index(positive: Tensor) -> Tensor:
    """Returns the index (...), int64, of bits (..., D), the first of them least significant."""
    place = torch.arange(positive.shape[-1], device=positive.device)
    return (positive.long() << place).sum(-1)
