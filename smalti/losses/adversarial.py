"""Losses between a discriminator D and who tries to deceive it, and penalties on D.

    hinge            D: E max(0, 1 − D(x)) + E max(0, 1 + D(x̂))       generator: −E D(x̂)
    non-saturating   D: E softplus(−D(x)) + E softplus(D(x̂))          generator: E softplus(−D(x̂))

Expectations are means over examples and places, and over the scales of D where it has several.
Penalties keep D from becoming so sure that nothing can be learned from it any more:

    R1      γ/2 · E ‖∇_x D(x)‖², with D(x) the mean over the places of one example
    LeCam   λ · (E (D(x) − α_x̂)² + E (D(x̂) − α_x)²), with running means α of E D(x) and E D(x̂)

Who made x̂ may also be asked to match the features of D's layers (`feature_matching`): whatever D
looks at, it is to be as in the signal.

References:
    Geometric GAN, J. H. Lim and J. C. Ye, 2017, arXiv 1705.02894.
    Generative Adversarial Networks, I. J. Goodfellow et al., 2014, arXiv 1406.2661.
    Which Training Methods for GANs do actually Converge?, L. Mescheder, A. Geiger and S. Nowozin,
    2018, arXiv 1801.04406, equation 9.
    Regularizing Generative Adversarial Networks under Limited Data, H.-Y. Tseng et al., 2021, arXiv
    2104.03310, equation 4.
    High Fidelity Neural Audio Compression, A. Défossez, J. Copet, G. Synnaeve and Y. Adi, 2022,
    arXiv 2210.13438, equation 3, on features relative to their mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from smalti.errors import InputError
from smalti.networks import Discriminator, Verdict
from smalti.nn.precision import KeepsFloat32

__all__ = [
    "R1",
    "AdversarialLoss",
    "DiscriminatorPenalty",
    "Hinge",
    "LeCam",
    "NonSaturating",
    "feature_matching",
    "mean_score",
]

EPSILON = 1e-7  # of features that are 0 everywhere


def mean_over_scales(scores: Sequence[Tensor], of: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns the mean over scales of the mean of a function of the scores, in float32."""
    return torch.stack([of(each.float()).mean() for each in scores]).mean()


def feature_matching(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Returns the mean absolute difference of features, relative to their mean, over all layers.

    Arguments:
        real: The features of D's layers, of signals.
        made: Those of their reconstructions.

    Raises:
        InputError: If there are none.

    Example:
        >>> feature_matching([torch.tensor([2.0, -2.0])], [torch.tensor([2.0, 0.0])])
        tensor(0.5000)
    """
    if not real:
        raise InputError(
            "feature_matching compares inner features of a discriminator, got one that gives none: "
            "leave it at 0, or choose another discriminator."
        )
    layers = [
        (of_real.float() - of_made.float()).abs().mean() / (of_real.float().abs().mean() + EPSILON)
        for of_real, of_made in zip(real, made, strict=True)
    ]
    return torch.stack(layers).mean()


def mean_score(scores: Sequence[Tensor]) -> Tensor:
    """Returns the mean of scores over examples, places and scales."""
    return mean_over_scales(scores, lambda score: score)


class AdversarialLoss(nn.Module, ABC):
    """Abstract: what a discriminator and who deceives it minimise, of scores of each scale."""

    @abstractmethod
    def discriminator(self, real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
        """Returns the discriminator's loss, from scores of signals and of reconstructions."""

    @abstractmethod
    def generator(self, made: Sequence[Tensor]) -> Tensor:
        """Returns the loss of who made the reconstructions, from their scores."""


class Hinge(AdversarialLoss):
    """The hinge loss: scores beyond ±1 on the right side cost nothing."""

    def discriminator(self, real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
        """See `AdversarialLoss.discriminator`."""
        return mean_over_scales(real, lambda score: F.relu(1 - score)) + mean_over_scales(
            made, lambda score: F.relu(1 + score)
        )

    def generator(self, made: Sequence[Tensor]) -> Tensor:
        """See `AdversarialLoss.generator`."""
        return -mean_score(made)


class NonSaturating(AdversarialLoss):
    """The non-saturating loss: scores are log-odds."""

    def discriminator(self, real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
        """See `AdversarialLoss.discriminator`."""
        return mean_over_scales(real, lambda score: F.softplus(-score)) + mean_over_scales(
            made, F.softplus
        )

    def generator(self, made: Sequence[Tensor]) -> Tensor:
        """See `AdversarialLoss.generator`."""
        return mean_over_scales(made, lambda score: F.softplus(-score))


class DiscriminatorPenalty(KeepsFloat32, ABC):
    """Abstract: a term that is added to a discriminator's loss."""

    @abstractmethod
    def forward(
        self, discriminator: Discriminator, x: Tensor, real: Verdict, made: Verdict
    ) -> Tensor:
        """Returns the weighted penalty, a scalar.

        Arguments:
            discriminator: D.
            x: (B, C, *size), the signals.
            real: What D says of them.
            made: What it says of their reconstructions.
        """


class R1(DiscriminatorPenalty):
    """Penalises the gradient of D at signals, where it should be 0 in the end.

    D is computed once more for it, in the precision of its weights, as gradients of gradients need.

    Arguments:
        gamma: γ, the weight.
    """

    def __init__(self, gamma: float = 10.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(
        self, discriminator: Discriminator, x: Tensor, real: Verdict, made: Verdict
    ) -> Tensor:
        """See `DiscriminatorPenalty.forward`."""
        with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
            dtype = next((p.dtype for p in discriminator.parameters()), torch.float32)
            x = x.detach().to(dtype).requires_grad_()
            scores = discriminator(x).scores
            of_each = torch.stack([score.float().flatten(1).mean(1) for score in scores]).mean(0)
            (gradient,) = torch.autograd.grad(of_each.sum(), x, create_graph=True)
            return self.gamma / 2 * gradient.float().square().flatten(1).sum(1).mean()


class LeCam(DiscriminatorPenalty):
    """Holds the scores of each kind to the running mean of the other's, for small data sets.

    Arguments:
        weight: λ.
        decay: How much of the running means is kept from batch to batch.
    """

    in_float32 = ("means",)
    means: Tensor
    batches: Tensor

    def __init__(self, weight: float = 0.001, decay: float = 0.99) -> None:
        super().__init__()
        self.weight, self.decay = weight, decay
        self.register_buffer("means", torch.zeros(2))  # of signals, of reconstructions
        self.register_buffer("batches", torch.tensor(0))

    def forward(
        self, discriminator: Discriminator, x: Tensor, real: Verdict, made: Verdict
    ) -> Tensor:
        """See `DiscriminatorPenalty.forward`; in training mode the running means take part."""
        if self.training:
            self._follow(real.scores, made.scores)
        of_real, of_made = self.means
        return self.weight * (
            mean_over_scales(real.scores, lambda score: (score - of_made).square())
            + mean_over_scales(made.scores, lambda score: (score - of_real).square())
        )

    @torch.no_grad()
    def _follow(self, real: Sequence[Tensor], made: Sequence[Tensor]) -> None:
        """Moves the running means towards those of a batch, that of all processes."""
        now = torch.stack([mean_score(real), mean_score(made)])
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(now)
            now /= distributed.get_world_size()
        kept = torch.where(self.batches > 0, self.decay, 0.0)
        # Not in place: the backward pass may need what was there.
        self.means = kept * self.means + (1 - kept) * now
        self.batches = self.batches + 1
