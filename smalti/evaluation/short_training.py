"""Short trainings of the networks that an evaluation judges with: classifier, features, judge."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from smalti.errors import InputError
from smalti.weights import first_not_finite

__all__ = ["check_weights", "minimize", "warmup_cosine"]


def minimize(loss: Callable[[], Tensor], optimizer: Optimizer, steps: int) -> None:
    """Minimizes a loss for some steps, with the learning rate of `warmup_cosine`.

    Arguments:
        loss: Draws a batch and computes its loss, a scalar.
        optimizer: The optimizer, with the largest learning rate.
        steps: The number of steps.
    """
    schedule = LambdaLR(optimizer, partial(warmup_cosine, steps=steps))
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()


def warmup_cosine(step: int, steps: int) -> float:
    """Returns the factor of the learning rate: a fifth of the way up to 1, then a cosine to 0."""
    rise = max(1, steps // 5)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def check_weights(network: nn.Module, name: str, plural: str, option: str) -> None:
    """Raises `InputError` unless the weights of a network are finite after its training.

    Arguments:
        network: The network.
        name: Its name, as the subject of a sentence.
        plural: The noun of the signals that it was trained on.
        option: The option of recipes that is 0 to do without the network.
    """
    if (bad := first_not_finite(network.state_dict())) is not None:
        raise InputError(
            f"{name} has diverged (its weights {bad} are not finite): are the {plural} finite? "
            f"{option} 0 does without it."
        )
