"""Residual quantization: each stage quantizes the error of the stages before it.

    r_0 = z_e      e_i = stage_i(r_{i−1})      r_i = r_{i−1} − sg(e_i)      z_q = e_1 + … + e_Q

Q codebooks of K codewords reach K^Q points with Q·K stored, coarse to fine: the first q indices of
a vector are a coarser description of it, so one model serves many rates.

The output has **one** estimator for the whole sum, y = estimator(z_e, z_q); under straight-through,
y = z_e + sg(z_q − z_e), the gradient of the input is one identity. The stages' own outputs are not
added up, for that would be Q identities. With NSVQ the noise has the length of the last residual,
and its gradient reaches all stages: it belongs to the sum, too, and a stage that has an estimator
of its own is refused.

Losses are the means over the stages of their own terms. A stage without a commitment loss, such as
one of FSQ, whose bound the gradient of the sum passes by, gets the distance to its sum. Since

    r_{i−1} − e_i = z_e − (e_1 + … + e_i)

the commitment losses of the stages are those of RQ-VAE, the distances to the cumulative sums: they
are the same whether the stages share a codebook or not. Each codebook loss moves the codeword of
its own stage only.

Dropout of depth, in training: with probability p an example keeps the first n stages only, n
uniform on 1 … Q. An example is one entry of the first axis of z, all its positions alike, because
that is how a lower rate will be used. The stages that are dropped do not see it: its vectors count
in no codebook and no loss of theirs, and its indices are -1.

In evaluation the codes of all stages may be searched together: `smalti.quantizers.beam`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.quantizers.beam import beam_search
from smalti.quantizers.composed import (
    Losses,
    add_code_axis,
    check_dropout,
    draw_depths,
    kept_at,
    learns_from_output,
    pad_codes,
    remove_code_axis,
    sum_losses,
)
from smalti.quantizers.estimators import Estimator
from smalti.quantizers.means import mean_square
from smalti.quantizers.quantizer import Quantized, Quantizer, finish_output, prepare_input
from smalti.quantizers.staged import StagedQuantizer

__all__ = ["ResidualQuantizer"]


@registered
class ResidualQuantizer(StagedQuantizer):
    """Quantizes vectors (..., D) in stages; indices are (..., Q), coarse to fine.

    The same object may be several of the stages: they share its codebook, which sees the residuals
    of all of them, and is updated once.

    Arguments:
        stages: Quantizers of vectors of D dimensions, with straight-through estimators.
        estimator: The gradient estimator of the sum; `StraightThrough()` if None. With one that
            needs no auxiliary losses, those of the stages are left out.
        dropout: p in [0, 1], the probability that an example is quantized by its first stages alone
            in training; 1 as in SoundStream, 0.5 as in DAC.
        beam: B > 0, the beam width of the search for codes in evaluation and by `encode`; 1 takes
            each stage's nearest codeword. It may be set at any time.

    References:
        SoundStream: An End-to-End Neural Audio Codec, N. Zeghidour, A. Luebs, A. Omran, J. Skoglund
        and M. Tagliasacchi, 2021, arXiv 2107.03312.
        Autoregressive Image Generation using Residual Quantization, D. Lee, C. Kim, S. Kim, M. Cho
        and W.-S. Han, 2022, arXiv 2203.01941.
        High-Fidelity Audio Compression with Improved RVQGAN, R. Kumar, P. Seetharaman, A. Luebs, I.
        Kumar and K. Kumar, 2023, arXiv 2306.06546.

    Example:
        >>> from smalti.quantizers import EMACodebook, VectorQuantizer
        >>> quantizer = ResidualQuantizer(
        ...     [VectorQuantizer(EMACodebook(codebook_size=64, dim=8)) for _ in range(4)]
        ... )
        >>> z = torch.randn(2, 50, 8)
        >>> indices = quantizer.encode(z)
        >>> indices.shape, quantizer.codebook_sizes
        (torch.Size([2, 50, 4]), (64, 64, 64, 64))
        >>> quantizer.decode(indices[..., :2]).shape  # at half the rate
        torch.Size([2, 50, 8])
        >>> shared = ResidualQuantizer([VectorQuantizer(EMACodebook(codebook_size=64, dim=8))] * 4)
        >>> len(shared.stages), len(shared.codebook_sizes)
        (1, 4)
    """

    def __init__(
        self,
        stages: Sequence[Quantizer],
        estimator: Estimator | None = None,
        *,
        dropout: float = 0.0,
        beam: int = 1,
    ) -> None:
        super().__init__(stages, estimator, beam)
        self.dropout = check_dropout(dropout)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        if self.beam > 1 and not self.training:
            return self._searched(z, mask)
        with torch.autocast(z.device.type, enabled=False):
            z_e = prepare_input(z, self.dim, mask)
            depth = draw_depths(z_e, len(self.order), self.dropout if self.training else 0)
            r, z_q = z_e, torch.zeros_like(z_e)
            indices, losses = [], []
            for number, stage in enumerate(self._stages()):
                kept = kept_at(depth, number, mask, z_e)
                output = self._quantize(stage, r, kept)
                e = output.quantized
                if self._reaches(stage):
                    e = stage.decode(output.indices)
                r, z_q = r - e.detach(), z_q + e
                indices.append(add_code_axis(stage, output.indices))
                losses.append(self._losses(stage, output.losses, r, kept))

            y = self._output(z_e, z_q)
        self._remind()
        mean = sum_losses((1 / len(self.order), terms) for terms in losses)
        return Quantized(finish_output(z, mask, y), self._joined(indices), mean)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            r = prepare_input(z, self.dim)
            if self.beam > 1:
                return remove_code_axis(self, self._codes(r))
            indices = []
            for stage in self._stages():
                index = stage.encode(r)
                r = r - stage.decode(index)
                indices.append(add_code_axis(stage, index))
        return self._joined(indices)

    def decode(self, indices: Tensor) -> Tensor:
        """Decodes indices (..., q), the first q ≤ Q of each, to vectors (..., D).

        An index of -1 contributes nothing.

        Raises:
            InputError: If an index is out of range, or q > Q.
        """
        whole = pad_codes(add_code_axis(self, indices), len(self.codebook_sizes))
        stages = self._stages()
        parts = whole.split([len(stage.codebook_sizes) for stage in stages], dim=-1)
        z_q: Tensor | float = 0.0
        for stage, part in zip(stages, parts, strict=True):
            z_q = z_q + stage.decode(remove_code_axis(stage, part))
        assert isinstance(z_q, Tensor)
        return z_q

    def first_stages(self, stages: int) -> ResidualQuantizer:
        """Returns a quantizer of the first stages alone, which it shares with this one.

        Its codes are the first of those of this one, if both are searched greedily.

        Raises:
            InputError: If there are no so many stages.
        """
        if not 1 <= stages <= len(self.order):
            raise InputError(
                f"This quantizer has {len(self.order)} stages, got the first {stages}: give a "
                f"number from 1 to {len(self.order)}."
            )
        return ResidualQuantizer(
            self._stages()[:stages], self.estimator, dropout=self.dropout, beam=self.beam
        )

    def extra_repr(self) -> str:
        return f"order={self.order}, dropout={self.dropout}, beam={self.beam}"

    def _check_beam(self, beam: int) -> None:
        for stage in self._stages() if beam > 1 else ():
            if stage.euclidean_codewords() is None:
                raise InputError(
                    f"A beam needs stages that take the codeword at the smallest Euclidean "
                    f"distance, got {type(stage).__name__}: leave beam=1, or choose other stages."
                )

    def _codes(self, z_e: Tensor) -> Tensor:
        """Returns the codes of vectors (..., D), searched together: (..., Q)."""
        books = [stage.euclidean_codewords() for stage in self._stages()]
        vectors = z_e.detach().reshape(-1, self.dim)
        found = beam_search(vectors, books, self.beam)  # type: ignore[arg-type]
        return found.view(*z_e.shape[:-1], len(books))

    def _searched(self, z: Tensor, mask: Tensor | None) -> Quantized:
        """Works like `forward` in evaluation, with codes that are searched together."""
        with torch.autocast(z.device.type, enabled=False):
            z_e = prepare_input(z, self.dim, mask)
            r, z_q = z_e, torch.zeros_like(z_e)
            indices, losses = [], []
            for stage, index in zip(self._stages(), self._codes(z_e).unbind(-1), strict=True):
                output = stage.quantize_as(r, index, mask)
                e = output.quantized.detach()
                r, z_q = r - e, z_q + e
                indices.append(output.indices[..., None])
                losses.append(self._losses(stage, output.losses, r, mask))
            y = self._output(z_e, z_q)
        mean = sum_losses((1 / len(self.order), terms) for terms in losses)
        return Quantized(finish_output(z, mask, y), self._joined(indices), mean)

    def _losses(self, stage: Quantizer, losses: Losses, r: Tensor, kept: Tensor | None) -> Losses:
        """Returns the losses of a stage, with those that the estimator of the sum needs."""
        if self.estimator.needs_commitment:
            # The gradient of the sum passes by the bounds of stages such as FSQ: without
            # commitment nothing would keep z near what they can say.
            if learns_from_output(stage) or "commitment" not in losses:
                return sum_losses([(1.0, losses), (1.0, {"commitment": mean_square(r, kept)})])
            return losses
        if learns_from_output(stage):
            return losses
        return {
            name: loss for name, loss in losses.items() if name not in ("commitment", "codebook")
        }
