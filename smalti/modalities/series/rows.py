"""The windows of one split as rows, with their names, labels and content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from smalti.counting import counted
from smalti.data.allocation import allocate
from smalti.data.dividing import SplitExamples
from smalti.data.rows import LabelColumn, Rows, UndecodedExample
from smalti.data.splitting import SIZE, fingerprint
from smalti.errors import InputError
from smalti.modalities.series.recordings import LabelNumbering, Recording
from smalti.modalities.series.stored import StoredWindows
from smalti.modalities.series.windows import Windows, most_frequent
from smalti.spelling import listed

__all__ = ["WindowRows", "unify_nans"]


class WindowRows(Rows):
    """Rows of one split of series: each window is an example.

    Arguments:
        recordings: The series of the split.
        windows: The positions of the windows in them.
        labels: The labels that the numbers stand for.
        size: Steps of a window.

    Raises:
        InputError: If there are labels, and a window has none.
    """

    def __init__(
        self, recordings: Sequence[Recording], windows: Windows, labels: LabelNumbering, size: int
    ) -> None:
        if not len(windows.starts):
            raise InputError(
                f"Not one window of {size} steps can be cut from "
                f"{counted(len(recordings), 'series', 'series')}, e.g. "
                f"{listed([one.name for one in recordings], 3)}: give longer series, or a smaller "
                f"--data.size."
            )
        self.windows, self.size = windows, size
        channels = recordings[0].values.shape[1]
        total = sum(len(one.values) for one in recordings)
        self.steps = allocate((total, channels), np.float32, "The series", "give fewer")
        self.begins = np.cumsum([0, *(len(one.values) for one in recordings)])
        for one, begin in zip(recordings, self.begins, strict=False):
            self.steps[begin : begin + len(one.values)] = one.values
        self.called = [one.name for one in recordings]
        self._labels = self._majorities(recordings, labels)

    def __len__(self) -> int:
        return len(self.windows.starts)

    def labels(self) -> LabelColumn | None:
        return self._labels

    def stored(self) -> Iterator[UndecodedExample]:
        """See `Rows.stored`: each window (T, C), float32, without its gap at the end."""
        windows = zip(self.names, self.windows.starts, self.windows.lengths, strict=True)
        for name, start, length in windows:
            yield UndecodedExample(name, self.steps[start : start + length])

    @property
    def names(self) -> list[str]:
        """Returns what each window is called: its series, and from which step on."""
        within = self.windows.starts - self.begins[self.windows.series]
        return [
            f"{self.called[series]} from {start}"
            for series, start in zip(self.windows.series.tolist(), within.tolist(), strict=True)
        ]

    def part(self, split: str, numbers: Tensor | None) -> SplitExamples:
        """Returns the windows as examples with these labels (N,)."""
        windows = self.windows
        examples = StoredWindows(self.steps, windows.starts, windows.lengths, self.size, numbers)
        prints = b"".join(fingerprint(unify_nans(one.content)) for one in self.stored())  # type: ignore[arg-type]
        content = np.frombuffer(prints, dtype=np.uint8).reshape(-1, SIZE)
        return SplitExamples(split, examples, content, self.names, windows.groups(windows.starts))

    def _majorities(
        self, recordings: Sequence[Recording], labels: LabelNumbering
    ) -> LabelColumn | None:
        """Returns the label of most of the steps of each window."""
        if recordings[0].labels is None:
            return None
        codes = np.concatenate([one.labels for one in recordings])
        if (codes < 0).all():
            return None
        found = [
            most_frequent(codes[start : start + length])
            for start, length in zip(self.windows.starts, self.windows.lengths, strict=True)
        ]
        if -1 in found:
            raise InputError(
                f"{counted(found.count(-1), 'window has', 'windows have')} no label, e.g. "
                f"{self.names[found.index(-1)]}: fill the label column in, or leave it out."
            )
        return LabelColumn([labels.words[code] for code in found], None)


def unify_nans(values: np.ndarray) -> np.ndarray:
    """Replaces every NaN by the same NaN, so that the bytes of values can be compared."""
    return np.where(np.isnan(values), np.float32(np.nan), values)
