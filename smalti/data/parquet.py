"""Reads parquet files as rows, one file at a time; refuses files with different columns."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from smalti.counting import counted
from smalti.data.rows import Rows, RowsBuilder, Shard
from smalti.data.tables import translate_read_errors
from smalti.errors import InputError, first_line
from smalti.signals import Signal
from smalti.spelling import readable

if TYPE_CHECKING:
    from datasets import Dataset, Features

__all__ = ["parquet_rows"]

LARGEST = 1 << 30  # bytes that a part may unpack to in any case
MOST_PACKED = 50  # and else, bytes for each that is stored


def parquet_rows(files: list[Path], make: RowsBuilder, signal_class: type[Signal]) -> Rows:
    """Returns the rows of parquet files with the same columns; a file is loaded when it is needed.

    Arguments:
        files: Paths of the files.
        make: Builds the rows from the tables.
        signal_class: The class of the signals that they hold.

    Raises:
        InputError: If a file cannot be read, or has other columns than the first.
    """
    shards, features = [], []
    for file in files:
        with translate_read_errors(file, "parquet"):
            facts, schema = pq.read_metadata(file), pq.read_schema(file)
        _check_size(file, facts, signal_class)
        length = facts.num_rows
        features.append(_features(file, schema))
        shards.append(Shard(readable(file), length, partial(_table, file)))
    rows = make(shards, features[0], files[0].parent)
    for file, other in zip(files, features, strict=True):
        if (
            not rows.fits(other)
            or rows.label_column is not None
            and other.get(rows.label_column) != features[0][rows.label_column]
        ):
            raise InputError(
                f"{readable(file)} has other columns or class names than {readable(files[0])}: "
                f"write all files of a split alike, or move them to folders of their own."
            )
    return rows


def _check_size(file: Path, facts: pq.FileMetaData, signal_class: type[Signal]) -> None:
    """Refuses a file that claims to unpack to far more than its size."""
    stored = file.stat().st_size
    groups = [facts.row_group(i) for i in range(facts.num_row_groups)]
    unpacked = max((group.total_byte_size for group in groups), default=0)
    if facts.num_rows > stored or unpacked > max(LARGEST, MOST_PACKED * stored):
        raise InputError(
            f"{readable(file)} claims {counted(facts.num_rows, 'row')} and {unpacked / 2**30:.1f} "
            f"GiB a part in {counted(stored, 'byte')}: that cannot be a table of "
            f"{signal_class.plural}. Copy it again, or store its {signal_class.plural} packed, as "
            f"their files are."
        )


def _features(file: Path, schema: pa.Schema) -> Features:
    """Returns the columns as the Hugging Face metadata of the file describe them, if any."""
    from datasets import Features

    try:
        return Features.from_arrow_schema(schema)
    except Exception as error:  # of metadata that are anything at all
        raise InputError(
            f"The Hugging Face metadata of {readable(file)} cannot be used ({first_line(error)}): "
            f"write the file again without them, or with class names that differ."
        ) from error


def _table(file: Path, columns: list[str]) -> Dataset:
    from datasets import Dataset

    with translate_read_errors(file, "parquet"):
        return Dataset(pq.read_table(file, columns=columns, partitioning=None))
