"""Finite scalar quantization: each dimension is bounded and rounded to a few levels.

There is no codebook to learn and none that could collapse: the codewords are a fixed grid of
K = Π_i L_i points, with L_i levels in dimension i. A bound takes a number z_i to b_i, whose whole
steps are the levels, and the nearest level is

    n_i = ⌊b_i + w_i + ½⌋ ∈ {0, …, L_i − 1}        z_q,i = (n_i − w_i) / w_i ∈ [−1, 1]

with w_i the half width of the grid. Only the rounding is passed straight through, not the bound:

    y = z_q + b/w − sg(b/w)                        ∂y_i/∂z_i = b_i'(z_i) / w_i

The levels together are one number in a mixed radix, the first dimension least significant:

    index = n_1 + L_1 (n_2 + L_2 (n_3 + …))

Two bounds are in use, and differ where L is even:

    shifted      b = h tanh(z + atanh(o/h)) − o,     h = (1 + ε)(L − 1)/2,     w = ⌊L/2⌋
    symmetric    b = h tanh(z),                      h = (L − 1)/2,            w = (L − 1)/2

with o = ½ where L is even and 0 where it is odd. The shifted one keeps 0 a level, so that an even
number of levels ends at −1 below and at 1 − 2/L above. The symmetric one spaces all of them
evenly over [−1, 1], ends included.

No loss comes with it: a number beyond the last level is held back by the bound itself.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.quantizers.base import (
    Quantized,
    Quantizer,
    answer,
    check_indices,
    check_vectors,
    taken_in,
    whole,
)
from smalti.quantizers.estimators import straight_through

__all__ = ["Bound", "FiniteScalarQuantizer", "ShiftedBound", "SymmetricBound"]

LARGEST = 2**63 - 1  # of int64


class Bound(ABC):
    """Abstract bound: how the real line is squeezed onto the levels of a dimension."""

    least: int  # the fewest levels it is fit for

    @abstractmethod
    def half_width(self, levels: Tensor) -> Tensor:
        """w (D,), float32, of the levels L (D,), int64: level n lies at (n − w) / w."""

    @abstractmethod
    def __call__(self, z: Tensor, levels: Tensor) -> Tensor:
        """b (..., D), from about −w up, of z (..., D), float32, and the levels L (D,), int64."""


@registered
class ShiftedBound(Bound):
    """b = h tanh(z + atanh(o/h)) − o, with 0 a level, for 3 levels or more.

    With 2 levels its threshold would lie at z = −3.8, where nothing falls: use `SymmetricBound`.

    Arguments:
        eps: ε in (0, 1], by which the bound goes beyond the outer levels, so that they are reached.

    References:
        Finite Scalar Quantization: VQ-VAE Made Simple, F. Mentzer, D. Minnen, E. Agustsson and M.
        Tschannen, 2023, arXiv 2309.15505, appendix A.1.
    """

    least = 3

    def __init__(self, eps: float = 1e-3) -> None:
        if not 0 < eps <= 1:
            raise InputError(
                f"The bound needs eps above 0 and at most 1, got {eps}: 1e-3 is usual."
            )
        self.eps = eps

    def half_width(self, levels: Tensor) -> Tensor:
        return (levels // 2).float()

    def __call__(self, z: Tensor, levels: Tensor) -> Tensor:
        h = (levels - 1).float() * ((1 + self.eps) / 2)
        o = (1 - levels % 2).float() / 2
        return torch.tanh(z + torch.atanh(o / h)) * h - o


@registered
class SymmetricBound(Bound):
    """b = (L − 1)/2 · tanh(z), evenly over [−1, 1], for 2 levels or more.

    References:
        Scaling Transformers for Low-Bitrate High-Quality Speech Coding, J. D. Parker, A. Smirnov,
        J. Pons, C. J. Carr, Z. Zukowski, Z. Evans and X. Liu, 2024, arXiv 2411.19842.
    """

    least = 2

    def __init__(self) -> None:
        pass

    def half_width(self, levels: Tensor) -> Tensor:
        return (levels - 1).float() / 2

    def __call__(self, z: Tensor, levels: Tensor) -> Tensor:
        return torch.tanh(z) * self.half_width(levels)


@registered
class FiniteScalarQuantizer(Quantizer):
    """Rounds each of D = len(levels) dimensions to its levels; indices are (...), of Π_i L_i.

    All arithmetic is in float32, also under autocast; the output has the input's dtype. Nothing is
    learned, so `update` does nothing. Where a codebook has K codewords, levels of [8, 6, 5] (240),
    [8, 5, 5, 5] (1,000), [7, 5, 5, 5, 5] (4,375) or [8, 8, 8, 6, 5] (15,360) take its place.

    Arguments:
        levels: L_i of each dimension, 2 or more (3 or more with a `ShiftedBound`).
        bound: `ShiftedBound()`, the one of the paper, if None; or `SymmetricBound()`.

    References:
        Finite Scalar Quantization: VQ-VAE Made Simple, F. Mentzer, D. Minnen, E. Agustsson and M.
        Tschannen, 2023, arXiv 2309.15505.

    Example:
        >>> quantizer = FiniteScalarQuantizer([8, 5, 5, 5])
        >>> quantized, indices, losses = quantizer(torch.randn(2, 7, 7, 4))
        >>> quantized.shape, indices.shape, losses, quantizer.codebook_sizes
        (torch.Size([2, 7, 7, 4]), torch.Size([2, 7, 7]), {}, (1000,))
        >>> binary = FiniteScalarQuantizer([2, 2, 2], SymmetricBound())
        >>> binary.decode(torch.tensor([0, 1, 6, -1]))
        tensor([[-1., -1., -1.],
                [ 1., -1., -1.],
                [-1.,  1.,  1.],
                [ 0.,  0.,  0.]])
    """

    _levels: Tensor  # L (D,), int64: which .half() leaves alone
    _strides: Tensor  # (D,), int64, the product of the levels before each

    def __init__(self, levels: Sequence[int], bound: Bound | None = None) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.bound = ShiftedBound() if bound is None else bound
        size = _check_levels(self.levels, self.bound)
        self.codebook_sizes, self.dim = (size,), len(self.levels)

        strides = [math.prod(self.levels[:i]) for i in range(self.dim)]
        self.register_buffer("_levels", torch.tensor(self.levels), persistent=False)
        self.register_buffer("_strides", torch.tensor(strides), persistent=False)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantizes z, with the gradient of the bound.

        Arguments:
            z: Vectors (..., D), floating-point.
            mask: Valid positions (...), bool; None where all are. What the others hold, even NaN,
                has no effect.

        Raises:
            InputError: If z or the mask has the wrong shape or dtype.
        """
        with torch.autocast(z.device.type, enabled=False):
            z_e = taken_in(z, self.dim, mask)
            b = self.bound(z_e, self._levels)
            n = self._nearest(b)
            w = self.bound.half_width(self._levels)
            y = straight_through(b / w, self._place(n))
        indices = (n * self._strides).sum(-1)
        return answer(z, mask, y, indices, {})

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        check_vectors(z, self.dim)
        with torch.autocast(z.device.type, enabled=False):
            n = self._nearest(self.bound(z.float(), self._levels))
        return torch.where(whole(z), (n * self._strides).sum(-1), -1)

    def decode(self, indices: Tensor) -> Tensor:
        (size,) = self.codebook_sizes
        check_indices(indices, size)
        n = indices.long().clamp(min=0)[..., None] // self._strides % self._levels  # (..., D)
        return torch.where(indices[..., None] >= 0, self._place(n), 0.0)

    def update(self) -> None:
        """Nothing: there is no codebook to learn."""

    def extra_repr(self) -> str:
        return f"{list(self.levels)}, {type(self.bound).__name__}"

    def _nearest(self, b: Tensor) -> Tensor:
        """The levels n (..., D), int64, of b (..., D)."""
        n = torch.floor(b + (self.bound.half_width(self._levels) + 0.5)).long()
        # From 1001 levels on, ε alone would be a level more; and NaN is no number at all.
        return n.clamp(min=torch.zeros_like(self._levels), max=self._levels - 1)

    def _place(self, n: Tensor) -> Tensor:
        """z_q (..., D), float32, of the levels n (..., D)."""
        w = self.bound.half_width(self._levels)
        return (n - w) / w


def _check_levels(levels: tuple[int, ...], bound: Bound) -> int:
    """The number of codewords.

    Raises:
        InputError: If there is none, or a level is not a number that the bound can take.
    """
    if not levels or any(type(number) is not int or number < 2 for number in levels):
        raise InputError(
            f"levels are whole numbers of at least 2, one for each dimension, got {list(levels)}: "
            f"[8, 5, 5, 5] makes 1000 codewords."
        )
    if min(levels) < bound.least:
        raise InputError(
            f"A {type(bound).__name__} takes {bound.least} levels or more, got {list(levels)}: "
            f"use SymmetricBound(), which is balanced at 2."
        )
    if math.prod(levels) > LARGEST:
        raise InputError(
            f"The product of the levels must stay below 2**63, got {math.prod(levels)}: split the "
            f"dimensions over several quantizers."
        )
    return math.prod(levels)
