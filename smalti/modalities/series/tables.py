"""Opens files of series as tables, and handles the words in them for missing values.

In a text file a gap is a field that is empty or says NA, N/A, NaN, null or the like, as every CSV
file has it here, or one of `GAPS`; in the columns of labels these words stand for no label. What
else stands for a missing value, the user says: -999, or a dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from smalti.data import tables
from smalti.data.tables import EXTENSIONS, CsvTable, MakeTable, Table, is_number
from smalti.modalities.series.arrays import ARRAYS
from smalti.modalities.series.signal import Series

__all__ = ["GAPS", "missing_numbers", "missing_words", "open_table", "series_tables"]

GAPS = ("?", "<NA>")


def missing_words(missing: str | Sequence[str] | None) -> tuple[str, ...]:
    """Converts the argument `missing` of a source to a tuple of words."""
    return (missing,) if isinstance(missing, str) else tuple(map(str, missing or ()))


def missing_numbers(words: Sequence[str]) -> list[float]:
    """Returns the numbers among the words for missing values, to be replaced by NaN in any file.

    Example:
        >>> missing_numbers(["-", "-999"])
        [-999.0]
    """
    return [float(word) for word in words if is_number(word)]


def series_tables(missing: Sequence[str] = ()) -> dict[str, MakeTable]:
    """Returns the functions that open files of series, by suffix, beside those of all tables.

    Arguments:
        missing: Further words that stand for a missing value in text files.
    """
    texts: dict[str, MakeTable] = {
        suffix: partial(CsvTable, delimiter=delimiter, missing=(*GAPS, *missing))
        for suffix, delimiter in EXTENSIONS.items()
    }
    return {**ARRAYS, **texts}


def open_table(path: Path, missing: Sequence[str] = ()) -> Table:
    """Opens a file of series as a table, by its suffix: .csv, .parquet, .npz, .ts, …

    Arguments:
        path: Path of the file.
        missing: Further words that stand for a missing value in text files.
    """
    return tables.open_table(path, Series, series_tables(missing))
