"""The rows of one split of vectors, with their names, labels and categories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smalti.counting import counted
from smalti.data.items import Category
from smalti.data.rows import LabelColumn, Rows, UndecodedExample
from smalti.data.tables import CsvTable, Table, translate_read_errors
from smalti.errors import InputError
from smalti.modalities.vector.columns import ChosenColumns, class_names
from smalti.modalities.vector.tables import NpyTable
from smalti.name_array import NameArray
from smalti.spelling import label_name, readable

__all__ = ["ALL_ZERO", "NOT_FINITE", "RowFacts", "VectorRows", "describe_fault"]

MOST_VALUES = 1000  # different values of a column that is a category without being named one
FEWEST_EACH = 5  # rows with the same value, on average, of such a column
FAULTS = ("", "a value is not finite", "all zero", "another length", "missing")
NOT_FINITE, ALL_ZERO, OTHER_LENGTH, MISSING = range(1, len(FAULTS))


class RowFacts(NamedTuple):
    """The columns of N rows beside their vectors: names, labels and categories.

    Attributes:
        n: N, the number of rows.
        names: Names of the items: their ids, or the numbers of their rows.
        label: The column of labels; None if there is none.
        categories: The columns of categories by their names.
    """

    n: int
    names: NameArray

    label: LabelColumn | None
    categories: dict[str, Category]


class VectorRows(Rows):
    """Rows of one split of vectors, from one or several tables with the same columns.

    Arguments:
        tables: The tables, at least one.
        columns: The columns that hold vectors, ids, labels and categories.
        prefix: Text before the row numbers that name items without ids.

    Raises:
        InputError: If a table has other columns than the first, or no rows.
    """

    def __init__(self, tables: Sequence[Table], columns: ChosenColumns, prefix: str = "") -> None:
        self.tables, self.columns, self._prefix = tables, columns, prefix
        for table in tables:
            _check_alike(table, tables[0], columns)
            if isinstance(table, CsvTable):
                words = [name for name in (columns.id,) if name is not None]
                if not columns.in_lists:
                    table.read_as({name: pa.float32() for name in columns.embedding})
                table.read_as(dict.fromkeys(words, pa.string()))
        self.facts = self._read_facts()
        self.left_out = [
            (f"{fault[0]} of {table.name}", fault[1])
            for table in tables
            for fault in table.left_out
        ]
        self.dim = self._dim()

    def __len__(self) -> int:
        return self.facts.n

    def labels(self) -> LabelColumn | None:
        return self.facts.label

    def stored(self) -> Iterator[UndecodedExample]:
        """See `Rows.stored`: each vector (d,), float32."""
        names = iter(self.facts.names)
        for values, _ in self.vectors():
            yield from (UndecodedExample(next(names), value) for value in values)

    def titles(self, rows: Sequence[int]) -> list[str]:
        """Reads what the items of these rows are called in words."""
        title, wanted = self.columns.title, np.unique(np.asarray(rows, dtype=np.int64))
        if title is None or not all(title in table.schema.names for table in self.tables):
            return [self.facts.names[row] for row in rows]
        found: dict[int, str] = {}
        start = 0
        for table in self.tables:
            for batch in table.batches([title]):
                inside = wanted[(wanted >= start) & (wanted < start + batch.num_rows)]
                words = batch.column(0).take(pa.array(inside - start)).to_pylist()
                found |= zip(inside.tolist(), words, strict=True)
                start += batch.num_rows
        return [found[row] or self.facts.names[row] for row in rows]

    @property
    def mapped(self) -> np.ndarray | None:
        """Returns the vectors (N, d) where they lie in one file as they are, else `None`."""
        table = self.tables[0]
        whole = len(self.tables) == 1 and isinstance(table, NpyTable)
        return table.values if whole and isinstance(table, NpyTable) else None

    def vectors(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields all vectors in order: (n, d), float32, and the number of each one's fault (n,).

        A vector that is missing, or is not as long as most, is zeros.
        """
        for table in self.tables:
            for batch in table.batches(self.columns.embedding):
                if batch.num_rows:
                    yield self._vectors(batch)

    def _vectors(self, batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        if self.columns.in_lists:
            values, faults = _of_lists(batch.column(0), self.dim)
        else:
            with np.errstate(over="ignore"):
                values = np.stack([_numbers(column) for column in batch.columns], axis=1)
            faults = np.zeros(len(values), dtype=np.uint8)
        finite, zero = np.isfinite(values).all(axis=1), ~values.any(axis=1)
        faults[(faults == 0) & ~finite] = NOT_FINITE
        faults[(faults == 0) & zero] = ALL_ZERO
        return values, faults

    def _dim(self) -> int:
        """Returns d: how many numbers most of the first vectors have."""
        if not self.columns.in_lists:
            return len(self.columns.embedding)
        for table in self.tables:
            for batch in table.batches(self.columns.embedding):
                kind = batch.column(0).type
                if pa.types.is_fixed_size_list(kind):
                    return kind.list_size
                lengths = pc.list_value_length(batch.column(0)).drop_null().to_numpy()
                if len(lengths):
                    found, times = np.unique(lengths, return_counts=True)
                    return int(found[times.argmax()])
        raise InputError(
            f"The embedding column {readable(self.columns.embedding[0])} of {self.tables[0].name} "
            f"is empty: give vectors."
        )

    def _read_facts(self) -> RowFacts:
        chosen = self.columns
        everywhere = set.intersection(*(set(table.schema.names) for table in self.tables))
        counters = {
            name: _Counter(class_names(self.tables[0].schema, name), chosen.named)
            for name in chosen.categories
            if name in everywhere
        }
        names: list[NameArray] = []
        labels: list[Any] = []
        n = 0
        for table in self.tables:
            first, wanted = n, [name for name in (chosen.id, chosen.label) if name is not None]
            for batch in table.batches([*wanted, *counters]):
                n += batch.num_rows
                if chosen.id is not None:
                    names.append(self._ids(batch, table, n - batch.num_rows - first))
                if chosen.label is not None:
                    labels += batch.column(chosen.label).to_pylist()
                for name in list(counters):
                    if not counters[name].take(batch.column(name)):
                        del counters[name]
            if n == first:
                raise InputError(f"{table.name} has no rows: give one with vectors.")
            if chosen.id is None:
                several = f"{readable(table.name.rpartition('/')[2])}:" if self.tables[1:] else ""
                names.append(NameArray.numbered(n - first, f"{self._prefix}{several}"))
        categories = {name: counter.category() for name, counter in counters.items()}
        found = {name: category for name, category in categories.items() if category is not None}
        return RowFacts(n, NameArray.joined(names), self._label(labels), found)

    def _ids(self, batch: pa.RecordBatch, table: Table, start: int) -> NameArray:
        """Returns the ids of a batch that begins with this row of a table.

        Raises:
            InputError: If one is missing, or is no text.
        """
        column = batch.column(self.columns.id)
        if column.null_count:
            row = start + pc.index(column.is_null(), True).as_py()
            raise InputError(
                f"The id column {self.columns.id!r} of {table.name} has no value in row {row}: "
                f"fill it in, or name another column with --data.id."
            )
        with translate_read_errors(Path(table.name)):
            ids = column.cast(pa.large_string())
            ids.validate(full=True)
        return NameArray(ids)

    def _label(self, values: list[Any]) -> LabelColumn | None:
        name = self.columns.label
        if name is None or all(value is None for value in values):
            return None
        if None in values:
            raise InputError(
                f"The label column {name!r} of {self.tables[0].name} has no value in row "
                f"{values.index(None)}: fill it in, or name another column with --data.label."
            )
        return LabelColumn(values, class_names(self.tables[0].schema, name))


class _Counter:
    """Counts the values of a column that may be a category.

    Arguments:
        names: What its numbers stand for, where they stand for something.
        named: Whether the user says that it is one, whatever its values.
    """

    def __init__(self, names: tuple[str, ...] | None, named: bool) -> None:
        self.names, self.named = dict(enumerate(names or ())), named
        self.numbers: dict[Any, int] = {}
        self.codes: list[np.ndarray] = []

    def take(self, values: pa.Array) -> bool:
        """Takes in the next values; returns whether it may still be one."""
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        words = values.dictionary.to_pylist()
        numbers = np.array([self.numbers.setdefault(word, len(self.numbers)) for word in words])
        found = values.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        numbers = np.append(numbers, -1).astype(np.int32)  # at the end, where -1 leads
        self.codes.append(numbers[found])
        return self.named or len(self.numbers) <= MOST_VALUES

    def category(self) -> Category | None:
        """Returns the category; `None` if it is none after all."""
        codes = np.concatenate(self.codes)
        if len(self.numbers) < 2:
            return None
        if not self.named and len(self.numbers) * FEWEST_EACH > len(codes):
            return None
        names = tuple(label_name(str(self.names.get(word, word))) for word in self.numbers)
        return Category(codes, names)


def describe_fault(number: int, dim: int) -> str:
    """Describes in words the fault of a vector, by its index in `FAULTS`."""
    return f"another length than {dim}" if number == OTHER_LENGTH else FAULTS[number]


def _of_lists(column: pa.Array, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vectors of a column of lists (n, d), and the faults (n,)."""
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    right = lengths == dim
    kept = column if right.all() else column.filter(pa.array(right))
    numbers = _numbers(kept.flatten()).reshape(-1, dim)
    if right.all():
        return numbers, np.zeros(len(numbers), dtype=np.uint8)
    values = np.zeros((len(column), dim), dtype=np.float32)
    values[right] = numbers
    return values, np.where(right, 0, np.where(lengths < 0, MISSING, OTHER_LENGTH)).astype(np.uint8)


def _numbers(column: pa.Array) -> np.ndarray:
    """Returns numbers as float32; what is missing, or too large for it, is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return column.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)


def _check_alike(table: Table, first: Table, columns: ChosenColumns) -> None:
    """Raises `InputError` where a table has not the columns of the first."""
    wanted = [*columns.embedding, columns.id, columns.label]
    wanted += columns.categories if columns.named else []
    missing = [name for name in wanted if name is not None and name not in table.schema.names]
    if missing:
        named = ", ".join(map(readable, missing[:3]))
        raise InputError(
            f"{table.name} has no {named}, which {first.name} has "
            f"({counted(len(missing), 'column')}): write all files of a data set alike."
        )
