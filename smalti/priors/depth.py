"""A prior for several indices per position: PixelCNN over positions, a small network over depth.

Residual and product quantizers give Q indices q_ij1 … q_ijQ at each position ij. A grid (H, W, Q)
of them is read position by position, and in each from the first index to the last:

    p(q | c) = Π_ij Π_d p(q_ijd | all Q indices of the positions before ij, q_ij1 … q_ij,d−1, c)

The gated stacks of a PixelCNN go over the positions, each embedded as e_ij = Σ_d E_d[q_ijd], and
so cost what they cost for one index a position. Of what they know at ij, u = U · features, and of
the indices before d at the same position, the distribution at depth d is made:

    c_d = Σ_{d' < d} F_d'[q_ijd']          c_1 = 0
    x_d = relu(u + b_d + c_d)
    y_d = x_d + relu(M x_d)
    logits_d = W_d y_d

The RQ-VAE has a transformer in the place of these last three lines, whose inputs are such sums as
well. A sum of embeddings already holds all indices before d, and this costs three small matrix
products per index.

References:
    Autoregressive Image Generation using Residual Quantization, D. Lee et al., 2022, arXiv
    2203.01941 (positions first, then depth).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.nn.embeddings import DepthEmbedding
from smalti.nn.gated_layers import init_for_relu
from smalti.nn.incremental_decoder import IncrementalDecoder
from smalti.priors.autoregressive import Stepper
from smalti.priors.gated_prior import GatedPrior

__all__ = ["DepthHead", "DepthPixelCNN", "DepthStepper"]


@registered
class DepthPixelCNN(GatedPrior):
    """A PixelCNN over positions that hold Q indices each.

    The class decides how a grid is read: here the last length is Q, so that (8, 8) is a row of 8
    positions with 8 indices each, where it is 8 × 8 positions for a `PixelCNN`.

    Arguments:
        codebook_size: K; or that of each of the Q codebooks, which must be equal.
        grid: (H, W, Q) or (T, Q), Q at least 2.
        condition: The condition, such as a label; None for an unconditional prior.
        hidden: Channels of each stack, C; the network over the depth has 2C.
        layers: Gated layers, L.
        kernel_size: Width of the convolutions, odd.
        dropout: Probability that an output of a gate is dropped in training; in recipes also
            "auto".

    Raises:
        InputError: If an argument is out of range, or codebooks differ in size.

    Example:
        >>> prior = DepthPixelCNN(codebook_size=16, grid=(4, 4, 3), hidden=8, layers=2)
        >>> prior.sample(2).shape
        torch.Size([2, 4, 4, 3])
    """

    def __init__(
        self,
        codebook_size: int | Sequence[int],
        grid: Sequence[int],
        condition: Condition | None = None,
        hidden: int = 64,
        layers: int = 8,
        kernel_size: int = 3,
        dropout: float | Literal["auto"] = 0.0,
    ) -> None:
        size = _one_size(codebook_size, grid)
        rows, columns = (1, *grid)[-3:-1]
        super().__init__(
            size, grid, condition, (rows, columns), hidden, layers, kernel_size, dropout
        )
        self.layout = Layout((self.grid[:-1],), ((size,) * self.depth,))
        self.second = nn.Conv2d(hidden, 2 * hidden, 1)  # U
        self.head = DepthHead(size, self.depth, 2 * hidden)
        init_for_relu(self.skip, self.first)

    def logits(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns logits (B, *grid, K); see `AutoregressivePrior.logits`."""
        u = self.second(self.features(indices, context)).permute(0, 2, 3, 1)  # (B, H, W, 2C)
        q = indices.reshape(-1, *self.shape, self.depth)
        return self.head(u, q).reshape(*indices.shape, self.codebook_size)

    @torch.no_grad()
    def start(self, batch: int, context: Tensor | None = None) -> DepthStepper:
        """Returns a stepper: the stacks run once per position, the head once per index."""
        decoder = IncrementalDecoder(*self.parts(batch, context, self.second))
        return DepthStepper(decoder, self.embedding, self.head)


class DepthHead(nn.Module):
    """Computes the logits of a position's Q indices from its features u, each given those before.

    Arguments:
        codebook_size: K.
        depth: Q.
        channels: D, the channels of u.
    """

    def __init__(self, codebook_size: int, depth: int, channels: int) -> None:
        super().__init__()
        self.depth = depth
        self.embedding = DepthEmbedding(depth - 1, codebook_size, channels)  # F_1 … F_{Q − 1}
        self.bias = nn.Parameter(torch.zeros(depth, channels))  # b
        self.mix = nn.Linear(channels, channels)  # M
        self.outputs = nn.ModuleList(nn.Linear(channels, codebook_size) for _ in range(depth))  # W
        init_for_relu(self.mix)

    def forward(self, u: Tensor, indices: Tensor) -> Tensor:
        """Computes logits (..., Q, K) from u (..., D) and indices (..., Q)."""
        c = self.embedding(indices[..., :-1]).cumsum(-2)  # (..., Q − 1, D)
        x = u[..., None, :] + F.pad(c, (0, 0, 1, 0))
        y = self.mixed(x + self.bias)
        depths = zip(self.outputs, y.unbind(-2), strict=True)
        return torch.stack([output(y_d) for output, y_d in depths], -2)

    def mixed(self, x: Tensor) -> Tensor:
        """Returns y (..., D) of x before its ReLU."""
        x = x.relu()
        return x + self.mix(x).relu()


class DepthStepper(Stepper):
    """Samples grids step by step: over the positions, and at each over its Q indices.

    Arguments:
        decoder: The incremental decoder over positions, which computes u.
        embedding: The embedding of the indices.
        head: Computes the logits from u.
    """

    @torch.no_grad()
    def __init__(
        self, decoder: IncrementalDecoder, embedding: DepthEmbedding, head: DepthHead
    ) -> None:
        self.decoder, self.head = decoder, head
        self.tables = [embedding.table(d) for d in range(head.depth)]
        self.later = [head.embedding.table(d) for d in range(head.depth - 1)]
        self.e = torch.zeros_like(decoder.e)  # of the indices before d at this position
        self.d, self.x = 0, decoder.logits()  # u + c_d

    @torch.no_grad()
    def logits(self) -> Tensor:
        """Returns (B, K); see `Stepper.logits`."""
        y = self.head.mixed(self.x + self.head.bias[self.d])
        return self.head.outputs[self.d](y)

    @torch.no_grad()
    def push(self, indices: Tensor) -> None:
        """See `Stepper.push`."""
        self.e = self.e + self.tables[self.d][indices]
        if self.d + 1 < self.head.depth:
            self.x = self.x + self.later[self.d][indices]
            self.d += 1
            return
        self.decoder.push(self.e)
        self.e = torch.zeros_like(self.e)
        self.d, self.x = 0, self.decoder.logits()


def _one_size(codebook_size: int | Sequence[int], grid: Sequence[int]) -> int:
    """Returns K of all codebooks."""
    if not 2 <= len(grid) <= 3 or grid[-1] < 2:
        raise InputError(
            f"A DepthPixelCNN takes grids (H, W, Q) or (T, Q) of Q ≥ 2 indices per position, got "
            f"{tuple(grid)}: for one index a position take PixelCNN."
        )
    if isinstance(codebook_size, int):
        return codebook_size
    if len(set(codebook_size)) != 1 or len(codebook_size) != grid[-1]:
        raise InputError(
            f"A DepthPixelCNN takes {grid[-1]} codebooks of one size, got the sizes "
            f"{tuple(codebook_size)}: give all the same number of codewords."
        )
    return codebook_size[0]
