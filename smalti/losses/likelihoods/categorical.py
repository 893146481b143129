"""The categorical likelihood: a softmax over all values of each dimension.

    p(x_d = v_k) = softmax(h_d)_k        k = 0 … L − 1

It knows nothing of the order of the values and can take any shape, several peaks included; its
price is L channels for each one of the signal. The VQ-VAE paper's bits/dim on CIFAR-10 are of
L = 256.

References:
    Pixel Recurrent Neural Networks, A. van den Oord, N. Kalchbrenner and K. Kavukcuoglu, 2016,
    arXiv 1601.06759, section 3.4.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.losses.likelihoods.likelihood import (
    Likelihood,
    LikelihoodOutput,
    from_integers,
    to_integers,
    uniform_noise,
)

__all__ = ["Categorical"]


@registered
class Categorical(Likelihood):
    """The categorical likelihood: a softmax over L values in each dimension; h has the logits.

    Arguments:
        num_values: L; 256 for 8-bit values.

    Raises:
        InputError: If there are fewer than two values.

    Example:
        >>> likelihood, x = Categorical(), torch.zeros(1, 3, 2, 2)
        >>> likelihood(torch.zeros(1, likelihood.channels(3), 2, 2), x).nll  # 12 log 256
        tensor([66.5421])
    """

    num_values: int

    def __init__(self, num_values: int = 256) -> None:
        super().__init__()
        if not 2 <= num_values <= 256:
            raise InputError(
                f"num_values lies between 2 and 256, got {num_values}: 256 for 8-bit values."
            )
        self.num_values = num_values

    def channels(self, c: int) -> int:
        """Returns L · c, L logits per value."""
        return self.num_values * c

    def forward(self, h: Tensor, x: Tensor) -> LikelihoodOutput:
        """See `Likelihood.forward`."""
        self._check(h, x)
        log_p = self._logits(h).log_softmax(1)
        nll = F.nll_loss(log_p, to_integers(x, self.num_values), reduction="none")
        return LikelihoodOutput(nll.flatten(1).sum(1), self._mean(log_p.exp()))

    def point_estimate(self, h: Tensor) -> Tensor:
        """See `Likelihood.point_estimate`."""
        return self._mean(self._logits(h).softmax(1))

    @torch.no_grad()
    def sample(self, h: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Likelihood.sample`."""
        cumulative = self._logits(h).softmax(1).cumsum(1)  # (B, L, C, *size)
        u = uniform_noise(cumulative[:, :1], generator) * cumulative[:, -1:]
        return from_integers((cumulative[:, :-1] <= u).sum(1), self.num_values)

    def _logits(self, h: Tensor) -> Tensor:
        """Maps h (B, L · C, *size) to logits (B, L, C, *size)."""
        return h.float().unflatten(1, (self.num_values, -1))

    def _mean(self, p: Tensor) -> Tensor:
        """Maps p (B, L, C, *size) to the mean Σ_k p_k v_k, (B, C, *size)."""
        values = from_integers(torch.arange(self.num_values, device=p.device), self.num_values)
        with torch.autocast(p.device.type, enabled=False):
            return (values @ p.flatten(2)).view(len(p), *p.shape[2:])
