"""Reads what the user asks samples to be: conditions in words, and options of sampling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.conditions import Condition, Conditions, conditions_by_name
from smalti.counting import counted
from smalti.errors import InputError
from smalti.priors import SamplingConfig

__all__ = ["Words", "config_of", "values_of"]

Word = str | int
Words = Word | Sequence[Word]


def config_of(config: SamplingConfig | None, options: Mapping[str, Any]) -> SamplingConfig:
    """Returns `config`, or builds one from `options` such as {"temperature": 0.9} if it is None.

    Raises:
        InputError: If both are given, an option does not exist, or is out of range.
    """
    known = [field.name for field in fields(SamplingConfig)]
    if unknown := next((name for name in options if name not in known), None):
        raise InputError(f"There is no option {unknown!r}: choose of {', '.join(known)}.")
    if config is None:
        return SamplingConfig(**options)
    if options:
        raise InputError(
            f"The options of sampling are in config, got {', '.join(options)} as well: leave one "
            f"of both out."
        )
    return config


def values_of(
    known: Condition | None,
    asked: Words | Mapping[str, Words] | None,
    n: int,
    generator: torch.Generator,
) -> Tensor | None:
    """Returns the condition's value for each of n samples, (n, *shape); None without a condition.

    Arguments:
        known: The condition that the prior was trained with, if any.
        asked: The values in words: one word for all samples, or a list of n; with several
            conditions a mapping of their names to such. A condition that is left out gets values
            drawn at random, all equally likely.
        n: The number of samples.
        generator: Source of these draws.

    Raises:
        InputError: If the prior has no such condition, the condition no such value, or the list
            does not have n words.
    """
    if known is None:
        if asked is None:
            return None
        raise InputError(f"This prior takes no condition, got {asked!r:.80}: leave it out.")
    if asked is None:
        return known.draw(n, generator)
    parts = conditions_by_name(known)
    if not isinstance(asked, Mapping):
        if len(parts) > 1:
            raise InputError(
                f"This model has several conditions, {known.name}, got {asked!r:.80}: give words "
                f"by name, e.g. condition={{{next(iter(parts))!r}: …}}."
            )
        asked = {next(iter(parts)): asked}
    if wrong := next((name for name in asked if name not in parts), None):
        raise InputError(
            f"This model is conditioned on a {known.name}, got the condition {wrong!r:.80}: use "
            f"{' or '.join(map(repr, parts))}."
        )
    values = {
        name: _parsed(part, asked[name], n) if name in asked else part.draw(n, generator)
        for name, part in parts.items()
    }
    return known.pack(values) if isinstance(known, Conditions) else values[known.name]


def _parsed(condition: Condition, asked: Any, n: int) -> Tensor:
    """Returns the values (n, *shape) of words."""
    words = _words(asked, n)
    values = {word: condition.parse(word) for word in dict.fromkeys(words)}
    return torch.tensor([values[word] for word in words], dtype=condition.dtype)


def _words(condition: Any, n: int) -> list[str]:
    """Describes the conditions of n samples: of one for all, or of n of them.

    Raises:
        InputError: If there are more or fewer, or one is neither a word nor a whole number.
    """
    if isinstance(condition, Tensor | np.ndarray | np.generic):
        condition = condition.tolist()
    alone = isinstance(condition, str | bytes | dict) or not isinstance(condition, Iterable)
    given = [condition] if alone else list(islice(condition, n + 1))
    for word in given:
        if isinstance(word, bool) or not isinstance(word, str | int | np.integer | Tensor):
            raise InputError(
                f"A condition is a word or a whole number, or one of these a sample, got "
                f"{word!r}: write it as a text, e.g. '3'."
            )
        if isinstance(word, Tensor) and (word.numel() != 1 or word.is_floating_point()):
            raise InputError(
                f"A condition is a word or a whole number, got a tensor of {word.dtype} with the "
                f"shape {tuple(word.shape)}: give n whole numbers in one row."
            )
    words = [str(word.item() if isinstance(word, Tensor) else word) for word in given]
    if alone:
        return words * n
    if len(words) != n:
        raise InputError(
            f"{counted(n, 'sample')} must have {counted(n, 'condition')}, got "
            f"{'more' if len(words) > n else len(words)}: "
            f"give one for all, or one each."
        )
    return words
