"""How far a reconstruction is from the original: mean squared or mean absolute error.

Both are means over every element, so that they depend neither on the batch nor on the size of the
signal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["L1", "MSE", "ReconstructionLoss"]


class ReconstructionLoss(nn.Module, ABC):
    """Abstract: compares x_hat with x, both (B, C, *size), and gives a scalar."""

    @abstractmethod
    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Returns the scalar loss."""


class MSE(ReconstructionLoss):
    """Mean squared error: the Gaussian likelihood of a fixed variance, up to constants."""

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Returns mean (x_hat − x)²."""
        return F.mse_loss(x_hat, x)


class L1(ReconstructionLoss):
    """Mean absolute error: the Laplace likelihood of a fixed scale; sharper edges."""

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Returns mean |x_hat − x|."""
        return F.l1_loss(x_hat, x)
