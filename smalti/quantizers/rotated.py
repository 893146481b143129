"""Quantization after a fixed rotation.

    z_q = Rᵀ q(R z_e)        R Rᵀ = I

Distances are the same before and after, so what is near stays near. What a rotation decides is
which directions a `ProductQuantizer` cuts its parts along: parts that depend on each other waste
their codewords.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.nn.precision import KeepsFloat32
from smalti.quantizers.composed import ComposedQuantizer
from smalti.quantizers.quantizer import Quantized, Quantizer, prepare_input
from smalti.quantizers.unit_vectors import limit_length

__all__ = ["RotatedQuantizer"]

ORTHOGONAL = 1e-4  # how far R Rᵀ may be from I


@registered
class RotatedQuantizer(KeepsFloat32, ComposedQuantizer):
    """Rotates vectors (..., D), quantizes them, and rotates back; indices are the inner one's.

    The rotation is the identity until it is given (`rotate_by`) or fitted (`OptimizedProduct`);
    gradients never change it. The losses are the inner ones, in which lengths are the same.

    Arguments:
        inner: The quantizer of the rotated vectors R z.

    References:
        Optimized Product Quantization, T. Ge, K. He, Q. Ke and J. Sun, 2014, IEEE TPAMI 36(4), doi
        10.1109/TPAMI.2013.240.

    Example:
        >>> from smalti.quantizers import EMACodebook, ProductQuantizer, VectorQuantizer
        >>> parts = [VectorQuantizer(EMACodebook(codebook_size=16, dim=2)) for _ in range(2)]
        >>> quantizer = RotatedQuantizer(ProductQuantizer(parts))
        >>> quantizer.rotate_by(torch.eye(4).flip(0))
        >>> x = torch.randn(5, 4)
        >>> torch.equal(quantizer.encode(x), quantizer.inner.encode(x.flip(1)))
        True
    """

    in_float32 = ("rotation",)
    rotation: Tensor  # R (D, D)

    def __init__(self, inner: Quantizer) -> None:
        super().__init__()
        self.inner, self.dim, self.codebook_sizes = inner, inner.dim, inner.codebook_sizes
        self.acts_on_grid, self.codes_refine = inner.acts_on_grid, inner.codes_refine
        self.register_buffer("rotation", torch.eye(inner.dim, dtype=torch.float32))
        self._count_for_parts()

    @torch.no_grad()
    def rotate_by(self, rotation: Tensor) -> None:
        """Sets R (D, D).

        Raises:
            InputError: If it is not orthogonal.
        """
        same = rotation.shape == self.rotation.shape
        wide = rotation.double()
        off = (wide @ wide.T - torch.eye(self.dim).to(wide)).abs().amax().item() if same else 0.0
        if not same or not off < ORTHOGONAL:
            got = f"R Rᵀ that differs by {off:.2g}" if same else f"the shape {tuple(wide.shape)}"
            raise InputError(
                f"A rotation is an orthogonal matrix ({self.dim}, {self.dim}), got {got}: take "
                f"torch.linalg.qr(matrix).Q."
            )
        self.rotation.copy_(rotation)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        with torch.autocast(z.device.type, enabled=False):
            output = self.inner(self._rotated(prepare_input(z, self.dim, mask)), mask)
            return self._rotated_back(z, output)

    def euclidean_codewords(self) -> Tensor | None:
        """See `Quantizer.euclidean_codewords`."""
        codewords = self.inner.euclidean_codewords()
        return None if codewords is None else self._back(codewords)

    def quantize_as(self, z: Tensor, indices: Tensor, mask: Tensor | None = None) -> Quantized:
        """See `Quantizer.quantize_as`."""
        with torch.autocast(z.device.type, enabled=False):
            rotated = self._rotated(prepare_input(z, self.dim, mask))
            return self._rotated_back(z, self.inner.quantize_as(rotated, indices, mask))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return self.inner.encode(self._rotated(prepare_input(z, self.dim)))

    @torch.no_grad()
    def encode_decoded(self, z_q: Tensor) -> Tensor:
        """See `Quantizer.encode_decoded`."""
        with torch.autocast(z_q.device.type, enabled=False):
            return self.inner.encode_decoded(self._rotated(prepare_input(z_q, self.dim)))

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        with torch.autocast(indices.device.type, enabled=False):
            return self._back(self.inner.decode(indices))

    def _rotated(self, z: Tensor) -> Tensor:
        return F.linear(limit_length(z), self.rotation)  # sums of longer ones could be infinite

    def _back(self, h: Tensor) -> Tensor:
        return F.linear(h.float(), self.rotation.T)

    def _rotated_back(self, z: Tensor, inner: Quantized) -> Quantized:
        self._remind()
        return Quantized(self._back(inner.quantized).to(z.dtype), inner.indices, inner.losses)
