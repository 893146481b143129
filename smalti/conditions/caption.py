"""A caption: a text about an example, in any language, as a row of byte-level BPE tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.conditions.base import Condition, Context, ContextSizes, check_name
from smalti.conditions.byte_pairs import BytePairs, learn_merges
from smalti.counting import counted
from smalti.errors import InputError
from smalti.spelling import listed, readable

__all__ = ["Caption"]

TOKENS = 1024  # of an encoding that is learned, where nothing is said
LONGEST = 256  # tokens of a caption
SUGGESTED = 1000  # captions that are kept, to draw from


@registered
class Caption(Condition):
    """A text, encoded to at most L byte-level tokens: a row (L,) of their numbers from 1 on.

    A row is padded with 0 after the last token; a row of zeros is the null context. The context
    has the tokens twice. The sequence holds one-hot vectors, so that a network's first linear
    layer is the token embedding. The vector is a bag of words: their sum over √n, of n tokens,
    without their order. Word order takes many captions to learn; what words mean is learned from
    this vector with a few thousand.

    Arguments:
        length: L, the largest number of tokens.
        merges: The merges of the encoding, in order; see `BytePairs`.
        suggestions: Captions that `draw` draws from: some of the training captions.
        name: The name of the condition, where examples have several.

    Raises:
        InputError: If the length is below 1, a merge is invalid, or `name` cannot be an option.

    Example:
        >>> caption = Caption.learned(["red heart", "red hat", "a red cat"])
        >>> caption.format(caption.parse("red cat")), caption.length
        ('red cat', 6)
        >>> caption(torch.tensor([caption.parse("red hat")])).mask.sum()
        tensor(3)
    """

    dtype = torch.int64

    def __init__(
        self,
        length: int,
        merges: Sequence[str] = (),
        suggestions: Sequence[str] = (),
        name: str = "text",
    ) -> None:
        super().__init__()
        if length < 1:
            raise InputError(f"A caption has room for 1 token at least, got {length}: give more.")
        self.length, self.name = length, check_name(name)
        self.pairs = BytePairs(merges)
        self.suggestions = tuple(suggestions)

    @classmethod
    def learned(
        cls, texts: Sequence[str], tokens: int = TOKENS, longest: int = LONGEST, name: str = "text"
    ) -> Caption:
        """Learns the encoding from captions; the longest caption sets L.

        Arguments:
            texts: The captions of the training examples.
            tokens: The largest vocabulary size, at least 256.
            longest: The largest L; of longer captions only the beginning is used.
            name: The name of the condition.
        """
        merges = learn_merges(texts, tokens)
        different, pairs = sorted(set(texts)), BytePairs(merges)
        lengths = [len(pairs.encode(text)) for text in different]
        length = min(max(lengths, default=1), longest)
        fitting = [text for text, n in zip(different, lengths, strict=True) if 0 < n <= length]
        chosen = [fitting[i * len(fitting) // SUGGESTED] for i in range(SUGGESTED)]
        few = fitting if len(fitting) <= SUGGESTED else chosen
        return cls(max(length, 1), merges, few, name)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def sizes(self) -> ContextSizes:
        return ContextSizes(vector=len(self.pairs), sequence=len(self.pairs))

    @property
    def null(self) -> Tensor:
        return torch.zeros(self.length, dtype=self.dtype)

    @property
    def optional(self) -> bool:
        return False

    @property
    def takes_any_text(self) -> bool:
        return True

    @property
    def help(self) -> str:
        such = f", such as {listed(self.suggestions, 3)}" if self.suggestions else ""
        return f"a text of up to {counted(self.length, 'token')}{such}"

    def parse(self, text: str) -> list[int]:
        """Encodes a text, with zeros after it: (L,) numbers.

        Raises:
            InputError: If it is empty, or too long.
        """
        if not text.strip():
            raise InputError(f"The {self.name} is empty, got {text!r:.20}: write what to show.")
        tokens = self.pairs.encode(text)
        if len(tokens) > self.length:
            raise InputError(
                f"The {self.name} {readable(text[:40])!r} is too long, got "
                f"{counted(len(tokens), 'token')} where {self.length} fit: shorten it."
            )
        return self._row(tokens)

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, int]:
        """Encodes captions to rows (N, L), int64; returns them and how many were cut to fit."""
        found = {text: self.pairs.encode(text) for text in dict.fromkeys(texts)}
        rows = {text: self._row(tokens[: self.length]) for text, tokens in found.items()}
        cut = sum(len(found[text]) > self.length for text in texts)
        return torch.tensor([rows[text] for text in texts]).view(-1, self.length), cut

    def format(self, value: Any) -> str:
        tokens = [int(number) - 1 for number in value if number > 0]
        return self.pairs.decode(tokens)

    def check(self, values: Tensor) -> None:
        if tuple(values.shape[1:]) != self.shape or values.dtype == torch.bool:
            raise InputError(
                f"Captions are rows of tokens (B, {self.length}), got {values.dtype} "
                f"{tuple(values.shape)}: make them with `parse`."
            )
        there = values != 0
        known = (values >= 0) & (values <= len(self.pairs)) & (values == values.floor())
        gap = there[:, 1:] & ~there[:, :-1]
        if not bool(known.all()) or bool(gap.any()) or not bool(there[:, 0].all()):
            raise InputError(
                f"Captions are tokens from 1 to {len(self.pairs)}, one at least, with 0 after the "
                f"last, got others: make them with `parse`."
            )

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws n of the suggestions; single bytes where there are none."""
        if not self.suggestions:
            drawn = self.null.repeat(n, 1)
            drawn[:, 0] = torch.randint(1, len(self.pairs) + 1, (n,), generator=generator)
            return drawn
        chosen = torch.randint(len(self.suggestions), (n,), generator=generator).tolist()
        rows, _ = self.encode([self.suggestions[number] for number in chosen])
        return rows

    def distance(self, values: Tensor, others: Tensor) -> Tensor:
        return torch.where((values == others).all(1), 0.0, torch.inf)

    def matches(self, asked: Tensor, got: Tensor) -> Tensor:
        return (asked == got).all(1)

    def without(self, values: Tensor) -> Tensor:
        return values

    def forward(self, values: Tensor) -> Context:
        values = values.long()
        there = values > 0
        one_hot = F.one_hot((values - 1).clamp(min=0), len(self.pairs)).float()
        sequence = one_hot * there[..., None]
        n = there.sum(1, keepdim=True).clamp(min=1)
        return Context(vector=sequence.sum(1) / n.sqrt(), sequence=sequence, mask=there)

    def _row(self, tokens: Sequence[int]) -> list[int]:
        return [*(token + 1 for token in tokens), *[0] * (self.length - len(tokens))]
