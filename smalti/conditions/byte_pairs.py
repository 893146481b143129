"""Byte-level byte-pair encoding (BPE) of texts, by `tokenizers`.

The first tokens are the 256 bytes, so that any text in any script can be encoded and decodes to
itself. Each further token merges two tokens that are often side by side in the training texts. The
merges, in order, are the whole encoding.

References:
    Neural Machine Translation of Rare Words with Subword Units, R. Sennrich, B. Haddow and A.
    Birch, 2016, arXiv 1508.07909.
    Language Models are Unsupervised Multitask Learners, A. Radford et al., 2019 (of bytes).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from smalti.errors import InputError
from smalti.extras import explain_import_error

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["BytePairs", "learn_merges"]

BYTES = 256
LEAST = 2  # times that two tokens must be side by side to be merged


class BytePairs:
    """Encodes texts to tokens, integers in [0, K), and decodes them.

    Arguments:
        merges: The M pairs of tokens that are merged, in order, each as "left right".

    Raises:
        InputError: If a merge is not a pair of earlier tokens.

    Example:
        >>> pairs = BytePairs(learn_merges(["red heart", "red hat", "a red cat"], 300))
        >>> pairs.decode(pairs.encode("red heart")), len(pairs.encode("red heart"))
        ('red heart', 6)
    """

    def __init__(self, merges: Sequence[str] = ()) -> None:
        self.merges = tuple(merges)
        self._numbers = {letter: number for number, letter in enumerate(_alphabet())}
        self._pairs: list[tuple[str, str]] = []
        for merge in self.merges:
            left, _, right = merge.partition(" ")
            if not {left, right} <= self._numbers.keys():
                raise InputError(
                    f"Each merge joins two tokens that come before it in one, got "
                    f"{merge!r:.60}: take those that were learned."
                )
            self._numbers.setdefault(left + right, len(self._numbers))
            self._pairs.append((left, right))

    def __len__(self) -> int:
        """Returns K, the vocabulary size: 256, and one for each merge that makes a new token."""
        return len(self._numbers)

    def encode(self, text: str) -> list[int]:
        """Encodes a text to tokens.

        Raises:
            InputError: If it has characters that UTF-8 cannot write.
        """
        return self._tokenizer.encode(_checked(text)).ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Decodes tokens to a text; bytes that are not UTF-8 become �."""
        return self._tokenizer.decode(list(tokens))

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """Makes the tokenizer when it is first needed."""
        try:
            from tokenizers import Tokenizer, decoders, models, pre_tokenizers
        except ModuleNotFoundError as error:
            raise explain_import_error(error, "A caption") from error
        made = Tokenizer(models.BPE(vocab=self._numbers, merges=self._pairs))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        return made

    def __getstate__(self) -> dict[str, object]:
        """Returns what makes it: copies make a tokenizer of their own."""
        return {name: value for name, value in vars(self).items() if name != "_tokenizer"}


def learn_merges(texts: Iterable[str], size: int) -> list[str]:
    """Learns the merges of an encoding from texts: at most `size` − 256, each as "left right".

    The result depends on which texts there are and how often, not on their order.

    Raises:
        InputError: If a text has characters that UTF-8 cannot write.

    Example:
        >>> learn_merges(["aaab", "aaab"], 258)
        ['a a', 'a b']
    """
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    except ModuleNotFoundError as error:
        raise explain_import_error(error, "A caption") from error
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=LEAST,
        initial_alphabet=_alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(map(_checked, texts), trainer)
    return [" ".join(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]


def _checked(text: str) -> str:
    """Returns a text that UTF-8 can write.

    Raises:
        InputError: If it cannot.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"A text is of characters that UTF-8 can write, got {text!r:.60}: type it anew."
        ) from error
    return text


def _alphabet() -> list[str]:
    """Returns the 256 characters that `tokenizers` writes bytes as, in order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return sorted(map(chr, [*plain, *range(256, 256 + BYTES - len(plain))]))
