"""An objective with an adversary, as a module of a user's that recipes may name with --allow."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from smalti.training import Objective

__all__ = ["ToyAdversarial"]


class ToyAdversarial(Objective):
    """A critic with dropout and normalisation tells signals from reconstructions.

    Arguments:
        channels: Of the signals.
        weight: Of what the critic says, in the loss of the autoencoder.
    """

    def __init__(self, channels: int, weight: float = 0.1) -> None:
        super().__init__()
        self.critic = nn.Sequential(
            nn.Conv2d(channels, 4, 4, stride=4),
            nn.BatchNorm2d(4),
            nn.Dropout(0.2),
            nn.Conv2d(4, 1, 1),
        )
        self.weight = weight

    @property
    def warmup(self):
        return 0

    def forward(self, x, output, step):
        loss = F.mse_loss(output.x_hat, x) + output.losses.get("commitment", 0)
        if output.kl is not None:
            loss = loss + output.kl.sum() / x[0].numel()
        if not self.training:
            return {"loss": loss}
        fooled = F.softplus(-self.critic(output.x_hat)).mean()
        return {"loss": loss + self.weight * fooled, "fooled": fooled}

    def adversary(self, x, output, step):
        real, made = self.critic(x), self.critic(output.x_hat)
        return {"loss": F.softplus(-real).mean() + F.softplus(made).mean()}
