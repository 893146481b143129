"""The base class of priors that see a whole grid, of which a part is masked, and fill it in.

One network gives the distribution of every masked index, given all that are not masked:

    x_i = e(q_i) + s_i            q_i, or the mask; e tells where i lies as well, s is the context's
    x   ← transformer([c, x])     each attends to all, the sequence c of the context among them
    ℓ_i = W_c(i) norm(x_i)        c(i) the codebook of the index

What the context says at each index, and before all of them, is in `smalti.priors.token_context`.
Which indices are masked in
training, and how a grid is drawn, is left to the classes that inherit.

References:
    BERT: Pre-training of Deep Bidirectional Transformers, J. Devlin et al., 2018, arXiv 1810.04805.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, NoReturn

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.nn.attention import attend
from smalti.nn.dropout import Dropout
from smalti.nn.gated_layers import check_dropout
from smalti.nn.token_embedding import TokenEmbedding, TokenLogits
from smalti.priors.sampling import SamplingConfig
from smalti.priors.token_context import Prefix, TokenContext
from smalti.priors.token_prior import TokenPrior, layout_of_level

__all__ = ["BidirectionalPrior", "Rows", "draw_masks", "uniform_numbers"]

AT_ONCE = 1 << 22  # logits that indices are drawn from at a time, in float64: 32 MiB


class Rows(NamedTuple):
    """Grids as rows of their indices, those left out that do not count at all.

    Attributes:
        indices: (B, L), −1 where they do not count.
        counts: (B, L), bool.
        context: (B, *shape), or None.
    """

    indices: Tensor
    counts: Tensor
    context: Tensor | None


class Said(NamedTuple):
    """What a context says to the network.

    Attributes:
        features: (B, L, C) at each index, or of a shape that broadcasts to it.
        prefix: What stands before the indices.
    """

    features: Tensor
    prefix: Prefix


class BidirectionalPrior(TokenPrior):
    """Abstract: a prior that predicts masked indices from the others, with a transformer.

    Arguments:
        codebook_size: K; or that of each of the Q codebooks of a position.
        grid: (H, W) or (T,); with Q codebooks (H, W, Q) or (T, Q).
        condition: The condition, such as a label; None for an unconditional prior.
        hidden: Channels of the transformer.
        layers: Its layers.
        heads: Heads of its attention; they share the channels.
        dropout: Probability that an output of a layer is dropped in training.

    Raises:
        InputError: If an argument is out of range.
    """

    tabular = True
    per_codebook = True

    def __init__(
        self,
        codebook_size: int | Sequence[int],
        grid: Sequence[int],
        condition: Condition | None,
        hidden: int,
        layers: int,
        heads: int,
        dropout: float | Literal["auto"],
    ) -> None:
        layout = layout_of_level(type(self).__name__, codebook_size, grid)
        super().__init__(layout.largest, layout.shape, condition)
        if hidden < 1 or layers < 1 or heads < 1 or hidden % heads:
            raise InputError(
                f"layers must be at least 1, and hidden a multiple of heads, got layers={layers}, "
                f"hidden={hidden} and heads={heads}: 6, 128 and 4 are a good start."
            )
        dropout = check_dropout(dropout)
        self.layout = layout
        self.context = TokenContext(layout, condition, hidden)
        self.embedding = TokenEmbedding(layout, hidden, specials=1)
        self.layers = nn.ModuleList(_Layer(hidden, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.outputs = TokenLogits(layout, hidden)

    def logits(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns logits (B, *grid, K) of all indices, given those that are not masked.

        The arguments are not checked. Beyond the size of a smaller codebook, logits are the lowest
        number there is.

        Arguments:
            indices: (B, *grid), int64, −1 where masked.
            context: (B, *shape) values of the condition, or None for an unconditional prior.
        """
        return self._logits(indices.flatten(1), self._said(context)).unflatten(1, self.grid)

    def log_prob(self, indices: Tensor, context: Tensor | None = None) -> NoReturn:
        """Raises `InputError`: an exact probability would take a sum over all orders.

        It is here so that whoever asks is told why.
        """
        raise InputError(
            f"A {type(self).__name__} has no likelihood that could be computed, got log_prob: "
            f"choose an autoregressive prior, such as PixelCNN, to have one."
        )

    def loss(
        self, latents: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Returns the mean loss in nats per index; see `Prior.loss`, and the class for what it is.

        What is masked is drawn anew in training. In evaluation mode it is always the same, so that
        losses of one set can be compared.
        """
        latents, mask = self._check_mask(latents, mask)
        indices = self._check_indices(latents)
        rows = self._rows(indices, self._check_context(context, len(indices)), mask)
        if not len(rows.indices):
            return self.norm.weight.sum() * 0
        return self._loss(rows, None if self.training else torch.Generator().manual_seed(0))

    @abstractmethod
    def _loss(self, rows: Rows, generator: torch.Generator | None) -> Tensor:
        """Returns the loss of at least one row, each of which has indices that count."""

    def _rows(self, indices: Tensor, context: Tensor | None, mask: Tensor | None) -> Rows:
        """Returns those of checked grids of which something counts."""
        rows = indices.flatten(1)
        if mask is None:
            return Rows(rows, torch.ones_like(rows, dtype=torch.bool), context)
        counts = mask.flatten(1)
        some = counts.any(1)
        rows, counts = rows[some].masked_fill(~counts[some], -1), counts[some]
        return Rows(rows, counts, None if context is None else context[some])

    def _said(self, context: Tensor | None) -> Said:
        """Returns what a context (B, *shape) says to the network, whatever the indices are."""
        given = self.context_of(context)
        return Said(self.context(given), self.context.prefix(given))

    def _logits(self, rows: Tensor, said: Said) -> Tensor:
        """Returns logits (B, L, K) of rows (B, L), −1 where masked."""
        return self.outputs(self._features(rows, said))

    def _features(self, rows: Tensor, said: Said) -> Tensor:
        """Returns features (B, L, C) of rows (B, L), from which the logits are computed."""
        prefix = said.prefix
        x, padding = self.embedding(rows) + said.features, None
        if prefix.vectors is not None:
            x = torch.cat([prefix.vectors.to(x), x], 1)
        if prefix.valid is not None:
            there = torch.ones_like(rows, dtype=torch.bool)
            padding = ~torch.cat([prefix.valid.to(x.device), there], 1)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        return self.norm(x[:, prefix.length :])

    def _nats(self, rows: Rows, masked: Tensor) -> Tensor:
        """Computes −log p of each index (B, L) given those that are not masked; 0 of the latter."""
        seen = rows.indices.masked_fill(masked, -1)
        logits = self._logits(seen, self._said(rows.context))[masked]  # (M, K)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # never in half
        nats = F.cross_entropy(logits, rows.indices[masked], reduction="none")
        return logits.new_zeros(masked.shape).masked_scatter(masked, nats)


class Guide:
    """Gives logits of masked indices, classifier-free: ℓ_null + g (ℓ_context − ℓ_null).

    What the context says is computed once for all steps of a sample.

    Arguments:
        prior: The prior.
        context: (B, *shape), or None.
        guidance: g; at 1 the context alone counts.
    """

    def __init__(self, prior: BidirectionalPrior, context: Tensor | None, guidance: float) -> None:
        self.prior, self.guidance = prior, guidance
        self.guided = context is not None and guidance != 1
        if context is not None and self.guided:
            assert prior.condition is not None
            context = torch.cat([context, prior.condition.without(context)])
        self.said = prior._said(context)

    def logits(self, rows: Tensor, where: Tensor) -> Tensor:
        """Returns logits (M, K) of the M indices of rows (B, L) where a mask (B, L) says so."""
        of = self.prior
        if not self.guided:
            return of.outputs.at(of._features(rows, self.said), where)
        given, null = of._features(rows.repeat(2, 1), self.said).chunk(2)
        null_logits = of.outputs.at(null, where)
        return null_logits + self.guidance * (of.outputs.at(given, where) - null_logits)


def draw_at(
    logits: Tensor, where: Tensor, config: SamplingConfig, generator: torch.Generator | None
) -> Tensor:
    """Draws indices (B, L) from logits (M, K) of the M where a mask says so; −1 elsewhere."""
    pieces = logits.split(max(AT_ONCE // logits.shape[-1], 1))
    drawn = [config.draw(piece, generator) for piece in pieces]
    fresh = torch.full(where.shape, -1, device=where.device)
    return fresh.masked_scatter(where, torch.cat(drawn)) if drawn else fresh


def draw_masks(how_many: Tensor, among: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draws which indices are masked, (B, L) bool: so many of each row, all equally likely.

    Arguments:
        how_many: (B,), int64.
        among: (B, L), bool, which may be masked; at least so many.
        generator: Source of randomness, on any device.
    """
    scores = uniform_numbers(among.shape, among.device, generator).masked_fill(~among, 2)
    return ranks(scores) < how_many[:, None]


def ranks(scores: Tensor) -> Tensor:
    """Returns the place of each score (B, L) in its row, the smallest first; of equals the first.

    Example:
        >>> ranks(torch.tensor([[0.3, 0.1, 0.2]])).tolist()
        [[2, 0, 1]]
    """
    return scores.sort(dim=1, stable=True).indices.argsort(1)


def uniform_numbers(
    shape: Sequence[int], device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Draws numbers in [0, 1) on the generator's device, and moves them to another."""
    where = device if generator is None else generator.device
    return torch.rand(tuple(shape), generator=generator, device=where).to(device)


class _Layer(nn.TransformerEncoderLayer):
    """A pre-norm transformer layer, with dropout on its outputs but not on its attention."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__(
            hidden, heads, 4 * hidden, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.dropout, self.dropout1, self.dropout2 = (Dropout(dropout) for _ in range(3))

    def _sa_block(
        self,
        x: Tensor,
        attn_mask: Tensor | None,
        key_padding_mask: Tensor | None,
        is_causal: bool = False,
    ) -> Tensor:
        """Attends as torch's layer does, which asks for it in training, with `attend`.

        Arguments:
            x: (B, L, C).
            attn_mask: Not used: all may attend to all.
            key_padding_mask: (B, L), -inf at what none may attend to.
            is_causal: Not used.
        """
        of = self.self_attn
        qkv = F.linear(x, of.in_proj_weight, of.in_proj_bias)
        q, k, v = rearrange(qkv, "b l (three m d) -> three b m l d", three=3, m=of.num_heads)
        mask = None if key_padding_mask is None else key_padding_mask[:, None, None].to(q)
        seen = rearrange(attend(q, k, v, mask), "b m l d -> b l (m d)")
        return self.dropout1(of.out_proj(seen))
