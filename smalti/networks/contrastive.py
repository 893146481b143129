"""A contrastive network (CLIP) that scores how well a signal fits a caption, learned from pairs.

    a = f(x) / |f(x)|,  b = g(t) / |g(t)|,  s(x, t) = a · b

f is a small convolutional network, and g one layer of a transformer over the tokens of a caption.
The score s is their cosine similarity. In a batch of B pairs each signal is to find its caption
among all B, and each caption its signal (InfoNCE):

    loss = ½ · (cross entropy of τ s(x_i, t_j) over j + the same over i)

with a learned scale τ of the logits, the inverse of a temperature. Where several pairs have the
same caption, all of them count as right.

References:
    Learning Transferable Visual Models From Natural Language Supervision, A. Radford et al., 2021,
    arXiv 2103.00020.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.networks.normalization import (
    Normalization,
    network_input,
    normalized_channels,
)
from smalti.nn import conv_layers
from smalti.nn.sinusoids import sinusoidal_positions
from smalti.registry import registered
from smalti.signals import Signal

__all__ = ["ContrastiveNetwork", "contrastive_loss"]

SIDE = 32  # longest side that the convolutions see; larger signals are resized
FIRST, MOST = 1 / 0.07, 100.0  # τ: its initial and its largest value
HEADS = 4
WIDENED = (1, 2, 4)  # channels of the halvings, in units of `width`


@registered
class ContrastiveNetwork(nn.Module):
    """Maps signals and captions to vectors (B, D) of length 1 that are close where the two match.

    Arguments:
        signal: The signal, with a grid of one or two dimensions.
        condition: A condition whose context is a sequence, such as a `Caption`.
        dim: D, a multiple of 8.
        width: Channels of the first convolution.
        normalization: Maps signals to what networks see; see `Splits.normalization`.

    Raises:
        InputError: If the condition gives no sequence, or the signal has no such grid.

    Example:
        >>> from smalti.conditions import Caption
        >>> from smalti.networks import Features
        >>> caption = Caption.learned(["red", "blue"])
        >>> network = ContrastiveNetwork(Features(3, (16, 16)), caption, dim=16, width=4).eval()
        >>> texts, _ = caption.encode(["red", "blue", "red"])
        >>> network.scores(torch.zeros(3, 3, 16, 16), texts).shape
        torch.Size([3])
    """

    def __init__(
        self,
        signal: Signal,
        condition: Condition,
        dim: int = 128,
        width: int = 32,
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__()
        if not condition.sizes.sequence or signal.spatial_dims not in (1, 2):
            raise InputError(
                f"Captions are compared with signals that have a grid, got the condition "
                f"{condition.name} of {signal.plural}: leave the reranker out, or give "
                f"--data.columns.text."
            )
        if dim < 2 * HEADS or dim % (2 * HEADS) or width < 1:
            raise InputError(
                f"dim is a multiple of {2 * HEADS} and width at least 1, got {dim} and {width}: "
                f"128 and 32 are a good start."
            )
        self.signal, self.condition, self.normalization = signal, condition, normalization
        channels = normalized_channels(signal.channels, normalization)
        self.body = _convolutions(channels, width, signal.spatial_dims)
        self.of_signal = nn.Linear(width * WIDENED[-1], dim)
        self.embedding = nn.Linear(condition.sizes.sequence, dim, bias=False)
        nn.init.normal_(self.embedding.weight)
        self.layer = nn.TransformerEncoderLayer(
            dim, HEADS, 2 * dim, 0.1, batch_first=True, norm_first=True
        )
        self.of_text = nn.Linear(dim, dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(FIRST)))

    @property
    def scale(self) -> Tensor:
        """Returns τ, the scale of the logits, at most 100."""
        return self.log_scale.exp().clamp(max=MOST)

    def encode_signals(self, x: Tensor) -> Tensor:
        """Maps signals (B, C, *size) to vectors (B, D) of length 1."""
        x = network_input(x, self.normalization)
        longest = max(x.shape[2:])
        if longest > SIDE:
            x = F.interpolate(x, [max(1, n * SIDE // longest) for n in x.shape[2:]], mode="area")
        return F.normalize(self.of_signal(self.body(x).flatten(2).mean(2)), dim=1)

    def encode_captions(self, values: Tensor) -> Tensor:
        """Maps captions (B, *shape) to vectors (B, D) of length 1."""
        context = self.condition(values)
        assert context.sequence is not None
        h = self.embedding(context.sequence.to(self.embedding.weight))
        h = h + sinusoidal_positions(*h.shape[1:]).to(h)
        there = torch.ones_like(h[..., 0], dtype=torch.bool)
        if context.mask is not None:
            there = context.mask.clone()
            there[:, 0] = True  # of null there is nothing, and attention needs something
        h = self.layer(h, src_key_padding_mask=~there)
        weights = there[..., None].to(h)
        return F.normalize(self.of_text((h * weights).sum(1) / weights.sum(1)), dim=1)

    def scores(self, x: Tensor, values: Tensor) -> Tensor:
        """Returns the cosine similarity of signals (B, C, *size) and captions (B, *shape), (B,)."""
        return (self.encode_signals(x) * self.encode_captions(values)).sum(1)

    def forward(self, x: Tensor, values: Tensor) -> Tensor:
        """Returns logits τ s(x_i, t_j), (B, B), of signals and captions."""
        return self.scale * self.encode_signals(x) @ self.encode_captions(values).T


def contrastive_loss(logits: Tensor, values: Tensor) -> Tensor:
    """Computes the symmetric InfoNCE loss of logits (B, B) of pairs, a scalar in nats.

    Arguments:
        logits: (B, B), signals along the rows, captions along the columns.
        values: (B, *shape), the captions, which say which pairs have the same one.

    Example:
        >>> pairs = torch.tensor([[1], [2], [2]])
        >>> right = 99 * (pairs == pairs.T).float()
        >>> contrastive_loss(right, pairs)  # half of log 2, log 2 and 0: either of the two is right
        tensor(0.4621)
    """
    rows = values.flatten(1)
    same = (rows[:, None] == rows[None]).all(2).to(logits)
    wanted = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2


def _convolutions(channels: int, width: int, spatial_dims: int) -> nn.Sequential:
    """Makes convolutions of 3 that halve a signal three times, to 4 times the width."""
    convolution = conv_layers(spatial_dims).convolution
    norm = nn.BatchNorm1d if spatial_dims == 1 else nn.BatchNorm2d
    layers: list[nn.Module] = []
    for level, times in enumerate(WIDENED):
        last = level == len(WIDENED) - 1
        for stride in (2,) if last else (2, 1):
            layers += [
                convolution(channels, times * width, 3, stride, padding=1, bias=False),
                norm(times * width),
                nn.ReLU(),
            ]
            channels = times * width
    return nn.Sequential(*layers)
