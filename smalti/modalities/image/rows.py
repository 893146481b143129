"""Rows: the images of one split as they are stored, not yet decoded, and the labels beside them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from smalti.errors import InputError, first_line
from smalti.modalities.image.decoding import Picture
from smalti.spelling import readable

if TYPE_CHECKING:
    from datasets import Dataset, Features

__all__ = ["ArrayRows", "Column", "Shard", "Rows", "TableRows", "holds_images"]


class Column(NamedTuple):
    """The labels of all rows of a table, and the names of numbered ones."""

    values: Sequence[int | str]
    names: tuple[str, ...] | None
    """Where values are numbers that already stand for names: those names."""


class Rows(ABC):
    """Images of one split, in order."""

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of images."""

    @abstractmethod
    def pictures(self) -> Iterator[Picture]:
        """Yields every image, as it is stored."""

    @abstractmethod
    def labels(self) -> Column | None:
        """Returns the label of every image; None where there are none."""


class ArrayRows(Rows):
    """Rows of pixels (N, H, W), uint8, and labels (N,)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray | None, name: str) -> None:
        self._images, self._labels, self._name = images, labels, name

    def __len__(self) -> int:
        return len(self._images)

    def pictures(self) -> Iterator[Picture]:
        for i, image in enumerate(self._images):
            yield Picture(f"image {i} of {self._name}", image)

    def labels(self) -> Column | None:
        return None if self._labels is None else Column(self._labels.tolist(), None)


class Shard(NamedTuple):
    """A table, or one of the files that a large table is stored in."""

    name: str
    length: int
    load: Callable[[list[str]], Dataset]
    """Gives the columns of these names."""


class TableRows(Rows):
    """Rows of `datasets`' tables with the same columns, one loaded at a time.

    Attributes:
        image_column: Name of the column of images.
        label_column: Name of the column of labels, or None.

    Arguments:
        shards: The tables.
        features: Their columns.
        image_column: Name of the column of images; None to find it.
        label_column: Name of the column of labels; None to find it, or to do without.
        folder: What paths in the tables start from.

    Raises:
        InputError: If there is no such column, or it does not hold what it should.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        features: Features,
        image_column: str | None,
        label_column: str | None,
        folder: Path = Path(),
    ) -> None:
        self._shards, self._features, self._folder = shards, features, folder
        self.image_column = _image_column(features, image_column, shards[0].name)
        self.label_column = _label_column(features, label_column, shards[0].name)

    def __len__(self) -> int:
        return sum(shard.length for shard in self._shards)

    def pictures(self) -> Iterator[Picture]:
        for shard in self._shards:
            table = _as_images(shard, self.image_column)
            first = 0
            for batch in table.iter(batch_size=256):
                for row, stored in enumerate(batch[self.image_column], start=first):
                    yield self._picture(stored or {}, f"row {row} of {shard.name}")
                first += len(batch[self.image_column])

    def _picture(self, stored: dict, name: str) -> Picture:
        """Returns a stored image as a `Picture`: its bytes, or the path of its file."""
        content, path = stored.get("bytes"), stored.get("path")
        if content is None and path is None:
            return Picture(name, b"")
        if content is None:
            return Picture(readable(str(path)), self._folder / str(path))
        return Picture(f"{readable(str(path))}, {name}" if path else name, content)

    def labels(self) -> Column | None:
        if self.label_column is None:
            return None
        values = [
            value
            for shard in self._shards
            for value in shard.load([self.label_column])[self.label_column]
        ]
        if values and all(value is None for value in values):
            return None
        if None in values:
            raise InputError(
                f"The label column {self.label_column} has no value in row {values.index(None)}: "
                f"fill it in, or choose another column."
            )
        names = getattr(self._features[self.label_column], "names", None)
        return Column(values, None if names is None else tuple(map(str, names)))


def _as_images(shard: Shard, column: str) -> Dataset:
    """Returns a column of images, as paths and bytes."""
    from datasets import Image

    try:
        return shard.load([column]).cast_column(column, Image(decode=False))
    except InputError:
        raise
    except Exception as error:  # of metadata that say something else than the column holds
        raise InputError(
            f"The column {readable(column)} of {shard.name} does not hold images as its metadata "
            f"say ({first_line(error)}): write the file again."
        ) from error


def _image_column(features: Features, wanted: str | None, where: str) -> str:
    """Returns the column that is wanted, or the first with images; raises `InputError` if none."""
    if wanted is not None:
        if wanted not in features or not holds_images(features[wanted]):
            state = "does not hold images" if wanted in features else "is not there"
            raise InputError(
                f"The image column {wanted!r} {state} in {where}, "
                f"whose columns are {_list(features)}: name one that holds images."
            )
        return wanted
    found = [name for name, feature in features.items() if holds_images(feature)]
    for name in ("image", "img", *found):
        if name in found:
            return name
    raise InputError(
        f"No column of {where} holds images: its columns are {_list(features)}. "
        f"Images are stored as bytes, or as bytes and path."
    )


def holds_images(feature: object) -> bool:
    """Returns whether a column has images' bytes, or paths and bytes."""
    from datasets import Image, Value

    if isinstance(feature, dict):
        feature = feature.get("bytes")
    binary = isinstance(feature, Value) and feature.dtype in ("binary", "large_binary")
    return binary or isinstance(feature, Image)


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
            f"whose columns are {_list(features)}: name one of these."
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


def _list(features: Features) -> str:
    return ", ".join(features)
