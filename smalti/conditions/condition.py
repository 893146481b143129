"""Conditions: what a picture is asked to show, as a number and as features a network can use.

A data set gives each example a *value*: a class label, or a time. In a hierarchy of grids, the ones
above are a value too, for the prior of the grid below. A prior is trained on features of it,

* label k of K: the one-hot vector of length K;
* time of day t, in minutes on the 12-hour dial: cos jθ and sin jθ for the first harmonics j of both
  hands' angles, θ_hour = 2π t / 720 and θ_minute = 2π t / 60. So 11:59 lies beside 12:00, as it
  does on the dial, and times a few minutes apart are told apart as well as hours are.

A condition also reads a value from text and writes it, and refuses values that do not exist.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from smalti.errors import InputError

__all__ = ["Condition", "check_shape"]


class Condition(ABC):
    """A kind of value that examples carry: reads, writes and checks it, and makes its features.

    Attributes:
        name: The word for it on the command line, e.g. `"label"` or `"time"`.
        dtype: The dtype of a tensor of values.
        dim: The number of features.
    """

    name: ClassVar[str]
    dtype: ClassVar[torch.dtype]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one value: () of a number."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """The number of features."""

    @abstractmethod
    def parse(self, text: str) -> float:
        """The value that `text` names.

        Raises:
            InputError: If there is no such value.
        """

    @abstractmethod
    def format(self, value: float) -> str:
        """The text of a value: `parse(format(value)) == value`."""

    @abstractmethod
    def check(self, values: Tensor) -> None:
        """Raises `InputError` unless `values` (B, *shape) all exist."""

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n values (n, *shape), all that exist being equally likely."""

    @abstractmethod
    def __call__(self, values: Tensor) -> Tensor:
        """Features (B, dim), float32, of checked values (B, *shape)."""


def check_shape(what: str, values: Tensor) -> None:
    """Raises `InputError` unless `values` is one row (B,)."""
    if values.ndim != 1:
        raise InputError(f"{what} have the shape (B,), got {tuple(values.shape)}: flatten them.")
