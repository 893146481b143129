"""Reconstruction losses: mean squared and mean absolute error.

Both are means over every element, so that they depend neither on the batch nor on the size of the
signal. Where values may be missing, `ObservedValues` makes of either the mean over those that are
there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["L1", "MSE", "ObservedValues", "ReconstructionLoss"]


class ReconstructionLoss(nn.Module, ABC):
    """Abstract: a loss between x_hat and x, both (B, C, *size), as a scalar."""

    @abstractmethod
    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Returns the scalar loss."""


class MSE(ReconstructionLoss):
    """Mean squared error: the Gaussian likelihood of a fixed variance, up to constants."""

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Returns mean (x_hat − x)²."""
        return F.mse_loss(x_hat, x)


class L1(ReconstructionLoss):
    """Mean absolute error: a Laplace likelihood of fixed scale. Edges are sharper than with MSE."""

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Returns mean |x_hat − x|."""
        return F.l1_loss(x_hat, x)


class ObservedValues(ReconstructionLoss):
    """Wraps a reconstruction loss so that missing values, where x is NaN, are left out.

    Arguments:
        loss: The loss, which compares values one by one, as MSE and L1 do.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, torch.nan]])
        >>> ObservedValues(MSE())(torch.tensor([[3.0, 5.0]]), x)
        tensor(4.)
    """

    def __init__(self, loss: ReconstructionLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Returns the scalar loss; 0 where nothing is there."""
        observed = ~x.isnan()
        if not bool(observed.any()):
            return 0.0 * x_hat.sum()
        return self.loss(x_hat[observed], x[observed])
