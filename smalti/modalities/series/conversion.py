"""Reads the series of a split from its files, once: they are kept in the cache.

Reading text takes far longer than all else of loading. So the steps of all series, their labels and
what is known of each series lie in the cache of what was decoded, found by the content of the
files, their names and how they are read; later loads, and other processes, map them into memory.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from smalti.data.decoded_cache import CacheEntry, DecodedCache, open_cache
from smalti.data.splitting import SIZE
from smalti.data.tables import Table
from smalti.modalities.series.columns import ChosenColumns
from smalti.modalities.series.recordings import (
    LabelNumbering,
    Recording,
    TimeStats,
    name_within,
    read_recordings,
)

__all__ = ["read_split"]

logger = logging.getLogger(__name__)

CONVERTER = 1  # a higher number where the same files are converted to other series
ROW = np.dtype([("label", "<i4")])


class _Converted(NamedTuple):
    """The series of the tables of a split, and what the numbers of their labels stand for."""

    recordings: list[Recording]
    words: list[int | str]


def read_split(
    tables: Sequence[Table],
    columns: ChosenColumns,
    labels: LabelNumbering,
    folder: str,
    missing: Sequence[str] = (),
) -> list[Recording]:
    """Reads the series of a split, from the cache if they were read before.

    Arguments:
        tables: The tables of the split.
        columns: The columns of times, ids, labels and values.
        labels: Maps the labels to numbers; those of the split are added.
        folder: The folder of the data, which names leave out.
        missing: Words that stand for a missing value, beside those that always do.

    Raises:
        InputError: If a table cannot be read as series of these columns.
    """
    way = {
        "series": CONVERTER,
        "columns": [*columns.channels, columns.time, columns.id, columns.label, columns.case],
        "missing": [*missing],
        "names": [name_within(table, folder) for table in tables],
    }
    cache = open_cache(way, (4 * len(columns.channels),))
    converted = None
    if cache is not None:
        digests = b"".join(table.digest() for table in tables)
        files = np.frombuffer(digests, dtype=np.uint8).reshape(-1, SIZE)
        if (entry := cache.find(files)) is not None:
            converted = _unpacked(entry)
    if converted is None:
        own = LabelNumbering()
        read = [one for t in tables for one in read_recordings(t, columns, own, folder, missing)]
        converted = _Converted(read, own.words)
        if cache is not None:
            _keep(cache, converted, files)
    numbers = labels.added(converted.words)
    return [
        one if one.labels is None else one._replace(labels=numbers[one.labels])
        for one in converted.recordings
    ]


def _keep(cache: DecodedCache, converted: _Converted, files: np.ndarray) -> None:
    """Writes series to the cache, if it takes them."""
    recordings = converted.recordings
    steps = sum(len(one.values) for one in recordings)
    if not cache.has_room(steps):
        logger.warning("The series are more than the cache may hold: not kept.")
        return
    try:
        with cache.writing(steps) as draft:
            values, rows = draft.values.view(np.float32), np.zeros(steps, dtype=ROW)
            start = 0
            for one in recordings:
                end = start + len(one.values)
                values[start:end] = one.values
                rows["label"][start:end] = -1 if one.labels is None else one.labels
                start = end
            facts = {"recordings": [_facts(one) for one in recordings], "words": converted.words}
            draft.finish(rows, facts, files)
    except OSError as error:
        logger.warning("The cache %s cannot be used (%s): nothing is kept.", cache.root, error)


def _facts(one: Recording) -> dict[str, Any]:
    """Returns what is known of a series beside its steps, as JSON values."""
    return {
        "name": one.name,
        "unit": one.unit,
        "steps": len(one.values),
        "labelled": one.labels is not None,
        "rate": one.timing.rate,
        "jumps": one.timing.jumps.tolist(),
        "lengths": list(one.timing.lengths),
        "uneven": one.timing.uneven,
        "fault": one.fault,
        "infinite": one.infinite,
    }


def _unpacked(entry: CacheEntry) -> _Converted:
    """Returns the series of an entry of the cache, whose values are mapped into memory."""
    values, labels = entry.values.view(np.float32), entry.rows["label"]
    recordings, start = [], 0
    for facts in entry.facts["recordings"]:
        end = start + facts["steps"]
        jumps = np.array(facts["jumps"], dtype=np.int64)
        timing = TimeStats(facts["rate"], jumps, tuple(facts["lengths"]), facts["uneven"])
        recordings.append(
            Recording(
                facts["name"],
                facts["unit"],
                values[start:end],
                labels[start:end] if facts["labelled"] else None,
                timing,
                facts["fault"],
                facts["infinite"],
            )
        )
        start = end
    return _Converted(recordings, entry.facts["words"])
