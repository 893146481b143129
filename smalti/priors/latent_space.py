"""The space in which latent diffusion takes place: principal axes of the tokenizer's vectors.

The vectors of a tokenizer have many dimensions and vary along few: of 64, ten hold 99 % of the
variance, and the largest alone more than half. So they are rotated to their principal axes V. The
axes that hold 99 % of the variance are kept, at most d:

    y = Vᵀ (z − mean) / s                 z = mean + V s y                 s_i = c λ_i^¼

with λ the variances along the axes, and c such that the mean variance of y is 1. Noise hides axes
of small variance first, so that a sample gets its large features before its small ones. Axes of
equal variance (s_i = λ_i^½) would give all features at once; without any scale (s_i = c) the
largest axis would drown the others. Along unused axes z has its mean, and y is 0. Mean, V and λ
are those of the training latents. On the way back the quantizer finds the nearest codewords.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from smalti.arguments import check_result
from smalti.errors import InputError
from smalti.nn.precision import KeepsFloat32
from smalti.quantizers import ProjectedQuantizer, Quantizer

__all__ = ["SAMPLED", "LatentSpace", "check_positions"]

SHARE = 0.99  # of the variance that is kept
AT_ONCE = 1 << 16  # vectors that are decoded at a time
SAMPLED = 1 << 18  # about how many indices mean and covariance are computed from, at most


class LatentSpace(KeepsFloat32):
    """Maps the indices of a frozen quantizer to standardised vectors (..., d), and back.

    Of a quantizer that projects, the vectors are those of the space in which it searches.

    Arguments:
        quantizer: The quantizer of the tokenizer; a copy of it is kept and frozen.
        dims: The largest d. It is less where the codewords have fewer dimensions.

    Raises:
        InputError: If the quantizer takes whole grids, or dims is below 1.

    Example:
        >>> from smalti.quantizers import FiniteScalarQuantizer
        >>> space, indices = LatentSpace(FiniteScalarQuantizer([5, 5]), dims=16), torch.arange(25)
        >>> space.fit(indices)
        >>> space.dims, torch.equal(space.indices(space.vectors(indices)), indices)
        (2, True)
    """

    in_float32 = ("mean", "axes", "scale", "used")
    mean: Tensor  # (D,)
    axes: Tensor  # V (D, d)
    scale: Tensor  # s (d,)
    used: Tensor  # (d,): 1, or 0 for an axis that is left out

    def __init__(self, quantizer: Quantizer, dims: int) -> None:
        super().__init__()
        if dims < 1:
            raise InputError(f"dims must be at least 1, got {dims}: 16 are a good start.")
        check_positions(quantizer)
        self.quantizer = copy.deepcopy(quantizer).requires_grad_(False).eval()
        size = _inner(quantizer).dim
        self.dims = min(dims, size)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("axes", torch.eye(size)[:, : self.dims].clone())
        self.register_buffer("scale", torch.ones(self.dims))
        self.register_buffer("used", torch.ones(self.dims))

    def train(self, mode: bool = True) -> LatentSpace:
        """Sets the mode; the frozen quantizer stays in evaluation mode."""
        super().train(mode)
        self.quantizer.eval()
        return self

    @torch.no_grad()
    def fit(self, indices: Tensor) -> None:
        """Fits mean, axes and scale to the vectors of training indices (N,) or (N, Q)."""
        parts = [self._decoded(part).cpu().double() for part in indices.split(AT_ONCE)]
        z = torch.cat(parts)
        mean = z.mean(0)
        covariance = (z - mean).T @ (z - mean) / len(z)
        variances, axes = (part.flip(-1) for part in torch.linalg.eigh(covariance))
        variances = variances.clamp(min=0)
        before = variances.cumsum(0) - variances
        used = ((before < SHARE * variances.sum()) & (variances > 0))[: self.dims]
        roots = variances[: self.dims].sqrt() * used
        scale = (roots * roots.sum() / used.sum().clamp(min=1)).sqrt()
        self.mean.copy_(mean)
        self.axes.copy_(axes[:, : self.dims] * used)
        self.scale.copy_(torch.where(used, scale, 1.0))
        self.used.copy_(used)

    @torch.no_grad()
    def vectors(self, indices: Tensor) -> Tensor:
        """Returns the standardised vectors (..., d) of indices (...) or (..., Q)."""
        z = self._decoded(indices)
        return (z - self.mean) @ self.axes / self.scale

    @torch.no_grad()
    def indices(self, y: Tensor) -> Tensor:
        """Returns the indices (...) or (..., Q) that the quantizer gives vectors y (..., d).

        Raises:
            InputError: If one is not finite.
        """
        z = self.mean + (check_result(y, "The diffusion").float() * self.scale) @ self.axes.T
        return _inner(self.quantizer).encode_decoded(z)

    def _decoded(self, indices: Tensor) -> Tensor:
        return _inner(self.quantizer).decode(indices)


def check_positions(quantizer: Quantizer) -> None:
    """Raises `InputError` if a quantizer takes whole grids, so that positions have no vectors."""
    if quantizer.acts_on_grid:
        raise InputError(
            f"A {type(quantizer).__name__} takes whole grids, whose positions have no vectors of "
            f"their own: choose another prior, e.g. TransformerPrior."
        )


def _inner(quantizer: Quantizer) -> Quantizer:
    """Returns the quantizer of the space in which codewords are searched."""
    while isinstance(quantizer, ProjectedQuantizer):
        quantizer = quantizer.inner
    return quantizer
