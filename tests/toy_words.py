"""A condition that gives a sequence: a few words of a small vocabulary, as captions are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.conditions import Condition, Context
from smalti.conditions.base import ContextSizes, check_name
from smalti.errors import InputError

__all__ = ["ToyWords"]

NONE = -1  # in the place of a word that is not there


@registered
class ToyWords(Condition):
    """One to `length` words; a value is a row of their numbers, -1 after the last.

    The context is their one-hot vectors one after another, and which of them are there.

    Arguments:
        words: The vocabulary.
        length: Words at most.
        name: Of the condition.
    """

    dtype = torch.int64

    def __init__(self, words: Sequence[str], length: int, name: str = "caption") -> None:
        super().__init__()
        self.words, self.length, self.name = tuple(words), length, check_name(name)

    shape = property(lambda self: (self.length,))
    sizes = property(lambda self: ContextSizes(sequence=len(self.words)))
    null = property(lambda self: torch.full((self.length,), NONE))
    optional = property(lambda self: False)
    help = property(lambda self: f"1 to {self.length} of {', '.join(self.words)}")

    def parse(self, text):
        written = text.split()
        if not 1 <= len(written) <= self.length or not set(written) <= set(self.words):
            raise InputError(f"A {self.name} is {self.help}, got {text[:40]!r}: write these.")
        numbers = [self.words.index(word) for word in written]
        return numbers + [NONE] * (self.length - len(numbers))

    def format(self, value):
        return " ".join(self.words[int(number)] for number in value if number != NONE)

    def check(self, values):
        if tuple(values.shape[1:]) != self.shape or values.dtype == torch.bool:
            raise InputError(f"Values of {self.name} are rows (B, {self.length}), got others.")
        there = values != NONE
        known = (values >= 0) & (values < len(self.words)) & (values == values.floor())
        gap = (there[:, 1:] & ~there[:, :-1]).any()
        if (there & ~known).any() or gap or not there[:, :1].all():
            raise InputError(
                f"Values of {self.name} are words from 0 to {len(self.words) - 1}, -1 after the "
                f"last, got others: parse a text."
            )

    def draw(self, n, generator=None):
        lengths = torch.randint(1, self.length + 1, (n, 1), generator=generator)
        drawn = torch.randint(len(self.words), (n, self.length), generator=generator)
        return torch.where(torch.arange(self.length) < lengths, drawn, NONE)

    def distance(self, values, others):
        return torch.where((values == others).all(1), 0.0, torch.inf)

    def matches(self, asked, got):
        return (asked == got).all(1)

    def without(self, values):
        return values

    def forward(self, values):
        there = values != NONE
        one_hot = F.one_hot(values.clamp(min=0), len(self.words)).float()
        return Context(sequence=one_hot * there[..., None], mask=there)
