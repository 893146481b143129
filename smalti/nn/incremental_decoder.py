"""Incremental decoding of gated layers: each position is computed once, from cached inputs.

The full pass computes every layer at every position, so drawing index after index with it throws
away all but one of the H·W positions of each pass. Here

* a row costs one pass of the vertical stack over that row: of each layer, the inputs of the last
  ⌊k/2⌋ rows are kept;
* a position costs one pass of the horizontal stack over that position: of each layer, the inputs of
  the row are kept;
* the logits are computed at that position only.

So the cost of an index does not grow with the grid. Weights are laid out once as matrices, what a
position sees in a cache is one contiguous stretch of memory, and results are written where the next
step reads them.

An `IncrementalDecoder` passes the features of both stacks through the cached layers of a model,
`GatedStacks` and others, and a `SkipHead` makes the logits.

References:
    Fast Generation for Convolutional Autoregressive Models, P. Ramachandran et al., 2017, arXiv
    1704.06001.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from einops import rearrange
from torch import Tensor

from smalti.nn.gate import gate

if TYPE_CHECKING:
    from torch import nn

    from smalti.nn.gated_layers import GatedLayer

__all__ = [
    "PointwiseConv",
    "GatedStacks",
    "LayerCache",
    "IncrementalDecoder",
    "SkipHead",
    "weight_matrix",
    "to_hwbc",
]


class IncrementalDecoder:
    """Computes the logits of grids (H, W) position by position, from cached inputs of layers.

    The weights must not change meanwhile.

    Arguments:
        parts: The cached layers, first to last.
        head: Computes the logits from the outputs of the parts.
    """

    def __init__(self, parts: Sequence[LayerCache], head: SkipHead) -> None:
        self.parts, self.head = parts, head
        self.rows, self.columns, batch, channels = head.s.shape
        self.e = head.s.new_zeros(batch, channels)  # of the position before
        self.none = torch.zeros_like(self.e)
        self.row = head.s.new_zeros(self.columns, batch, channels)  # of the row above
        self.i = self.j = 0
        self._enter_row()
        self._enter_position()

    def logits(self) -> Tensor:
        """Returns the logits (B, K) of the current position."""
        return self.head.logits(self.j)

    def push(self, e: Tensor) -> None:
        """Sets the embedded index of the current position, (B, C), and moves to the next one."""
        self.e = self.row[self.j] = e
        self.j += 1
        if self.j == self.columns:
            self.i, self.j = self.i + 1, 0
            if self.i == self.rows:
                return
            self._enter_row()
        self._enter_position()

    def _enter_row(self) -> None:
        v = self.row
        for part in self.parts:
            v = part.enter_row(self.i, v)
        self.head.enter_row(self.i)

    def _enter_position(self) -> None:
        h = self.e if self.j else self.none
        for part in self.parts:
            h = part.step(self.i, self.j, h, self.e)


class LayerCache(ABC):
    """Abstract: caches the inputs of some layers at earlier positions, for incremental decoding.

    Shapes in the comments: B grids of (H, W), C channels.
    """

    @abstractmethod
    def enter_row(self, i: int, v: Tensor) -> Tensor:
        """Runs the vertical stack along row i: v (W, B, C), of the row above, to the next v."""

    @abstractmethod
    def step(self, i: int, j: int, h: Tensor, e: Tensor) -> Tensor:
        """Runs the horizontal stack at (i, j): h (B, C) to h; e (B, C) embeds the index before."""


class GatedStacks(LayerCache):
    """Caches the inputs of L gated layers with kernels of width k, r = ⌊k/2⌋.

    Arguments:
        layers: L layers of the class `GatedLayer`.
        s: (H, W, B, C), the context map.
        outputs: The tensors (B, C) that each layer's output z is written to.
    """

    def __init__(self, layers: Iterable[nn.Module], s: Tensor, outputs: Sequence[Tensor]) -> None:
        gated = [cast("GatedLayer", layer) for layer in layers]
        self.s = s
        _, self.columns, batch, channels = s.shape
        self.reach = gated[0].horizontal.reach
        self.weights = [_LayerWeights.of(layer) for layer in gated]

        depth, width = len(gated), self.reach + self.columns
        # Inputs of each layer: of the vertical stack in r + 1 rows, of the horizontal one in a row.
        self.above = s.new_zeros(depth, self.reach + 1, width + self.reach, batch, channels)
        self.left = s.new_zeros(depth, batch, width, channels)
        # What the rows above and the context add to the gates along the row.
        self.gates = s.new_zeros(depth, self.columns, batch, 2 * channels)
        # At one position: a layer's gate before tanh and σ, and what the last layer gives.
        self.gate = s.new_zeros(batch, 2 * channels)
        self.halves = self.gate.chunk(2, 1)
        self.h = s.new_zeros(batch, channels)
        self.views = [self._views(j, outputs) for j in range(self.columns)]

    def _views(self, j: int, outputs: Sequence[Tensor]) -> list[_Views]:
        """Returns where each layer reads and writes at column j; made once, for speed."""
        at = [*self.left[:, :, j + self.reach], self.h]
        return [
            _Views(
                self.left[layer, :, j : j + self.reach + 1].flatten(1),
                self.gates[layer, j],
                z,
                at[layer],
                at[layer + 1],
            )
            for layer, z in enumerate(outputs)
        ]

    def enter_row(self, i: int, v: Tensor) -> Tensor:
        """See `LayerCache.enter_row`; v goes through all layers.

        Fills `gates` with what the vertical stack adds to row i, and shifts the inputs of the rows
        above in `above`.
        """
        inside = slice(self.reach, self.reach + self.columns)
        for layer, weights in enumerate(self.weights):
            a = self.s[i] @ weights.context.weight + weights.context.bias  # (W, B, 2C)
            if weights.vertical is not None:
                self.above[layer, -1, inside] = v
                a += self._patches(layer) @ weights.vertical
                v = v if weights.residual is None else v + gate(a, dim=-1)
            torch.add(a @ weights.link, weights.bias, out=self.gates[layer])
        self.above[:, :-1] = self.above[:, 1:].clone()
        return v

    def _patches(self, layer: int) -> Tensor:
        """Returns the inputs of the vertical convolution of a layer at each position of the row."""
        windows = self.above[layer].unfold(1, 2 * self.reach + 1, 1)  # (r + 1, W, B, C, k)
        return rearrange(windows, "rows w b c k -> w b (rows k c)")

    def step(self, i: int, j: int, h: Tensor, e: Tensor) -> Tensor:
        """See `LayerCache.step`; writes z, and `left` for the next positions."""
        views = self.views[j]
        views[0].h.copy_(h)
        for weights, view in zip(self.weights, views, strict=True):
            torch.addmm(view.gates, view.seen, weights.horizontal, out=self.gate)
            torch.mul(self.halves[0].tanh_(), self.halves[1].sigmoid_(), out=view.z)
            if weights.residual is not None:
                torch.addmm(view.h, view.z, weights.residual, out=view.next_h)
        return self.h


class SkipHead:
    """Computes the logits of a position from the outputs z of all layers (skip connections).

    Arguments:
        s: (H, W, B, C), the context map.
        skip: 1×1 convolution of s and the z together.
        first, second: The 1×1 convolutions that follow, each after a ReLU.

    Attributes:
        outputs: The tensors (B, C) that each layer's output z is written to.
    """

    def __init__(self, s: Tensor, skip: nn.Conv2d, first: nn.Conv2d, second: nn.Conv2d) -> None:
        self.s = s
        _, columns, batch, channels = s.shape
        self.first, self.second = PointwiseConv.of(first), PointwiseConv.of(second)
        weight, bias = PointwiseConv.of(skip)
        self.context = PointwiseConv(weight[:channels], bias)
        self.skip = weight[channels:]

        self.z = s.new_zeros(batch, len(self.skip))
        self.outputs = self.z.split(channels, 1)
        self.skips = s.new_zeros(columns, batch, self.skip.shape[1])  # of s, along the row

    def enter_row(self, i: int) -> None:
        """Computes the part of the logits that s adds along row i."""
        torch.add(self.s[i] @ self.context.weight, self.context.bias, out=self.skips)

    def logits(self, j: int) -> Tensor:
        """Returns the logits (B, K) at column j of the row."""
        x = torch.addmm(self.skips[j], self.z, self.skip)
        x = torch.addmm(self.first.bias, x.relu_(), self.first.weight)
        return torch.addmm(self.second.bias, x.relu_(), self.second.weight)


class _Views(NamedTuple):
    """The parts of the cache that a layer reads and writes at one position."""

    seen: Tensor  # (B, (r + 1) C), h from column j − r to j
    gates: Tensor  # (B, 2C)
    z: Tensor  # (B, C)
    h: Tensor  # (B, C)
    next_h: Tensor  # (B, C), where the next layer reads


class PointwiseConv(NamedTuple):
    """The weights of a 1×1 convolution, applied to one position as x @ weight + bias."""

    weight: Tensor  # (in, out)
    bias: Tensor  # (out)

    @classmethod
    def of(cls, convolution: nn.Conv2d) -> PointwiseConv:
        """Returns the weights of a convolution."""
        assert convolution.bias is not None
        return cls(weight_matrix(convolution), convolution.bias.detach())


class _LayerWeights(NamedTuple):
    """The weights of a `GatedLayer` as matrices (in, out)."""

    context: PointwiseConv  # (C, 2C)
    vertical: Tensor | None  # ((r + 1) k C, 2C)
    link: Tensor  # (2C, 2C)
    horizontal: Tensor  # ((r + 1) C, 2C)
    bias: Tensor  # (2C)
    residual: Tensor | None  # (C, C)

    @classmethod
    def of(cls, layer: GatedLayer) -> _LayerWeights:
        assert layer.horizontal.bias is not None
        return cls(
            PointwiseConv.of(layer.context),
            None if layer.vertical is None else weight_matrix(layer.vertical),
            weight_matrix(layer.link),
            weight_matrix(layer.horizontal),
            layer.horizontal.bias.detach(),
            None if layer.residual is None else weight_matrix(layer.residual),
        )


def weight_matrix(convolution: nn.Conv2d) -> Tensor:
    """Reshapes a convolution's weight to a matrix (rows · k · C_in, C_out), for flat patches."""
    weight = convolution.weight.detach()
    return rearrange(weight, "out c rows k -> (rows k c) out").contiguous()


def to_hwbc(x: Tensor, batch: int) -> Tensor:
    """Rearranges a map (B or 1, C, H, W) to (H, W, B, C), as the decoder of B grids reads it."""
    return rearrange(x, "b c h w -> h w b c").expand(-1, -1, batch, -1).contiguous()
