"""Times of day, on the 12-hour dial."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.conditions.condition import Condition, check_shape
from smalti.errors import InputError

__all__ = ["TimeOfDay"]


@registered
@dataclass(frozen=True)
class TimeOfDay(Condition):
    """A time on the 12-hour dial; a value is in minutes, in [0, 720).

    Example:
        >>> time = TimeOfDay()
        >>> time.parse("10:10"), time.parse("22:10"), time.format(610), time.format(0)
        (610, 610, '10:10', '12:00')
        >>> time(torch.tensor([0.0, 180.0])).shape
        torch.Size([2, 64])
    """

    name: ClassVar[str] = "time"
    dtype: ClassVar[torch.dtype] = torch.float32

    dial: ClassVar[int] = 720  # minutes once around for the hour hand
    hour: ClassVar[int] = 60  # minutes once around for the minute hand
    harmonics: ClassVar[int] = 16

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def dim(self) -> int:
        return 2 * 2 * self.harmonics

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
        check_shape("Times", values)
        wrong = values[~((values >= 0) & (values < self.dial))]  # so that NaN is wrong too
        if len(wrong):
            raise InputError(
                f"Times are minutes on the 12-hour dial, at least 0 and below {self.dial}, "
                f"got {wrong[0].item():g}: take the remainder modulo {self.dial}."
            )

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randint(self.dial, (n,), generator=generator).to(self.dtype)

    def __call__(self, values: Tensor) -> Tensor:
        turns = values.double()[:, None] / values.new_tensor([self.dial, self.hour]).double()
        j = torch.arange(1, self.harmonics + 1, device=values.device)
        theta = (2 * math.pi * turns[:, :, None] * j).flatten(1)  # (B, hands · harmonics)
        return torch.cat([theta.cos(), theta.sin()], dim=1).float()
