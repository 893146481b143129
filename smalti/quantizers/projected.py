"""Quantization in a space of fewer dimensions, or at another scale.

    projected:  h = D z_e + b,   z_q = U q(h)                scaled:  z_q = s q(z_e / s)

The nearest of many codewords is hard to find well in many dimensions, where all are about equally
far: most of a large codebook then stays unused. So vectors are mapped down to a few dimensions,
quantized there, and mapped up again, which costs nothing where the table of U e_k is stored.

Both maps are learned, with the gradient g of the output: g q(h)ᵀ for U, and past the quantization,
by the inner estimator, Uᵀ g for D, and z_e in turn. The losses are those of the inner quantizer, in
its space, and their gradient reaches D and z_e as well.

A scale makes one quantizer serve residuals that shrink: with finite scalars of L levels the error
of one stage fills a cell of width 1/(L − 1) of the range, so stage i has s = (L − 1)^(1 − i).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.quantizers.composed import ComposedQuantizer
from smalti.quantizers.quantizer import Quantized, Quantizer, prepare_input
from smalti.quantizers.unit_vectors import limit_length

__all__ = ["ProjectedQuantizer", "ScaledQuantizer"]


@registered
class ProjectedQuantizer(ComposedQuantizer):
    """Projects vectors (..., D) linearly to the dimension of another quantizer, and back.

    The indices are those of the inner quantizer.

    The map up has no offset, so that no index, -1, is the vector 0.

    Arguments:
        inner: The quantizer, of vectors of inner.dim dimensions.
        dim: D.

    References:
        Vector-quantized Image Modeling with Improved VQGAN, J. Yu et al., 2021, arXiv 2110.04627.

    Example:
        >>> from smalti.quantizers import EMACodebook, VectorQuantizer
        >>> inner = VectorQuantizer(EMACodebook(codebook_size=8192, dim=8))
        >>> quantizer = ProjectedQuantizer(inner, dim=256)
        >>> output = quantizer(torch.randn(2, 5, 256))
        >>> output.quantized.shape, output.indices.shape
        (torch.Size([2, 5, 256]), torch.Size([2, 5]))
    """

    learns_from_output = True

    def __init__(self, inner: Quantizer, dim: int) -> None:
        super().__init__()
        if dim < 1:
            raise InputError(f"dim must be at least 1, got {dim}: it is that of the vectors.")
        self.inner, self.dim, self.codebook_sizes = inner, dim, inner.codebook_sizes
        self.acts_on_grid, self.codes_refine = inner.acts_on_grid, inner.codes_refine
        self.down = nn.Linear(dim, inner.dim)
        self.up = nn.Linear(inner.dim, dim, bias=False)
        self._count_for_parts()

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        with torch.autocast(z.device.type, enabled=False):
            output = self.inner(self._down(prepare_input(z, self.dim, mask)), mask)
            self._remind()
            return Quantized(self._up(output.quantized).to(z.dtype), output.indices, output.losses)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return self.inner.encode(self._down(prepare_input(z, self.dim)))

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        with torch.autocast(indices.device.type, enabled=False):
            return self._up(self.inner.decode(indices))

    def _down(self, z: Tensor) -> Tensor:
        # Longer ones would have gradients of the weights that are ∞ − ∞, see `limit_length`.
        return F.linear(limit_length(z), self.down.weight.float(), self.down.bias.float())

    def _up(self, h: Tensor) -> Tensor:
        return F.linear(h.float(), self.up.weight.float())


@registered
class ScaledQuantizer(ComposedQuantizer):
    """Quantizes vectors (..., D) divided by a scale s; indices are the inner quantizer's.

    The commitment and codebook losses are in the units of z, s² times the inner ones.

    Arguments:
        inner: The quantizer of z / s.
        scale: s > 0.

    References:
        Residual stages of shrinking scale: vector-quantize-pytorch, P. Wang, 2023,
        github.com/lucidrains/vector-quantize-pytorch, `ResidualFSQ`.

    Example:
        >>> from smalti.quantizers import EMACodebook, VectorQuantizer
        >>> inner, index = VectorQuantizer(EMACodebook(codebook_size=16, dim=2)), torch.tensor(3)
        >>> torch.equal(ScaledQuantizer(inner, 4.0).decode(index), 4 * inner.decode(index))
        True
    """

    def __init__(self, inner: Quantizer, scale: float) -> None:
        super().__init__()
        if not scale > 0:
            raise InputError(f"scale must be above 0, got {scale}: 1 changes nothing.")
        self.inner, self.scale = inner, scale
        self.codebook_sizes, self.dim = inner.codebook_sizes, inner.dim
        self.acts_on_grid, self.codes_refine = inner.acts_on_grid, inner.codes_refine
        self._count_for_parts()

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        return self._scaled_up(z, self.inner(self._scaled(prepare_input(z, self.dim, mask)), mask))

    def euclidean_codewords(self) -> Tensor | None:
        """See `Quantizer.euclidean_codewords`."""
        codewords = self.inner.euclidean_codewords()
        return None if codewords is None else codewords * self.scale

    def quantize_as(self, z: Tensor, indices: Tensor, mask: Tensor | None = None) -> Quantized:
        """See `Quantizer.quantize_as`."""
        scaled = self._scaled(prepare_input(z, self.dim, mask))
        return self._scaled_up(z, self.inner.quantize_as(scaled, indices, mask))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        return self.inner.encode(self._scaled(prepare_input(z, self.dim)))

    @torch.no_grad()
    def encode_decoded(self, z_q: Tensor) -> Tensor:
        """See `Quantizer.encode_decoded`."""
        return self.inner.encode_decoded(self._scaled(prepare_input(z_q, self.dim)))

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        return self.inner.decode(indices) * self.scale

    def _scaled_up(self, z: Tensor, inner: Quantized) -> Quantized:
        losses = {
            name: loss * self.scale**2 if name in ("commitment", "codebook") else loss
            for name, loss in inner.losses.items()
        }
        self._remind()
        return Quantized((inner.quantized * self.scale).to(z.dtype), inner.indices, losses)

    def _scaled(self, z: Tensor) -> Tensor:
        """Divides z (..., D) by s; what is finite stays so, as the largest number there is."""
        most = torch.finfo(torch.float32).max
        return torch.where(z.isfinite(), (z / self.scale).clamp(-most, most), z)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"
