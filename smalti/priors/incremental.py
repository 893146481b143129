"""Stepping through a PixelCNN: each position computed once, from what was kept of the positions before it.

The full pass computes every layer at every position; drawn one index after another, all but one of H·W positions of
each pass are thrown away. Here

* a row costs one pass of the vertical stack over that row: of each layer it keeps the inputs of the last ⌊k/2⌋ rows;
* a position costs one pass of the horizontal stack over that position: of each layer it keeps the inputs of its row;
* the logits are computed at that position only.

So the cost of an index does not grow with the grid. Weights are laid out once for matrix products; the caches are
written in place, positions first, so that a step reads and writes contiguous memory.

References:
    Fast Generation for Convolutional Autoregressive Models (Ramachandran et al., 2017), arXiv 1704.06001.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from smalti.priors.autoregressive import Stepper

if TYPE_CHECKING:
    from torch import nn

    from smalti.priors.pixelcnn import GatedLayer, PixelCNN

__all__ = ["PixelCNNStepper"]


class PixelCNNStepper(Stepper):
    """Walks over the grids of a `PixelCNN`; the model's weights must stay as they are meanwhile.

    Shapes: B grids of (H, W), C channels, kernel of width k, reach r = k // 2.

    Arguments:
        model: The prior.
        batch: B.
        context: (B,) values of its condition, if it has one.
    """

    @torch.no_grad()
    def __init__(self, model: PixelCNN, batch: int, context: Tensor | None = None) -> None:
        (self.rows, self.columns), self.batch = model.shape, batch
        self.embedding = model.embedding.weight
        self.weights = [_LayerWeights.of(layer) for layer in model.layers]
        self.skip, self.first, self.second = (
            _matrix(model.skip), _matrix(model.head[1]), _matrix(model.head[3])
        )  # fmt: skip

        # The context at each position: (H, W, B, C)
        s = model.context_map(model.features(context))
        self.s = rearrange(s, "b c h w -> h w b c").expand(-1, -1, batch, -1).contiguous()

        # Inputs of each layer: of the last rows, (L, r + 1, r + W + r, B, C), and of the row, (L, B, r + W, C)
        channels, r, new = s.shape[1], model.layers[0].horizontal.reach, self.s.new_zeros
        self.reach = r
        self.above = new(len(self.weights), r + 1, r + self.columns + r, batch, channels)
        self.left = new(len(self.weights), batch, r + self.columns, channels)
        # From the context and the rows above to the horizontal stack: (L, W, B, 2C). All skips: (B, (1 + L) C)
        self.bias = new(len(self.weights), self.columns, batch, 2 * channels)
        self.skips = new(batch, (1 + len(self.weights)) * channels)
        self.i = self.j = 0
        self._enter_row()
        self._enter_position()

    @torch.no_grad()
    def logits(self) -> Tensor:
        """(B, K); see `Stepper.logits`."""
        x = _linear(self.skips, self.skip).relu_()
        return _linear(_linear(x, self.first).relu_(), self.second)

    @torch.no_grad()
    def push(self, indices: Tensor) -> None:
        """See `Stepper.push`."""
        embedded = self.embedding[indices]  # (B, C)
        # Mask A: what layer 0 sees is shifted, by a row in the vertical stack, by a column in the horizontal one.
        self.above[0, -1, self.reach + self.j] = embedded
        self.j += 1
        if self.j < self.columns:
            self.left[0, :, self.reach + self.j] = embedded
        else:
            self.i, self.j = self.i + 1, 0
            self.left[0, :, self.reach] = 0
            self._enter_row()
        self._enter_position()

    def _enter_row(self) -> None:
        """Runs the vertical stack over row i: fills `bias`, and the caches of the rows above for the next row."""
        if self.i == self.rows:
            return
        s = self.s[self.i]  # (W, B, C)
        for layer, weights in enumerate(self.weights):
            a = s @ weights.context
            if weights.vertical is not None:
                a += self._patches(layer) @ weights.vertical
                a += weights.vertical_bias
                if layer + 1 < len(self.weights):
                    v = self.above[layer, -1, self.reach :][: self.columns]
                    self.above[layer + 1, -1, self.reach :][: self.columns] = v + _gate(a)
                a = a @ weights.link
            torch.add(a, weights.bias, out=self.bias[layer])
        self.above[:, :-1] = self.above[:, 1:].clone()

    def _patches(self, layer: int) -> Tensor:
        """What each position of row i sees of layer's inputs in the rows above: (W, B, (r + 1) k C)."""
        windows = self.above[layer].unfold(1, 2 * self.reach + 1, 1)  # (r + 1, W, B, C, k)
        return rearrange(windows, "rows w b c k -> w b (rows k c)")

    def _enter_position(self) -> None:
        """Runs the horizontal stack at position (i, j): fills `skips`, and `left` for the positions to come."""
        if self.i == self.rows:
            return
        channels = self.s.shape[-1]
        here = slice(self.j, self.j + self.reach + 1)  # columns j − r … j in `left`
        self.skips[:, :channels] = self.s[self.i, self.j]
        for layer, weights in enumerate(self.weights):
            seen = self.left[layer, :, here].flatten(1)  # (B, (r + 1) C), a view
            z = _gate(torch.addmm(self.bias[layer, self.j], seen, weights.horizontal))
            self.skips[:, channels * (layer + 1) :][:, :channels] = z
            if weights.residual is not None:
                h = self.left[layer, :, self.reach + self.j]
                self.left[layer + 1, :, self.reach + self.j] = h + _linear(z, weights.residual)


class _Affine(NamedTuple):
    """x W + b, with W (in, out) and b (out)."""

    weight: Tensor
    bias: Tensor


class _LayerWeights(NamedTuple):
    """The weights of a `GatedLayer` as matrices (in, out)."""

    context: Tensor  # (C, 2C)
    vertical: Tensor | None  # ((r + 1) k C, 2C)
    vertical_bias: Tensor | None  # (2C)
    link: Tensor | None  # (2C, 2C)
    horizontal: Tensor  # ((r + 1) C, 2C)
    bias: Tensor  # (2C), of link (or context) and horizontal
    residual: _Affine | None  # (C, C)

    @classmethod
    def of(cls, layer: GatedLayer) -> _LayerWeights:
        source = layer.context if layer.link is None else layer.link
        return cls(
            _matrix(layer.context).weight,
            None if layer.vertical is None else _matrix(layer.vertical).weight,
            None if layer.vertical is None else layer.vertical.bias,
            None if layer.link is None else _matrix(layer.link).weight,
            _matrix(layer.horizontal).weight,
            source.bias + layer.horizontal.bias,
            None if layer.residual is None else _matrix(layer.residual),
        )


def _matrix(convolution: nn.Conv2d) -> _Affine:
    """The weights of a convolution for rows of patches, (rows, columns, channels) flattened."""
    weight = rearrange(convolution.weight.detach(), "out c rows k -> (rows k c) out")
    return _Affine(weight.contiguous(), convolution.bias)


def _linear(x: Tensor, affine: _Affine) -> Tensor:
    return torch.addmm(affine.bias, x, affine.weight)


def _gate(x: Tensor) -> Tensor:
    """(..., 2C) → (..., C)."""
    a, b = x.chunk(2, -1)
    return torch.tanh(a) * torch.sigmoid(b)
