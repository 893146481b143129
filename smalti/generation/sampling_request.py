"""Reads what the user asks of samples: the condition in words, and the options of sampling."""

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

__all__ = ["Words", "make_sampling_config", "condition_values"]

Word = str | int
Words = Word | Sequence[Word]


def make_sampling_config(
    config: SamplingConfig | None, options: Mapping[str, Any]
) -> SamplingConfig:
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


def condition_values(
    condition: Condition | None,
    words: Words | Mapping[str, Words] | None,
    n: int,
    generator: torch.Generator,
) -> Tensor | None:
    """Parses the words of a condition to its values for n samples, (n, *shape).

    Arguments:
        condition: The condition that the prior was trained with; None if it was trained without
            one, which gives None.
        words: One word for all samples, such as "horse", or a list of n; with several conditions a
            mapping of their names to such. Where there are none, values are drawn at random, all
            equally likely.
        n: The number of samples.
        generator: Source of these draws.

    Raises:
        InputError: If the prior has no such condition, the condition no such value, or the list
            does not have n words.
    """
    if condition is None:
        if words is None:
            return None
        raise InputError(f"This prior takes no condition, got {words!r:.80}: leave it out.")
    if words is None:
        return condition.draw(n, generator)
    parts = conditions_by_name(condition)
    if not isinstance(words, Mapping):
        if len(parts) > 1:
            raise InputError(
                f"This model has several conditions, {condition.name}, got {words!r:.80}: give "
                f"words by name, e.g. condition={{{next(iter(parts))!r}: …}}."
            )
        words = {next(iter(parts)): words}
    if wrong := next((name for name in words if name not in parts), None):
        raise InputError(
            f"This model is conditioned on a {condition.name}, got the condition {wrong!r:.80}: "
            f"use {' or '.join(map(repr, parts))}."
        )
    values = {
        name: _parse(part, words[name], n) if name in words else part.draw(n, generator)
        for name, part in parts.items()
    }
    return condition.pack(values) if isinstance(condition, Conditions) else values[condition.name]


def _parse(condition: Condition, words: Any, n: int) -> Tensor:
    """Parses one word for all of n samples, or n words, to values (n, *shape)."""
    each = _one_per_sample(words, n)
    values = {word: condition.parse(word) for word in dict.fromkeys(each)}
    return torch.tensor([values[word] for word in each], dtype=condition.dtype)


def _one_per_sample(condition: Any, n: int) -> list[str]:
    """Returns n words, one per sample, of one word for all or of n of them.

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
