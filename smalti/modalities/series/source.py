"""The source of the user's time series: tables, arrays or the Hugging Face hub, cut into windows.

A table has a row for each step, a column for each channel, and may have times, ids of several
series, and labels. What a data set does not set apart itself is held out: whole series, or of a few
long ones blocks that share no step with others (`smalti.modalities.series.windows`). Each channel
is standardised by its mean and deviation over the training windows, which the model keeps.

Series that cannot be used are named and left out, as long as they are few: times that go back, no
value at all, another rate than most.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from smalti.counting import counted
from smalti.data.dividing import SplitExamples, divide_in_splits, make_manifest
from smalti.data.found import FoundExamples
from smalti.data.found_tables import FoundTables, find_tables
from smalti.data.labels import match_labels, number_labels
from smalti.data.left_out import report_left_out
from smalti.data.source import FOUND, Examples, Source, SplitName, Splits
from smalti.data.splitting import SplitFractions
from smalti.errors import InputError
from smalti.modalities.series.arrays import ArrayTable
from smalti.modalities.series.columns import ChosenColumns, SeriesColumns, choose_columns
from smalti.modalities.series.conversion import read_split
from smalti.modalities.series.recordings import LabelNumbering, Recording
from smalti.modalities.series.rows import WindowRows
from smalti.modalities.series.signal import Series
from smalti.modalities.series.stored import StoredWindows
from smalti.modalities.series.tables import missing_words, series_tables
from smalti.modalities.series.told import describe_oddities, describe_series
from smalti.modalities.series.windows import Windows, choose_size, choose_stride, cut_windows
from smalti.networks import Affine
from smalti.spelling import readable

__all__ = ["TimeSeries"]

logger = logging.getLogger(__name__)
found_logger = logging.getLogger(FOUND)

SPLITS = ("train", "validation", "test")
WHOLE = 10  # series without ids, from which on whole ones are held out
SAME_RATE = 0.01  # by which two rates differ at most that are taken for one
CHUNK = 1024  # windows at a time


class TimeSeries(Source):
    """The source of windows of the user's own series, with labels if there are any.

    Arguments:
        path: A file (.csv, .tsv, .parquet, .arrow, .feather, .npz, .npy, .ts), a folder of such, or
            the name of a data set on the Hugging Face hub.
        size: Steps of a window; chosen by the lengths of the series if not given.
        stride: Steps from one window to the next; half a window if not given, or less where there
            are few.
        columns: The columns of times, ids, labels and channels; found if not given.
        rate: Steps a second, where the data have no times.
        missing: Words that stand for a missing value, such as "-" or "-999", beside an empty field,
            "?", "NA", "NaN" and "null", which always do: all of them are gaps.
        held_out: The shares that are held out of the training series.
        splits: names: files that are named after splits (train, test …) are these splits; none:
            all are for training.

    Raises:
        InputError: If an argument is out of its range.
    """

    def __init__(  # noqa: PLR0913 - the fields of a recipe
        self,
        path: str,
        size: int | None = None,
        stride: int | None = None,
        columns: SeriesColumns = SeriesColumns(),  # noqa: B008 (frozen)
        rate: float | None = None,
        held_out: SplitFractions = SplitFractions(),  # noqa: B008 (frozen)
        splits: str = "names",
        missing: str | list[str] | None = None,
    ) -> None:
        if splits not in ("names", "none"):
            raise InputError(f"splits is names or none, got {splits!r}: choose one of the two.")
        for what, value in ("size", size), ("stride", stride):
            if value is not None and value < 1 + (what == "size"):
                raise InputError(
                    f"The {what} of windows is a number of steps, got {value}: take "
                    f"{128 if what == 'size' else 64}, or leave it out."
                )
        if rate is not None and not 0 < rate < float("inf"):
            raise InputError(f"The rate is steps a second, above 0, got {rate}: correct it.")
        self.path, self.size, self.stride, self.columns = str(path), size, stride, columns
        self.rate, self.held_out, self.splits = rate, held_out, splits
        self.missing = missing

    def load(self) -> Splits:
        """See `Source.load`."""
        openers = series_tables(missing_words(self.missing))
        tables = find_tables(self.path, Series, openers, self.splits == "names")
        columns = choose_columns(tables.tables["train"][0], self.columns)
        labels = LabelNumbering()
        read = {split: self._read(split, tables, columns, labels) for split in _order(tables)}
        left_out = [fault for part in read.values() for fault in part.left_out]
        recordings = {split: part.recordings for split, part in read.items()}
        rate = self._common_rate(recordings, left_out)
        lengths = [len(one.values) for one in recordings["train"]]
        size = self.size or choose_size(lengths)
        stride = self.stride or choose_stride(lengths, size)
        blocks = _by_blocks(recordings, columns)
        cuts = {
            split: cut_windows(part, size, stride, blocks and split == "train")
            for split, part in recordings.items()
        }
        rows = {split: WindowRows(recordings[split], cuts[split], labels, size) for split in cuts}
        found = FoundExamples(Series, tables.where, dict(rows), tables.origins, tables.passed)
        found, labels_of = match_labels(found)
        condition, numbers = number_labels(labels_of, None, Series)
        named = not isinstance(first := tables.tables["train"][0], ArrayTable) or first.named
        names = columns.channels if named else ()
        signal = Series(len(columns.channels), (size,), rate, tuple(map(readable, names)))
        kept = {split: recordings[split] for split in found.rows}
        used = {split: cuts[split] for split in found.rows}
        for line in describe_series(found, columns, signal, kept, used, stride, blocks):
            found_logger.info(line)
        for line in describe_oddities(kept, used, signal, columns):
            found_logger.info(line)
        left_out = [(f"{n} {kind}", "passed over") for kind, n in found.passed.items()] + left_out
        parts = {split: rows[split].part(split, numbers[split]) for split in found.rows}
        _check_enough(parts, blocks, size)
        parts = divide_in_splits(parts, self.held_out, Series)
        if blocks:
            parts = _apart(parts, cuts["train"])
        normalization = Affine.learned(_chunks(parts["train"].examples))
        return Splits(
            train=parts["train"].examples,
            validation=parts["validation"].examples,
            test=parts["test"].examples,
            signal=signal,
            condition=condition,
            augment=None,
            manifest=make_manifest(parts, condition, left_out, Series),
            normalization=normalization,
        )

    def examples(self, split: SplitName) -> Examples:
        """See `Source.examples`."""
        examples: Examples = getattr(self.load(), split)
        return examples

    def _read(
        self, split: str, tables: FoundTables, columns: ChosenColumns, labels: LabelNumbering
    ) -> _ReadSplit:
        """Reads the series of a split, and leaves out those that cannot be used."""
        words = missing_words(self.missing)
        every = read_split(tables.tables[split], columns, labels, tables.where, words)
        faults = [(one.name, one.fault) for one in every if one.fault]
        _report(faults, len(every))
        return _ReadSplit([one for one in every if not one.fault], faults)

    def _common_rate(
        self, recordings: dict[str, list[Recording]], left_out: list[tuple[str, str]]
    ) -> float | None:
        """Returns the rate of most series, and leaves out those of another."""
        rates = [one.timing.rate for part in recordings.values() for one in part]
        known = [rate for rate in rates if rate is not None]
        if not known:
            return self.rate
        common = float(np.median(known))
        common = min(known, key=lambda rate: abs(rate - common))
        if self.rate is not None and abs(self.rate - common) > SAME_RATE * common:
            raise InputError(
                f"The times of the series say {common:g} steps a second, got rate {self.rate:g}: "
                f"leave it out."
            )
        for split, part in recordings.items():
            other = [
                (one.name, f"{one.timing.rate:g} steps a second, not {common:g}")
                for one in part
                if one.timing.rate is not None
                and abs(one.timing.rate - common) > SAME_RATE * common
            ]
            _report(other, len(part))
            left_out += other
            names = {name for name, _ in other}
            recordings[split] = [one for one in part if one.name not in names]
        return common


class _ReadSplit(NamedTuple):
    """The series of a split that can be used, and name and fault of those that cannot."""

    recordings: list[Recording]
    left_out: list[tuple[str, str]]


def _order(tables: FoundTables) -> list[str]:
    return sorted(tables.tables, key=SPLITS.index)


def _report(faults: Sequence[tuple[str, str]], n: int) -> None:
    """Warns of series that cannot be used; raises `InputError` if they are too many."""
    if len(faults) == n == 1:
        raise InputError(f"{faults[0][0]} cannot be used, {faults[0][1]}: correct it.")
    words = [f"{name} ({fault})" for name, fault in faults]
    report_left_out(words, n, Series, "cannot be used", logger)


def _by_blocks(recordings: dict[str, list[Recording]], columns: ChosenColumns) -> bool:
    """Returns whether blocks of the training series are held out, and not whole ones."""
    needed = 1 + len(set(SPLITS) - recordings.keys())
    train = recordings["train"]
    if needed == 1:
        return False
    units = {one.unit if one.unit is not None else one.name for one in train}
    apart = columns.id is not None or columns.case  # they are known to be different ones
    return len(units) < (needed if apart else max(needed, WHOLE))


def _check_enough(parts: dict[str, SplitExamples], blocks: bool, size: int) -> None:
    """Raises `InputError` where too little can be told apart to hold out some of it."""
    needed = 1 + len(set(SPLITS) - parts.keys())
    there = len({bytes(key) for key in parts["train"].together})
    if there < needed:
        what = f"{counted(there, 'block')} of {2 * size} steps" if blocks else f"{there} series"
        raise InputError(
            f"Training, validation and test need {needed} different parts of the series here, got "
            f"{what}: give longer series, more of them, or a smaller --data.size."
        )


def _apart(parts: dict[str, SplitExamples], windows: Windows) -> dict[str, SplitExamples]:
    """Leaves out the windows that reach into a block of another split."""
    held = {
        split: {bytes(key) for key in part.together}
        for split, part in parts.items()
        if part.found_in == "train"
    }
    apart, left = dict(parts), 0
    for split in held:
        examples = parts[split].examples
        assert isinstance(examples, StoredWindows)
        others = set().union(*(keys for other, keys in held.items() if other != split))
        ends = windows.groups(examples.starts + examples.lengths - 1)
        alone = torch.tensor([bytes(key) not in others for key in ends], dtype=torch.bool)
        apart[split] = parts[split].take(alone)
        left += int((~alone).sum())
    found_logger.info(f"left out: {counted(left, 'window')} that reach from one split to another")
    return apart


def _chunks(examples: Examples) -> Iterator[Tensor]:
    """Yields all windows, some at a time."""
    for rows in torch.arange(len(examples)).split(CHUNK):
        yield examples.__getitems__(rows.tolist()).x
