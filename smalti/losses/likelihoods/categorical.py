"""The categorical likelihood: a softmax over all levels of each value.

    p(x_d = v_k) = softmax(h_d)_k        k = 0 … L − 1

It knows nothing of the order of the levels and can take any shape, several peaks included; its
price is L channels for each one of the signal. The VQ-VAE paper's bits/dim on CIFAR-10 are of
L = 256.

References:
    Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner, Kavukcuoglu, 2016),
    arXiv 1601.06759, section 3.4.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.losses.likelihoods.base import Likelihood, Scored, from_levels, to_levels, uniform

__all__ = ["Categorical"]


@registered
class Categorical(Likelihood):
    """An L-way softmax in each dimension: h holds the logits, level by level of all channels.

    Arguments:
        levels: L; 256 for 8-bit values.

    Raises:
        InputError: If there are fewer than two levels.

    Example:
        >>> likelihood, x = Categorical(), torch.zeros(1, 3, 2, 2)
        >>> likelihood(torch.zeros(1, likelihood.channels(3), 2, 2), x).nll  # 12 log 256
        tensor([66.5421])
    """

    levels: int

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        if not 2 <= levels <= 256:
            raise InputError(f"levels lie between 2 and 256, got {levels}: 256 for 8-bit values.")
        self.levels = levels

    def channels(self, c: int) -> int:
        """L · c: the logits."""
        return self.levels * c

    def forward(self, h: Tensor, x: Tensor) -> Scored:
        """See `Likelihood.forward`."""
        self._check(h, x)
        log_p = self._logits(h).log_softmax(1)
        nll = F.nll_loss(log_p, to_levels(x, self.levels), reduction="none")
        return Scored(nll.flatten(1).sum(1), self._mean(log_p.exp()))

    def show(self, h: Tensor) -> Tensor:
        """See `Likelihood.show`."""
        return self._mean(self._logits(h).softmax(1))

    @torch.no_grad()
    def sample(self, h: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Likelihood.sample`."""
        cumulative = self._logits(h).softmax(1).cumsum(1)  # (B, L, C, *size)
        u = uniform(cumulative[:, :1], generator) * cumulative[:, -1:]
        return from_levels((cumulative[:, :-1] <= u).sum(1), self.levels)

    def _logits(self, h: Tensor) -> Tensor:
        """h (B, L · C, *size) → (B, L, C, *size)."""
        return h.float().unflatten(1, (self.levels, -1))

    def _mean(self, p: Tensor) -> Tensor:
        """p (B, L, C, *size) → Σ_k p_k v_k, (B, C, *size)."""
        values = from_levels(torch.arange(self.levels, device=p.device), self.levels)
        with torch.autocast(p.device.type, enabled=False):
            return (values @ p.flatten(2)).view(len(p), *p.shape[2:])
