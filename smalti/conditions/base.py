"""Conditions: values that examples carry, such as a label, and the context they give a network.

A data set gives each example a *value*: a class label, a time, or both. In a hierarchy of grids,
those above are a value too, for the prior of the grid below. A condition reads a value from text
and writes it, refuses values that do not exist, and says whether something shows what was asked. As
a module it makes of values the `Context` that networks are conditioned on:

    vector      (B, V)      what holds of the whole example, such as a one-hot label
    sequence    (B, T, F)   one after another, such as words, and `mask` (B, T): which are there
    map         grids of indices (B, h, w), of which each place belongs to one of the example

`null` is the value that stands for "none given". Its vector is zero, which is that of no other
value. Classifier-free guidance compares a prior with itself given null, so it needs a prior that
was trained with that too, see `OptionalCondition`.

References:
    Classifier-Free Diffusion Guidance (Ho, Salimans, 2022), arXiv 2207.12598.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.registry import describe

__all__ = [
    "Condition",
    "Context",
    "ContextSizes",
    "GridSpec",
    "check_columns",
    "check_name",
    "check_1d",
    "from_columns",
    "as_row",
    "to_columns",
    "num_columns",
]


class Context(NamedTuple):
    """The tensors that a network is conditioned on; a part that a condition lacks is None.

    Attributes:
        vector: One vector per example (B, V), float32.
        sequence: T vectors per example (B, T, F), float32.
        mask: (B, T), bool: which elements of the sequence are valid.
        map: Grids of indices (B, *grid), int64, -1 where an index is not given.
    """

    vector: Tensor | None = None
    sequence: Tensor | None = None
    mask: Tensor | None = None
    map: tuple[Tensor, ...] | None = None


class GridSpec(NamedTuple):
    """Codebook size and shape of a grid of indices in `Context.map`.

    Attributes:
        codebook_size: K; indices are in [0, K).
        grid: Its shape, (H, W) or (T,), or (H, W, Q) of Q indices per position.
    """

    codebook_size: int
    grid: tuple[int, ...]


class ContextSizes(NamedTuple):
    """The sizes of a `Context`, which a network needs to know when it is built.

    Attributes:
        vector: V, the length of the vector; 0 where there is none.
        sequence: F, the length of each vector in the sequence; 0 where there is none.
        map: Codebook size and shape of each grid of the map.
    """

    vector: int = 0
    sequence: int = 0
    map: tuple[GridSpec, ...] = ()


class Condition(nn.Module, ABC):
    """Abstract: a kind of value that examples carry and samples can be conditioned on.

    As a module it maps values to the `Context` that a prior's network takes.

    Attributes:
        name: The word for it, in messages and on the command line: `"label"` or `"time"`.
        dtype: The dtype of a tensor of values.
    """

    name: str
    dtype: torch.dtype

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Returns the shape of one value: () of a number."""

    @property
    @abstractmethod
    def sizes(self) -> ContextSizes:
        """Returns the sizes of the contexts that `forward` gives."""

    @property
    @abstractmethod
    def null(self) -> Tensor:
        """Returns the value (*shape) that stands for "none given"."""

    @property
    @abstractmethod
    def optional(self) -> bool:
        """Returns whether the condition may be left out, at least in part; see `without`."""

    @property
    def takes_any_text(self) -> bool:
        """Returns whether any text is one of its values, as of captions."""
        return False

    @property
    @abstractmethod
    def help(self) -> str:
        """Returns one line on what to write, for the command line."""

    @abstractmethod
    def parse(self, text: str) -> Any:
        """Returns the value that `text` names: a number, or a list of numbers.

        Raises:
            InputError: If there is no such value.
        """

    @abstractmethod
    def format(self, value: Any) -> str:
        """Returns the text of a value, a number or a row: `parse(format(value)) == value`."""

    @abstractmethod
    def check(self, values: Tensor) -> None:
        """Raises `InputError` unless `values` (B, *shape) all exist.

        Null is a value only of a condition that may be left out.
        """

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws n values (n, *shape), all that exist being equally likely."""

    @abstractmethod
    def distance(self, values: Tensor, others: Tensor) -> Tensor:
        """Returns how far apart values (B, *shape) and others are, (B,): 0 of equal ones.

        Infinite where they differ and nothing lies between them, as of two labels.
        """

    @abstractmethod
    def matches(self, asked: Tensor, got: Tensor) -> Tensor:
        """Returns whether examples that show `got` (B, *shape) show what was asked, (B,) bool."""

    @abstractmethod
    def without(self, values: Tensor) -> Tensor:
        """Returns values (B, *shape) with null for whatever may be left out."""

    @abstractmethod
    def forward(self, values: Tensor) -> Context:
        """Returns the context of checked values (B, *shape); of null too."""

    def is_null(self, values: Tensor) -> Tensor:
        """Returns which of values (B, *shape) are null, (B,) bool."""
        same = values == self.null.to(values)
        return same.flatten(1).all(1) if self.shape else same

    def equals(self, other: object) -> bool:
        """Returns whether another condition is of the same class, with the same arguments."""
        return isinstance(other, Condition) and describe(self) == describe(other)

    def __repr__(self) -> str:
        """Returns one line that names the condition, for messages."""
        arguments = getattr(self, "_arguments", {})
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"


def check_1d(what: str, values: Tensor) -> None:
    """Raises `InputError` unless `values` has one dimension, (B,); `what` begins the message."""
    if values.ndim != 1:
        raise InputError(f"{what} have the shape (B,), got {tuple(values.shape)}: flatten them.")


def check_name(name: str) -> str:
    """Returns the name of a condition, after checking that the command line can take it.

    Raises:
        InputError: If it is not a word of small letters, digits and _.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise InputError(
            f"The name of a condition is a word of small letters, digits and _, got {name!r}: "
            f"write it as on the command line, e.g. colour."
        )
    return name


def num_columns(condition: Condition) -> int:
    """Returns S, the number of columns that one value of a condition takes in `to_columns`."""
    return math.prod(condition.shape)


def to_columns(values: Tensor) -> Tensor:
    """Flattens values (B, *shape) to columns (B, S), float64, exact for indices and minutes."""
    wide = torch.float32 if values.device.type == "mps" else torch.float64  # there is none
    return (values.flatten(1) if values.ndim > 1 else values[:, None]).to(wide)


def from_columns(condition: Condition, columns: Tensor) -> Tensor:
    """Undoes `to_columns`: columns (B, S) to values (B, *shape), in the condition's dtype."""
    return columns.reshape(len(columns), *condition.shape).to(condition.dtype)


def check_columns(condition: Condition, columns: Tensor) -> None:
    """Raises `InputError` unless columns (B, S) hold values that the condition can take."""
    values = from_columns(condition, columns)
    exact = condition.dtype.is_floating_point or bool((to_columns(values) == columns).all())
    condition.check(values if exact else columns.reshape(len(columns), *condition.shape))


def as_row(value: Any) -> list[float]:
    """Converts one value of a condition, a number or several, to a list of floats."""
    if isinstance(value, Tensor):
        value = value.tolist()
    return list(value) if isinstance(value, list | tuple) else [value]
