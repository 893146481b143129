"""The label of an example: one of K classes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.conditions.base import Condition, Context, ContextSizes, check_1d, check_name
from smalti.counting import counted
from smalti.errors import InputError
from smalti.spelling import as_text, label_name, listed, readable

__all__ = ["Label"]


@registered
class Label(Condition):
    """The class of an example, one of K: an integer in [0, K), which becomes a one-hot vector.

    `parse` takes the name of a class, whatever its case and however its accents are stored; or the
    number of a class, unless names are numbers themselves.

    Arguments:
        names: The K names, all different.
        name: The name of the condition, where examples have several.

    Raises:
        InputError: If there are no names, a name comes twice, or `name` cannot be an option.

    Example:
        >>> label = Label(["cat", "dog"])
        >>> label.parse("dog"), label.parse("0"), label.format(1)
        (1, 0, 'dog')
        >>> label(torch.tensor([1, 0])).vector
        tensor([[0., 1.],
                [1., 0.]])
    """

    dtype = torch.int64

    def __init__(self, names: Sequence[str], name: str = "label") -> None:
        super().__init__()
        self.names = tuple(as_text(str(each)) for each in names)
        if not self.names or len(set(self.names)) < len(self.names):
            raise InputError(
                f"Labels need at least one name and no name twice, got "
                f"{counted(len(self.names), 'name')} of which {len(set(self.names))} differ: "
                f"rename them."
            )
        self.name = check_name(name)

    @property
    def dim(self) -> int:
        """Returns K."""
        return len(self.names)

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def sizes(self) -> ContextSizes:
        return ContextSizes(vector=self.dim)

    @property
    def null(self) -> Tensor:
        return torch.tensor(-1)

    @property
    def optional(self) -> bool:
        return False

    @property
    def help(self) -> str:
        return f"one of {listed(self.names, 5)}; by name or number"

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
        check_1d("Labels", values)
        if values.is_floating_point() or values.dtype == torch.bool:
            raise InputError(f"Labels are integers, got {values.dtype}: convert them to int64.")
        wrong = values[(values < 0) | (values >= self.dim)]
        if len(wrong):
            raise InputError(
                f"There is no label {int(wrong[0])}: labels go from 0 to {self.dim - 1}."
            )

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randint(self.dim, (n,), generator=generator)

    def distance(self, values: Tensor, others: Tensor) -> Tensor:
        return torch.where(values == others, 0.0, torch.inf)

    def matches(self, asked: Tensor, got: Tensor) -> Tensor:
        return asked == got

    def without(self, values: Tensor) -> Tensor:
        return values

    def forward(self, values: Tensor) -> Context:
        values = values.long()
        one_hot = F.one_hot(values.clamp(min=0), self.dim).float()
        return Context(vector=one_hot * (values >= 0)[:, None])

    def _some(self, text: str) -> str:
        """Returns names to offer to a user who typed `text`: the closest, else the first few."""
        close = difflib.get_close_matches(text, self.names, n=3)
        return f"one of {listed(close or self.names, 5)}"


def _as_it_is(name: str) -> str:
    return name


def _without_case(name: str) -> str:
    return label_name(name).casefold()


def _as_number(name: str) -> str:
    """Returns a number without the zeros before it, so that 7 finds 007."""
    return name.lstrip("0") or "0" if name.isdecimal() else name
