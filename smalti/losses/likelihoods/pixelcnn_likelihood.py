"""An autoregressive likelihood: each value given h and all values before it.

    p(x | h) = Π_ij Π_c p(x_ijc | x_ij,<c, x_<ij, h)        places ij in reading order

The decoder's output h is not yet the signal but what is known of each place before any is seen. Two
gated stacks of a PixelCNN see the places before (see `smalti.nn.gated_layers`); h is their context
map, added to the gate of each layer and to the skips:

    v⁰ = e, shifted down by a row        h⁰ = e, shifted right by a column        e = E x + b
    f  = 1×1 convolutions of the skips of all layers and h
    p(x_c = k) = softmax(W_c relu(f_c + U_c x_<c) + b_c)_k

The channels of a place are coupled: U_c x_<c is what channel c sees of those before it, green of
red, and blue of both.

Such a likelihood can model the signal without h, up to what its reach hides from it. So it is what
a study of posterior collapse needs: how much does h still say when the decoder could do without it?

References:
    Conditional Image Generation with PixelCNN Decoders, A. van den Oord et al., 2016, arXiv
    1606.05328, section 2.4.
    PixelVAE: A Latent Variable Model for Natural Images, I. Gulrajani et al., 2016, arXiv
    1611.05013.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.losses.likelihoods.categorical import Categorical
from smalti.losses.likelihoods.likelihood import (
    Likelihood,
    LikelihoodOutput,
    from_integers,
    to_integers,
)
from smalti.nn.gated_layers import (
    check_gated_arguments,
    gated_features,
    gated_layers,
    init_for_relu,
)
from smalti.nn.incremental_decoder import (
    GatedStacks,
    IncrementalDecoder,
    PointwiseConv,
    SkipHead,
    to_hwbc,
)

__all__ = ["PixelCNNLikelihood"]


@registered
class PixelCNNLikelihood(Likelihood):
    """An autoregressive likelihood: a PixelCNN over a signal's values, given h (B, hidden, H, W).

    Its receptive field is `layers · (kernel_size // 2)` + 1 rows up, and as many columns aside.

    Arguments:
        signal_channels: C of the signal.
        num_values: L: 256, or fewer coarser ones.
        hidden: Channels of each stack, and of h.
        layers: Gated layers.
        kernel_size: Width of the convolutions, odd.
        dropout: Probability that an output of a gate is dropped in training.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> likelihood = PixelCNNLikelihood(signal_channels=1, num_values=8, hidden=8, layers=2)
        >>> h = torch.zeros(2, likelihood.channels(1), 4, 4)
        >>> x = likelihood.sample(h)
        >>> x.shape, likelihood(h, x).nll.shape
        (torch.Size([2, 1, 4, 4]), torch.Size([2]))
    """

    num_values: int
    past: Tensor

    autoregressive = True

    def __init__(
        self,
        signal_channels: int,
        *,
        num_values: int = 256,
        hidden: int = 32,
        layers: int = 5,
        kernel_size: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if signal_channels < 1:
            raise InputError(
                f"signal_channels must be at least 1, got {signal_channels}: give the "
                f"channels of the signal."
            )
        check_gated_arguments(hidden, layers, kernel_size, dropout)
        c, self.hidden = signal_channels, hidden
        self.signal_channels, self.num_values = signal_channels, num_values
        self.softmax = Categorical(num_values)
        self.embedding = nn.Conv2d(c, hidden, 1)
        self.layers = gated_layers(hidden, layers, kernel_size, dropout, vertical=True)
        self.skip = nn.Conv2d((1 + layers) * hidden, hidden, 1)
        self.first = nn.Conv2d(hidden, hidden, 1)
        self.second = nn.Conv2d(hidden, c * hidden, 1)  # f_c of all c
        self.coupling = nn.Parameter(torch.randn(c, hidden, c) / max(c - 1, 1) ** 0.5)  # U
        self.register_buffer("past", torch.ones(c, c).tril(-1)[:, None], persistent=False)
        self.third = nn.Conv2d(c * hidden, c * num_values, 1, groups=c)  # W_c
        init_for_relu(self.skip, self.first, self.second)

    def channels(self, c: int) -> int:
        """Returns `hidden`, whatever c is.

        Raises:
            InputError: If the likelihood is of signals with another number of channels.
        """
        if c != self.signal_channels:
            raise InputError(
                f"The PixelCNNLikelihood is of signals with {self.signal_channels} channel(s), got "
                f"{c}: set its signal_channels to {c}."
            )
        return self.hidden

    def logits(self, h: Tensor, x: Tensor) -> Tensor:
        """Returns the logits (B, L, C, H, W) of every value, given h (B, hidden, H, W) and the
        values of x (B, C, H, W) before it.
        """
        f = self.second(gated_features(self.embedding(x), h, self.layers, self.skip, self.first))
        seen = torch.einsum("odc,bchw->bodhw", self.coupling * self.past, x)  # U_c x_<c
        logits = self.third((f + seen.flatten(1, 2)).relu())
        return rearrange(logits, "b (c l) h w -> b l c h w", l=self.num_values)

    def forward(self, h: Tensor, x: Tensor) -> LikelihoodOutput:
        """See `Likelihood.forward`; x is rounded to the nearest of the L values."""
        if x.ndim != 4:
            raise InputError(
                f"A PixelCNNLikelihood is of signals (B, C, H, W), got {tuple(x.shape)}: choose "
                f"another likelihood."
            )
        self._check(h, x)
        dtype = self.embedding.weight.dtype
        h = h if dtype == torch.float32 else h.to(dtype)  # autocast casts for float32 weights
        v = from_integers(to_integers(x, self.num_values), self.num_values).to(h.dtype)
        return self.softmax(self.logits(h, v).flatten(1, 2), v)

    def point_estimate(self, h: Tensor) -> Tensor:
        """Returns a draw: see `Likelihood.point_estimate`."""
        return self.sample(h)

    @torch.no_grad()
    def sample(self, h: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Likelihood.sample`: value after value, each computed once."""
        dtype = self.embedding.weight.dtype
        x = torch.empty(len(h), self.signal_channels, *h.shape[2:], device=h.device, dtype=dtype)
        with torch.autocast(h.device.type, enabled=False):
            s = to_hwbc(h.to(dtype), len(h))
            head = SkipHead(s, self.skip, self.first, self.second)
            decoder = IncrementalDecoder([GatedStacks(self.layers, s, head.outputs)], head)
            weight, bias = PointwiseConv.of(self.embedding)
            for i in range(h.shape[2]):
                for j in range(h.shape[3]):
                    x[:, :, i, j] = self._draw(decoder.logits(), generator)
                    decoder.push(x[:, :, i, j] @ weight + bias)
        return x.float()

    def _draw(self, f: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draws the C values of one position, channel after channel: f (B, C · hidden) → (B, C)."""
        assert self.third.bias is not None
        weight = rearrange(self.third.weight, "(c l) d 1 1 -> c d l", l=self.num_values)
        bias = rearrange(self.third.bias, "(c l) -> c l", l=self.num_values)
        x = f.new_empty(len(f), 0)
        for c, f_c in enumerate(f.chunk(self.signal_channels, 1)):
            seen = x @ self.coupling[c, :, :c].T
            logits = torch.addmm(bias[c], (f_c + seen).relu(), weight[c])  # (B, L)
            x = torch.cat([x, self.softmax.sample(logits, generator).to(f.dtype)], 1)
        return x
