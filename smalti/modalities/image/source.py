"""The source of the user's images: a folder, parquet or IDX files, or the Hugging Face hub.

Every image is decoded once, to bytes of the size and the number of channels asked for. Classes, if
there are any, become labels 0 … K − 1 in the order of their names. What a data set does not set
apart itself is held out from its training images: first the test images, then those for validation.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from smalti import ranges
from smalti.conditions import Label
from smalti.data.captions import number_captions, with_captions
from smalti.data.dividing import SplitExamples, divide_in_splits, make_manifest
from smalti.data.found import FoundExamples
from smalti.data.labels import match_captions, match_labels, number_labels
from smalti.data.rows import Rows
from smalti.data.source import Examples, Source, SplitName, Splits
from smalti.data.splitting import SplitFractions
from smalti.errors import InputError
from smalti.modalities.image.augmentation import Augmentation, shift_randomly
from smalti.modalities.image.cached_decoding import decode_once, hash_pictures
from smalti.modalities.image.decoding import Crop, DecodingLog
from smalti.modalities.image.finding import find_images
from smalti.modalities.image.finding import logger as found_logger
from smalti.modalities.image.lazy import DecodingOptions, StoredImages
from smalti.modalities.image.pixel_range import ImageStatistics, Range, check_range
from smalti.modalities.image.pixels import Pixels
from smalti.modalities.image.signal import Image

__all__ = ["Columns", "Images"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Columns:
    """The columns of images and labels in a table, where they cannot be found by their names.

    Arguments:
        image: The column of images; found if not given.
        label: The column of labels; if not given, the column called label, or the only one of named
            classes, or none.
        text: The column of captions, which then take the place of labels. Of a folder of image
            files it is that of a captions.csv there, with the names of the files in file_name; and
            where there is none, each file's caption is the .txt file beside it.
    """

    image: str | None = None
    label: str | None = None
    text: str | None = None


class Images(Source):
    """The source of the user's own images, with labels if there are any.

    Arguments:
        path: A folder of images, whose subfolders are labels; or a parquet file, or a folder of
            parquet or of IDX (MNIST) files; or the name of a data set on the Hugging Face hub.
        size: Height and width wanted, or one number for both.
        channels: 3 for colour, 1 for grey.
        crop: How images are brought to that size. center: the largest part in the middle of that
            shape, then resized; random: as center, and moved a little at random in training; none:
            the whole image, resized, even if that distorts it.
        flip: Whether images are mirrored at random in training.
        columns: Columns of a table that hold the images and the labels or captions.
        class_names: The names of labels 0, 1, …, where the data only number their classes, as
            IDX files do.
        held_out: The shares that are held out of the training images.
        splits: names: folders and files that are named after splits (train, test_set, val2017 …)
            are these splits; none: every folder is a label, and all images are for training.
        range: The numbers for black and white, for images of more than 8 bits; not needed if the
            format says it, see `smalti.modalities.image.pixel_range`.

    Raises:
        InputError: If an argument is out of its range.
    """

    RANGES: ClassVar[Mapping[str, ranges.Range]] = {"size": ranges.Range(1, 2**16)}

    def __init__(  # noqa: PLR0913 - the fields of a recipe
        self,
        path: str,
        size: int | tuple[int, int],
        channels: int = 3,
        crop: Crop = "center",
        flip: bool = False,
        columns: Columns = Columns(),  # noqa: B008 (frozen)
        class_names: Sequence[str] | None = None,
        held_out: SplitFractions = SplitFractions(),  # noqa: B008 (frozen)
        splits: Literal["names", "none"] = "names",
        range: Range | None = None,
    ) -> None:
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 1:
            raise InputError(
                f"Images have at least 1×1 px, got {height}×{width}: give a larger size."
            )
        if channels not in (1, 3):
            raise InputError(f"Images have 1 channel (grey) or 3 (colour), got {channels}.")
        if crop not in (crops := ("center", "random", "none")):
            raise InputError(f"A crop is one of {', '.join(crops)}, got {crop!r}.")
        if splits not in ("names", "none"):
            raise InputError(f"splits is names or none, got {splits!r}: choose one of the two.")
        if columns.text is not None and (columns.label is not None or class_names is not None):
            raise InputError(
                f"Images have captions or labels, got columns.text {columns.text!r} and labels: "
                f"leave one of the two out."
            )
        check_range(range)
        self.splits, self.range = splits, range
        self.path, self.size, self.channels = str(path), (height, width), channels
        self.crop, self.flip, self.held_out = crop, flip, held_out
        self.columns, self.class_names = columns, class_names

    def load(self) -> Splits:
        return self._load(by_order=False)

    def load_by_order(self) -> Splits:
        return self._load(by_order=True)

    def load_lazily(self, left_out: Collection[str]) -> Splits:
        """See `Source.load_lazily`: all images are read and told apart, none is decoded."""
        return self._load(by_order=False, known=frozenset(left_out))

    def examples(self, split: SplitName) -> Examples:
        examples: Examples = getattr(self.load(), split)
        return examples

    def _load(self, by_order: bool, known: frozenset[str] | None = None) -> Splits:
        """Finds, decodes and labels the images, and divides them into splits."""
        by_name = self.splits == "names"
        wanted = self.columns
        found = find_images(self.path, wanted.image, wanted.label, by_name, wanted.text)
        found, condition, captions, labels = self._named(found)
        names = None if condition is None else condition.names
        for line in found.lines(names, len(captions or ())):
            found_logger.info(line)
        left_out = [(f"{n} {kind}", "passed over") for kind, n in found.passed.items()]
        statistics = ImageStatistics()
        parts: dict[str, SplitExamples] = {}
        for split, rows in found.rows.items():
            stored = _Stored(split, rows, labels[split], statistics)
            parts[split] = (
                self._decoded(stored, left_out) if known is None else self._found(stored, known)
            )
        statistics.check()
        if known is None:
            found_logger.info(statistics.line(self.range))
        by_label = captions is None
        parts = divide_in_splits(parts, self.held_out, Image, by_order=by_order, by_label=by_label)
        move = self.crop == "random"
        splits = Splits(
            train=parts["train"].examples,
            validation=parts["validation"].examples,
            test=parts["test"].examples,
            signal=Image(self.channels, self.size),
            condition=condition,
            augment=Augmentation(self.flip, move) if self.flip or move else None,
            manifest=make_manifest(parts, condition, left_out, Image, captions),
            shift=shift_randomly,
        )
        return splits if captions is None else with_captions(splits, captions)

    def _named(self, found: FoundExamples) -> _Named:
        """Numbers the captions or labels of what was found."""
        if self.columns.text is not None:
            found, columns = match_captions(found)
            captions, numbers = number_captions(columns)
            return _Named(found, None, captions, dict(numbers))
        found, columns = match_labels(found)
        condition, labels = number_labels(columns, self.class_names, Image)
        return _Named(found, condition, None, labels)

    def _decoded(self, stored: _Stored, left_out: list[tuple[str, str]]) -> SplitExamples:
        split, rows, labels, statistics = stored
        log, folder = DecodingLog(len(rows), statistics), f"{Path(self.path).expanduser()}{os.sep}"
        pixels, readable = decode_once(
            rows.stored, len(rows), self.size, self.channels, self.crop, log, self.range
        )
        names = [name.replace(folder, "") for name in log.names]
        reasons = zip(names, log.faults, strict=True)
        left_out += [(name, reason) for name, reason in reasons if reason is not None]
        part = SplitExamples(split, Pixels(pixels, labels), log.fingerprints, names)
        return part if bool(readable.all()) else part.take(readable)

    def _found(self, stored: _Stored, left_out: frozenset[str]) -> SplitExamples:
        """Tells images apart without decoding them."""
        split, rows, labels, _ = stored
        log, folder = DecodingLog(len(rows)), f"{Path(self.path).expanduser()}{os.sep}"
        hash_pictures(rows.stored(), len(rows), log)
        names = [name.replace(folder, "") for name in log.names]
        options = DecodingOptions(self.size, self.channels, self.crop, self.range)
        images = StoredImages(rows.stored, options, labels, torch.arange(len(rows)))
        part = SplitExamples(split, images, log.fingerprints, names)
        faults = zip(names, log.faults, strict=True)
        return part.take(torch.tensor([f is None and name not in left_out for name, f in faults]))


class _Named(NamedTuple):
    """What was found, with the numbers of its captions or labels."""

    found: FoundExamples
    condition: Label | None
    captions: tuple[str, ...] | None
    numbers: dict[str, Tensor | None]


class _Stored(NamedTuple):
    """Images of one split as they are stored."""

    split: str
    rows: Rows
    labels: Tensor | None
    statistics: ImageStatistics
