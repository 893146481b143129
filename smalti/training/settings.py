"""The settings of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from smalti.errors import InputError
from smalti.training.schedules import Schedule

__all__ = ["Training"]


@dataclass(frozen=True)
class Training:
    """Settings of the training of one stage: steps, batches, optimizer, schedule.

    Arguments:
        steps: Optimizer steps.
        batch_size: Examples per batch and process.
        optimizer: Any optimizer of torch; the learning rate is its own.
        schedule: Schedule of the learning rate; constant if not given.
        clip: Largest norm of the gradient; none for no clipping.
        accumulate: Batches whose gradients make one optimizer step.
        weight_ema: Decay of an exponential moving average of the weights, which is then the
            result.
        validate_every: Optimizer steps between validations, at most; fewer where that puts one at
            the end.
        save_every: Optimizer steps between saved states, from which an interrupted run goes on.
        keep_best: Whether the result is the state of the lowest validation loss, not the last.
        patience: Validations in a row without a loss below the lowest, after which the training
            ends before its last step; none to take all steps.
        adversary_optimizer: Optimizer of the objective's adversary, if it has one; like
            `optimizer` if not given.
    """

    steps: int
    batch_size: int = 128
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = torch.optim.Adam
    schedule: Schedule | None = None
    clip: float | None = None
    accumulate: int = 1
    weight_ema: float | None = None
    validate_every: int = 500
    save_every: int = 250
    keep_best: bool = False
    patience: int | None = None
    adversary_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None

    def __post_init__(self) -> None:
        for name, least in {
            "steps": 1,
            "batch_size": 1,
            "accumulate": 1,
            "validate_every": 2,
            "save_every": 1,
        }.items():
            if getattr(self, name) < least:
                raise InputError(
                    f"{name} of a training must be at least {least}, got {getattr(self, name)}."
                )
        if self.patience is not None and self.patience < 1:
            raise InputError(
                f"patience of a training is at least 1 validation, got {self.patience}: null takes "
                f"all steps."
            )
        if self.weight_ema is not None and not 0 < self.weight_ema < 1:
            raise InputError(f"weight_ema lies between 0 and 1, got {self.weight_ema}: try 0.999.")

    @property
    def validation_interval(self) -> int:
        """Returns the steps between validations, such that the last ones are validated too.

        Example:
            >>> Training(steps=1800, validate_every=500).validation_interval
            450
        """
        validations = -(-self.steps // self.validate_every)
        return max(self.steps // validations, 2)
