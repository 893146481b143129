"""Captions of the examples of a data set: numbered as labels are, and then encoded to tokens.

While a data set is read and divided, each caption is a number, that of its words among all
different captions, as a label is. So a run's manifest keeps them, and tells when one has changed.
At the end the encoding is learned from the captions of the training examples, and every number
becomes a row of tokens (`smalti.conditions.Caption`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from smalti.conditions import Caption
from smalti.counting import counted
from smalti.data.rows import LabelColumn
from smalti.data.source import FOUND, Batch, Examples, Splits

__all__ = ["CaptionedExamples", "encode_captions", "number_captions", "with_captions"]

logger = logging.getLogger(FOUND)


class CaptionedExamples(Examples):
    """Examples whose conditions are captions, or rows of several labels.

    Arguments:
        examples: N examples, whose conditions are numbers of captions.
        table: (K, L): the tokens of each caption, int64, or the values of each row, float64.
    """

    def __init__(self, examples: Examples, table: Tensor) -> None:
        self.examples, self.table = examples, table
        self.varies = examples.varies

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return self._captioned(self.examples.__getitems__(indices))

    def varied(self, indices: Sequence[int], versions: Sequence[int]) -> Batch:
        return self._captioned(self.examples.varied(indices, versions))

    def _captioned(self, batch: Batch) -> Batch:
        x, numbers = batch
        return Batch(x, None if numbers is None else self.table[numbers])

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        numbers = self.examples.conditions_at(indices)
        return None if numbers is None else self.table[numbers]


def number_captions(
    columns: Mapping[str, LabelColumn | None],
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Numbers the captions of all splits in the order of the alphabet.

    Arguments:
        columns: The captions of each split.

    Returns:
        The K different captions, and the numbers (N,), int64, of each split.
    """
    texts = {split: [str(v) for v in c.values] for split, c in columns.items() if c is not None}
    names = tuple(sorted({text for values in texts.values() for text in values}))
    number = {text: place for place, text in enumerate(names)}
    return names, {
        split: torch.tensor([number[text] for text in values], dtype=torch.int64)
        for split, values in texts.items()
    }


def encode_captions(names: Sequence[str], trained: Sequence[int]) -> tuple[Caption, Tensor]:
    """Learns the encoding of captions, and encodes all of them; says how many had to be cut.

    Arguments:
        names: The K different captions.
        trained: The numbers of the captions of the training examples, each as often as it comes.

    Returns:
        The condition, and the tokens (K, L), int64, of each caption.
    """
    condition = Caption.learned([names[number] for number in trained])
    table, cut = condition.encode(names)
    if cut:
        logger.warning(
            "%s of %s cut to the %d tokens that fit",
            counted(cut, "caption"),
            f"{len(names)} {'is' if cut == 1 else 'are'}",
            condition.length,
        )
    return condition, table


def with_captions(splits: Splits, names: Sequence[str]) -> Splits:
    """Returns splits whose examples have captions, tokens each, in the place of their numbers.

    Arguments:
        splits: The splits, with conditions that are numbers of captions.
        names: The captions.
    """
    trained = splits.train.conditions
    assert trained is not None
    condition, table = encode_captions(names, trained.tolist())
    return splits._replace(
        train=CaptionedExamples(splits.train, table),
        validation=CaptionedExamples(splits.validation, table),
        test=CaptionedExamples(splits.test, table),
        condition=condition,
    )
