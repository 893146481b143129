"""Opens files of arrays of series as tables.

    .npy    (C, T), one series of C channels and T steps; (N, C, T), N of them; (T,), one channel
    .npz    such an array, called x or the only one of its kind, and beside it, where there are any:
            label (N,) or (N, T), id (N,), time (T,) or (N, T), names (C,) of the channels
    .ts     the text format of aeon and sktime: a series a line, its channels between colons, its
            label behind them, ? for a value that is missing

A table of them has a row for each step and a column for each channel, as a CSV file has; which
series a row is of stands in the column `CASE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from smalti.data.tables import FileTable, MakeTable
from smalti.errors import InputError
from smalti.npz import array_names, read_npz
from smalti.spelling import listed, readable

__all__ = ["ARRAYS", "CASE", "ArrayTable"]

CASE = "\0case"  # no column of a file has this name
BESIDE = ("label", "labels", "y", "id", "ids", "time", "names")
NAMED = 6


class Cases(NamedTuple):
    """N series that were read from a file of arrays, with the names, labels, ids and times given.

    Attributes:
        x: The values of each series (C, T).
        names: The names of the C channels.
        label: The label of each series, or of each of its steps.
        id: The id of each series.
        time: The times (T,) of each series.
    """

    x: Sequence[np.ndarray]
    names: Sequence[str] | None = None
    label: Sequence[Any] | None = None
    id: Sequence[Any] | None = None
    time: Sequence[np.ndarray] | None = None


class ArrayTable(FileTable):
    """Presents series in arrays as a table: one row per step.

    Arguments:
        path: Path of the file.
        cases: The series in it.

    Attributes:
        named: Whether its channels have names of their own.
    """

    def __init__(self, path: Path, cases: Cases) -> None:
        super().__init__(path)
        self.cases, self.named = cases, cases.names is not None
        channels = len(cases.x[0]) if cases.x else 0
        if not channels or any(len(x) != channels for x in cases.x):
            counts = sorted({len(x) for x in cases.x})
            raise InputError(
                f"The series of {self.name} have one number of channels, got "
                f"{', '.join(map(str, counts)) or 'no series'}: write them alike."
            )
        names = list(cases.names or (f"channel {i}" for i in range(channels)))
        if len(names) != channels or len(set(names)) < channels:
            raise InputError(
                f"The names in {self.name} are of {channels} channels, all different, got "
                f"{listed(names, NAMED)}: give as many."
            )
        self.channels = names
        fields = [pa.field(CASE, pa.int64())]
        fields += [pa.field("id", pa.string())] if cases.id is not None else []
        fields += [pa.field("time", pa.float64())] if cases.time is not None else []
        fields += [pa.field("label", _kind(cases.label))] if cases.label is not None else []
        fields += [pa.field(name, pa.float32()) for name in names]
        self.schema = pa.schema(fields)

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        wanted = pa.schema([self.schema.field(name) for name in columns])
        for number, x in enumerate(self.cases.x):
            arrays = [self._column(name, number, x) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, schema=wanted)

    def _column(self, name: str, number: int, x: np.ndarray) -> pa.Array:
        steps = x.shape[1]
        if name in self.channels:
            with np.errstate(over="ignore"):
                return pa.array(x[self.channels.index(name)].astype(np.float32))
        if name == CASE:
            return pa.array(np.full(steps, number))
        if name == "time":
            assert self.cases.time is not None
            return pa.array(np.asarray(self.cases.time[number], dtype=np.float64))
        given: Any = getattr(self.cases, name)[number]
        values = np.broadcast_to(np.asarray(given), steps).tolist()
        kind = self.schema.field(name).type
        return pa.array([str(value) if kind == pa.string() else value for value in values], kind)


def read_npy(path: Path) -> ArrayTable:
    """Opens an .npy file of one series (C, T), or of N series (N, C, T), as a table."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return ArrayTable(path, Cases(list(_cases(array, readable(path)))))


def read_npz_table(path: Path) -> ArrayTable:
    """Opens an .npz file of series, and of their labels, ids and times, as a table."""
    name = readable(path)
    there = array_names(path)
    main = [one for one in there if one not in BESIDE]
    if "x" in main or len(main) != 1:
        main = [one for one in main if one == "x"]
    if not main:
        raise InputError(
            f"{name} holds the arrays {listed(there, NAMED) or 'none'}, of which none is called x: "
            f"call the series x, (N, C, T) or (C, T)."
        )
    arrays = read_npz(path, re.compile("|".join(map(re.escape, [main[0], *BESIDE]))))
    x = list(_cases(arrays.pop(main[0]), name))
    beside = {key: arrays[key] for key in BESIDE if key in arrays}
    label = next((beside[key] for key in ("label", "labels", "y") if key in beside), None)
    ids = next((beside[key] for key in ("id", "ids") if key in beside), None)
    time = beside.get("time")
    for what, array in ("label", label), ("id", ids):
        if array is not None and (array.ndim == 0 or len(array) != len(x)):
            raise InputError(
                f"The array {what} of {name} has the shape {array.shape}, and there are {len(x)} "
                f"series: give one for each."
            )
    if time is not None:
        time = time[None].repeat(len(x), 0) if time.ndim == 1 else time
        if time.shape != (len(x), x[0].shape[1]) or time.dtype.kind not in "iuf":
            raise InputError(
                f"The array time of {name} has the shape {time.shape}: give a number for each of "
                f"the {x[0].shape[1]} steps."
            )
    names = [str(one) for one in beside["names"].ravel()] if "names" in beside else None
    return ArrayTable(path, Cases(x, names, _list(label), _list(ids), _list(time)))


def read_ts(path: Path) -> ArrayTable:
    """Opens a .ts file of series, as aeon and sktime write it, as a table.

    Raises:
        InputError: If it has time stamps, or a line is not as its head says.
    """
    facts: dict[str, list[str]] = {}
    x: list[np.ndarray] = []
    labels: list[str] = []
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line or line[0] in "#%":
                continue
            if line[0] == "@":
                word, *values = line[1:].split()
                facts[word.lower()] = values
                if word.lower() == "timestamps" and _true(values):
                    raise InputError(
                        f"{readable(path)} has time stamps, which are not read from a .ts file: "
                        f"write it as a CSV file with a time column."
                    )
                continue
            parts = line.split(":")
            if _true(facts.get("classlabel")):
                labels.append(parts.pop())
            elif _true(facts.get("targetlabel")):
                parts.pop()
            x.append(_of_line(parts, f"line {number} of {readable(path)}"))
    if not x:
        raise InputError(f"{readable(path)} holds no series behind its head: give one that does.")
    return ArrayTable(path, Cases(x, None, labels or None))


ARRAYS: dict[str, MakeTable] = {".npz": read_npz_table, ".npy": read_npy, ".ts": read_ts}


def _of_line(parts: list[str], where: str) -> np.ndarray:
    """Reads the channels of a line: (C, T)."""
    try:
        rows = [
            [np.nan if word.strip() == "?" else float(word) for word in part.split(",")]
            for part in parts
        ]
    except ValueError as error:
        raise InputError(f"{where} is no series of numbers ({error}): correct it.") from error
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        found = ", ".join(map(str, sorted(lengths)))
        raise InputError(f"The channels in {where} have several lengths ({found}): correct it.")
    return np.array(rows, dtype=np.float32)


def _true(values: Sequence[str] | None) -> bool:
    return bool(values) and values[0].lower() == "true"  # type: ignore[index]


def _cases(array: np.ndarray, name: str) -> np.ndarray:
    """Returns an array as (N, C, T)."""
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"{name} holds {array.dtype}, where series are numbers: give an array of numbers."
        )
    if array.ndim == 2 and array.shape[0] > array.shape[1]:
        raise InputError(
            f"A series is an array (C, T), got the shape {array.shape} in {name}, more channels "
            f"than steps: give x.T if it is the other way round, or (N, C, T) of several series."
        )
    if array.ndim not in (1, 2, 3) or 0 in array.shape:
        raise InputError(
            f"{name} holds an array of the shape {array.shape}: series have the shape (C, T), or "
            f"(N, C, T) where there are N."
        )
    return array.reshape((1,) * (3 - array.ndim) + array.shape)


def _list(array: np.ndarray | None) -> list[Any] | None:
    return None if array is None else list(array)


def _kind(labels: Sequence[Any]) -> pa.DataType:
    """Returns the type of labels: whole numbers stay numbers."""
    kind = np.asarray(labels).dtype.kind
    return pa.int64() if kind in "iub" else pa.string() if kind in "US" else pa.float64()
