"""Tables as they are stored, read a batch of rows at a time.

    .parquet                   batches of its row groups
    .arrow, .feather, .ipc     record batches, mapped into memory
    .csv, .tsv                 blocks of lines; the first line has the names of the columns
    a data set of the hub      as `datasets` holds it

Each gives batches of pyarrow. No more than a batch of rows is in memory at a time, whatever the
file holds. A kind of data that reads other files, too, brings their tables (`open_table`).
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as pa_csv

from smalti.counting import counted
from smalti.data.file_tree import is_regular
from smalti.data.text_lists import LISTS, are_lists, parse_lists
from smalti.errors import InputError, first_line
from smalti.files import sha256
from smalti.npz import check_unpacked_size
from smalti.signals import Signal
from smalti.spelling import listed, readable

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "ROWS",
    "TABLES",
    "CsvTable",
    "FileTable",
    "HubTable",
    "MakeTable",
    "Table",
    "rows_without_columns",
    "open_table",
]

ROWS = 8192  # of a batch
BLOCK = 16 << 20  # bytes of a CSV file that are parsed at a time
LONGEST_LINE = 64 << 20  # bytes
EXTENSIONS = {".csv": ",", ".tsv": "\t"}
IPC = (".arrow", ".feather", ".ipc")
TABLES = (".parquet", *EXTENSIONS, *IPC)  # suffixes


class Table(ABC):
    """Abstract: one table, from a file or from the hub, read in batches of rows.

    Attributes:
        name: What messages call it.
        schema: The names and types of its columns.
        left_out: Name and fault of each line that is skipped because it is not a row.
    """

    name: str
    schema: pa.Schema
    left_out: list[tuple[str, str]]

    @abstractmethod
    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields the rows in order, these columns of them.

        Arguments:
            columns: Their names; none where rows are only counted.

        Raises:
            InputError: If it cannot be read.
        """

    @abstractmethod
    def digest(self) -> bytes:
        """Returns a hash of its content, 16 bytes."""


MakeTable = Callable[[Path], Table]


def open_table(
    path: Path, signal_class: type[Signal], others: Mapping[str, MakeTable] | None = None
) -> Table:
    """Opens the table in a file, by its suffix; rows are read when they are asked for.

    Arguments:
        path: Path of the file.
        signal_class: The class of the signals that it holds.
        others: Functions that open further kinds of files, by suffix.

    Raises:
        InputError: If it is no table, cannot be read, or has no names of columns.
    """
    suffix = path.suffix.lower()
    if not is_regular(path):
        hint = "give the path of a file" if path.exists() else "check the path"
        raise InputError(f"There is no file {readable(path)}: {hint}.")
    with translate_read_errors(path):
        if others and suffix in others:
            return others[suffix](path)
        if suffix == ".parquet":
            return ParquetTable(path)
        if suffix in IPC:
            return IpcTable(path)
        if suffix in EXTENSIONS:
            return CsvTable(path, EXTENSIONS[suffix])
    suffixes = [*dict.fromkeys((*(others or ()), *TABLES))]
    raise InputError(
        f"{readable(path)} is no table of {signal_class.plural}: give a file that ends in "
        f"{', '.join(suffixes[:-1])} or {suffixes[-1]}."
    )


@contextlib.contextmanager
def translate_read_errors(path: Path, form: str | None = None) -> Iterator[None]:
    """Turns errors of reading a file within a `with` block into an `InputError`.

    Arguments:
        path: Path of the file.
        form: The format that the message names; the suffix of the file if None.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # readers raise nearly anything at a broken file
        raise InputError(
            f"{readable(path)} cannot be read as {form or path.suffix.lower() or 'a table'} "
            f"({first_line(error)}): copy or write it again."
        ) from error


class FileTable(Table, ABC):
    """Abstract: a table in a file.

    Arguments:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.left_out = path, readable(path), []

    def digest(self) -> bytes:
        """See `Table.digest`: of its bytes and of how they are read."""
        words = f"{self.path.suffix.lower()} {sha256(self.path)}"
        return hashlib.blake2b(words.encode(), digest_size=16).digest()

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table.batches`."""
        with translate_read_errors(self.path):
            yield from self._batches(list(columns))

    @abstractmethod
    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yields the rows; whatever it raises is told of as a file that cannot be read."""


class ParquetTable(FileTable):
    """A parquet file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with pq.ParquetFile(path, memory_map=True) as file:
            self.schema = file.schema_arrow
            facts = file.metadata
        groups = [facts.row_group(i).total_byte_size for i in range(facts.num_row_groups)]
        if facts.num_rows > 1000 + 1000 * path.stat().st_size:
            raise ValueError(f"it claims {counted(facts.num_rows, 'row')}")
        check_unpacked_size(path, max(groups, default=0))

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self.path, memory_map=True) as file:
            if not columns:
                for number in range(file.metadata.num_row_groups):
                    yield rows_without_columns(file.metadata.row_group(number).num_rows)
                return
            yield from file.iter_batches(ROWS, columns=columns, use_threads=False)


class IpcTable(FileTable):
    """An Arrow IPC file, such as feather or what `Dataset.save_to_disk` writes; memory-mapped."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with pa.memory_map(str(path)) as file:
            self.schema = self._reader(file).schema

    def _reader(self, file: Any) -> Any:
        if file.read(6) == b"ARROW1":
            file.seek(0)
            return pa.ipc.open_file(file)
        file.seek(0)
        return pa.ipc.open_stream(file)

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(self.path)) as file:
            reader = self._reader(file)
            if isinstance(reader, pa.ipc.RecordBatchFileReader):
                found = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                found = iter(reader)
            for batch in found:
                yield batch.select(columns) if columns else rows_without_columns(batch.num_rows)


class CsvTable(FileTable):
    """A CSV file, whose first line has the names of the columns.

    Lines with more or fewer columns than the first are passed over, and noted in `left_out`.

    Arguments:
        path: Path of the file.
        delimiter: Character between columns; semicolons if the first line does not have it.
        missing: Words that stand for a missing value, beside "", NA, N/A, NaN, null and the like.
            `None` also says that the user cannot give such words, so that no message advises it.
        lists: Whether a column of lists that are written as text, such as "[0.5, 1]", is one of
            lists of float32 numbers.
    """

    def __init__(
        self,
        path: Path,
        delimiter: str,
        missing: Sequence[str] | None = None,
        lists: bool = False,
    ) -> None:
        super().__init__(path)
        self.missing = missing
        with path.open("rb") as file:
            head = file.readline(LONGEST_LINE)
        first = head.decode("utf-8-sig").rstrip("\r\n")
        if not first:
            raise ValueError("its first line is empty, where the names of the columns should be")
        if delimiter not in first and ";" in first:
            delimiter = ";"
        self._delimiter = delimiter
        self._names = next(csv.reader([first], delimiter=delimiter))
        self._check_names()
        self._types: dict[str, pa.DataType] = {}
        reader = self._open(None)
        self.schema = reader.schema
        self._lists = self._columns_of_lists(reader) if lists else set()
        # A column of whole numbers may have others further down.
        self._types = {
            field.name: pa.float32() for field in self.schema if pa.types.is_floating(field.type)
        }
        for place, field in enumerate(self.schema):
            if field.name in self._lists:
                self._types[field.name] = pa.string()
                self.schema = self.schema.set(place, field.with_type(LISTS))

    def _columns_of_lists(self, reader: Any) -> set[str]:
        """Returns the columns whose first text is a list of numbers."""
        texts = [field.name for field in self.schema if pa.types.is_string(field.type)]
        batch = next(iter(reader), None) if texts else None
        return {name for name in texts if batch is not None and are_lists(batch.column(name))}

    def _check_names(self) -> None:
        """Raises `InputError` where the first line is a row of numbers already."""
        numbers = [name for name in self._names if is_number(name)]
        counts = [[str(start + i) for i in range(len(numbers))] for start in (0, 1)]
        if len(numbers) > len(self._names) // 2 and numbers not in counts:
            raise InputError(
                f"The first line of {self.name} is numbers ({listed(self._names, 3)}), where the "
                f"names of the columns should be: put a line of names before it, such as id,0,1,2."
            )
        if twice := next((name for name in self._names if self._names.count(name) > 1), None):
            raise InputError(
                f"{self.name} has several columns called {readable(twice)!r}: give each a name of "
                f"its own."
            )

    def _open(self, columns: list[str] | None) -> Any:
        self.left_out = left_out = []

        def pass_over(row: Any) -> str:
            has = counted(row.actual_columns, "column")
            left_out.append((f"line {row.number}", f"{has}, not {row.expected_columns}"))
            return "skip"

        options = pa_csv.ParseOptions(
            delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=pass_over
        )
        return pa_csv.open_csv(
            self.path,
            pa_csv.ReadOptions(block_size=BLOCK, use_threads=False),
            options,
            pa_csv.ConvertOptions(
                include_columns=columns,
                column_types=self._types,
                strings_can_be_null=True,
                null_values=self._null_words(),
            ),
        )

    def _null_words(self) -> list[str]:
        """Returns what stands for a missing value, also behind a space."""
        further = self.missing or ()
        usual = pa_csv.ConvertOptions().null_values
        return [*usual, *further, *(f" {word}" for word in further)]

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._open(columns or self.schema.names[:1]):
                yield self._with_lists(batch)
        except pa.ArrowInvalid as error:
            if (found := re.search(r"invalid value '(.*)'", str(error))) is None:
                raise
            raise InputError(
                f"{self.name} has {readable(found[1])[:40]!r} in line {self._line_of(found[1])}, "
                f"where a number should be: correct it{self.or_missing(found[1])}."
            ) from error

    def _with_lists(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns a batch with lists for the texts that lists are written as."""
        for place, name in enumerate(batch.schema.names):
            if name not in self._lists:
                continue
            try:
                batch = batch.set_column(place, name, parse_lists(batch.column(place)))
            except ValueError as error:
                word, text = error.args
                short = word == "..."
                raise InputError(
                    f"{self.name} has {readable(word)[:40]!r} in the list that ends in line "
                    f"{self._line_of(text)}, where a number should be: "
                    f"{'write the lists in full, not shortened' if short else 'correct it'}."
                ) from error
        return batch

    def _line_of(self, word: str) -> int:
        """Returns the first line that has a word in one of its columns."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = csv.reader(file, delimiter=self._delimiter)
            return next((rows.line_num for row in rows if word in row), 0)

    def or_missing(self, word: str) -> str:
        """Says how a word is taken for a missing value, where there can be one."""
        if self.missing is None:
            return ""
        return f", or if it stands for a missing value, give --data.missing {readable(word)[:40]!r}"

    def read_as(self, types: dict[str, pa.DataType]) -> None:
        """Has columns read as these types, whatever their first lines look like."""
        self._types = {**self._types, **types}


class HubTable(Table):
    """A table of a data set on the Hugging Face hub, loaded by `datasets`.

    Arguments:
        name: What messages call it.
        dataset: The table.
    """

    def __init__(self, name: str, dataset: Dataset) -> None:
        self.name, self.dataset, self.left_out = name, dataset, []
        self.schema = dataset.features.arrow_schema

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table.batches`."""
        if not columns:
            yield rows_without_columns(len(self.dataset))
            return
        chosen = self.dataset.select_columns(list(columns)).with_format("arrow")
        for table in chosen.iter(ROWS):
            yield from table.combine_chunks().to_batches()

    def digest(self) -> bytes:
        """See `Table.digest`: by the fingerprint that `datasets` gives it."""
        words = f"{self.dataset._fingerprint} {len(self.dataset)} {self.schema.names}"
        return hashlib.blake2b(words.encode(), digest_size=16).digest()


def rows_without_columns(n: int) -> pa.RecordBatch:
    """Makes a batch of n rows that has no columns."""
    return pa.RecordBatch.from_arrays([pa.nulls(n)], names=[""])


def is_number(word: str) -> bool:
    """Returns whether a word is one number, also NaN or infinity."""
    try:
        float(word)
    except ValueError:
        return False
    return True
