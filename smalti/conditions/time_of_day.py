"""The time of day that an example shows, on the 12-hour dial.

A time t, in minutes, is told to networks by cos jθ and sin jθ for the first harmonics j of both
hands' angles, θ_hour = 2π t / 720 and θ_minute = 2π t / 60. So 11:59 lies beside 12:00, as it does
on the dial, and times a few minutes apart are told apart as well as hours are.
"""

from __future__ import annotations

import math
import re
from typing import ClassVar

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.conditions.base import Condition, Context, ContextSizes, check_1d, check_name
from smalti.errors import InputError

__all__ = ["TimeOfDay"]


@registered
class TimeOfDay(Condition):
    """A time on the 12-hour dial, in minutes in [0, 720); its vector has sines and cosines.

    Samples that are at most 5 minutes off count as showing the requested time.

    Arguments:
        name: The name of the condition, where examples have several.

    Raises:
        InputError: If `name` cannot be an option.

    Example:
        >>> time = TimeOfDay()
        >>> time.parse("10:10"), time.parse("22:10"), time.format(610), time.format(0)
        (610, 610, '10:10', '12:00')
        >>> time(torch.tensor([0.0, 180.0])).vector.shape
        torch.Size([2, 64])
    """

    dtype = torch.float32

    dial: ClassVar[int] = 720  # minutes once around for the hour hand
    hour: ClassVar[int] = 60  # minutes once around for the minute hand
    harmonics: ClassVar[int] = 16

    tolerance: ClassVar[float] = 5.0  # minutes

    def __init__(self, name: str = "time") -> None:
        super().__init__()
        self.name = check_name(name)

    @property
    def dim(self) -> int:
        """Returns the number of features of a time."""
        return 2 * 2 * self.harmonics

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def sizes(self) -> ContextSizes:
        return ContextSizes(vector=self.dim)

    @property
    def null(self) -> Tensor:
        return torch.tensor(-1.0)

    @property
    def optional(self) -> bool:
        return False

    @property
    def help(self) -> str:
        return "hours and minutes, e.g. 10:10"

    def parse(self, text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", text.strip())
        hours, minutes = map(int, match.groups()) if match else (24, 60)
        if hours > 23 or minutes > 59:
            raise InputError(
                f"There is no time {text!r}: "
                f"give hours and minutes from 00:00 to 23:59, e.g. 10:10."
            )
        return (self.hour * hours + minutes) % self.dial

    def format(self, value: float) -> str:
        hours, minutes = divmod(round(value) % self.dial, self.hour)
        return f"{hours or 12:02d}:{minutes:02d}"

    def check(self, values: Tensor) -> None:
        check_1d("Times", values)
        if values.dtype == torch.bool:
            raise InputError("Times are minutes, got bool: convert them to float32.")
        wrong = values[~((values >= 0) & (values < self.dial))]  # so that NaN is wrong too
        if len(wrong):
            raise InputError(
                f"Times are minutes on the 12-hour dial, at least 0 and below {self.dial}, "
                f"got {wrong[0].item():g}: take the remainder modulo {self.dial}."
            )

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randint(self.dial, (n,), generator=generator).to(self.dtype)

    def distance(self, values: Tensor, others: Tensor) -> Tensor:
        apart = (values - others).abs()
        return torch.minimum(apart, self.dial - apart)

    def matches(self, asked: Tensor, got: Tensor) -> Tensor:
        return self.distance(asked, got) <= self.tolerance

    def without(self, values: Tensor) -> Tensor:
        return values

    def forward(self, values: Tensor) -> Context:
        turns = values.double()[:, None] / values.new_tensor([self.dial, self.hour]).double()
        j = torch.arange(1, self.harmonics + 1, device=values.device)
        theta = (2 * math.pi * turns[:, :, None] * j).flatten(1)  # (B, hands · harmonics)
        features = torch.cat([theta.cos(), theta.sin()], dim=1).float()
        return Context(vector=features * (values >= 0)[:, None])
