"""The discretised mixture of logistics, as in PixelCNN++.

A logistic variable of mean μ and scale s has the distribution function σ((x − μ)/s). What it gives
the cell around the value v, of half width δ = 1/255, is the probability of v; the first cell and
the last reach to infinity:

    P(v) = σ(a) − σ(b)        a = (v + δ − μ)/s, ∞ at v = 1        b = (v − δ − μ)/s, −∞ at v = −1

and p(v) = Σ_m π_m P_m(v). The difference is taken in a form that stays exact in the tails,

    log (σ(a) − σ(b)) = log σ(a) + log σ(−b) + log(1 − exp(−2δ/s))

This is PixelCNN++'s likelihood for each channel by itself: the channels of a place are independent
given h, without its coupling of green and blue to the channels before them.

The mean that is shown is that of the clipped logistic, which has a closed form,

    E[clip(x, −1, 1)] = s · (softplus((μ + 1)/s) − softplus((μ − 1)/s)) − 1

and is less than half a cell, 1/255, off that over the L values.

References:
    PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
    Modifications, T. Salimans, A. Karpathy, X. Chen and D. P. Kingma, 2017, arXiv 1701.05517,
    section 2.1.
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

__all__ = ["LogisticMixture"]

HALF_CELL = 1 / 255
LOG_SCALES = (-7.0, 7.0)  # from a tenth of a cell to flat over the whole range


@registered
class LogisticMixture(Likelihood):
    """The discretised mixture of M logistics in each dimension, over 8-bit values.

    Channels are independent given h.

    h holds, for every component in every channel, the logit of π, the mean μ and the log-scale
    log s, which is kept in [-7, 7].

    Arguments:
        components: M.

    Raises:
        InputError: If there is no component.

    Example:
        >>> likelihood = LogisticMixture(components=5)
        >>> x = torch.zeros(2, 3, 4, 4)
        >>> likelihood(torch.zeros(2, likelihood.channels(3), 4, 4), x).nll.shape
        torch.Size([2])
    """

    num_values = 256

    def __init__(self, components: int = 10) -> None:
        super().__init__()
        if components < 1:
            raise InputError(f"components must be at least 1, got {components}: 5 or 10 are usual.")
        self.components = components

    def channels(self, c: int) -> int:
        """Returns 3 M c: logits, means and log-scales."""
        return 3 * self.components * c

    def forward(self, h: Tensor, x: Tensor) -> LikelihoodOutput:
        """See `Likelihood.forward`."""
        self._check(h, x)
        logits, mean, log_scale = self._components(h)
        k = to_integers(x)[:, None]  # (B, 1, C, *size)
        v, rate = from_integers(k), torch.exp(-log_scale)
        below = F.logsigmoid((v + HALF_CELL - mean) * rate).where(k < 255, 0.0)  # log σ(a)
        above = F.logsigmoid((mean - v + HALF_CELL) * rate).where(k > 0, 0.0)  # log σ(−b)
        inner = torch.log(-torch.expm1(-2 * HALF_CELL * rate)).where((k > 0) & (k < 255), 0.0)
        log_p = torch.logsumexp(logits.log_softmax(1) + below + above + inner, 1)
        return LikelihoodOutput(-log_p.flatten(1).sum(1), self.point_estimate(h))

    def point_estimate(self, h: Tensor) -> Tensor:
        """See `Likelihood.point_estimate`."""
        logits, mean, log_scale = self._components(h)
        scale, rate = torch.exp(log_scale), torch.exp(-log_scale)
        clipped = scale * (F.softplus((mean + 1) * rate) - F.softplus((mean - 1) * rate)) - 1
        return (logits.softmax(1) * clipped).sum(1)

    @torch.no_grad()
    def sample(self, h: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Likelihood.sample`: one of the 256 values."""
        logits, mean, log_scale = self._components(h)
        cumulative = logits.softmax(1).cumsum(1)
        u = uniform_noise(cumulative[:, :1], generator) * cumulative[:, -1:]
        chosen = (cumulative[:, :-1] <= u).sum(1, keepdim=True)
        mean, log_scale = mean.gather(1, chosen), log_scale.gather(1, chosen)
        x = mean + log_scale.exp() * torch.logit(uniform_noise(mean, generator), eps=1e-7)
        return from_integers(to_integers(x[:, 0]))

    def _components(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Splits h into logits of π, μ and log s, each (B, M, C, *size)."""
        logits, mean, log_scale = (
            part.unflatten(1, (self.components, -1)) for part in h.float().chunk(3, 1)
        )
        return logits, mean, log_scale.clamp(*LOG_SCALES)
