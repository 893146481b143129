"""Stepping through gated stacks: a position is computed once, from what was kept of those before.

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

`GatedStacks` keeps both stacks, `SkipHead` what the logits are made of, and a `GridStepper` leads
them over the grid: every prior that is made of gated layers walks with these.

References:
    Fast Generation for Convolutional Autoregressive Models (Ramachandran et al., 2017),
    arXiv 1704.06001.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from einops import rearrange
from torch import Tensor

from smalti.nn.gate import gate
from smalti.priors.autoregressive import Stepper

if TYPE_CHECKING:
    from torch import nn

    from smalti.priors.pixelcnn import GatedLayer, PixelCNN

__all__ = ["Affine", "GatedStacks", "GridStepper", "PixelCNNStepper", "SkipHead", "matrix"]


class GridStepper(Stepper):
    """A walk over grids of (H, W) with both stacks; the weights must stay as they are meanwhile.

    A subclass says what is computed at a position, after which `head.z` is whole.

    Arguments:
        embedding: The embedding of the indices.
        stacks: The gated layers.
        head: What makes the logits.
    """

    @torch.no_grad()
    def __init__(self, embedding: nn.Embedding, stacks: GatedStacks, head: SkipHead) -> None:
        self.embedding = embedding.weight
        self.stacks, self.head = stacks, head
        self.rows, self.columns = stacks.rows, stacks.columns
        self.i = self.j = 0
        self._enter_row()
        self._enter_position()

    @torch.no_grad()
    def logits(self) -> Tensor:
        """(B, K); see `Stepper.logits`."""
        return self.head.logits(self.j)

    @torch.no_grad()
    def push(self, indices: Tensor) -> None:
        """See `Stepper.push`."""
        self._leave_position(self.embedding[indices])
        self.j += 1
        if self.j == self.columns:
            self.i, self.j = self.i + 1, 0
        if self.i == self.rows:
            return
        if self.j == 0:
            self._enter_row()
        self._enter_position()

    def _leave_position(self, e: Tensor) -> None:
        """Keeps the embedded index e (B, C) of position (i, j) for those to come."""
        self.stacks.put(self.j, e)

    def _enter_row(self) -> None:
        """All that can be computed of row i before its indices are known."""
        self.stacks.enter_row(self.i)
        self.head.enter_row(self.i)

    @abstractmethod
    def _enter_position(self) -> None:
        """All that can be computed at (i, j) before its index is known."""


class PixelCNNStepper(GridStepper):
    """Walks over grids of a `PixelCNN`.

    Arguments:
        model: The prior.
        batch: B.
        context: (B,) values of its condition, if it has one.
    """

    @torch.no_grad()
    def __init__(self, model: PixelCNN, batch: int, context: Tensor | None = None) -> None:
        # What the context says at each position: (H, W, B, C)
        s = rearrange(model.context_map(model.features(context)), "b c h w -> h w b c")
        s = s.expand(-1, -1, batch, -1).contiguous()
        head = SkipHead(s, model.skip, model.first, model.second)
        super().__init__(model.embedding, GatedStacks(model.layers, s, head.outputs), head)

    def _enter_position(self) -> None:
        self.stacks.step(self.j)


class GatedStacks:
    """What is kept of the two stacks of gated layers during a walk.

    Shapes in the comments: B grids of (H, W), C channels, L layers, kernels of width k, r = ⌊k/2⌋.

    Arguments:
        layers: L layers of the class `GatedLayer`.
        s: (H, W, B, C), the context map.
        outputs: L places (B, C) where the layers' outputs z go.

    Attributes:
        left: (L + 1, B, r + W, C), the inputs of the horizontal stack's layers in this row, after
            r columns of zeros; the last is what comes out of the stack.
    """

    def __init__(self, layers: Iterable[nn.Module], s: Tensor, outputs: Sequence[Tensor]) -> None:
        gated = [cast("GatedLayer", layer) for layer in layers]
        self.s = s
        self.rows, self.columns, batch, channels = s.shape
        self.reach = gated[0].horizontal.reach
        self.weights = [_LayerWeights.of(layer) for layer in gated]

        depth, width = len(gated), self.reach + self.columns
        # Inputs of each layer of the vertical stack in r + 1 rows.
        self.above = s.new_zeros(depth, self.reach + 1, width + self.reach, batch, channels)
        self.left = s.new_zeros(depth + 1, batch, width, channels)
        # What the rows above and the context add to the gates along the row.
        self.gates = s.new_zeros(depth, self.columns, batch, 2 * channels)
        # At one position: a layer's gate before tanh and σ.
        self.gate = s.new_zeros(batch, 2 * channels)
        self.halves = self.gate.chunk(2, 1)
        self.views = [self._views(j, outputs) for j in range(self.columns)]

    def _views(self, j: int, outputs: Sequence[Tensor]) -> list[_Views]:
        """Where each layer reads and writes at column j; made once, as slicing costs its time."""
        return [
            _Views(
                self.left[layer, :, j : j + self.reach + 1].flatten(1),
                self.gates[layer, j],
                z,
                self.left[layer, :, j + self.reach],
                self.left[layer + 1, :, j + self.reach],
            )
            for layer, z in enumerate(outputs)
        ]

    def put(self, j: int, e: Tensor) -> None:
        """The embedded index e (B, C) at column j: what lies right of it and below sees it."""
        self.above[0, -1, self.reach + j] = e
        if j + 1 < self.columns:
            self.left[0, :, self.reach + j + 1] = e
        else:
            self.left[0, :, self.reach] = 0

    def enter_row(self, i: int) -> None:
        """The vertical stack over row i: `gates`, and `above` for the row to come."""
        inside = slice(self.reach, self.reach + self.columns)
        for layer, weights in enumerate(self.weights):
            a = self.s[i] @ weights.context.weight + weights.context.bias  # (W, B, 2C)
            if weights.vertical is not None:
                a += self._patches(layer) @ weights.vertical
                if layer + 1 < len(self.weights):
                    v = self.above[layer, -1, inside]
                    self.above[layer + 1, -1, inside] = v + gate(a, dim=-1)
            torch.add(a @ weights.link, weights.bias, out=self.gates[layer])
        self.above[:, :-1] = self.above[:, 1:].clone()

    def _patches(self, layer: int) -> Tensor:
        """What the vertical convolution of a layer sees from each position of the row."""
        windows = self.above[layer].unfold(1, 2 * self.reach + 1, 1)  # (r + 1, W, B, C, k)
        return rearrange(windows, "rows w b c k -> w b (rows k c)")

    def step(self, j: int, layers: slice = slice(None)) -> None:
        """Some of the horizontal stack's layers at column j: z, and `left` for those to come."""
        for weights, view in zip(self.weights[layers], self.views[j][layers], strict=True):
            torch.addmm(view.gates, view.seen, weights.horizontal, out=self.gate)
            torch.mul(self.halves[0].tanh_(), self.halves[1].sigmoid_(), out=view.z)
            if weights.residual is not None:
                torch.addmm(view.h, view.z, weights.residual, out=view.next_h)


class SkipHead:
    """The logits of a position from the outputs z of all layers, which are kept side by side.

    Arguments:
        s: (H, W, B, C), the context map.
        skip: 1×1 convolution of s and the z together.
        first, second: 1×1 convolutions that follow, each after a ReLU.

    Attributes:
        outputs: Where each layer's z goes, (B, C).
    """

    def __init__(self, s: Tensor, skip: nn.Conv2d, first: nn.Conv2d, second: nn.Conv2d) -> None:
        self.s = s
        _, columns, batch, channels = s.shape
        self.first, self.second = Affine.of(first), Affine.of(second)
        weight, bias = Affine.of(skip)
        self.context = Affine(weight[:channels], bias)
        self.skip = weight[channels:]

        self.z = s.new_zeros(batch, len(self.skip))
        self.outputs = self.z.split(channels, 1)
        self.skips = s.new_zeros(columns, batch, self.skip.shape[1])  # of s, along the row

    def enter_row(self, i: int) -> None:
        """What s adds along row i."""
        torch.add(self.s[i] @ self.context.weight, self.context.bias, out=self.skips)

    def logits(self, j: int) -> Tensor:
        """(B, K), at column j of the row."""
        x = torch.addmm(self.skips[j], self.z, self.skip)
        x = torch.addmm(self.first.bias, x.relu_(), self.first.weight)
        return torch.addmm(self.second.bias, x.relu_(), self.second.weight)


class _Views(NamedTuple):
    """Where a layer reads and writes at one position."""

    seen: Tensor  # (B, (r + 1) C), h from column j − r to j
    gates: Tensor  # (B, 2C)
    z: Tensor  # (B, C)
    h: Tensor  # (B, C)
    next_h: Tensor  # (B, C), of the next layer


class Affine(NamedTuple):
    """A 1×1 convolution as a matrix and a bias."""

    weight: Tensor  # (in, out)
    bias: Tensor  # (out)

    @classmethod
    def of(cls, convolution: nn.Conv2d) -> Affine:
        """The weights of a convolution."""
        assert convolution.bias is not None
        return cls(matrix(convolution), convolution.bias.detach())


class _LayerWeights(NamedTuple):
    """The weights of a `GatedLayer` as matrices (in, out)."""

    context: Affine  # (C, 2C)
    vertical: Tensor | None  # ((r + 1) k C, 2C)
    link: Tensor  # (2C, 2C)
    horizontal: Tensor  # ((r + 1) C, 2C)
    bias: Tensor  # (2C)
    residual: Tensor | None  # (C, C)

    @classmethod
    def of(cls, layer: GatedLayer) -> _LayerWeights:
        assert layer.horizontal.bias is not None
        return cls(
            Affine.of(layer.context),
            None if layer.vertical is None else matrix(layer.vertical),
            matrix(layer.link),
            matrix(layer.horizontal),
            layer.horizontal.bias.detach(),
            None if layer.residual is None else matrix(layer.residual),
        )


def matrix(convolution: nn.Conv2d) -> Tensor:
    """The weight of a convolution for patches (rows, columns, channels) flattened: (in, out)."""
    weight = convolution.weight.detach()
    return rearrange(weight, "out c rows k -> (rows k c) out").contiguous()
