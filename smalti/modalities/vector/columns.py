"""Chooses the columns of a table that hold vectors, ids, labels, categories and titles.

The vectors are one column of lists of numbers, or many columns of numbers. They are found by
themselves where there is one way to read the table:

    one column of lists of floating-point numbers                       that column
    several, of which one is called embedding                           that column
    no such column, but numbered ones: e0, e1, …; dim_1, dim_2, …       these
    none of both, but columns of floating-point numbers                 all of these

Else one line lists the columns and asks for `embedding`: a name, several, or a pattern (`pca_*`).
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from smalti.data.tables import Table, is_number
from smalti.errors import InputError
from smalti.spelling import listed, readable

__all__ = ["ChosenColumns", "choose_columns", "class_names", "is_category"]

NAMED = 12  # columns that a message lists
EMBEDDING = ("embedding", "embeddings", "vector", "emb")
IDS = ("item_id", "id", "item", "ids", "key", "uuid", "__index_level_0__")
TITLES = ("title", "name", "text", "caption", "description")
LABEL = "label"
NUMBERED = re.compile(r"(.*?)(\d+)")
LIST_AS_TEXT = re.compile(r"\s*\[\s*[-+.\d]")


class ChosenColumns(NamedTuple):
    """The columns of a table that were chosen for vectors, ids, labels, categories and titles.

    Attributes:
        embedding: The columns of the vectors: one of lists, or several of numbers, in order.
        in_lists: Whether it is one column of lists.
        id: The column of the names of items; `None` if they are named by their rows.
        label: The column of labels; `None` if there is none.
        categories: The columns that may be categories; their values decide which are.
        named: Whether the user named the categories.
        title: The column of the titles that reports show; `None` if they show names.
    """

    embedding: tuple[str, ...]
    in_lists: bool
    id: str | None
    label: str | None
    categories: tuple[str, ...]
    named: bool
    title: str | None


def choose_columns(  # noqa: PLR0913 - what a user may name
    table: Table,
    embedding: str | Sequence[str] | None = None,
    id: str | None = None,
    label: str | None = None,
    categories: Sequence[str] | None = None,
    title: str | None = None,
) -> ChosenColumns:
    """Chooses the columns of a table that hold vectors, names, labels and categories.

    Arguments:
        table: The table; its rows are read only to say what is wrong.
        embedding: Columns of the vectors; found if not given.
        id: Column of the names of items; found if not given.
        label: Column of the labels; if not given the one called "label", or none.
        categories: Columns of categories; found if not given.
        title: Column of what reports show of an item; found if not given.

    Raises:
        InputError: If a column is missing or has another type, or the choice is ambiguous.
    """
    schema, where = table.schema, table.name
    for name in (id, label, title, *(categories or ())):
        if name is not None and name not in schema.names:
            raise InputError(f"There is no column {name!r} in {where}, {_of(schema)}: name one.")
    taken = {name for name in (id, label, title, *(categories or ())) if name is not None}
    vectors = _asked(schema, where, embedding) if embedding else _found(table, taken)
    in_lists = _is_list(schema.field(vectors[0]).type)
    _check_numbers(table, vectors)
    free = [name for name in schema.names if name not in vectors]
    if id is None:
        known = {name.lower(): name for name in reversed(free)}
        named = (known[word] for word in IDS if word in known)
        id = next((name for name in named if _names(schema.field(name).type)), None)
    elif not _names(schema.field(id).type):
        raise InputError(
            f"The id column {id!r} of {where} holds {schema.field(id).type}: ids are words or "
            f"whole numbers. Name another column."
        )
    if label is None and LABEL in free and LABEL != id and is_category(schema.field(LABEL).type):
        label = LABEL
    given = categories is not None
    if categories is None:
        others = [name for name in free if name != id]
        categories = [name for name in others if is_category(schema.field(name).type)]
    for name in (*([label] if label else ()), *categories):
        if not is_category(schema.field(name).type):
            raise InputError(
                f"The column {name!r} of {where} holds {schema.field(name).type}: labels and "
                f"categories are words or whole numbers. Name another column."
            )
    if title is None:
        known = {name.lower(): name for name in reversed(free) if _words(schema.field(name).type)}
        title = next((known[word] for word in TITLES if word in known), None)
    return ChosenColumns(tuple(vectors), in_lists, id, label, tuple(categories), given, title)


def is_category(kind: pa.DataType) -> bool:
    """Returns whether a type may hold categories: words, whole numbers or booleans."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return _names(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)


def class_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """Returns the names of a column's numbered classes, if Hugging Face's metadata have them."""
    try:
        known = json.loads((schema.metadata or {}).get(b"huggingface", b"null"))
        feature = known["info"]["features"][column]
        if feature["_type"] == "ClassLabel":
            return tuple(str(name) for name in feature["names"])
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return None


def _asked(schema: pa.Schema, where: str, asked: str | Sequence[str]) -> list[str]:
    """Returns the columns that the user names."""
    names = [asked] if isinstance(asked, str) else list(asked)
    found: list[str] = []
    for name in names:
        if name in schema.names:
            found.append(name)
        elif matches := fnmatch.filter(schema.names, name):
            found += matches
        else:
            raise InputError(
                f"There is no embedding column {name!r} in {where}, {_of(schema)}: name one with "
                f"--data.embedding."
            )
    lists = [name for name in found if _is_list(schema.field(name).type)]
    if lists and len(found) > 1:
        raise InputError(
            f"The embedding is one column of lists, or several of numbers, got "
            f"{listed(found, NAMED)} of {where}, of which {lists[0]} holds lists: name it alone."
        )
    return found


def _found(table: Table, taken: set[str]) -> list[str]:
    """Finds the columns of the vectors, where there is one way."""
    schema, where = table.schema, table.name
    if len(schema) == 1 and _is_list(kind := schema.types[0]) and _is_number(kind.value_type):
        return schema.names
    free = [field for field in schema if field.name not in taken]
    lists = [f.name for f in free if _is_list(f.type) and _floats(f.type.value_type)]
    if len(lists) > 1:
        known = [name for word in EMBEDDING for name in lists if name.lower() == word]
        if len(known) != 1:
            raise InputError(
                f"{where} has several columns of vectors, {listed(lists, NAMED)}: say which, e.g. "
                f"--data.embedding {lists[0]}."
            )
        lists = known
    if lists:
        return lists
    groups: dict[str, list[str]] = defaultdict(list)
    for field in free:
        if match := NUMBERED.fullmatch(field.name):
            groups[match[1]].append(field.name)
    numbered = [
        names
        for names in groups.values()
        if len(names) > 1 and any(_floats(schema.field(name).type) for name in names)
    ]
    if len(numbered) > 1:
        some = ", ".join(f"{readable(names[0])} …" for names in numbered[:NAMED])
        raise InputError(
            f"{where} has several groups of numbered columns, {some}: say which, e.g. "
            f"--data.embedding '{NUMBERED.fullmatch(numbered[0][0])[1]}*'."  # type: ignore[index]
        )
    if numbered:
        return numbered[0]
    floats = [field.name for field in free if _floats(field.type)]
    if len(floats) > 1:
        return floats
    if schema.types and all(map(pa.types.is_null, schema.types)):
        raise InputError(
            f"{where} has no values below the names of its columns: give one with vectors."
        )
    for field in free:
        if _words(field.type) and (first := _first_text(table, field.name)):
            _check_not_written_as_text(table, field.name, first[0])
    raise InputError(
        f"{where}, {_of(schema)}, has no embedding column: an embedding is a column of lists of "
        f"floating-point numbers, or many columns of numbers. Name it with --data.embedding."
    )


def _check_numbers(table: Table, vectors: Sequence[str]) -> None:
    """Raises `InputError` where a column of the embedding holds something else than numbers."""
    for name in vectors:
        kind = table.schema.field(name).type
        inner = kind.value_type if _is_list(kind) else kind
        if _is_number(inner) or pa.types.is_null(inner):
            continue
        holds, text = str(inner), _words(inner)
        if text:
            word, row = ("", 0) if _is_list(kind) else _first_text(table, name) or ("", 0)
            _check_not_written_as_text(table, name, word)
            holds = f"text, {readable(word)[:40]!r} in row {row}" if word else "text"
        raise InputError(
            f"The embedding column {readable(name)} of {table.name} holds {holds}: an embedding is "
            f"numbers. Correct what stands there, or name other columns with --data.embedding "
            f"({_of(table.schema)})."
        )


def _first_text(table: Table, name: str) -> tuple[str, int] | None:
    """Returns the first value of a column of text that is no number, and its row from 1 on."""
    row = 0
    for batch in table.batches([name]):
        for value in batch.column(0).cast(pa.string()).to_pylist():
            row += 1
            if value is not None and not is_number(value):
                return value, row
    return None


def _check_not_written_as_text(table: Table, name: str, value: str) -> None:
    """Raises `InputError` where a value of a column is a list of numbers as text, "[0.1, 0.2]"."""
    if LIST_AS_TEXT.match(value):
        raise InputError(
            f"The column {readable(name)} of {table.name} has its vectors written as text "
            f"({readable(value)[:20]}…): write them as lists of numbers, in a .parquet, or each "
            f"number in a column of its own."
        )


def _of(schema: pa.Schema) -> str:
    """Lists the columns of a table, with their types where they are few."""
    if len(schema) > NAMED:
        return f"whose columns are {listed(schema.names, NAMED)} ({len(schema)} in all)"
    columns = ", ".join(f"{readable(field.name)} ({_word(field.type)})" for field in schema)
    return f"whose columns are {columns or 'none'}"


def _word(kind: pa.DataType) -> str:
    """Says in few words what a type holds."""
    if _is_list(kind):
        length = f"{kind.list_size} " if pa.types.is_fixed_size_list(kind) else ""
        return f"lists of {length}{kind.value_type}"
    return "text" if _words(kind) else str(kind)


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    return _floats(kind) or pa.types.is_integer(kind)


def _floats(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind)


def _names(kind: pa.DataType) -> bool:
    """Returns whether values of a type can be names: words or whole numbers."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return _words(kind) or pa.types.is_integer(kind)


def _words(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
