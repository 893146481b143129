"""Two or more labels of each example, such as what is said and who says it, as one condition.

While a data set is divided an example has one number, that of its labels in words among all that
occur: "label=seven, speaker=jackson". So a run's manifest keeps them, and tells when one has
changed, as it does with one label or with captions. At the end each number becomes the row of
values that `Conditions` takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from smalti.conditions import Conditions, Label
from smalti.data.captions import CaptionedExamples
from smalti.data.source import Splits
from smalti.errors import InputError
from smalti.spelling import readable

__all__ = ["combine_labels", "rows_of", "with_several_labels"]


def combine_labels(
    conditions: Sequence[Label], numbers: Sequence[Mapping[str, Tensor]]
) -> tuple[Conditions, tuple[str, ...], dict[str, Tensor]]:
    """Numbers the combinations of several labels.

    Arguments:
        conditions: The labels, each with a name of its own.
        numbers: For each of them the numbers (N,), int64, of every split.

    Returns:
        The condition, the combinations in words, and their numbers (N,) in every split.
    """
    together = Conditions(conditions)
    rows = {
        split: torch.stack([of_one[split] for of_one in numbers], 1).to(Conditions.dtype)
        for split in numbers[0]
    }
    different, places = torch.cat(list(rows.values())).unique(dim=0, return_inverse=True)
    names = tuple(together.format(row) for row in different.tolist())
    parts = places.split([len(part) for part in rows.values()])
    return together, names, dict(zip(rows, parts, strict=True))


def rows_of(condition: Conditions, names: Sequence[str]) -> Tensor:
    """Returns the values of combinations of labels in words: (K, S), float64.

    Raises:
        InputError: If one has a label that the condition does not know.
    """
    try:
        rows = [condition.parse(name) for name in names]
    except InputError as error:
        raise InputError(
            f"The examples of the run have labels that its data have no longer ({error}): put "
            f"back what was there, or fit to another --out."
        ) from error
    return torch.tensor(rows, dtype=Conditions.dtype)


def with_several_labels(splits: Splits, condition: Conditions, names: Sequence[str]) -> Splits:
    """Returns splits whose examples have rows of values in the place of numbers of combinations.

    Arguments:
        splits: The splits, with conditions that are numbers of combinations.
        condition: The condition of the rows.
        names: The combinations in words.

    Raises:
        InputError: If the words of one cannot be read again, for they hold those of another.
    """
    table = rows_of(condition, names)
    for name, row in zip(names, table.tolist(), strict=True):
        if condition.format(row) != name:
            raise InputError(f"The label {readable(name)} cannot be told from two: rename it.")
    return splits._replace(
        train=CaptionedExamples(splits.train, table),
        validation=CaptionedExamples(splits.validation, table),
        test=CaptionedExamples(splits.test, table),
        condition=condition,
    )
