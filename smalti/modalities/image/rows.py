"""Rows of images: arrays of pixels, and tables with a column of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smalti.data.rows import (
    LabelColumn,
    Rows,
    Shard,
    TableRows,
    UndecodedExample,
    find_media_column,
)
from smalti.errors import InputError, first_line
from smalti.modalities.image.signal import Image as ImageSignal
from smalti.spelling import readable

if TYPE_CHECKING:
    from datasets import Dataset, Features

__all__ = ["ArrayRows", "ImageTable", "holds_images"]


class ArrayRows(Rows):
    """Rows of an array of pixels (N, H, W), uint8, with labels (N,)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray | None, name: str) -> None:
        self._images, self._labels, self._name = images, labels, name

    def __len__(self) -> int:
        return len(self._images)

    def stored(self) -> Iterator[UndecodedExample]:
        for i, image in enumerate(self._images):
            yield UndecodedExample(f"image {i} of {self._name}", image)

    def labels(self) -> LabelColumn | None:
        return None if self._labels is None else LabelColumn(self._labels.tolist(), None)


class ImageTable(TableRows):
    """Rows of Hugging Face tables with a column of images, one table loaded at a time.

    Attributes:
        image_column: Name of the column of images.
        label_column: Name of the column of labels, or None.

    Arguments:
        shards: The tables.
        features: Their columns.
        image_column: Name of the column of images; None to find it.
        label_column: Name of the column of labels; None to find it, or to do without.
        folder: The folder that paths in the tables are relative to.
        text_column: Name of the column of captions; None to do without.

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
        text_column: str | None = None,
    ) -> None:
        self._folder = folder
        self.image_column = find_media_column(
            features,
            image_column,
            shards[0].name,
            signal=ImageSignal,
            holds=holds_images,
            usual=("image", "img"),
            stored="bytes, or as bytes and path",
        )
        super().__init__(shards, features, label_column, text_column)

    def stored(self) -> Iterator[UndecodedExample]:
        for shard in self.shards:
            table = _as_images(shard, self.image_column)
            first = 0
            for batch in table.iter(batch_size=256):
                for row, stored in enumerate(batch[self.image_column], start=first):
                    yield self._image(stored or {}, f"row {row} of {shard.name}")
                first += len(batch[self.image_column])

    def fits(self, features: Features) -> bool:
        texts = self.text_column is None or self.text_column in features
        return texts and holds_images(features.get(self.image_column))

    def _image(self, stored: dict, name: str) -> UndecodedExample:
        content, path = stored.get("bytes"), stored.get("path")
        if content is None and path is None:
            return UndecodedExample(name, b"")
        if content is None:
            return UndecodedExample(readable(str(path)), self._folder / str(path))
        return UndecodedExample(f"{readable(str(path))}, {name}" if path else name, content)


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


def holds_images(feature: object) -> bool:
    """Returns whether the type of a column is that of images: bytes, or paths and bytes."""
    from datasets import Image, Value

    if isinstance(feature, dict):
        feature = feature.get("bytes")
    binary = isinstance(feature, Value) and feature.dtype in ("binary", "large_binary")
    return binary or isinstance(feature, Image)
