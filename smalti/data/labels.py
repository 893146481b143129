"""Reads the labels of the splits of a data set, and numbers them alike in all splits.

The classes are those of the training examples. What has labels only here or only there is of no use
with them, and is passed over and said: nothing that asks for a label could be measured on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from smalti.conditions import Label
from smalti.counting import counted
from smalti.data.found import FoundExamples
from smalti.data.rows import LabelColumn
from smalti.errors import InputError
from smalti.signals import Signal
from smalti.spelling import label_name, listed

__all__ = ["match_captions", "match_labels", "number_labels"]

MOST_CLASSES = 1000  # a column of more, most of which come only once, is not one of labels
NAMED = 3  # folders or files that a line names


def match_captions(found: FoundExamples) -> tuple[FoundExamples, dict[str, LabelColumn | None]]:
    """Reads the captions, as `match_labels` does labels.

    Raises:
        InputError: If the training examples have none, or some have and others have not.
    """
    columns = {split: rows.captions() for split, rows in found.rows.items()}
    these = found.signal_class.plural
    if columns["train"] is None:
        raise InputError(
            f"The training {these} of {found.where} have no captions, got columns.text: name the "
            f"column that has them, write a captions.csv or a .txt beside each, or leave it out."
        )
    return _match(found, columns, "captions")


def match_labels(found: FoundExamples) -> tuple[FoundExamples, dict[str, LabelColumn | None]]:
    """Reads the label columns, and makes all splits have labels or none.

    If the training examples have labels, splits without are left out, and others are held out
    in their place. If the training examples have none, the labels of other splits are left out.

    Arguments:
        found: The examples, by split.

    Returns:
        The examples that remain, and the label column of each split, None where it has no labels.
    """
    columns = {split: _text(rows.labels()) for split, rows in found.rows.items()}
    these = found.signal_class.plural
    train, passed = columns["train"], found.passed.copy()
    if train is None:
        for split, column in columns.items():
            if column is not None:
                what = f"labels of the {split} {these}, as the training {these} have none"
                passed[what] = len(column.values)
        return found._replace(passed=passed), dict.fromkeys(columns)
    if len(train.names or set(train.values)) < 2:
        for split, column in columns.items():
            if column is not None and not set(column.values) <= set(train.values):
                what = f"labels of the {split} {these}, as the training {these} have one alone"
                passed[what] = len(column.values)
        return found._replace(passed=passed), columns
    return _match(found, columns, "labels")


def _match(
    found: FoundExamples, columns: dict[str, LabelColumn | None], word: str
) -> tuple[FoundExamples, dict[str, LabelColumn | None]]:
    """Leaves out the splits that lack what the training examples have: labels or captions."""
    these, passed = found.signal_class.plural, found.passed.copy()
    rows = dict(found.rows)
    for split, column in columns.items():
        if column is None:
            where = listed(found.origins.get(split, ()), NAMED)
            place = f" (of {where})" * bool(where)
            passed[f"{split} {these}{place} without {word}, which the training {these} have"] = len(
                rows.pop(split)
            )
    found = found._replace(rows=rows, passed=passed)
    return found, {split: columns[split] for split in rows}


def number_labels(
    columns: dict[str, LabelColumn | None],
    class_names: Sequence[str] | None,
    signal_class: type[Signal],
) -> tuple[Label | None, dict[str, Tensor | None]]:
    """Maps the labels of every split to numbers, in one numbering for all.

    Arguments:
        columns: The label column of each split, as `match_labels` returns them.
        class_names: The names that numbered labels stand for; None where the data have them.
        signal_class: The class of the signals.

    Returns:
        The condition `Label` with the names, or None without labels; and the labels (N,), int64, of
        every split.

    Raises:
        InputError: If the names do not fit, or other splits have other labels.
    """
    if class_names is not None:
        columns = {split: _named(column, class_names) for split, column in columns.items()}
    none: dict[str, Tensor | None] = dict.fromkeys(columns)
    train = columns["train"]
    if train is None:
        return None, none
    names = _names(train)
    if len(names) < 2:
        return None, none
    labels: dict[str, Tensor | None] = {
        split: _numbers(split, column, names, signal_class.plural)
        for split, column in columns.items()
    }
    return Label(list(names)), labels


def _named(column: LabelColumn | None, names: Sequence[str]) -> LabelColumn:
    """Gives names of the user to a column of numbers."""
    if (
        column is None
        or column.names is not None
        or any(isinstance(value, str) for value in column.values)
    ):
        state = "has no labels" if column is None else "names its labels already"
        raise InputError(f"class_names name numbered labels, but this data set {state}: omit them.")
    last = max((int(value) for value in column.values), default=0)
    if len(set(names)) < max(last + 1, len(names)):
        raise InputError(
            f"class_names are different names of the labels 0 to {last}, got {len(names)} "
            f"({', '.join(names)}): give {last + 1}."
        )
    return column._replace(names=tuple(names))


def _text(column: LabelColumn | None) -> LabelColumn | None:
    """Normalizes the words of a column as names of labels; None where all are -1, for unknown."""
    if column is None or all(value in (-1, "-1") for value in column.values):
        return None
    values = [label_name(value) if isinstance(value, str) else value for value in column.values]
    names = None if column.names is None else tuple(map(label_name, column.names))
    return LabelColumn(values, names)


def _names(train: LabelColumn) -> dict[str, int]:
    """Returns every class by name, with its number; words in the order of the alphabet, numbers by
    size.
    """
    if train.names is not None:
        if twice := sorted({name for name in train.names if train.names.count(name) > 1}):
            raise InputError(
                f"Several classes are called {twice[0]!r}: give each class a name of its own."
            )
        return {name: i for i, name in enumerate(train.names)}
    different = sorted(set(train.values), key=_order)
    if len(different) > max(MOST_CLASSES, len(train.values) // 2):
        raise InputError(
            f"The labels have {len(different)} different values in "
            f"{counted(len(train.values), 'row')}, "
            f"e.g. {different[0]!r}: that is not a column of labels. Name another one."
        )
    return {str(value): i for i, value in enumerate(different)}


def _order(value: int | str) -> tuple[float, str]:
    numeric = not isinstance(value, str) or value.isdecimal()
    return float(value) if numeric else float("inf"), str(value)


def _numbers(split: str, column: LabelColumn | None, names: dict[str, int], these: str) -> Tensor:
    """Returns the label numbers (N,) of a split; raises `InputError` for an unknown name."""
    assert column is not None  # as the training examples have labels
    known: dict[int | str, str] = dict(enumerate(column.names or ()))
    words = [str(known.get(v, v)) for v in column.values]
    try:
        return torch.tensor([names[word] for word in words], dtype=Label.dtype)
    except KeyError as error:
        raise InputError(
            f"The label {error} of the {split} {these} is none of the "
            f"{counted(len(names), 'label')} of the "
            f"training {these}: correct it, or add such {these} to these."
        ) from error
