"""Constrained decoding: a language model of `transformers` generates existing IDs only.

    words = special_tokens(table.codebook_sizes)
    tokenizer.add_tokens(words)
    model.resize_token_embeddings(len(tokenizer))
    …                                                    # the training
    only_ids = OnlyIds(table.tree, token_ids(tokenizer, table.codebook_sizes), start=n)
    model.generate(**prompt, max_new_tokens=L, logits_processor=[only_ids])

Before each step the processor finds the prefix that a row has written so far in the tree of all
prefixes, and takes away every token but those that follow it in some ID: a few searches in sorted
arrays, of all rows at once.

References:
    Autoregressive Entity Retrieval, N. De Cao et al., 2021, arXiv 2010.00904.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from smalti.errors import InputError
from smalti.ids.prefix_tree import PrefixTree
from smalti.ids.words import special_tokens

__all__ = ["OnlyIds", "token_ids"]


class OnlyIds(LogitsProcessor):
    """A logits processor by which a language model generates only IDs that exist.

    Arguments:
        tree: The prefixes of the IDs, `IdTable.tree`.
        tokens: For each level the token id of each of its codes; see `token_ids`.
        start: The position of the first ID: the length of the prompt, padding on its left included,
            for a decoder; 1 for a model with an encoder.
        end: The id of the token that is generated after the last ID, or `None` if generation ends
            by itself there (`max_new_tokens`).
        ids: The number of IDs that are generated.

    If there are more beams than IDs, the score of the others is −∞.

    Raises:
        InputError: If there is no ID, or there are not as many tokens as codes.
    """

    def __init__(
        self,
        tree: PrefixTree,
        tokens: Sequence[Sequence[int]],
        start: int,
        end: int | None = None,
        ids: int = 1,
    ) -> None:
        sizes = tuple(map(len, tokens))
        if sizes != tree.codebook_sizes:
            raise InputError(
                f"Each code has a token, got {sizes} tokens for levels of "
                f"{tree.codebook_sizes} codes: give those of token_ids."
            )
        if not len(tree):
            raise InputError("There is no ID to write, got an empty table: add items to it.")
        self.tree, self.start, self.end, self.ids = tree, start, end, ids
        self.tokens = [np.asarray(numbers, np.int64) for numbers in tokens]
        self.largest = max(int(numbers.max()) for numbers in self.tokens)
        self._order = [np.argsort(numbers) for numbers in self.tokens]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Returns the scores (B, V) with −∞ for what may not follow the tokens (B, T).

        Raises:
            InputError: If the model has no such tokens, or the text is shorter than the prompt.
        """
        length = input_ids.shape[1] - self.start
        if length < 0:
            raise InputError(
                f"The first ID begins after {self.start} tokens, got {input_ids.shape[1]}: give "
                f"the length of the prompt as start."
            )
        if max(self.largest, self.end or 0) >= scores.shape[1]:
            raise InputError(
                f"The model gives scores of {scores.shape[1]} tokens, and those of IDs reach "
                f"{self.largest}: call model.resize_token_embeddings(len(tokenizer))."
            )
        written, depth = divmod(length, self.tree.levels)
        if written >= self.ids and self.end is None:
            return scores
        kept = torch.full_like(scores, -torch.inf)
        if written >= self.ids:
            kept[:, self.end] = scores[:, self.end]
            return kept
        tail = input_ids[:, input_ids.shape[1] - depth :].cpu().numpy()
        rows, allowed = (torch.from_numpy(part).to(scores.device) for part in self._next(tail))
        kept[rows, allowed] = scores[rows, allowed]
        return kept

    def _next(self, tail: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows and tokens that may follow in them what is written of their IDs (B, d)."""
        depth = tail.shape[1]
        nodes = self.tree.find(self._codes(tail))
        first, after = self.tree.children(nodes, depth)
        # A row that is no prefix has the score −∞ already: any token keeps it finite in between.
        lost = first == after
        first, after = np.where(lost, 0, first), np.where(lost, 1, after)
        counts = after - first
        rows = np.repeat(np.arange(len(tail)), counts)
        starts = np.cumsum(counts) - counts
        children = np.arange(len(rows)) - np.repeat(starts - first, counts)
        return rows, self.tokens[depth][self.tree.codes_of(children, depth + 1)]

    def _codes(self, tail: np.ndarray) -> np.ndarray:
        """Returns the codes of tokens (B, d), level by level; -1 of others."""
        codes = np.full(tail.shape, -1, np.int64)
        for level in range(tail.shape[1]):
            order = self._order[level]
            ordered = self.tokens[level][order]
            places = np.minimum(np.searchsorted(ordered, tail[:, level]), len(ordered) - 1)
            codes[:, level] = np.where(ordered[places] == tail[:, level], order[places], -1)
        return codes


def token_ids(tokenizer: Any, codebook_sizes: Sequence[int]) -> list[list[int]]:
    """Looks up the token id of every code in a tokenizer of `transformers`: one list per level.

    Arguments:
        tokenizer: A tokenizer to which `special_tokens(codebook_sizes)` were added.
        codebook_sizes: K of each level.

    Raises:
        InputError: If the tokenizer lacks one of these tokens.
    """
    words = special_tokens(codebook_sizes)
    known = tokenizer.get_vocab()
    if missing := [word for word in words if word not in known]:
        raise InputError(
            f"The tokenizer lacks {len(missing)} of {len(words)} tokens of IDs, {missing[0]} "
            f"first: call tokenizer.add_tokens(special_tokens(table.codebook_sizes))."
        )
    numbers = iter(known[word] for word in words)
    return [[next(numbers) for _ in range(size)] for size in codebook_sizes]
