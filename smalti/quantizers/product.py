"""Product quantization: vectors are split into parts, each with a quantizer of its own.

    z_e = (z_1, …, z_P)        z_q = (q_1(z_1), …, q_P(z_P))

P codebooks of K codewords reach K^P points with P·K stored, each of D/P dimensions. Unlike the
stages of a residual quantizer the parts know nothing of each other: they can be searched at once,
and their errors add up without interaction, ‖z_e − z_q‖² = Σ_p ‖z_p − q_p(z_p)‖².

Dropout of depth, in training: with probability p an example keeps the first n parts only, n uniform
on 1 … P, and the others are 0. So the encoder puts first what matters most, and one model serves
many rates, as that of a residual quantizer does (nested dropout).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.quantizers.composed import (
    ComposedQuantizer,
    add_code_axis,
    check_dropout,
    check_per_vector,
    draw_depths,
    kept_at,
    pad_codes,
    remove_code_axis,
    sum_losses,
    unique_quantizers,
)
from smalti.quantizers.quantizer import Quantized, Quantizer, check_mask, check_vectors

__all__ = ["ProductQuantizer"]


@registered
class ProductQuantizer(ComposedQuantizer):
    """Quantizes consecutive parts of vectors (..., D) separately; indices are (..., Q), in order.

    Each part's own estimator carries its gradient. A loss is the mean of the parts' terms, weighted
    by their dims: so the commitment loss is the mean over all elements of z.

    Arguments:
        parts: The quantizers of the parts, whose dims add up to D; the same object may occur
            several times.
        dropout: p in [0, 1], the probability that an example is quantized by its first parts alone
            in training. Without it the first parts say nothing of the whole.

    References:
        Product Quantization for Nearest Neighbor Search, H. Jégou, M. Douze and C. Schmid, 2011,
        IEEE TPAMI 33(1), doi 10.1109/TPAMI.2010.57.
        Learning Ordered Representations with Nested Dropout, O. Rippel, M. A. Gelbart and R. P.
        Adams, 2014, arXiv 1402.0915.

    Example:
        >>> from smalti.quantizers import EMACodebook, VectorQuantizer
        >>> quantizer = ProductQuantizer(
        ...     [VectorQuantizer(EMACodebook(codebook_size=256, dim=4)) for _ in range(2)]
        ... )
        >>> quantizer.dim, quantizer.encode(torch.randn(3, 7, 8)).shape
        (8, torch.Size([3, 7, 2]))
    """

    def __init__(self, parts: Sequence[Quantizer], *, dropout: float = 0.0) -> None:
        super().__init__()
        check_per_vector(parts, "parts")
        self.dropout = check_dropout(dropout)
        self.parts, self.order = unique_quantizers(parts)
        self.dims = [part.dim for part in parts]
        self.codebook_sizes = tuple(size for part in parts for size in part.codebook_sizes)
        self.dim = sum(self.dims)
        alone = len(self.order) == 1
        self.codes_refine = parts[0].codes_refine if alone else dropout > 0
        self._count_for_parts()

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        check_vectors(z, self.dim)
        check_mask(mask, z)
        parts = self._parts()
        depth = draw_depths(z, len(parts), self.dropout if self.training else 0)
        pieces = z.split(self.dims, dim=-1)
        outputs = [
            part(piece, kept_at(depth, number, mask, z))
            for number, (part, piece) in enumerate(zip(parts, pieces, strict=True))
        ]
        self._remind()
        quantized = torch.cat([output.quantized for output in outputs], dim=-1)
        indices = [
            add_code_axis(part, output.indices) for part, output in zip(parts, outputs, strict=True)
        ]
        losses = sum_losses(
            (part.dim / self.dim, o.losses) for part, o in zip(parts, outputs, strict=True)
        )
        return Quantized(quantized, remove_code_axis(self, torch.cat(indices, dim=-1)), losses)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        return self._encoded(z, [part.encode for part in self._parts()])

    def encode_decoded(self, z_q: Tensor) -> Tensor:
        """See `Quantizer.encode_decoded`."""
        return self._encoded(z_q, [part.encode_decoded for part in self._parts()])

    def _encoded(self, z: Tensor, encode: list[Callable[[Tensor], Tensor]]) -> Tensor:
        """Returns the indices of z (..., D), of which each part has its way to encode."""
        check_vectors(z, self.dim)
        pieces = zip(self._parts(), z.split(self.dims, dim=-1), encode, strict=True)
        indices = [add_code_axis(part, own(piece)) for part, piece, own in pieces]
        return remove_code_axis(self, torch.cat(indices, dim=-1))

    def decode(self, indices: Tensor) -> Tensor:
        """Decodes indices (..., q), the first q ≤ Q of each, to vectors (..., D).

        A part without an index, or with -1, is 0.

        Raises:
            InputError: If an index is out of range, or q > Q.
        """
        whole = pad_codes(add_code_axis(self, indices), len(self.codebook_sizes))
        parts = self._parts()
        pieces = whole.split([len(part.codebook_sizes) for part in parts], dim=-1)
        decoded = [
            part.decode(remove_code_axis(part, piece))
            for part, piece in zip(parts, pieces, strict=True)
        ]
        return torch.cat(decoded, dim=-1)

    def _parts(self) -> list[Quantizer]:
        return [self.parts[place] for place in self.order]  # type: ignore[misc]

    def extra_repr(self) -> str:
        return f"order={self.order}, dropout={self.dropout}"
