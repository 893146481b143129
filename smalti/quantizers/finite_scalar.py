"""Finite scalar quantization: each dimension is bounded and rounded to a few values.

There is no codebook to learn and none that could collapse: the codewords are a fixed grid of
K = Π_i L_i points, with L_i values in dimension i. A bound takes a number z_i to b_i, whose whole
steps are the values, and the nearest value is

    n_i = ⌊b_i + w_i + ½⌋ ∈ {0, …, L_i − 1}        z_q,i = (n_i − w_i) / w_i ∈ [−1, 1]

with w_i the half width of the grid. Only the rounding is passed straight through, not the bound:

    y = z_q + b/w − sg(b/w)                        ∂y_i/∂z_i = b_i'(z_i) / w_i

The values together are one number in a mixed radix, the first dimension least significant:

    index = n_1 + L_1 (n_2 + L_2 (n_3 + …))

Two bounds are in use, and differ where L is even:

    shifted      b = h tanh(z + atanh(o/h)) − o,     h = (1 + ε)(L − 1)/2,     w = ⌊L/2⌋
    symmetric    b = h tanh(z),                      h = (L − 1)/2,            w = (L − 1)/2

with o = ½ where L is even and 0 where it is odd. The shifted one keeps 0 a value, so that an even
number of values ends at −1 below and at 1 − 2/L above. The symmetric one spaces all of them
evenly over [−1, 1], ends included.

No loss comes with it: a number beyond the last value is held back by the bound itself.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.quantizers.estimators import straight_through
from smalti.quantizers.quantizer import (
    Quantized,
    Quantizer,
    check_indices,
    check_vectors,
    finite_vectors,
    make_output,
    prepare_input,
)

__all__ = ["Bound", "FiniteScalarQuantizer", "ShiftedBound", "SymmetricBound"]

LARGEST = 2**63 - 1  # of int64


class Bound(ABC):
    """Abstract: the function by which FSQ bounds a dimension, before it rounds it to L values.

    Rounded to whole numbers, what it gives are the L values.
    """

    least: int  # the fewest values it is fit for

    @abstractmethod
    def half_width(self, num_values: Tensor) -> Tensor:
        """Returns w (D,), float32, of L (D,), int64: value n lies at (n − w) / w."""

    @abstractmethod
    def __call__(self, z: Tensor, num_values: Tensor) -> Tensor:
        """Bounds z (..., D), float32: b (..., D), from about −w up, for L (D,), int64, values."""


@registered
class ShiftedBound(Bound):
    """The bound of the FSQ paper: b = h tanh(z + atanh(o/h)) − o, for 3 values or more.

    0 is among the values.

    With 2 values its threshold would lie at z = −3.8, where nothing falls: use `SymmetricBound`.

    Arguments:
        eps: ε in (0, 1], by which the bound goes beyond the outer values, so that they are reached.

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

    def half_width(self, num_values: Tensor) -> Tensor:
        return (num_values // 2).float()

    def __call__(self, z: Tensor, num_values: Tensor) -> Tensor:
        h = (num_values - 1).float() * ((1 + self.eps) / 2)
        o = (1 - num_values % 2).float() / 2
        return torch.tanh(z + torch.atanh(o / h)) * h - o


@registered
class SymmetricBound(Bound):
    """The symmetric bound: L values evenly spaced over [−1, 1], b = (L − 1)/2 · tanh(z).

    It takes 2 values or more.

    References:
        Scaling Transformers for Low-Bitrate High-Quality Speech Coding, J. D. Parker, A. Smirnov,
        J. Pons, C. J. Carr, Z. Zukowski, Z. Evans and X. Liu, 2024, arXiv 2411.19842.
    """

    least = 2

    def __init__(self) -> None:
        pass

    def half_width(self, num_values: Tensor) -> Tensor:
        return (num_values - 1).float() / 2

    def __call__(self, z: Tensor, num_values: Tensor) -> Tensor:
        return torch.tanh(z) * self.half_width(num_values)


@registered
class FiniteScalarQuantizer(Quantizer):
    """Rounds each of D = len(num_values) dimensions to its values; indices are (...), of Π_i L_i.

    All arithmetic is in float32, also under autocast; the output has the input's dtype. Nothing is
    learned, so `update` does nothing. Where a codebook has K codewords, values of [8, 6, 5] (240),
    [8, 5, 5, 5] (1,000), [7, 5, 5, 5, 5] (4,375) or [8, 8, 8, 6, 5] (15,360) take its place.

    Arguments:
        num_values: L_i, how many values each dimension takes, 2 or more (3 or more with a
            `ShiftedBound`).
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

    _num_values: Tensor  # L (D,), int64: which .half() leaves alone
    _strides: Tensor  # (D,), int64, the product of the values before each

    def __init__(self, num_values: Sequence[int], bound: Bound | None = None) -> None:
        super().__init__()
        self.num_values = tuple(num_values)
        self.bound = ShiftedBound() if bound is None else bound
        size = _check_num_values(self.num_values, self.bound)
        self.codebook_sizes, self.dim = (size,), len(self.num_values)

        strides = [math.prod(self.num_values[:i]) for i in range(self.dim)]
        self.register_buffer("_num_values", torch.tensor(self.num_values), persistent=False)
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
            z_e = prepare_input(z, self.dim, mask)
            b = self.bound(z_e, self._num_values)
            n = self._nearest(b)
            w = self.bound.half_width(self._num_values)
            y = straight_through(b / w, self._place(n))
        indices = (n * self._strides).sum(-1)
        return make_output(z, mask, y, indices, {})

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        check_vectors(z, self.dim)
        with torch.autocast(z.device.type, enabled=False):
            n = self._nearest(self.bound(z.float(), self._num_values))
        return torch.where(finite_vectors(z), (n * self._strides).sum(-1), -1)

    @torch.no_grad()
    def encode_decoded(self, z_q: Tensor) -> Tensor:
        """See `Quantizer.encode_decoded`; there is no bound, for z_q is bounded already."""
        check_vectors(z_q, self.dim)
        b = z_q.float() * self.bound.half_width(self._num_values)
        return torch.where(finite_vectors(z_q), (self._nearest(b) * self._strides).sum(-1), -1)

    def decode(self, indices: Tensor) -> Tensor:
        (size,) = self.codebook_sizes
        check_indices(indices, size)
        n = indices.long().clamp(min=0)[..., None] // self._strides % self._num_values  # (..., D)
        return torch.where(indices[..., None] >= 0, self._place(n), 0.0)

    def update(self) -> None:
        """Does nothing: there is no codebook to learn."""

    def extra_repr(self) -> str:
        return f"{list(self.num_values)}, {type(self.bound).__name__}"

    def _nearest(self, b: Tensor) -> Tensor:
        """Returns the values n (..., D), int64, of b (..., D)."""
        n = torch.floor(b + (self.bound.half_width(self._num_values) + 0.5)).long()
        # From 1001 values on, ε alone would be a value more; and NaN is no number at all.
        return n.clamp(min=torch.zeros_like(self._num_values), max=self._num_values - 1)

    def _place(self, n: Tensor) -> Tensor:
        """Returns z_q (..., D), float32, of the values n (..., D)."""
        w = self.bound.half_width(self._num_values)
        return (n - w) / w


def _check_num_values(num_values: tuple[int, ...], bound: Bound) -> int:
    """Returns the number of codewords.

    Raises:
        InputError: If `num_values` is empty, or one of them is not an int that the bound can take.
    """
    if not num_values or any(type(number) is not int or number < 2 for number in num_values):
        raise InputError(
            f"num_values are whole numbers of at least 2, one for each dimension, got "
            f"{list(num_values)}: [8, 5, 5, 5] makes 1000 codewords."
        )
    if min(num_values) < bound.least:
        raise InputError(
            f"A {type(bound).__name__} takes {bound.least} values or more, got {list(num_values)}: "
            f"use SymmetricBound(), which is balanced at 2."
        )
    if math.prod(num_values) > LARGEST:
        raise InputError(
            f"The product of num_values must stay below 2**63, got {math.prod(num_values)}: split "
            f"the dimensions over several quantizers."
        )
    return math.prod(num_values)
