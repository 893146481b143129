"""Learning-rate schedules, as factors on the optimizer's own learning rate."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

__all__ = ["Constant", "CosineDecay", "Plateau", "Schedule"]


class Schedule(ABC):
    """Abstract: makes the learning-rate scheduler of an optimizer, in the form Lightning takes."""

    @abstractmethod
    def configure(self, optimizer: Optimizer, steps: int, validate_every: int) -> dict[str, Any]:
        """Returns the scheduler for a training of `steps` steps with the interval of validation."""


class Constant(Schedule):
    """A constant learning rate, reached after a linear warm-up.

    Arguments:
        warmup: Optimizer steps until the full rate.
    """

    def __init__(self, warmup: int = 0) -> None:
        self.warmup = warmup

    def configure(self, optimizer: Optimizer, steps: int, validate_every: int) -> dict[str, Any]:
        """See `Schedule.configure`."""
        return _each_step(LambdaLR(optimizer, lambda step: _warm(step, self.warmup)))


class CosineDecay(Schedule):
    """A linear warm-up, then half a cosine down to `final`.

    References:
        SGDR: Stochastic Gradient Descent with Warm Restarts, I. Loshchilov and F. Hutter, 2016,
        arXiv 1608.03983.

    Arguments:
        warmup: Optimizer steps until the full rate.
        final: Factor at the end.
    """

    def __init__(self, warmup: int = 200, final: float = 0.0) -> None:
        self.warmup, self.final = warmup, final

    def configure(self, optimizer: Optimizer, steps: int, validate_every: int) -> dict[str, Any]:
        """See `Schedule.configure`."""

        def factor(step: int) -> float:
            done = min(max(step - self.warmup, 0) / max(steps - self.warmup, 1), 1.0)
            cosine = 0.5 * (1 + math.cos(math.pi * done))
            return _warm(step, self.warmup) * (self.final + (1 - self.final) * cosine)

        return _each_step(LambdaLR(optimizer, factor))


class Plateau(Schedule):
    """Reduces the learning rate when the validation loss has not improved for some validations.

    Arguments:
        factor: What the rate is multiplied by at each reduction.
        patience: Validations without improvement before a reduction.
    """

    def __init__(self, factor: float = 0.5, patience: int = 3) -> None:
        self.factor, self.patience = factor, patience

    def configure(self, optimizer: Optimizer, steps: int, validate_every: int) -> dict[str, Any]:
        """See `Schedule.configure`."""
        return {
            "scheduler": ReduceLROnPlateau(optimizer, factor=self.factor, patience=self.patience),
            "monitor": "validation/loss",
            "interval": "step",
            "frequency": validate_every,
        }


def _warm(step: int, warmup: int) -> float:
    return min((step + 1) / warmup, 1.0) if warmup else 1.0


def _each_step(scheduler: LambdaLR) -> dict[str, Any]:
    return {"scheduler": scheduler, "interval": "step"}
