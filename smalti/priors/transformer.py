"""A transformer decoder as a prior over the tokens of any layout.

The tokens come in steps (`smalti.priors.patterns`), one token in each or several, and

    p(q | c) = Π_s Π_{i in step s} p(q_i | all q of earlier steps, c)

The decoder has one place for each step. With e(q_i) the embedding of a token, u_i that of where it
lies, m_i(c) the context there, place s is given

    x_s = Σ_{i in step s − 1} e(q_i) + mean_{i in step s} (u_i + m_i(c))         e = start for s = 0

so it knows what came last, and where and under what condition it is to predict. A linear layer for
each codebook makes logits of what comes out. A context that is a sequence, such as the words of a
caption, stands before all of this, and can be attended to from everywhere.

Attention is rotary over the places of what came last: rows and columns in units of the finest grid,
so that tokens of two levels that lie above one another are near. Or it is not, and only u tells the
places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.nn.causal_decoder import CausalDecoder, KeyValueCache
from smalti.nn.gated_layers import check_dropout
from smalti.nn.precision import ComputesTables
from smalti.nn.rotary import rotary_tables
from smalti.nn.token_embedding import TokenEmbedding, TokenLogits
from smalti.priors.autoregressive import AutoregressivePrior, Stepper
from smalti.priors.base import evaluation_view
from smalti.priors.patterns import Pattern, members_of_steps, steps_of
from smalti.priors.token_context import Prefix, TokenContext
from smalti.priors.token_prior import layout_of_level

__all__ = ["TransformerPrior", "TransformerStepper"]


@registered
class TransformerPrior(ComputesTables, AutoregressivePrior):
    """A decoder of a transformer over the tokens of any layout, conditional or not.

    Its layers are those of Llama in `transformers`, with new weights. Every token can see all of
    the steps before its own.

    References:
        Attention Is All You Need, A. Vaswani et al., 2017, arXiv 1706.03762.
        Taming Transformers for High-Resolution Image Synthesis, P. Esser, R. Rombach and B. Ommer,
        2020, arXiv 2012.09841.

    Arguments:
        codebook_size: K; or that of each of the Q codebooks, which may differ; or of several levels
            a list of them for each, coarse to fine.
        grid: (H, W) or (T,); of Q indices per position (H, W, Q), or with Q sizes also (T, Q); or
            of several levels that of each, without Q.
        condition: The condition, such as a label; None for an unconditional prior.
        hidden: Width of the decoder, C, a multiple of heads with an even share for each.
        layers: Number of layers.
        heads: Heads of each attention.
        dropout: Probability that an output of an attention or MLP is dropped in training; in
            recipes also "auto".
        pattern: The steps in which Q indices of a position come: flattened, one by one; parallel,
            all at once; delayed, depth d of a position d steps late.
        positions: "rotary" for attention that depends on how far apart two tokens lie, "learned" if
            only embeddings of the places tell.

    Raises:
        InputError: If an argument is out of range, or transformers is not installed.

    Example:
        >>> prior = TransformerPrior(codebook_size=16, grid=(4, 4), hidden=8, layers=2, heads=2)
        >>> prior.sample(2).shape
        torch.Size([2, 4, 4])
        >>> levels = TransformerPrior([[16], [8, 8]], [(2, 2), (4, 4)], hidden=8, heads=2)
        >>> levels.sample(2).shape
        torch.Size([2, 36])
    """

    per_codebook = True
    across_levels = True
    steps: Tensor
    members: Tensor
    rotation: Tensor

    def __init__(  # noqa: PLR0913 - the fields of a recipe
        self,
        codebook_size: int | Sequence[int] | Sequence[Sequence[int]],
        grid: Sequence[int] | Sequence[Sequence[int]],
        condition: Condition | None = None,
        hidden: int = 128,
        layers: int = 4,
        heads: int = 4,
        dropout: float | Literal["auto"] = 0.0,
        pattern: Pattern = "flattened",
        positions: Literal["rotary", "learned"] = "rotary",
    ) -> None:
        layout = _layout(codebook_size, grid)
        super().__init__(layout.largest, layout.shape, condition)
        dropout = _check_arguments(hidden, layers, heads, dropout, positions)
        self.layout, self.rotary = layout, positions
        self.embedding = TokenEmbedding(layout, hidden)
        self.first = nn.Parameter(torch.randn(hidden) * math.sqrt(0.5))  # start
        self.context = TokenContext(layout, condition, hidden)
        self.decoder = CausalDecoder(hidden, layers, heads, dropout)
        self.head = TokenLogits(layout, hidden)
        with torch.device("cpu"):  # numbers, also of a model that has none
            steps = steps_of(layout, pattern)  # (L,)
            members = members_of_steps(steps)  # (S, M)
            rotation = _rotation(layout, members, positions, hidden // heads)  # (2, S, d)
        for name, buffer in (("steps", steps), ("members", members), ("rotation", rotation)):
            self.register_buffer(name, buffer.to(self.first.device), persistent=False)

    def compute_tables(self, dtype: torch.dtype) -> None:
        """See `ComputesTables.compute_tables`."""
        width, heads = self.first.shape[0], self.decoder.heads
        made = _rotation(self.layout, self.members.cpu(), self.rotary, width // heads, dtype)
        self.rotation = made.to(self.rotation.device)

    @property
    def order(self) -> Tensor:
        """See `AutoregressivePrior.order`: step by step, and within each as they are read."""
        return self.steps.argsort(stable=True)

    def logits(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns logits (B, *grid, K); see `AutoregressivePrior.logits`."""
        e = self.embedding.values(indices.flatten(1), self.embedding.offsets)  # (B, L, C)
        before = gather_tokens(e, self.members[:-1]).sum(2)  # (B, S − 1, C)
        x = torch.cat([self.first.expand(len(e), 1, -1), before], 1)
        places, prefix = self.given(context)
        h = self.decoder(*prefix.followed_by(x + places, self.rotation))
        h = h[:, prefix.length :]  # (B, S, C)
        logits = self.head(h if self.members.shape[1] == 1 else h[:, self.steps])
        return logits.view(*indices.shape, self.codebook_size)

    def given(self, context: Tensor | None) -> tuple[Tensor, Prefix]:
        """Returns what the decoder is given beside tokens: of each step (B or 1, S, C), and before.

        Arguments:
            context: (B, *shape) values of the condition, or None for an unconditional prior.
        """
        of_condition = self.context_of(context)
        u = self.embedding.positions()[None] + self.context(of_condition)  # (B or 1, L, C)
        counts = (self.members < len(self.steps)).sum(1)[:, None]
        return gather_tokens(u, self.members).sum(2) / counts, self.context.prefix(of_condition)

    @torch.no_grad()
    def start(self, batch: int, context: Tensor | None = None) -> TransformerStepper:
        """Returns a stepper that computes each step once, with keys and values in a cache."""
        return TransformerStepper(evaluation_view(self), batch, context)


class TransformerStepper(Stepper):
    """Samples token by token: the decoder runs once in each step of the pattern.

    Arguments:
        prior: The prior, in evaluation mode.
        batch: B.
        context: (B, *shape) values of the condition, or None.
    """

    @torch.no_grad()
    def __init__(self, prior: TransformerPrior, batch: int, context: Tensor | None) -> None:
        self.prior, self.embedding = prior, prior.embedding
        self.places, self.prefix = prior.given(context)
        counts = (prior.members < len(prior.steps)).sum(1)
        self.counts: list[int] = counts.tolist()
        self.tokens: list[int] = prior.order.tolist()
        self.codebooks: list[int] = prior.head.numbers.tolist()
        self.step, self.lane, self.done = 0, 0, 0
        size = self.prefix.length + len(self.counts)
        self.cache = KeyValueCache(prior.decoder, batch, size, self.places)
        x = prior.first.expand(batch, 1, -1) + self.places[:, :1]
        rotation = prior.rotation[:, :1]
        self.h = prior.decoder(*self.prefix.followed_by(x, rotation), self.cache)[:, -1]
        self.e = torch.zeros_like(self.h)

    @torch.no_grad()
    def logits(self) -> Tensor:
        """Returns (B, K); see `Stepper.logits`."""
        return self.prior.head.of_codebook(self.h, self.codebooks[self.tokens[self.done]])

    @torch.no_grad()
    def push(self, indices: Tensor) -> None:
        """See `Stepper.push`."""
        token = self.tokens[self.done]
        self.e = self.e + self.embedding.values(indices, self.embedding.offsets[token])
        self.done, self.lane = self.done + 1, self.lane + 1
        if self.lane < self.counts[self.step] or self.done == len(self.tokens):
            return
        self.step, self.lane = self.step + 1, 0
        x = (self.e + self.places[:, self.step])[:, None]
        rotation = self.prior.rotation[:, self.step, None]
        mask = self.prefix.seen_from(self.cache.length)
        self.h = self.prior.decoder(x, rotation, mask, self.cache)[:, 0]
        self.e = torch.zeros_like(self.e)


def gather_tokens(e: Tensor, members: Tensor) -> Tensor:
    """Gathers from vectors of tokens (B, L, C) those of each step (B, S, M, C); 0 where none is."""
    if members.shape[1] == 1:  # all of them, in reading order
        return e[:, : len(members), None]
    return F.pad(e, (0, 0, 0, 1))[:, members]


def _rotation(
    layout: Layout,
    members: Tensor,
    positions: str,
    head_dim: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Returns the rotary tables of the steps, (2, S, d).

    A step lies where the last token of the step before does, the first where the first token does.
    """
    last = [0, *members.masked_fill(members == layout.positions, -1).amax(1).tolist()][:-1]
    places = _places(layout)[:, : None if positions == "rotary" else 0]
    return rotary_tables(places[last], head_dim, dtype)


def _places(layout: Layout) -> Tensor:
    """Returns the place of each token along each axis of the grid, (L, A), in units of the finest.

    Axes along which all have one place are left out. Of a layout without grids the axis is the
    depth.
    """
    x = layout.coordinates()
    level, axes = x[:, 0], x[:, 1:-1].double()
    if not axes.shape[1]:
        return x[:, -1:].double()
    grids = torch.tensor([(*grid, *[1] * (axes.shape[1] - len(grid))) for grid in layout.grids])
    units = grids.amax(0) / grids  # (levels, A)
    return ((axes + 0.5) * units[level] - 0.5)[:, grids.amax(0) > 1]


def _layout(
    codebook_size: int | Sequence[int] | Sequence[Sequence[int]],
    grid: Sequence[int] | Sequence[Sequence[int]],
) -> Layout:
    """Returns the layout that the arguments of a prior describe, of one level or several."""
    if isinstance(codebook_size, int) or all(isinstance(k, int) for k in codebook_size):
        sizes = cast("int | Sequence[int]", codebook_size)
        return layout_of_level("TransformerPrior", sizes, cast("Sequence[int]", grid))
    if not all(isinstance(each, Sequence) for each in (*codebook_size, *grid)):
        raise InputError(
            f"Of several levels, both codebook sizes and grids are lists of lists, got "
            f"{codebook_size} and {grid}: give those of the tokenizer's layout."
        )
    grids = cast("Sequence[Sequence[int]]", grid)
    levels = cast("Sequence[Sequence[int]]", codebook_size)
    return Layout(tuple(map(tuple, grids)), tuple(map(tuple, levels)))


def _check_arguments(
    hidden: int, layers: int, heads: int, dropout: float | Literal["auto"], positions: str
) -> float:
    """Checks the arguments, and returns the dropout.

    Raises:
        InputError: If one is out of range.
    """
    if min(hidden, layers, heads) < 1 or hidden % (2 * heads):
        raise InputError(
            f"hidden, layers and heads must be at least 1 and hidden a multiple of twice the "
            f"heads, got {hidden}, {layers} and {heads}: 128, 4 and 4 are a good start."
        )
    if positions not in ("rotary", "learned"):
        raise InputError(
            f"positions is rotary or learned, got {positions!r}: rotary is a good start."
        )
    return check_dropout(dropout)
