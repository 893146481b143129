"""The table of the IDs of all items of a data set, and its file `ids.parquet`.

A row is an item:

    item_id     its name, text
    id          its ID as text: <a_3><b_9><c_1>
    codes       its ID: a list of L integers
    own         the codes that the tokenizer gave it: a list of Q integers
    resolved    whether its ID is another than its own codes alone would make

The metadata of the file (`smalti_ids`) hold the codebook sizes, how collisions were resolved, the
checksums of what the IDs were made from, the tokenizer's among them, the beams that codes were
searched with where these are not the tokenizer's own, and a checksum of the rows: IDs that were
edited, or are of another tokenizer, are noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smalti.counting import counted
from smalti.errors import InputError
from smalti.files import atomic_file, check_regular_file
from smalti.ids.close_names import close_names
from smalti.ids.nearest_free import CodeSpace
from smalti.ids.prefix_tree import PrefixTree, check_codebook_sizes, check_codes
from smalti.ids.resolving import GivenIds, check_collisions, resolve_collisions
from smalti.ids.words import id_strings
from smalti.memory import give_back
from smalti.npz import DAMAGED, check_unpacked_size
from smalti.outputs import KEY, MARK, check_file, write_rows
from smalti.spelling import as_text, listed, readable

__all__ = ["IdTable", "holds_ids"]

FACTS = b"smalti_ids"
FORMAT = 1
COLUMNS = ("item_id", "id", "codes", "own", "resolved")
BROKEN = (*DAMAGED, pa.ArrowException)
MANY = 100_000  # names


@dataclass(frozen=True, eq=False)
class IdTable:
    """The table of the IDs of N items; `IdTable.of` makes it from the codes of a tokenizer.

    Arguments:
        item_ids: The name of each item, (N,), all different.
        own: (N, Q), the codes that the tokenizer gave each item.
        codes: (N, L), the codes of the IDs.
        codebook_sizes: K of each of the L levels of the IDs.
        collisions: How collisions were resolved: "index", "nearest" or "none".
        made_from: Checksums of the inputs of the IDs, by name.
        beams: The beam widths with which codes of some items were searched, where they differ from
            the tokenizer's own.

    Raises:
        InputError: If an item comes twice, or the codes are no such tables.

    Example:
        >>> table = IdTable.of(["cup", "mug", "hat"], [[3, 1], [3, 1], [0, 2]], (4, 4))
        >>> table.strings.to_pylist()
        ['<a_3><b_1><c_0>', '<a_3><b_1><c_1>', '<a_0><b_2><c_0>']
        >>> table.codes[table.row("mug")].tolist(), table.items([3, 1])
        ([3, 1, 1], ['cup', 'mug'])
    """

    item_ids: pa.Array
    own: np.ndarray
    codes: np.ndarray
    codebook_sizes: tuple[int, ...]
    collisions: str = "none"
    made_from: Mapping[str, str] = field(default_factory=dict)
    beams: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_collisions(self.collisions)
        sizes = check_codebook_sizes(self.codebook_sizes)
        names = _names(self.item_ids)
        codes = check_codes(self.codes, sizes)
        own_sizes = sizes[:-1] if self.collisions == "index" else sizes
        if not own_sizes:
            raise InputError("IDs with a further code have two levels or more, got one: give both.")
        own = check_codes(self.own, own_sizes)
        if not len(names) == len(own) == len(codes):
            raise InputError(
                f"A table has an ID for each item, got {counted(len(names), 'item')} and "
                f"{counted(len(own), 'row')} of codes: give as many of both."
            )
        for name, value in (("item_ids", names), ("own", own), ("codes", codes)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "codebook_sizes", sizes)
        _check_different(names)

    @classmethod
    def of(
        cls,
        item_ids: Sequence[Any] | pa.Array,
        own: Any,
        codebook_sizes: Sequence[int],
        collisions: str = "index",
        *,
        space: CodeSpace | None = None,
        made_from: Mapping[str, str] | None = None,
    ) -> IdTable:
        """Makes the table from the codes of items: gives each an ID, and resolves collisions.

        Arguments:
            item_ids: Their names, all different.
            own: (N, Q), the codes that a tokenizer gives them.
            codebook_sizes: K of each of the Q levels.
            collisions: What makes IDs of items with equal codes differ: "index" adds a further
                code, "nearest" takes the nearest free codes, "none" leaves them equal.
            space: Maps codes and items to vectors, for "nearest".
            made_from: Checksums of what the codes were made from, by name.

        Raises:
            InputError: If codes or `collisions` are not such, there are too few IDs, or an item
                comes twice.
        """
        names = _names(item_ids)
        _check_different(names)
        own = check_codes(own, check_codebook_sizes(codebook_sizes))
        codes, sizes = resolve_collisions(own, codebook_sizes, collisions, space=space)
        return cls(names, own, codes, sizes, collisions, dict(made_from or {}))

    def extended(
        self,
        item_ids: Sequence[Any] | pa.Array,
        own: Any,
        *,
        space: CodeSpace | None = None,
        made_from: Mapping[str, str] | None = None,
        beam: int | None = None,
    ) -> IdTable:
        """Returns the table with further items below; the IDs that are there do not change.

        An item that has an ID keeps it, and is not added again.

        Arguments:
            item_ids: Their names.
            own: (M, Q), the codes that the same tokenizer gives them.
            space: Maps codes and the M items to vectors, for "nearest".
            made_from: Checksums in the place of those that the table has.
            beam: What the codes were searched with, if it is not the tokenizer's own.

        Raises:
            InputError: See `of`.
        """
        names = _names(item_ids)
        _check_different(names)
        sizes = self.own_sizes
        own = check_codes(own, sizes)
        if len(names) != len(own):
            raise InputError(
                f"A table has an ID for each item, got {counted(len(names), 'item')} and "
                f"{counted(len(own), 'row')} of codes: give as many of both."
            )
        new = np.flatnonzero(pc.invert(pc.is_in(names, value_set=self.item_ids)).to_numpy(False))
        codes, codebook_sizes = resolve_collisions(
            own[new],
            sizes,
            self.collisions,
            given=GivenIds(self.own, self.codes),
            space=None if space is None else space.of(new),
            min_index_size=self.codebook_sizes[-1],
        )
        return IdTable(
            pa.concat_arrays([self.item_ids, names.take(pa.array(new))]),
            np.concatenate([self.own, own[new]]),
            np.concatenate([self.codes, codes]),
            codebook_sizes,
            self.collisions,
            dict(self.made_from if made_from is None else made_from),
            tuple(sorted({*self.beams, beam})) if beam is not None and len(new) else self.beams,
        )

    def __len__(self) -> int:
        """Returns N."""
        return len(self.item_ids)

    @property
    def own_sizes(self) -> tuple[int, ...]:
        """Returns K of each of the Q levels of the tokenizer: all levels but a further one."""
        return self.codebook_sizes[:-1] if self.collisions == "index" else self.codebook_sizes

    @property
    def decodable(self) -> np.ndarray:
        """Returns the codes of the IDs that a tokenizer decodes, (N, Q): all but a further one."""
        return self.codes[:, : len(self.own_sizes)]

    @cached_property
    def resolved(self) -> np.ndarray:
        """Returns of which items the ID is another than their own codes alone would make, (N,)."""
        if self.collisions == "index":
            return self.codes[:, -1] > 0
        return (self.codes != self.own).any(axis=1)

    @cached_property
    def strings(self) -> pa.Array:
        """Returns the IDs as text, (N,)."""
        return id_strings(self.codes, self.codebook_sizes)

    @cached_property
    def tree(self) -> PrefixTree:
        """Returns the prefixes of the IDs."""
        return PrefixTree(self.codes, self.codebook_sizes)

    def row(self, item_id: Any) -> int:
        """Returns the row of an item in the table.

        Raises:
            InputError: If no item has this name; the message offers the nearest names.
        """
        name = str(item_id)
        if (row := self.find(name)) is not None:
            return row
        near = close_names(name, self.item_ids)
        mend = f"the nearest names are {listed(near, 3)}" if near else "check the name"
        raise InputError(
            f"There is no item {readable(name)!r} among {counted(len(self), 'item')}: {mend}."
        )

    def find(self, item_id: Any) -> int | None:
        """Returns the row of an item; `None` if no item has this name."""
        row = pc.index(self.item_ids, pa.scalar(as_text(str(item_id)), self.item_ids.type)).as_py()
        return None if row < 0 else int(row)

    def items(self, prefix: Sequence[int]) -> list[str]:
        """Lists the names of the items whose IDs begin with a prefix, in the order of the IDs.

        Raises:
            InputError: If no ID begins with the prefix.
        """
        return self.item_ids.take(pa.array(self.tree.rows(prefix))).to_pylist()

    def to_arrow(self) -> pa.Table:
        """Returns the table as it is written, without its metadata."""
        return self._part(slice(0, len(self)))

    def _part(self, rows: slice) -> pa.Table:
        """Returns some rows of the table as it is written, without its metadata."""
        return pa.table(
            {
                "item_id": self.item_ids[rows],
                "id": id_strings(self.codes[rows], self.codebook_sizes),
                "codes": _lists(self.codes[rows]),
                "own": _lists(self.own[rows]),
                "resolved": pa.array(self.resolved[rows]),
            }
        )

    def write(self, path: str | Path, overwrite: bool = False) -> None:
        """Writes the table to a .parquet file, whole or not at all.

        Raises:
            InputError: If the name ends otherwise, or a file that smalti did not write would be
                replaced without `overwrite`.
        """
        path = Path(path)
        if path.suffix != ".parquet":
            raise InputError(
                f"IDs are written as .parquet, got {path.name}: name it {path.stem}.parquet."
            )
        check_file(path, overwrite)
        facts = {
            "format": FORMAT,
            "codebook_sizes": list(self.codebook_sizes),
            "collisions": self.collisions,
            "made_from": dict(self.made_from),
            **({"beams": list(self.beams)} if self.beams else {}),
            "rows": self._checksum(),
        }
        metadata = {KEY: MARK, FACTS: json.dumps(facts)}

        def part(rows: slice) -> pa.Table:
            return self._part(rows).replace_schema_metadata(metadata)

        with atomic_file(path) as temporary:
            write_rows(temporary, len(self), part, compression="zstd")

    @classmethod
    def read(cls, path: str | Path) -> IdTable:
        """Reads what `write` wrote.

        Raises:
            InputError: If the file is missing, or is another, damaged or edited.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"There is no file {path}: give the ids.parquet of a run.")
        try:
            facts, table = _read(path)
            made = cls(
                table["item_id"].combine_chunks(),
                _matrix(table["own"]),
                _matrix(table["codes"]),
                tuple(facts["codebook_sizes"]),
                facts["collisions"],
                {str(name): str(text) for name, text in facts["made_from"].items()},
                tuple(map(int, facts.get("beams", []))),
            )
            if made._checksum() != facts["rows"]:
                raise ValueError("its rows were edited: their checksum differs")
        except (*BROKEN, InputError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"{path} holds no whole IDs ({reason}): give one that smalti wrote, as it was "
                f"written."
            ) from error
        return made

    def _checksum(self) -> str:
        """Returns the SHA-256 of names and codes."""
        digest = hashlib.sha256(repr((self.own.shape, self.codes.shape)).encode())
        for part in (self.own, self.codes):
            digest.update(np.ascontiguousarray(part, "<i4").tobytes())
        lengths = pc.binary_length(self.item_ids).to_numpy(zero_copy_only=False)
        digest.update(lengths.astype("<i8").tobytes())
        for start in range(0, len(self), 1 << 16):
            digest.update("".join(self.item_ids[start : start + (1 << 16)].to_pylist()).encode())
        return digest.hexdigest()


def holds_ids(path: str | Path) -> bool:
    """Tells whether a file is a table of IDs, be it as it was written or not."""
    path = Path(path)
    try:
        check_regular_file(path)
        schema = pq.read_schema(path) if path.suffix == ".parquet" else pa.schema([])
    except (*BROKEN, OSError, InputError):
        return False
    return FACTS in (schema.metadata or {}) or set(COLUMNS) <= set(schema.names)


def _names(item_ids: Sequence[Any] | pa.Array) -> pa.Array:
    """Returns names as one array of text."""
    if isinstance(item_ids, pa.ChunkedArray):
        item_ids = item_ids.combine_chunks()
    if not isinstance(item_ids, pa.Array):
        values = item_ids.tolist() if isinstance(item_ids, np.ndarray) else item_ids
        item_ids = pa.array([None if v is None else as_text(str(v)) for v in values], pa.string())
    if item_ids.null_count:
        row = pc.index(item_ids.is_null(), True).as_py()
        raise InputError(f"The item of row {row} has no ID column value: give each item a name.")
    return item_ids.cast(pa.large_string())


def _check_different(names: pa.Array) -> None:
    """Raises `InputError` if an item comes twice."""
    different = pc.count_distinct(names).as_py()
    if len(names) > MANY:  # then it takes as much as all else of a table
        give_back()
    if different == len(names):
        return
    counts = pc.value_counts(names)
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1)).to_pylist()
    rows = [row for row, name in enumerate(names.to_pylist()) if name == twice[0]]
    raise InputError(
        f"Each item has one ID, got {counted(len(twice), 'item')} more than once "
        f"({listed(twice, 3)}; the first in rows {listed(list(map(str, rows)), 4)}): give each a "
        f"name of its own."
    )


def _lists(codes: np.ndarray) -> pa.Array:
    """Returns codes (N, L) as lists."""
    n, length = codes.shape
    offsets, flat = np.arange(n + 1) * length, pa.array(codes.ravel())
    if n * length < 2**31:
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), flat)
    return pa.LargeListArray.from_arrays(pa.array(offsets), flat)


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Returns lists of one length as (N, L); raises `ValueError` for others."""
    listed_type = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not listed_type or not pa.types.is_integer(column.type.value_type):
        raise ValueError(f"codes are of the type {column.type}, not lists of integers")
    lengths = pc.list_value_length(column).to_numpy()
    if column.null_count or len(set(np.unique(lengths).tolist())) > 1:
        raise ValueError("its IDs have several lengths")
    flat = pc.list_flatten(column)
    if flat.null_count:
        raise ValueError("some of its codes are missing")
    return flat.to_numpy().reshape(len(column), -1)


def _read(path: Path) -> tuple[dict[str, Any], pa.Table]:
    """Reads metadata and columns; raises any of the exceptions `BROKEN` if it has no IDs."""
    if path.suffix != ".parquet":
        raise ValueError(f"it ends in {path.suffix or 'nothing'}, not .parquet")
    check_regular_file(path)
    with path.open("rb") as file, pq.ParquetFile(file) as parquet:
        metadata = parquet.schema_arrow.metadata or {}
        names = parquet.schema_arrow.names
        if FACTS not in metadata:
            raise ValueError(f"it says nothing of IDs, its columns are {listed(names, 6)}")
        facts = json.loads(metadata[FACTS])
        if facts["format"] != FORMAT:
            raise ValueError(f"it is of format {facts['format']}, and {FORMAT} is known here")
        if missing := [name for name in COLUMNS if names.count(name) != 1]:
            raise ValueError(f"the column {missing[0]} is missing")
        known = parquet.metadata
        parts = (known.row_group(n) for n in range(known.num_row_groups))
        values = sum(part.column(n).num_values for part in parts for n in range(part.num_columns))
        check_unpacked_size(path, 8 * max(values, known.num_rows))
        return facts, parquet.read(columns=["item_id", "codes", "own"])
