"""Labels: an example is of one of K classes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.conditions.condition import Condition, check_shape
from smalti.counting import counted
from smalti.errors import InputError
from smalti.spelling import as_text, label_name, listed, readable

__all__ = ["Label"]


@registered
@dataclass(frozen=True)
class Label(Condition):
    """One of K classes; a value is an integer in [0, K).

    Text stands for the name that it is, in whatever way its accents are stored, or else in another
    case; or else for the number of a label, unless that label's name or all names are numbers
    themselves.

    Arguments:
        names: The K names, all different.

    Raises:
        InputError: If there are no names, or a name comes twice.

    Example:
        >>> label = Label(["cat", "dog"])
        >>> label.parse("dog"), label.parse("0"), label.format(1)
        (1, 0, 'dog')
        >>> label(torch.tensor([1, 0]))
        tensor([[0., 1.],
                [1., 0.]])
    """

    names: Sequence[str]

    name: ClassVar[str] = "label"
    dtype: ClassVar[torch.dtype] = torch.int64

    def __post_init__(self) -> None:
        names = tuple(as_text(str(name)) for name in self.names)
        if not names or len(set(names)) < len(names):
            raise InputError(
                f"Labels need at least one name and no name twice, got "
                f"{counted(len(names), 'name')} of which {len(set(names))} differ: rename them."
            )
        object.__setattr__(self, "names", names)

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def dim(self) -> int:
        return len(self.names)

    def parse(self, text: str) -> int:
        text = label_name(text)
        for same in (_as_it_is, label_name, _without_case, _as_number):
            found = [i for i, name in enumerate(self.names) if same(name) == same(text)]
            if len(found) == 1:
                return found[0]
        if all(map(str.isdecimal, self.names)):  # a number is a name here, and no place in a list
            raise InputError(
                f"There is no label {readable(text)!r}: the labels are called "
                f"{listed(self.names, 12)}; give one of these."
            )
        if re.fullmatch(r"[0-9]{1,9}", text) and int(text) < self.dim:
            if (name := self.names[int(text)]).isdecimal():  # 0 must not give the label "1"
                raise InputError(
                    f"There is no label {readable(text)!r}, and the one of that number is called "
                    f"{name!r}: give the name that is meant."
                )
            return int(text)
        raise InputError(
            f"There is no label {readable(text)!r}: "
            f"give a number from 0 to {self.dim - 1}, or {self._some(text)}."
        )

    def format(self, value: float) -> str:
        return self.names[int(value)]

    def check(self, values: Tensor) -> None:
        check_shape("Labels", values)
        if values.is_floating_point() or values.dtype == torch.bool:
            raise InputError(f"Labels are integers, got {values.dtype}: convert them to int64.")
        wrong = values[(values < 0) | (values >= self.dim)]
        if len(wrong):
            raise InputError(
                f"There is no label {int(wrong[0])}: labels go from 0 to {self.dim - 1}."
            )

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randint(self.dim, (n,), generator=generator)

    def __call__(self, values: Tensor) -> Tensor:
        return F.one_hot(values.long(), self.dim).float()

    def _some(self, text: str) -> str:
        """Names to offer to who typed `text`: the closest, else the first few."""
        close = difflib.get_close_matches(text, self.names, n=3)
        return f"one of {listed(close or self.names, 5)}"


def _as_it_is(name: str) -> str:
    return name


def _without_case(name: str) -> str:
    return label_name(name).casefold()


def _as_number(name: str) -> str:
    """A number without the zeros before it, so that 7 finds 007."""
    return name.lstrip("0") or "0" if name.isdecimal() else name
