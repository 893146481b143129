"""Reads the series in a table, and splits them where their times jump.

A series with times is cut where these jump, so that no window reaches over what is not there. Times
that go back or stand still are those of rows in disorder, or of several series in one: such a
series cannot be used. Its rate is the number of steps a second over all of it but the jumps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from smalti.counting import counted
from smalti.data.tables import CsvTable, Table
from smalti.errors import InputError
from smalti.modalities.series.arrays import CASE
from smalti.modalities.series.columns import ChosenColumns
from smalti.modalities.series.tables import missing_numbers
from smalti.spelling import listed, readable

__all__ = [
    "LabelNumbering",
    "Recording",
    "TimeStats",
    "name_within",
    "split_at_jumps",
    "read_recordings",
    "measure_times",
]

JUMP = 1.5  # steps: more between two rows is a jump
UNEVEN = 0.25  # of a step that another differs by, to be told of
DIGITS = 4  # of a rate: clocks are no better


class TimeStats(NamedTuple):
    """The sampling rate of a series, and the jumps in its times.

    Attributes:
        rate: Steps per second; None without times, or with one row.
        jumps: The rows before which the time jumps.
        lengths: The length of each jump, in steps.
        uneven: The share of steps that are more than a quarter longer or shorter than the median.
    """

    rate: float | None
    jumps: np.ndarray
    lengths: tuple[float, ...]
    uneven: float


class LabelNumbering:
    """Maps labels to numbers, in one numbering for all tables.

    Attributes:
        words: The label of each number.
    """

    def __init__(self) -> None:
        self.words: list[int | str] = []
        self._numbers: dict[int | str, int] = {}

    def added(self, words: Sequence[int | str]) -> np.ndarray:
        """Adds words that are new; returns the numbers of all (n + 1,), int32, at the end -1."""
        for word in words:
            if word not in self._numbers:
                self._numbers[word] = len(self.words)
                self.words.append(word)
        return np.array([*(self._numbers[word] for word in words), -1], dtype=np.int32)

    def codes(self, column: pa.Array) -> np.ndarray:
        """Returns the numbers of a column (n,), int32; -1 where there is none."""
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        words = column.dictionary.to_pylist()
        numbers = self.added([str(w).lower() if isinstance(w, bool) else w for w in words])
        found = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return numbers[found]  # -1 leads to the end


class Recording(NamedTuple):
    """One series as it was read from a table.

    Attributes:
        name: What messages call it.
        unit: The id of the series in its table; None where it has none.
        values: (T, C), float32, NaN in gaps.
        labels: (T,), int32: the number of each step's label, -1 for none.
        timing: Its sampling rate, and the jumps in its times.
        fault: Why it cannot be used; empty if it can.
        infinite: The number of infinite values, which were replaced by NaN.
    """

    name: str
    unit: str | None
    values: np.ndarray
    labels: np.ndarray | None
    timing: TimeStats
    fault: str = ""
    infinite: int = 0


def read_recordings(
    table: Table,
    columns: ChosenColumns,
    labels: LabelNumbering,
    folder: str = "",
    missing: Sequence[str] = (),
) -> Iterator[Recording]:
    """Yields the series in a table, with their labels and sampling rates.

    Arguments:
        table: The table.
        columns: The columns of times, ids, labels and values.
        labels: Maps the labels to numbers.
        folder: The folder of the data, which names leave out.
        missing: Words that stand for a missing value: numbers among them are gaps.

    Raises:
        InputError: If it cannot be read, has other columns, or no rows.
    """
    wanted = [*columns.channels, columns.time, columns.id, columns.label]
    absent = [name for name in wanted if name is not None and name not in table.schema.names]
    if absent:
        raise InputError(
            f"{table.name} has no {listed(absent, 3)}, which the others have "
            f"({counted(len(absent), 'column')}): write all files of a data set alike."
        )
    if isinstance(table, CsvTable):
        table.read_as({name: pa.float32() for name in columns.channels})
        if columns.id is not None:
            table.read_as({columns.id: pa.string()})
        if columns.time is not None and pa.types.is_floating(table.schema.field(columns.time).type):
            table.read_as({columns.time: pa.float64()})
    columns = columns._replace(case=CASE in table.schema.names)
    whole = _Whole(table, columns, labels)
    if numbers := missing_numbers(missing):
        whole.values[np.isin(whole.values, np.array(numbers, dtype=np.float32))] = np.nan
    for rows, called, unit in whole.series(name_within(table, folder)):
        yield whole.recording(rows, called, unit)


def name_within(table: Table, folder: str) -> str:
    """Removes the folder of the data from the name of a table."""
    name = table.name.removeprefix(f"{folder}/")
    return name.rpartition("/")[2] if name == folder else name


def measure_times(time: np.ndarray) -> tuple[TimeStats, str]:
    """Measures the sampling rate of a series and finds jumps; also says what is wrong, or "".

    Arguments:
        time: (T,), seconds, float64.

    Example:
        >>> found, fault = measure_times(np.array([0.0, 0.5, 1.0, 3.0, 3.5]))
        >>> found.rate, found.jumps.tolist(), fault
        (2.0, [3], '')
    """
    none = np.array([], dtype=np.int64)
    if len(bad := np.flatnonzero(~np.isfinite(time))):
        return TimeStats(
            None, none, (), 0.0
        ), f"{counted(len(bad), 'row')} without a time, first {bad[0]}"
    steps = np.diff(time)
    if len(back := np.flatnonzero(steps <= 0)):
        where = f"row {back[0] + 1}" + f" and {len(back) - 1} more" * (len(back) > 1)
        return TimeStats(None, none, (), 0.0), f"its times go back or stand still in {where}"
    if not len(steps):
        return TimeStats(None, none, (), 0.0), ""
    usual = float(np.median(steps))
    jumps = np.flatnonzero(steps > JUMP * usual)
    even = np.delete(steps, jumps)
    rate = float(f"{1 / even.mean():.{DIGITS}g}")
    uneven = float((np.abs(even - usual) > UNEVEN * usual).mean())
    return TimeStats(rate, jumps + 1, tuple((steps[jumps] * rate).tolist()), uneven), ""


class _Whole:
    """All rows of a table."""

    def __init__(self, table: Table, columns: ChosenColumns, labels: LabelNumbering) -> None:
        self.columns = columns
        wanted = [*columns.channels]
        wanted += [name for name in (columns.time, columns.id, columns.label) if name is not None]
        wanted += [CASE] if columns.case else []
        parts: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
        self.names: dict[str, int] = {}
        for batch in table.batches(wanted):
            for name in wanted:
                parts[name].append(self._read(name, batch.column(name), labels, table.name))
        joined = {name: np.concatenate(arrays) for name, arrays in parts.items() if arrays}
        if not joined or not len(joined[wanted[0]]):
            raise InputError(f"{table.name} has no rows: give one with series.")
        self.values = np.stack([joined[name] for name in columns.channels], axis=1)
        self.time = joined.get(columns.time or "")
        self.ids = joined.get(columns.id or "")
        self.labels = joined.get(columns.label or "")
        self.cases = joined.get(CASE)

    def _read(self, name: str, column: pa.Array, labels: LabelNumbering, where: str) -> np.ndarray:
        """Returns a column as numbers: ids as those of their words."""
        if name == CASE:
            return column.to_numpy()
        if name == self.columns.time:
            return _seconds(column)
        if name == self.columns.label:
            return labels.codes(column)
        if name == self.columns.id:
            encoded = column.cast(pa.string()).dictionary_encode()
            if encoded.null_count:
                raise InputError(
                    f"The id column {readable(name)} of {where} has no value in "
                    f"{counted(encoded.null_count, 'row')}: fill it in, or name another column."
                )
            words = encoded.dictionary.to_pylist()
            numbers = [self.names.setdefault(word, len(self.names)) for word in words]
            return np.array(numbers, dtype=np.int64)[encoded.indices.to_numpy()]
        with np.errstate(over="ignore", invalid="ignore"):
            column = column.cast(pa.float32()) if pa.types.is_boolean(column.type) else column
            return column.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)

    def series(self, name: str) -> Iterator[tuple[np.ndarray, str, str | None]]:
        """Yields the rows of each series in order, its name, and its id if it has one."""
        words = list(self.names)
        key = self.ids if self.cases is None else self.cases
        if key is None:
            yield np.arange(len(self.values)), name, None
            return
        order = np.argsort(key, kind="stable")
        ends = np.flatnonzero(np.diff(key[order], append=-1))
        for rows in np.split(order, ends[:-1] + 1):
            unit = None if self.ids is None else words[self.ids[rows[0]]]
            if self.cases is None:
                yield rows, f"{name}:{readable(unit or '')}", unit
            else:
                several = f":{self.cases[rows[0]]}" if len(ends) > 1 else ""
                yield rows, f"{name}{several}", unit

    def recording(self, rows: np.ndarray, name: str, unit: str | None) -> Recording:
        """Returns the series of these rows."""
        values = self.values[rows]
        infinite = np.isinf(values)
        values[infinite] = np.nan
        labels = None if self.labels is None else self.labels[rows]
        found, fault = TimeStats(None, np.array([], dtype=np.int64), (), 0.0), ""
        if self.time is not None:
            found, fault = measure_times(self.time[rows])
        if not fault and np.isnan(values).all():
            fault = "it has no value"
        return Recording(name, unit, values, labels, found, fault, int(infinite.sum()))


def _seconds(column: pa.Array) -> np.ndarray:
    """Returns times as seconds; NaN where there is none."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ns", tz=getattr(column.type, "tz", None)))
        column = column.cast(pa.int64())
        seconds = column.fill_null(0).to_numpy().astype(np.float64) * 1e-9
        seconds[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
        return seconds
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def split_at_jumps(recording: Recording) -> Sequence[tuple[int, int]]:
    """Returns the (start, end) of each piece of a recording between jumps in its times."""
    ends = [*recording.timing.jumps.tolist(), len(recording.values)]
    return list(zip([0, *ends[:-1]], ends, strict=True))
