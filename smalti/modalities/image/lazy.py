"""Images that are decoded when they are asked for, for uses of a few images of a set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from smalti.data.rows import UndecodedExample
from smalti.data.source import Batch, StoredExamples
from smalti.errors import InputError
from smalti.modalities.image.decoding import Crop, DecodingLog, decode_into
from smalti.modalities.image.pixel_range import Range
from smalti.modalities.image.pixels import to_float

__all__ = ["StoredImages", "DecodingOptions"]


class DecodingOptions(NamedTuple):
    """The arguments of `decode_pictures` that say how images are decoded."""

    size: tuple[int, int]
    channels: int
    crop: Crop
    value_range: Range | None


class StoredImages(StoredExamples):
    """Examples that are decoded each time they are asked for, and never kept.

    Stored pictures can only be read in order: each batch reads them from the first on, up to the
    last that it needs.

    Arguments:
        pictures: Begins to yield all M stored pictures, in the same order at each call.
        options: The options of decoding: size, channels, crop and range of values.
        values: The conditions of the pictures (M,), or None.
        rows: (N,), int64: for each example the index of its picture, below M.
    """

    def __init__(
        self,
        pictures: Callable[[], Iterable[UndecodedExample]],
        options: DecodingOptions,
        values: Tensor | None,
        rows: Tensor,
    ) -> None:
        self.pictures, self.options, self.values, self.rows = pictures, options, values, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        wanted = self.rows[torch.as_tensor(indices, dtype=torch.int64)].tolist()
        places = {row: place for place, row in enumerate(dict.fromkeys(wanted))}
        pixels = np.zeros((len(places), self.options.channels, *self.options.size), dtype=np.uint8)
        log, (_, channels, crop, value_range) = DecodingLog(len(places)), self.options
        chosen_pictures = self._of(places)
        decode_into(pixels, chosen_pictures, len(places), channels, crop, log, value_range)
        for name, fault in zip(log.names, log.faults, strict=True):
            if fault is not None:
                raise InputError(f"{name} cannot be read ({fault}): put back what was there.")
        x = to_float(torch.from_numpy(pixels))[[places[row] for row in wanted]]
        return Batch(x, self.conditions_at(indices))

    def _of(self, places: dict[int, int]) -> Iterator[tuple[int, UndecodedExample]]:
        left = set(places)
        for row, picture in enumerate(self.pictures()):
            if not left:
                return
            if row in left:
                left.remove(row)
                yield places[row], picture

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        rows = self.rows[torch.as_tensor(indices, dtype=torch.int64)]
        return None if self.values is None else self.values[rows]

    def take(self, indices: Tensor) -> StoredImages:
        """Returns the examples with these indices (n,), int64."""
        return StoredImages(self.pictures, self.options, self.values, self.rows[indices])
