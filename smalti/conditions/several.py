"""Several conditions at once: a label and a time, or the colour and the shape of what is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.conditions.base import (
    Condition,
    Context,
    ContextSizes,
    as_row,
    check_columns,
    from_columns,
    num_columns,
    to_columns,
)
from smalti.errors import InputError

__all__ = ["Conditions", "conditions_by_name"]


@registered
class Conditions(Condition):
    """Several conditions, each with its own name: a mapping of names to conditions.

    A value is one row of numbers: the values of all conditions, side by side. `pack` makes rows of
    a mapping of names to values, and `unpack` undoes it. The vectors of all contexts are
    concatenated, sequences too, one after another; grids stay separate in `Context.map`.

    Arguments:
        conditions: At least one; their names differ.

    Raises:
        InputError: If the list is empty, two conditions have the same name, or their sequences
            differ in F, the number of features.

    Example:
        >>> from smalti.conditions import Label, TimeOfDay
        >>> both = Conditions([Label(["cat", "dog"]), TimeOfDay()])
        >>> both.parse("label=dog, time=10:10"), both.format([1, 610])
        ([1.0, 610.0], 'label=dog, time=10:10')
        >>> row = both.pack({"label": torch.tensor([1]), "time": torch.tensor([610.0])})
        >>> both(row).vector.shape
        torch.Size([1, 66])
    """

    dtype = torch.float64  # exact, of labels and of minutes alike

    def __init__(self, conditions: Sequence[Condition]) -> None:
        super().__init__()
        names = [condition.name for condition in conditions]
        if not names or len(set(names)) < len(names):
            raise InputError(
                f"Several conditions have a name each, got {', '.join(names) or 'none'}: give at "
                f"least one, and no name twice, e.g. Label([...], name='colour')."
            )
        features = {size for each in conditions if (size := each.sizes.sequence)}
        if len(features) > 1:
            raise InputError(
                f"Sequences of several conditions have one number of features, got "
                f"{', '.join(map(str, sorted(features)))}: make them equal."
            )
        self.parts = torch.nn.ModuleList(conditions)
        self.name = " and ".join(names)

    @property
    def named(self) -> Mapping[str, Condition]:
        """Returns the conditions, by name."""
        return {part.name: part for part in self.parts}  # type: ignore[misc]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(map(num_columns, self.named.values())),)

    @property
    def sizes(self) -> ContextSizes:
        sizes = [part.sizes for part in self.named.values()]
        return ContextSizes(
            sum(size.vector for size in sizes),
            max(size.sequence for size in sizes),
            tuple(grid for size in sizes for grid in size.map),
        )

    @property
    def null(self) -> Tensor:
        return torch.cat([to_columns(part.null[None])[0] for part in self.named.values()])

    @property
    def optional(self) -> bool:
        return any(part.optional for part in self.named.values())

    @property
    def help(self) -> str:
        return "; ".join(f"{name}: {part.help}" for name, part in self.named.items())

    def pack(self, values: Mapping[str, Tensor]) -> Tensor:
        """Packs a mapping of names to values (B, ...) to rows (B, S), float64.

        Raises:
            InputError: If one is missing, or there is another.
        """
        if values.keys() != self.named.keys():
            raise InputError(
                f"Values are given for {', '.join(self.named)}, got "
                f"{', '.join(map(str, values)) or 'none'}: give all of them, and no others."
            )
        return torch.cat([to_columns(values[name]) for name in self.named], 1)

    def unpack(self, rows: Tensor) -> dict[str, Tensor]:
        """Unpacks rows (B, S) to a mapping of names to values, each in its own dtype."""
        columns = rows.split([num_columns(part) for part in self.named.values()], 1)
        parts = zip(self.named.items(), columns, strict=True)
        return {name: from_columns(part, column) for (name, part), column in parts}

    def parse(self, text: str) -> list[float]:
        found = list(re.finditer(rf"(?:^|,)\s*({'|'.join(self.named)})=", text))
        ends = [match.start() for match in found[1:]] + [len(text)]
        words = {match[1]: text[match.end() : end] for match, end in zip(found, ends, strict=False)}
        if words.keys() != self.named.keys() or len(found) > len(words) or found[0].start():
            example = ", ".join(f"{name}=…" for name in self.named)
            raise InputError(
                f"Each of {', '.join(self.named)} is given once, got {text[:60]!r}: write "
                f"{example}."
            )
        rows = (as_row(part.parse(words[name])) for name, part in self.named.items())
        return [float(number) for row in rows for number in row]

    def format(self, value: Any) -> str:
        row = torch.tensor([as_row(value)], dtype=self.dtype)
        values = {name: part[0].tolist() for name, part in self.unpack(row).items()}
        return ", ".join(f"{name}={part.format(values[name])}" for name, part in self.named.items())

    def check(self, values: Tensor) -> None:
        if tuple(values.shape[1:]) != self.shape or values.dtype == torch.bool:
            raise InputError(
                f"Values of {self.name} are rows of numbers (B, {self.shape[0]}), got "
                f"{values.dtype} {tuple(values.shape)}: make them with `pack`."
            )
        columns = to_columns(values).split([num_columns(part) for part in self.named.values()], 1)
        for part, column in zip(self.named.values(), columns, strict=True):
            check_columns(part, column)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.pack({name: part.draw(n, generator) for name, part in self.named.items()})

    def distance(self, values: Tensor, others: Tensor) -> Tensor:
        """Returns the largest distance of all; see `Condition.distance`."""
        a, b = self.unpack(values), self.unpack(others)
        each = [part.distance(a[name], b[name]) for name, part in self.named.items()]
        return torch.stack(torch.broadcast_tensors(*each)).amax(0)

    def matches(self, asked: Tensor, got: Tensor) -> Tensor:
        a, b = self.unpack(asked), self.unpack(got)
        each = [part.matches(a[name], b[name]) for name, part in self.named.items()]
        return torch.stack(torch.broadcast_tensors(*each)).all(0)

    def without(self, values: Tensor) -> Tensor:
        parts = self.unpack(values)
        return self.pack({name: part.without(parts[name]) for name, part in self.named.items()})

    def forward(self, values: Tensor) -> Context:
        parts = self.unpack(values)
        return _joined([part(parts[name]) for name, part in self.named.items()])


def conditions_by_name(condition: Condition | None) -> Mapping[str, Condition]:
    """Returns the single conditions in a condition, by name; no entries for None."""
    if condition is None:
        return {}
    return condition.named if isinstance(condition, Conditions) else {condition.name: condition}


def _joined(contexts: Sequence[Context]) -> Context:
    """Makes one context of several."""
    vectors = [each.vector for each in contexts if each.vector is not None]
    maps = [grid for each in contexts for grid in each.map or ()]
    sequences, masks = [], []
    for each in contexts:
        if each.sequence is not None:
            there = each.sequence.new_ones(each.sequence.shape[:2], dtype=torch.bool)
            sequences.append(each.sequence)
            masks.append(there if each.mask is None else each.mask)
    return Context(
        torch.cat(vectors, 1) if vectors else None,
        torch.cat(sequences, 1) if sequences else None,
        torch.cat(masks, 1) if masks else None,
        tuple(maps) or None,
    )
