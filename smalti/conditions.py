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

import difflib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.spelling import as_text, label_name, listed, readable

__all__ = ["Condition", "GridsAbove", "Label", "TimeOfDay"]


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
                f"Labels need at least one name and no name twice, got {len(names)} names of which "
                f"{len(set(names))} differ: rename them."
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
        _check_shape("Labels", values)
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
        _check_shape("Times", values)
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


@registered
@dataclass(frozen=True)
class GridsAbove(Condition):
    """The coarser grids of a hierarchy, and the value that those were given, if any.

    A value is one row of numbers: the indices of the grids, coarse to fine, each in reading order,
    and last the value of `given`. `join` makes such rows and `split` takes them apart.

    Arguments:
        codebook_sizes: K of each grid above.
        grids: Shape of each grid above, (H, W) or (T,), or (H, W, Q) of several indices a position.
        given: What the grids above are themselves conditioned on.

    Raises:
        InputError: If there is no grid, or not one codebook size for each.

    Example:
        >>> above = GridsAbove([512, 256], [(1, 2), (2, 2)], Label(["cat", "dog"]))
        >>> grids = [torch.tensor([[[5, 7]]]), torch.tensor([[[1, 2], [3, 4]]])]
        >>> above.join(grids, torch.tensor([1]))
        tensor([[5., 7., 1., 2., 3., 4., 1.]], dtype=torch.float64)
    """

    codebook_sizes: Sequence[int]
    grids: Sequence[Sequence[int]]
    given: Condition | None = None

    name: ClassVar[str] = "grid above"
    dtype: ClassVar[torch.dtype] = torch.float64  # exact, of indices and of minutes alike

    def __post_init__(self) -> None:
        sizes, grids = tuple(self.codebook_sizes), tuple(map(tuple, self.grids))
        lengths = [length for grid in grids for length in grid]
        if not grids or len(sizes) != len(grids) or min((*sizes, *lengths)) < 1:
            raise InputError(
                f"There must be at least one grid above and a codebook size for each, got sizes "
                f"{sizes} and grids {grids}: give those of the levels above, coarse to fine."
            )
        if not all(1 <= len(grid) <= 3 for grid in grids):
            raise InputError(
                f"Grids above are (H, W), (T,) or (H, W, Q), got {grids}: flatten the others."
            )
        if isinstance(self.given, GridsAbove):
            raise InputError(
                "Grids above are not given others of their own: list all of them, coarse to fine."
            )
        object.__setattr__(self, "codebook_sizes", sizes)
        object.__setattr__(self, "grids", grids)

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(self._positions) + (self.given is not None),)

    @property
    def dim(self) -> int:
        one_hot = sum(map(math.prod, zip(self._positions, self.codebook_sizes, strict=True)))
        return one_hot + (0 if self.given is None else self.given.dim)

    def parse(self, text: str) -> float:
        raise InputError(
            f"A grid above is drawn or encoded and has no text, got {text!r}: give the prior "
            f"tensors that `join` made."
        )

    def format(self, value: float) -> str:
        raise InputError("A grid above has no text: take its indices from what `split` gives.")

    def join(self, grids: Sequence[Tensor], given: Tensor | None = None) -> Tensor:
        """Grids (B, *grid), coarse to fine, and the values (B,) of `given` → values (B, *shape).

        Raises:
            InputError: If there are more or fewer grids than levels, or they are of other shapes.
        """
        shapes = tuple(tuple(grid.shape[1:]) for grid in grids)
        if shapes != self.grids or (given is None) != (self.given is None):
            wanted, got = (
                "no value" if each is None else "a value" for each in (self.given, given)
            )
            raise InputError(
                f"The grids above have the shapes {self.grids} and are given {wanted}, got "
                f"{shapes} and {got}: give the grids of all levels, coarse to fine."
            )
        parts = [grid.flatten(1) for grid in grids]
        parts += [] if given is None else [given[:, None].to(parts[0].device)]
        return torch.cat([part.to(self.dtype) for part in parts], 1)

    def split(self, values: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Values (B, *shape) → the grids (B, *grid), int64, and the values (B,) of `given`."""
        *flat, rest = values.split([*self._positions, int(self.given is not None)], 1)
        grids = [
            part.long().unflatten(1, grid) for part, grid in zip(flat, self.grids, strict=True)
        ]
        return grids, None if self.given is None else rest[:, 0].to(self.given.dtype)

    def check(self, values: Tensor) -> None:
        if tuple(values.shape[1:]) != self.shape or values.dtype == torch.bool:
            raise InputError(
                f"Values of grids above are numbers (B, {self.shape[0]}), got {values.dtype} "
                f"{tuple(values.shape)}: make them with `join`."
            )
        indices = values[:, : sum(self._positions)]
        levels = zip(self._positions, self.codebook_sizes, strict=True)
        sizes = values.new_tensor([size for n, size in levels for _ in range(n)])
        wrong = indices[~((indices >= 0) & (indices < sizes) & (indices == indices.floor()))]
        if len(wrong):
            raise InputError(
                f"Indices of grids above are whole numbers from 0 and below the codebook sizes "
                f"{self.codebook_sizes}, got {wrong[0].item():g}: take those of the same tokenizer."
            )
        if self.given is not None:
            raw = values[:, -1]
            given = raw.to(self.given.dtype)
            kept = self.given.dtype.is_floating_point or bool((given == raw).all())
            self.given.check(given if kept else raw)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        levels = zip(self.codebook_sizes, self.grids, strict=True)
        grids = [torch.randint(size, (n, *grid), generator=generator) for size, grid in levels]
        return self.join(grids, None if self.given is None else self.given.draw(n, generator))

    def __call__(self, values: Tensor) -> Tensor:
        grids, given = self.split(values)
        levels = zip(grids, self.codebook_sizes, strict=True)
        parts = [F.one_hot(grid, size).flatten(1).float() for grid, size in levels]
        if self.given is not None:
            assert given is not None
            parts.append(self.given(given))
        return torch.cat(parts, 1)

    @property
    def _positions(self) -> list[int]:
        return [math.prod(grid) for grid in self.grids]


def _as_it_is(name: str) -> str:
    return name


def _without_case(name: str) -> str:
    return label_name(name).casefold()


def _as_number(name: str) -> str:
    """A number without the zeros before it, so that 7 finds 007."""
    return name.lstrip("0") or "0" if name.isdecimal() else name


def _check_shape(what: str, values: Tensor) -> None:
    if values.ndim != 1:
        raise InputError(f"{what} have the shape (B,), got {tuple(values.shape)}: flatten them.")
