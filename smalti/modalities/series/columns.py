"""Chooses the columns of a table that hold times, ids, labels and channels of series.

    time       the first column of dates, or one called time, timestamp … of dates or numbers
    id         one called id, series, subject …: rows with the same value are one series
    label      one called label, class or activity, of words or whole numbers
    channels   all others that hold numbers

A column that counts the rows (index, Unnamed: 0) is none of these, nor is one of text.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from smalti.data.tables import CsvTable, Table, is_number
from smalti.errors import InputError
from smalti.modalities.series.arrays import CASE
from smalti.spelling import listed, readable

__all__ = ["ChosenColumns", "SeriesColumns", "choose_columns"]

NAMED = 12  # columns that a message lists
TIMES = ("time", "timestamp", "datetime", "date", "date_time", "t", "ts", "time_s", "seconds")
IDS = (
    *("id", "series", "series_id", "unique_id", "subject", "subject_id", "patient", "patient_id"),
    *("record", "record_id", "recording", "recording_id", "session", "session_id", "case"),
)
LABELS = ("label", "class", "activity")
COUNTS = ("", "index", "unnamed: 0", "__index_level_0__")


@dataclass(frozen=True)
class SeriesColumns:
    """The names of columns that a user gives, where they cannot be found in a table of series.

    Arguments:
        time: The column of times, in seconds or as dates; rows are in order if there is none.
        id: The column that says which series a row belongs to; a file is one series without it.
        label: The column of labels.
        channels: The columns of values, also as a pattern such as "acc_*"; all other columns of
            numbers if not given.
    """

    time: str | None = None
    id: str | None = None
    label: str | None = None
    channels: list[str] | None = None


class ChosenColumns(NamedTuple):
    """The columns of a table that were chosen as time, id, label and channels of its series.

    Attributes:
        channels: Names of the columns of values.
        time: Name of the column of times, or None.
        id: Name of the column that says which series a row belongs to, or None.
        label: Name of the column of labels, or None.
        case: Whether the table was made of arrays, and has a column of their numbers.
        aside: Names and types of the columns that are not used, for messages.
    """

    channels: tuple[str, ...]
    time: str | None
    id: str | None
    label: str | None
    case: bool
    aside: tuple[str, ...]


def choose_columns(table: Table, asked: SeriesColumns) -> ChosenColumns:
    """Chooses the columns of a table that hold times, ids, labels and channels of its series.

    Arguments:
        table: The table.
        asked: The columns that the user names.

    Raises:
        InputError: If there is no such column, it holds something else, or there is no channel.
    """
    schema, where = table.schema, table.name
    for what in ("time", "id", "label"):
        name = getattr(asked, what)
        if name is not None and name not in schema.names:
            raise InputError(
                f"There is no {what} column {name!r} in {where}, {_of(schema)}: name one with "
                f"--data.columns.{what}."
            )
    named = _asked(schema, where, asked.channels)
    free = [name for name in schema.names if name != CASE and name not in named]
    time = asked.time or _time(schema, [f for f in free if f not in (asked.id, asked.label)])
    rest = [name for name in free if name not in (time, asked.id, asked.label)]
    id = asked.id or _called(schema, rest, IDS)
    label = asked.label or _called(schema, [name for name in rest if name != id], LABELS)
    rest = [name for name in rest if name not in (id, label)]
    _check_kinds(schema, where, time, id, label)
    channels = named or [name for name in rest if _is_channel(schema, name)]
    others = [name for name in rest if name not in channels]
    if not named:
        for name in others:
            _check_text(table, name, mostly=True)
    for name in named:
        _check_text(table, name, mostly=False)
    if not channels and schema.types and all(map(pa.types.is_null, schema.types)):
        raise InputError(
            f"{where} has no values below the names of its columns: give one with series."
        )
    if not channels:
        raise InputError(
            f"{where}, {_of(schema)}, has no channel: a channel is a column of numbers. Name them "
            f"with --data.columns.channels."
        )
    aside = tuple(
        f"{readable(name) or 'a column without a name'} ({_word(schema.field(name).type)})"
        for name in others
    )
    return ChosenColumns(tuple(channels), time, id, label, CASE in schema.names, aside)


def _asked(schema: pa.Schema, where: str, asked: Sequence[str] | None) -> list[str]:
    """Returns the channels that the user names."""
    found: list[str] = []
    for name in asked or ():
        matches = [name] if name in schema.names else fnmatch.filter(schema.names, name)
        if not matches:
            raise InputError(
                f"There is no channel {name!r} in {where}, {_of(schema)}: name columns with "
                f"--data.columns.channels."
            )
        found += [match for match in matches if match not in found]
    return found


def _time(schema: pa.Schema, names: Sequence[str]) -> str | None:
    """Finds the column of times."""
    kinds = {name: schema.field(name).type for name in names}
    known = {name.lower(): name for name in reversed(names)}
    called = [known[word] for word in TIMES if word in known]
    called = [name for name in called if _is_date(kinds[name]) or _is_number(kinds[name])]
    dates = [name for name in names if _is_date(kinds[name])]
    return next(iter([*called, *dates]), None)


def _called(schema: pa.Schema, names: Sequence[str], words: Sequence[str]) -> str | None:
    """Finds a column of words or whole numbers by its name."""
    known = {name.lower(): name for name in reversed(names)}
    found = (known[word] for word in words if word in known)
    return next((name for name in found if _is_name(schema.field(name).type)), None)


def _check_kinds(
    schema: pa.Schema, where: str, time: str | None, id: str | None, label: str | None
) -> None:
    """Raises `InputError` where a column holds what it cannot."""
    if time is not None and not (
        _is_date(kind := schema.field(time).type) or _is_number(kind) or pa.types.is_null(kind)
    ):
        raise InputError(
            f"The time column {readable(time)} of {where} holds {_word(kind)}: times are numbers "
            f"of seconds, or dates such as 2026-01-31 12:00:00.250. Write it so, or name another."
        )
    for what, name in ("id", id), ("label", label):
        if name is not None and not _is_name(kind := schema.field(name).type):
            raise InputError(
                f"The {what} column {readable(name)} of {where} holds {_word(kind)}: it is words "
                f"or whole numbers. Name another with --data.columns.{what}."
            )


def _check_text(table: Table, name: str, mostly: bool) -> None:
    """Raises `InputError` for a channel with text in it.

    Arguments:
        table: That has it.
        name: Of the column.
        mostly: Whether text is well unless most of it is numbers.
    """
    kind = table.schema.field(name).type
    if _is_number(kind) or (mostly and not _is_text(kind)):
        return
    if not _is_text(kind):
        raise InputError(
            f"The channel {readable(name)} of {table.name} holds {_word(kind)}: a channel is "
            f"numbers. Name others with --data.columns.channels."
        )
    row, total, bad, first, word = 0, 0, 0, "", ""
    for batch in table.batches([name]):
        for value in batch.column(0).cast(pa.string()).to_pylist():
            row += 1
            if value is None:
                continue
            total += 1
            if not is_number(value):
                bad += 1
                word = word or value
                first = first or f"{readable(value)[:40]!r} in row {row}"
    if bad and (not mostly or bad < total / 2):
        gap = table.or_missing(word) if isinstance(table, CsvTable) else " (nothing is a gap)"
        raise InputError(
            f"The column {readable(name)} of {table.name} has text in {bad} of {row} rows, first "
            f"{first}: correct it{gap}, or name the channels with --data.columns.channels."
        )


def _is_channel(schema: pa.Schema, name: str) -> bool:
    kind = schema.field(name).type
    return name.lower() not in COUNTS and _is_number(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _is_date(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_name(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _word(kind: pa.DataType) -> str:
    return "text" if _is_text(kind) else "no value" if pa.types.is_null(kind) else str(kind)


def _of(schema: pa.Schema) -> str:
    """Lists the columns of a table."""
    names = [f"{name} ({_word(schema.field(name).type)})" for name in schema.names if name != CASE]
    return f"whose columns are {listed(names, NAMED) or 'none'}"
