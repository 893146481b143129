"""Multi-scale quantization: a residual over ever finer scales of a grid.

With f the grid of vectors, f_0 = 0, and scales 1 … S from coarse to fine, the last that of f:

    r_s = ↓_s(f − f_{s−1})        e_s = q(r_s)        f_s = f_{s−1} + φ_s(↑ e_s)        z_q = f_S

↓_s takes the mean over the area that falls into each cell of scale s, ↑ goes back to the full grid
by bicubic interpolation, and q is one quantizer for all scales. A prior then predicts whole scales,
coarse to fine, each from those before it, where another would predict one token at a time; and the
tokens of the first scales alone are a smaller signal.

φ_s mends what interpolation blurs, φ(h) = ½ h + ½ conv(h) with a kernel of 3. Neighbouring scales
share a φ. It has no offset, so that no index, -1, contributes nothing.

Losses are the means over the scales of the distances to the cumulative sums, in the full grid:

    commitment = ‖f − sg(f_s)‖² / D        codebook = ‖sg(f) − f_s‖² / D

The second trains the codewords, where gradients do, and φ. The output has one estimator for the
whole sum, as that of a residual quantizer; see `composed`.

Indices: the scales have different sizes, so there is no axis of Q beside a grid. The indices of all
tokens of all scales, coarse to fine and each row by row, are laid out along one axis, (..., L) with
L = Σ_s h_s w_s (times the indices of a token, if the inner quantizer has several, side by side). It
is the order in which a prior generates them, a prefix of it is a coarser picture, and
`codebook_sizes` has one entry for each as everywhere.
"""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.nn.precision import KeepsFloat32
from smalti.quantizers.composed import (
    Losses,
    SummedQuantizer,
    add_code_axis,
    check_per_vector,
    learns_from_output,
    pad_codes,
    remove_code_axis,
    sum_losses,
)
from smalti.quantizers.estimators import Estimator
from smalti.quantizers.means import mean_square
from smalti.quantizers.quantizer import (
    Quantized,
    Quantizer,
    check_vectors,
    finish_output,
    prepare_input,
)

__all__ = ["MultiScaleQuantizer"]


@registered
class MultiScaleQuantizer(KeepsFloat32, SummedQuantizer):
    """Quantizes grids of vectors (..., *grid, D) scale by scale; indices are (..., L).

    A masked position counts in no mean; a token all of whose positions are masked is -1.

    Arguments:
        quantizer: The quantizer of the vectors of all scales, straight-through.
        scales: Sizes of the scales, coarse to fine; the last is the grid: (1, 2, 4) in one
            dimension, ((1, 1), (2, 2), (4, 4)) in two.
        estimator: The gradient estimator of the sum; `StraightThrough()` if None.
        convolutions: The number of different convolutions φ, 4 as in VAR; 0 to leave them out.

    References:
        Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction, K.
        Tian, Y. Jiang, Z. Yuan, B. Peng and L. Wang, 2024, arXiv 2404.02905. The extra convolutions
        after upsampling are in its algorithms 1 and 2.

    Attributes:
        layout: The scales as levels, coarse to fine, which are the same tokens in the same order.

    Example:
        >>> from smalti.quantizers import EMACodebook, VectorQuantizer
        >>> codebook = VectorQuantizer(EMACodebook(codebook_size=256, dim=8))
        >>> quantizer = MultiScaleQuantizer(codebook, ((1, 1), (2, 2), (4, 6)))
        >>> indices = quantizer.encode(torch.randn(3, 4, 6, 8))
        >>> indices.shape
        torch.Size([3, 29])
        >>> quantizer.decode(indices[:, :5]).shape  # the first two scales
        torch.Size([3, 4, 6, 8])
    """

    acts_on_grid = True

    def __init__(
        self,
        quantizer: Quantizer,
        scales: Sequence[int] | Sequence[Sequence[int]],
        estimator: Estimator | None = None,
        *,
        convolutions: int = 4,
    ) -> None:
        check_per_vector([quantizer], "scales")
        super().__init__([quantizer], estimator)
        self.quantizer, self.dim = quantizer, quantizer.dim
        self.scales = tuple((s,) if isinstance(s, int) else tuple(s) for s in scales)
        _check_scales(self.scales)
        if convolutions < 0:
            raise InputError(f"convolutions must be 0 or more, got {convolutions}: 4 is usual.")
        self.grid = self.scales[-1]
        self.codebook_sizes = quantizer.codebook_sizes * sum(map(math.prod, self.scales))
        self.layout = Layout(self.scales, (tuple(quantizer.codebook_sizes),) * len(self.scales))
        self.phi = nn.ModuleList(
            _convolution(self.dim, len(self.grid))
            for _ in range(min(convolutions, len(self.scales)))
        )
        self.in_float32: set[str] = set()
        for s, scale in enumerate(self.scales):
            for axis, (small, large) in enumerate(zip(scale, self.grid, strict=True)):
                # Not in the state, as they follow from the scales.
                self.in_float32 |= {f"down_{s}_{axis}", f"up_{s}_{axis}"}
                self.register_buffer(f"down_{s}_{axis}", _area(large, small), persistent=False)
                self.register_buffer(f"up_{s}_{axis}", _bicubic(small, large), persistent=False)
        self._count_for_parts()

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Quantized:
        self._check(z)
        with torch.autocast(z.device.type, enabled=False):
            z_e = prepare_input(z, self.dim, mask)
            weight = None if mask is None else mask[..., None].float()
            f = torch.zeros_like(z_e)
            indices, losses = [], []
            for s in range(len(self.scales)):
                r, tokens = self._pool(s, z_e - f.detach(), weight)
                output = self._quantize(self.quantizer, r, tokens)
                e = output.quantized
                if not learns_from_output(self.quantizer):
                    e = self.quantizer.decode(output.indices)  # with the gradient of its codewords
                f = f + self._raise(s, e)
                indices.append(self._row(add_code_axis(self.quantizer, output.indices)))
                losses.append(self._losses(output.losses, z_e, f, mask))

            learns = learns_from_output(self.quantizer) or self._reaches(self.quantizer)
            y = self._output(z_e, f if learns else f.detach())
        self._remind()
        mean = sum_losses((1 / len(self.scales), terms) for terms in losses)
        return Quantized(finish_output(z, mask, y), torch.cat(indices, dim=-1), mean)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        self._check(z)
        with torch.autocast(z.device.type, enabled=False):
            z_e = prepare_input(z, self.dim)
            f = torch.zeros_like(z_e)
            indices = []
            for s in range(len(self.scales)):
                r, _ = self._pool(s, z_e - f, None)
                index = self.quantizer.encode(r)
                f = f + self._raise(s, self.quantizer.decode(index))
                indices.append(self._row(add_code_axis(self.quantizer, index)))
        return torch.cat(indices, dim=-1)

    def decode(self, indices: Tensor) -> Tensor:
        """Decodes the first l of the L indices in a row, (..., l), to vectors (..., *grid, D).

        A row holds the grids of all scales, coarse to fine. An index of -1, and one that is not
        given, contributes nothing.

        Raises:
            InputError: If an index is out of range, or l > L.
        """
        whole = pad_codes(indices, len(self.codebook_sizes))
        q = len(self.quantizer.codebook_sizes)
        parts = whole.split([q * math.prod(scale) for scale in self.scales], dim=-1)
        f: Tensor | float = 0.0
        with torch.autocast(indices.device.type, enabled=False):
            for s, (scale, part) in enumerate(zip(self.scales, parts, strict=True)):
                tokens = remove_code_axis(self.quantizer, part.reshape(*part.shape[:-1], *scale, q))
                f = f + self._raise(s, self.quantizer.decode(tokens).float())
        assert isinstance(f, Tensor)
        return f

    def extra_repr(self) -> str:
        return f"scales={self.scales}"

    def _pool(self, s: int, x: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Averages x to (..., *scale, D) over the valid positions; returns which cells have any.

        Arguments:
            weight: 1 where valid, 0 where not, (..., *grid, 1).
        """
        if weight is None:
            return self._resize(f"down_{s}", x), None
        share = self._resize(f"down_{s}", weight)
        valid = share > 0
        mean = self._resize(f"down_{s}", x * weight) / torch.where(valid, share, 1.0)
        return mean, valid[..., 0]

    def _raise(self, s: int, e: Tensor) -> Tensor:
        """Upsamples and convolves, φ_s(↑ e): (..., *scale, D) to (..., *grid, D)."""
        h = self._resize(f"up_{s}", e)
        if not len(self.phi):
            return h
        phi = self.phi[s * len(self.phi) // len(self.scales)]
        batch = h.reshape(-1, *self.grid, self.dim)
        mended = _convolve(rearrange(batch, "b ... d -> b d ..."), phi)
        return 0.5 * h + 0.5 * rearrange(mended, "b d ... -> b ... d").reshape(h.shape)

    def _resize(self, name: str, x: Tensor) -> Tensor:
        """Applies the matrices of a scale along each axis of the grid."""
        dims = len(self.grid)
        for axis in range(dims):
            matrix = getattr(self, f"{name}_{axis}")
            if matrix.shape[0] == matrix.shape[1]:
                continue  # the same size: the identity
            place = x.ndim - 1 - dims + axis
            x = (x.movedim(place, -1) @ matrix.T).movedim(-1, place)
        return x

    def _row(self, indices: Tensor) -> Tensor:
        """Flattens the indices of a scale, (..., *scale, Q), to a row."""
        return indices.flatten(-1 - len(self.grid))

    def _losses(self, inner: Losses, z_e: Tensor, f: Tensor, mask: Tensor | None) -> Losses:
        """Returns the losses of the sum f, beside those of the inner quantizer."""
        own = {name: loss for name, loss in inner.items() if name not in ("commitment", "codebook")}
        if learns_from_output(self.quantizer):
            own = inner
        if not self.estimator.needs_commitment:
            return own
        sums = {"commitment": mean_square(z_e - f.detach(), mask)}
        if "codebook" in inner or len(self.phi):
            sums["codebook"] = mean_square(z_e.detach() - f, mask)
        return sum_losses([(1.0, sums), (1.0, own)])

    def _check(self, z: Tensor) -> None:
        check_vectors(z, self.dim)
        dims = len(self.grid)
        if z.shape[-1 - dims : -1] != self.grid:
            raise InputError(
                f"The quantizer takes grids (..., {', '.join(map(str, self.grid))}, {self.dim}), "
                f"got the shape {tuple(z.shape)}: the last of the scales must be the grid."
            )


def _convolution(dim: int, axes: int) -> nn.Module:
    if axes == 1:
        return nn.Conv1d(dim, dim, 3, padding=1, bias=False)
    return nn.Conv2d(dim, dim, 3, padding=1, bias=False)


def _convolve(x: Tensor, phi: nn.Module) -> Tensor:
    """Convolves (B, D, *grid) in float32, also where the module is not."""
    if isinstance(phi, nn.Conv1d):
        return F.conv1d(x, phi.weight.float(), padding=1)
    assert isinstance(phi, nn.Conv2d)
    return F.conv2d(x, phi.weight.float(), padding=1)


def _eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float32)


def _area(large: int, small: int) -> Tensor:
    """Returns the matrix (small, large) of means over areas."""
    return F.interpolate(_eye(large)[None], size=small, mode="area")[0].T.contiguous()


def _bicubic(small: int, large: int) -> Tensor:
    """Returns the matrix (large, small) of bicubic interpolation, one axis of it."""
    lines = _eye(small)[None, :, None]  # (1, small, 1, small)
    return F.interpolate(lines, size=(1, large), mode="bicubic")[0, :, 0].T.contiguous()


def _check_scales(scales: tuple[tuple[int, ...], ...]) -> None:
    """Raises `InputError` unless the scales go from coarse to fine in one or two dimensions."""
    if not scales or {len(scale) for scale in scales} not in ({1}, {2}):
        raise InputError(
            f"The scales of a grid have one or two dimensions each, got {scales}: for example "
            f"(1, 2, 4), or ((1, 1), (2, 2), (4, 4))."
        )
    for coarse, fine in zip(((1,) * len(scales[0]), *scales), scales, strict=False):
        if any(small > large for small, large in zip(coarse, fine, strict=True)):
            raise InputError(f"Scales go from coarse to fine, from 1 on, got {scales}: sort them.")
