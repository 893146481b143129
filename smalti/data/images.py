"""Images: the user's own, from a folder, from parquet or IDX files, or from the Hugging Face hub.

Every image is decoded once, to bytes of the size and the number of channels asked for. Classes, if
there are any, become labels 0 … K − 1 in the order of their names. What a data set does not set
apart itself is held out from its training images: first the test images, then those for validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smalti.data.augmentation import Augmentation
from smalti.data.base import Examples, Source, SplitName, Splits
from smalti.data.conditions import Label
from smalti.data.decoding import Crop, decode
from smalti.data.finding import find
from smalti.data.pixels import Pixels
from smalti.data.rows import Column, Rows
from smalti.errors import InputError
from smalti.signals import Signal

__all__ = ["Columns", "HeldOut", "Images"]

MOST_CLASSES = 1000  # a column of more, most of which come only once, is not one of labels


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what; only where the names do not say so.

    Arguments:
        image: The images; found if not given.
        label: The labels; if not given, the column called label, or the only one of named classes,
            or none.
    """

    image: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class HeldOut:
    """What is held out of the training images, where a data set has no such split of its own.

    Arguments:
        test: Share of the images to measure with at the end.
        validation: Share of the images left to watch while training.
        seed: Decides which.

    Raises:
        InputError: If a share is not between 0 and 1.
    """

    test: float = 0.1
    validation: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for what, share in ("test", self.test), ("validation", self.validation):
            if not 0 < share < 1:
                raise InputError(
                    f"The share held out for {what} is between 0 and 1, got {share}: "
                    f"choose e.g. 0.1."
                )


class Images(Source):
    """Images of the user's, with labels where there are any.

    Arguments:
        path: A folder of images, whose subfolders are labels; or a parquet file, or a folder of
            parquet or of IDX (MNIST) files; or the name of a data set on the Hugging Face hub.
        size: Height and width wanted, or one number for both.
        channels: 3 for colour, 1 for grey.
        crop: How images are brought to that size. center: the largest part in the middle of that
            shape, then resized; random: as center, and moved a little at random in training; none:
            the whole image, resized, even if that distorts it.
        flip: Whether images are mirrored at random in training.
        columns: Of a table.
        class_names: What labels 0, 1, … stand for, where the data only number their classes, as
            IDX files do.
        held_out: What is set apart from the training images.

    Raises:
        InputError: If an argument is out of its range.
    """

    def __init__(
        self,
        path: str,
        size: int | tuple[int, int],
        channels: int = 3,
        crop: Crop = "center",
        flip: bool = False,
        columns: Columns = Columns(),  # noqa: B008 (frozen)
        class_names: Sequence[str] | None = None,
        held_out: HeldOut = HeldOut(),  # noqa: B008 (frozen)
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
        self.path, self.size, self.channels = str(path), (height, width), channels
        self.crop, self.flip, self.held_out = crop, flip, held_out
        self.columns, self.class_names = columns, class_names

    def load(self) -> Splits:
        found = find(self.path, self.columns.image, self.columns.label)
        columns = {split: rows.labels() for split, rows in found.items()}
        if self.class_names is not None:
            columns = {split: _named(column, self.class_names) for split, column in columns.items()}
        condition, labels = _labels(columns)
        splits = {split: self._decoded(rows, labels[split]) for split, rows in found.items()}

        generator = torch.Generator().manual_seed(self.held_out.seed)
        for split, share in ("test", self.held_out.test), ("validation", self.held_out.validation):
            if split not in splits:
                splits["train"], splits[split] = _divided(splits["train"], share, generator)
        move = self.crop == "random"
        return Splits(
            **splits,
            signal=Signal("image", self.channels, self.size),
            condition=condition,
            augment=Augmentation(self.flip, move) if self.flip or move else None,
        )

    def examples(self, split: SplitName) -> Examples:
        examples: Examples = getattr(self.load(), split)
        return examples

    def _decoded(self, rows: Rows, labels: Tensor | None) -> Pixels:
        pixels, readable = decode(rows.pictures(), len(rows), self.size, self.channels, self.crop)
        examples = Pixels(pixels, labels)
        return examples if bool(readable.all()) else examples.take(readable.nonzero()[:, 0])


def _divided(examples: Pixels, share: float, generator: torch.Generator) -> tuple[Pixels, Pixels]:
    """Splits at random into a larger part and `share` of all, at least one example each."""
    n = len(examples)
    if n < 2:
        raise InputError(
            "Training, validation and test need an image each, got too few: add some images."
        )
    order = torch.randperm(n, generator=generator)
    held = min(max(1, round(share * n)), n - 1)
    return examples.take(order[held:].sort().values), examples.take(order[:held].sort().values)


def _named(column: Column | None, names: Sequence[str]) -> Column:
    """A column of numbers, with the names that the user gives to them."""
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


def _labels(columns: dict[str, Column | None]) -> tuple[Label | None, dict[str, Tensor | None]]:
    """The classes of the training split, and the labels (N,), int64, of every split."""
    none: dict[str, Tensor | None] = dict.fromkeys(columns)
    train = columns["train"]
    if train is None:
        return None, none
    names = _names(train)
    if len(names) < 2:
        return None, none
    labels: dict[str, Tensor | None] = {
        split: _numbers(split, column, names) for split, column in columns.items()
    }
    return Label(list(names)), labels


def _names(train: Column) -> dict[str, int]:
    """Every class by name, with its number; words in the order of the alphabet, numbers by size."""
    if train.names is not None:
        return {name: i for i, name in enumerate(train.names)}
    different = sorted(set(train.values), key=_order)
    if len(different) > max(MOST_CLASSES, len(train.values) // 2):
        raise InputError(
            f"The labels have {len(different)} different values in {len(train.values)} rows, "
            f"e.g. {different[0]!r}: that is not a column of labels. Name another one."
        )
    return {str(value): i for i, value in enumerate(different)}


def _order(value: int | str) -> tuple[float, str]:
    numeric = not isinstance(value, str) or value.isdecimal()
    return float(value) if numeric else float("inf"), str(value)


def _numbers(split: str, column: Column | None, names: dict[str, int]) -> Tensor:
    if column is None:
        raise InputError(
            f"The {split} images have no labels, but the training images have: "
            f"label both or neither."
        )
    known = dict(enumerate(column.names)) if column.names is not None else {}
    words = [known.get(int(v), v) if known else v for v in column.values]
    try:
        return torch.tensor([names[str(word)] for word in words], dtype=Label.dtype)
    except KeyError as error:
        raise InputError(
            f"The label {error} of the {split} images is none of the {len(names)} labels of the "
            f"training images: correct it, or add such images to these."
        ) from error
