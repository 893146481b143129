"""Tables of vectors as they are stored, read a batch of rows at a time.

    .parquet                   batches of its row groups
    .arrow, .feather, .ipc     record batches, mapped into memory
    .csv, .tsv                 blocks of lines; the first line has the names of the columns
    .npz                       one array (N, d), and arrays (N,) beside it: each a column
    .npy                       one array (N, d): mapped into memory, the only one never converted
    a data set of the hub      as `datasets` holds it

Each gives batches of pyarrow, an array (N, d) as a column of lists of d. No more than a batch of
rows is in memory at a time, whatever the file holds.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy
from pyarrow import csv as pa_csv

from smalti.counting import counted
from smalti.data.file_tree import is_regular
from smalti.errors import InputError, first_line
from smalti.files import sha256
from smalti.npz import check_claim
from smalti.spelling import listed, readable

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["SUFFIXES", "HubTable", "NpyTable", "Table", "open_table"]

ROWS = 8192  # of a batch
PART = 16 << 20  # bytes of a batch that is read from an .npz
BLOCK = 16 << 20  # bytes of a CSV file that are parsed at a time
LONGEST_LINE = 64 << 20  # bytes
EXTENSIONS = {".csv": ",", ".tsv": "\t"}
IPC = (".arrow", ".feather", ".ipc")
SUFFIXES = (".npy", ".parquet", ".npz", *EXTENSIONS, *IPC)


class Table(ABC):
    """Abstract: one file, or one table of the hub.

    Attributes:
        name: What messages call it.
        schema: Its columns.
        left_out: Name and fault of lines that are no rows, which its batches pass over.
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


def open_table(path: Path) -> Table:
    """Opens a file by its suffix; its rows are read when they are asked for.

    Raises:
        InputError: If it is no table, cannot be read, or holds no rows of numbers.
    """
    suffix = path.suffix.lower()
    if not is_regular(path):
        hint = "give the path of a file" if path.exists() else "check the path"
        raise InputError(f"There is no file {readable(path)}: {hint}.")
    with reading(path):
        if suffix == ".npy":
            return NpyTable(path)
        if suffix == ".npz":
            return NpzTable(path)
        if suffix == ".parquet":
            return ParquetTable(path)
        if suffix in IPC:
            return IpcTable(path)
        if suffix in EXTENSIONS:
            return CsvTable(path, EXTENSIONS[suffix])
    raise InputError(
        f"{readable(path)} is no table of vectors: give a file that ends in "
        f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}."
    )


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns the errors of reading a file into an `InputError` that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # readers raise nearly anything at a broken file
        raise InputError(
            f"{readable(path)} cannot be read as {path.suffix.lower() or 'a table'} "
            f"({first_line(error)}): copy or write it again."
        ) from error


class FileTable(Table, ABC):
    """Abstract: a table in a file.

    Arguments:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.left_out = path, readable(path), []

    def digest(self) -> bytes:
        """See `Table.digest`: of its bytes and of how they are read."""
        words = f"{self.path.suffix.lower()} {sha256(self.path)}"
        return hashlib.blake2b(words.encode(), digest_size=16).digest()

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `Table.batches`."""
        with reading(self.path):
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
        check_claim(path, max(groups, default=0))

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self.path, memory_map=True) as file:
            if not columns:
                for number in range(file.metadata.num_row_groups):
                    yield _empty(file.metadata.row_group(number).num_rows)
                return
            yield from file.iter_batches(ROWS, columns=columns, use_threads=False)


class IpcTable(FileTable):
    """A file in Arrow's own format, as of `Dataset.save_to_disk` and of feather: mapped."""

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
                yield batch.select(columns) if columns else _empty(batch.num_rows)


class CsvTable(FileTable):
    """A text file of columns, whose first line has their names.

    Lines with more or fewer columns than the first are passed over, and noted in `left_out`.

    Arguments:
        path: Of the file.
        delimiter: Between columns; where the first line has none of it, semicolons are.
    """

    def __init__(self, path: Path, delimiter: str) -> None:
        super().__init__(path)
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
        self.schema = self._open(None).schema
        # A column of whole numbers may have others further down.
        self._types = {
            field.name: pa.float32() for field in self.schema if pa.types.is_floating(field.type)
        }

    def _check_names(self) -> None:
        """Raises `InputError` where the first line is a row of numbers already."""
        numbers = [name for name in self._names if _is_number(name)]
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
                include_columns=columns, column_types=self._types, strings_can_be_null=True
            ),
        )

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self._open(columns or self.schema.names[:1])

    def read_as(self, types: dict[str, pa.DataType]) -> None:
        """Has columns read as these types, whatever their first lines look like."""
        self._types = {**self._types, **types}


class NpzTable(FileTable):
    """Arrays of one length in an .npz: (N, d) is a column of lists, (N,) one of values."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.shapes: dict[str, tuple[int, ...]] = {}
        fields, claimed = [], 0
        with ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as content:
                    shape, fortran, dtype = _header(content, name)
                    size = member.file_size - content.tell()
                if math.prod(shape) * dtype.itemsize != size:
                    raise ValueError(f"{name} is cut off")
                if fortran and len(shape) > 1 and 1 not in shape:
                    raise ValueError(f"{name} is stored by columns: store np.ascontiguousarray")
                claimed += member.file_size
                if len(shape) in (1, 2):
                    self.shapes[name] = shape
                    fields.append(pa.field(name, _type(dtype, shape)))
        check_claim(path, claimed)
        self.schema = pa.schema(fields)
        self._check_lengths()

    def _check_lengths(self) -> None:
        lengths = {name: shape[0] for name, shape in self.shapes.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{readable(name)} {n}" for name, n in list(lengths.items())[:6])
            raise InputError(
                f"The arrays of {self.name} have several lengths ({found}): each is a column, with "
                f"a value or a vector for every row."
            )

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        n = next(iter(self.shapes.values()))[0] if self.shapes else 0
        if not columns:
            yield _empty(n)
            return
        with contextlib.ExitStack() as stack:
            archive = stack.enter_context(ZipFile(self.path))
            streams, dtypes = [], []
            for name in columns:
                streams.append(stack.enter_context(archive.open(f"{name}.npy")))
                dtypes.append(_header(streams[-1], name)[2])
            widest = max(
                dtype.itemsize * math.prod(self.shapes[name][1:])
                for dtype, name in zip(dtypes, columns, strict=True)
            )
            rows = max(1, PART // max(1, widest))
            for start in range(0, n, rows):
                count = min(rows, n - start)
                arrays = [
                    _column(_read(stream, dtype, (count, *self.shapes[name][1:])))
                    for stream, dtype, name in zip(streams, dtypes, columns, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=columns)


class NpyTable(FileTable):
    """One array (N, d) in an .npy file, mapped into memory.

    Attributes:
        values: The array.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with path.open("rb") as content:
            _header(content, "the array")
        self.values = np.load(path, mmap_mode="r", allow_pickle=False)
        if self.values.ndim == 1 and self.values.size:
            self.values = self.values[None]
        if self.values.ndim != 2:
            raise InputError(
                f"{self.name} holds an array of the shape {self.values.shape}: vectors are rows of "
                f"one of the shape (N, d)."
            )
        dtype, shape = self.values.dtype, self.values.shape
        self.schema = pa.schema([pa.field("embedding", _type(dtype, shape))])

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(self.values), ROWS):
            part = self.values[start : start + ROWS]
            arrays = [_column(np.ascontiguousarray(part))] if columns else []
            yield (
                pa.RecordBatch.from_arrays(arrays, names=columns) if columns else _empty(len(part))
            )


class HubTable(Table):
    """A table as `datasets` holds it.

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
            yield _empty(len(self.dataset))
            return
        chosen = self.dataset.select_columns(list(columns)).with_format("arrow")
        for table in chosen.iter(ROWS):
            yield from table.combine_chunks().to_batches()

    def digest(self) -> bytes:
        """See `Table.digest`: by the fingerprint that `datasets` gives it."""
        words = f"{self.dataset._fingerprint} {len(self.dataset)} {self.schema.names}"
        return hashlib.blake2b(words.encode(), digest_size=16).digest()


def _empty(n: int) -> pa.RecordBatch:
    """Returns a batch of n rows that says nothing but their number."""
    return pa.RecordBatch.from_arrays([pa.nulls(n)], names=[""])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _header(content: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the head of an .npy: shape, whether it is stored by columns, type."""
    version = npy.read_magic(content)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(content)
    if dtype.hasobject:
        raise ValueError(f"{readable(name)} holds Python objects, which are not read")
    return shape, fortran, dtype


def _type(dtype: np.dtype, shape: tuple[int, ...]) -> pa.DataType:
    """Returns the type of a column of an array (N,) or (N, d)."""
    try:
        kind = pa.string() if dtype.kind in "US" else pa.from_numpy_dtype(dtype.newbyteorder("="))
    except pa.ArrowNotImplementedError:
        kind = pa.null()  # nothing that vectors, ids or categories are made of
    return kind if len(shape) == 1 else pa.list_(kind, shape[1])


def _read(stream: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    wanted = math.prod(shape) * dtype.itemsize
    content = stream.read(wanted)
    if len(content) < wanted:
        raise ValueError("it is cut off")
    return np.frombuffer(content, dtype).reshape(shape)


def _column(array: np.ndarray) -> pa.Array:
    """Makes a column of an array (n,) or (n, d)."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "backslashreplace")
    if array.ndim == 1:
        return pa.array(array.tolist() if array.dtype.kind == "U" else array)
    flat = pa.array(array.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
