"""Rows: the examples of a split as they are stored, not yet decoded, with their labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from smalti.data.file_tree import Parts
from smalti.errors import InputError
from smalti.signals import Signal
from smalti.spelling import readable

if TYPE_CHECKING:
    from datasets import Dataset, Features

__all__ = [
    "LabelColumn",
    "FileRows",
    "RowsBuilder",
    "Rows",
    "Shard",
    "UndecodedExample",
    "TableRows",
    "find_media_column",
    "list_columns",
]


class UndecodedExample(NamedTuple):
    """An example as it is stored, not decoded yet, with a name for messages.

    Attributes:
        name: What messages call it: its path, or its row in a table.
        content: The bytes or the path of a file, or an array.
    """

    name: str
    content: bytes | Path | np.ndarray


class LabelColumn(NamedTuple):
    """The column of labels of a split, one value per row.

    Attributes:
        values: The label of each row.
        names: The names that the numbers in `values` stand for; None where values are the names.
    """

    values: Sequence[int | str]
    names: tuple[str, ...] | None


class Rows(ABC):
    """Abstract: the examples of one split in order, as they are stored, not decoded yet."""

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of examples."""

    @abstractmethod
    def stored(self) -> Iterator[UndecodedExample]:
        """Yields every example, as it is stored."""

    @abstractmethod
    def labels(self) -> LabelColumn | None:
        """Returns the label of every example; None where there are none."""

    def captions(self) -> LabelColumn | None:
        """Returns the caption of every example, as a text; None where there are none.

        Raises:
            InputError: If some have one and others have not.
        """
        return None


class FileRows(Rows):
    """Rows of a folder: each file is one example.

    Arguments:
        folder: The folder that they lie in.
        files: Paths, each as a tuple of names.
        names: The label of each file; None without labels.
        captions: The captions of those files that have one; None where they are not wanted.
    """

    def __init__(
        self,
        folder: Path,
        files: list[Parts],
        names: list[str] | None,
        captions: Mapping[Parts, str] | None = None,
    ) -> None:
        self._folder, self._files, self._names, self._captions = folder, files, names, captions

    def __len__(self) -> int:
        return len(self._files)

    def stored(self) -> Iterator[UndecodedExample]:
        for file in self._files:
            path = self._folder.joinpath(*file)
            yield UndecodedExample(readable(path), path)

    def labels(self) -> LabelColumn | None:
        return None if self._names is None else LabelColumn(self._names, None)

    def captions(self) -> LabelColumn | None:
        if self._captions is None:
            return None
        names = [readable(self._folder.joinpath(*file)) for file in self._files]
        return _caption_column([self._captions.get(file) for file in self._files], names)


class Shard(NamedTuple):
    """One file of a table that is stored in several, or a whole table; loaded when needed.

    Attributes:
        name: What messages call it.
        length: The number of rows.
        load: Loads the columns with the given names.
    """

    name: str
    length: int
    load: Callable[[list[str]], Dataset]


class TableRows(Rows, ABC):
    """Abstract: the rows of Hugging Face tables with the same columns, one table loaded at a time.

    Attributes:
        label_column: Name of the column of labels, or None.

    Arguments:
        shards: The tables.
        features: Their columns.
        label_column: Name of the column of labels; None to find it, or to do without.
        text_column: Name of the column of captions; None to do without.

    Raises:
        InputError: If there is no such column, or it does not hold labels or captions.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        features: Features,
        label_column: str | None,
        text_column: str | None = None,
    ) -> None:
        self.shards, self.features = shards, features
        self.label_column = _label_column(features, label_column, shards[0].name)
        self.text_column = _text_column(features, text_column, shards[0].name)

    def __len__(self) -> int:
        return sum(shard.length for shard in self.shards)

    @abstractmethod
    def fits(self, features: Features) -> bool:
        """Returns whether a table with these columns has examples in the same one."""

    def labels(self) -> LabelColumn | None:
        if self.label_column is None:
            return None
        values = [
            value
            for shard in self.shards
            for value in shard.load([self.label_column])[self.label_column]
        ]
        if values and all(value is None for value in values):
            return None
        if None in values:
            raise InputError(
                f"The label column {self.label_column} has no value in row {values.index(None)}: "
                f"fill it in, or choose another column."
            )
        names = getattr(self.features[self.label_column], "names", None)
        return LabelColumn(values, None if names is None else tuple(map(str, names)))

    def captions(self) -> LabelColumn | None:
        if self.text_column is None:
            return None
        values, names = [], []
        for shard in self.shards:
            values += shard.load([self.text_column])[self.text_column]
            names += [f"row {row} of {shard.name}" for row in range(shard.length)]
        return _caption_column(values, names)


def _caption_column(values: Sequence[str | None], names: Sequence[str]) -> LabelColumn | None:
    """Returns captions as a column; None if none is there.

    Raises:
        InputError: If some have one and others have not.
    """
    without = [place for place, text in enumerate(values) if text is None or not text.strip()]
    if len(without) == len(values):
        return None
    if without:
        raise InputError(
            f"Each example has a caption or none has, got none for {names[without[0]]} and "
            f"{len(without) - 1} others of {len(values)}: write them, or leave "
            f"--data.columns.text out."
        )
    return LabelColumn([str(text) for text in values], None)


def _text_column(features: Features, wanted: str | None, where: str) -> str | None:
    """Returns the column of captions that is asked for; None if none is."""
    from datasets import Value

    if wanted is None:
        return None
    feature = features.get(wanted)
    if not (isinstance(feature, Value) and feature.dtype.startswith(("string", "large_string"))):
        state = "is not there" if feature is None else f"holds {feature}, no text,"
        raise InputError(
            f"The text column {wanted!r} {state} in {where}, whose columns are "
            f"{list_columns(features)}: name one that holds texts."
        )
    return wanted


def _label_column(features: Features, wanted: str | None, where: str) -> str | None:
    """Returns the column asked for, or one called `label`, or the only one of named classes."""
    from datasets import ClassLabel, Value

    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    if wanted is None:
        if "label" not in features and len(classes) != 1:
            return None
        wanted = "label" if "label" in features else classes[0]
    if wanted not in features:
        raise InputError(
            f"There is no label column {wanted!r} in {where}, "
            f"whose columns are {list_columns(features)}: name one of these."
        )
    feature = features[wanted]
    plain = isinstance(feature, Value) and feature.dtype.startswith(
        ("int", "uint", "string", "large_string", "bool")
    )
    if wanted not in classes and not plain:
        raise InputError(
            f"The label column {wanted!r} of {where} holds {feature}: "
            f"labels are whole numbers or words. Name another column."
        )
    return wanted


class RowsBuilder(Protocol):
    """Protocol of a function that makes the `Rows` of a split from the shards of its table."""

    def __call__(self, shards: Sequence[Shard], features: Features, folder: Path) -> TableRows:
        """Makes rows of tables with these columns, where paths start from a folder."""


def find_media_column(
    features: Features,
    wanted: str | None,
    where: str,
    *,
    signal: type[Signal],
    holds: Callable[[object], bool],
    usual: Sequence[str],
    stored: str,
) -> str:
    """Returns the column of a table that is wanted, or else the first that holds signals.

    Arguments:
        features: The columns of the table.
        wanted: The column that is asked for; None to find it.
        where: What messages call the table.
        signal: The class of the signals.
        holds: Says whether the type of a column is that of such signals.
        usual: Names of such columns, which come before others.
        stored: How such signals are stored, in words.

    Raises:
        InputError: If there is none.
    """
    plural = signal.plural
    if wanted is not None:
        if wanted not in features or not holds(features[wanted]):
            state = f"does not hold {plural}" if wanted in features else "is not there"
            raise InputError(
                f"The {signal.noun} column {wanted!r} {state} in {where}, whose columns are "
                f"{list_columns(features)}: name one that holds {plural}."
            )
        return wanted
    found = [name for name, feature in features.items() if holds(feature)]
    for name in (*usual, *found):
        if name in found:
            return name
    raise InputError(
        f"No column of {where} holds {plural}: its columns are {list_columns(features)}. "
        f"{plural.capitalize()} are stored as {stored}."
    )


def list_columns(features: Features) -> str:
    """Lists the names of the columns of a table, as a text for messages."""
    return ", ".join(features)
