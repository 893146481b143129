"""The values of a condition that signals are coded under, as a file of tokens holds them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smalti.codec.container import Entry
from smalti.codec.range_coder import Damaged
from smalti.conditions import Condition
from smalti.errors import InputError

__all__ = ["check_values", "rows_of_values", "values_of_rows"]


def check_values(condition: Condition | None, context: Tensor | None, count: int) -> Tensor | None:
    """Returns the values that `count` signals are coded under, one for all where all are the same.

    Arguments:
        condition: The condition of the prior; None without.
        context: (count, *shape), or (1, *shape) for all.
        count: How many signals there are.

    Raises:
        InputError: If they are none of the condition's, or are missing.
    """
    if condition is None or context is None:
        if condition is not None:
            raise InputError(
                f"The prior is conditioned on a {condition.name}, got none: give the context "
                f"of each signal."
            )
        if context is not None:
            raise InputError("What tokens are coded under has no condition: give no context.")
        return None
    context = torch.as_tensor(context).cpu()
    if len(context) not in (1, count) or tuple(context.shape[1:]) != condition.shape:
        raise InputError(
            f"The context has one {condition.name} for each of {count} signals or one for all, "
            f"of the shape {condition.shape}, got {tuple(context.shape)}: give as many."
        )
    condition.check(context)
    if len(context) and bool((context == context[:1]).all()):
        return context[:1]
    return context


def values_of_rows(condition: Condition | None, entry: Entry) -> Tensor | None:
    """Returns the values of the condition that an entry of a file holds.

    Raises:
        Damaged: If it holds others than the condition has.
        InputError: If a value is out of its range.
    """
    if (condition is None) != (entry.context is None) or entry.context == []:
        raise Damaged("its conditions are missing")
    if condition is None or entry.context is None:
        return None
    length = math.prod(condition.shape)
    if len(entry.context) not in (1, entry.signals) or any(
        len(row) != length for row in entry.context
    ):
        raise Damaged("its conditions are of another kind")
    rows = torch.tensor(entry.context, dtype=torch.float64).view(-1, *condition.shape)
    if not condition.dtype.is_floating_point and bool((rows != rows.floor()).any()):
        raise Damaged("its conditions are not whole")
    values = rows.to(condition.dtype)
    condition.check(values)
    return values


def rows_of_values(context: Tensor | None) -> list[list[float]] | None:
    """Returns values as an entry holds them: a row of numbers each; None without."""
    if context is None:
        return None
    return [[float(x) for x in value.flatten().tolist()] for value in context]
