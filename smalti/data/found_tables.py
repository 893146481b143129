"""Finds the tables that a path or a name stands for, split by split.

a file                    items.parquet, items.csv …                 → train
a folder of such          train-00000.parquet, test.parquet …        → the split in the names
anything else             owner/name                                 → the Hugging Face hub
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from smalti.data.file_tree import list_files
from smalti.data.found import check_trainable, local_path, suffix_of, tables_by_split
from smalti.data.hub import hub_tables
from smalti.data.names import NameParser
from smalti.data.tables import TABLES, HubTable, MakeTable, Table, open_table
from smalti.errors import InputError
from smalti.signals import Signal
from smalti.spelling import listed, readable

__all__ = ["FoundTables", "find_tables"]

NAMED = 6  # kinds of files that a line names


class FoundTables(NamedTuple):
    """The tables that were found at a path or under a name on the hub, by split.

    Attributes:
        where: What messages call the place.
        tables: The tables of each split.
        origins: The files that each split was found in; none where it is a file of its own.
        passed: The number of entries that were passed over, by kind.
    """

    where: str
    tables: dict[str, list[Table]]
    origins: dict[str, Sequence[str]]
    passed: Counter[str]


def find_tables(
    path: str,
    signal_class: type[Signal],
    others: Mapping[str, MakeTable] | None = None,
    splits: bool = True,
) -> FoundTables:
    """Finds the tables of a data set by split: "train", and "validation" and "test" if it has them.

    Arguments:
        path: Path of a file or folder, or name on the hub.
        signal_class: The class of the signals that they hold.
        others: Functions that open further kinds of files, by suffix.
        splits: Whether files that are named after splits are splits.

    Raises:
        InputError: If there is nothing of that name, no table in it, or nothing to train on.
    """
    others = others or {}
    local = local_path(path)
    if local is None:
        if Path(path).suffix.lower() in (*others, *TABLES):
            raise InputError(f"There is no file {readable(path)}: check the path.")
        hub = hub_tables(path, signal_class)
        tables: dict[str, list[Table]] = {
            split: [HubTable(*one) for one in parts] for split, parts in hub.tables.items()
        }
        found = FoundTables(path, tables, dict(hub.origins), hub.passed)
    elif local.is_dir():
        found = _in_folder(local, signal_class, others, splits)
    else:
        one = open_table(local, signal_class, others)
        found = FoundTables(readable(path), {"train": [one]}, {}, Counter())
    check_trainable(path, found.tables)
    return found


def _in_folder(
    folder: Path, signal_class: type[Signal], others: Mapping[str, MakeTable], splits: bool
) -> FoundTables:
    """Finds the tables of a folder, all of one kind."""
    tree, suffixes = list_files(folder), [*dict.fromkeys((*others, *TABLES))]
    wanted = [file for file in tree.files if suffix_of(file) in suffixes]
    kinds = Counter(map(suffix_of, wanted))
    if not wanted:
        has = sorted({suffix_of(file) or file[-1] for file in tree.files})
        raise InputError(
            f"The folder {readable(folder)} has no {signal_class.plural}, "
            f"{f'only {listed(has, NAMED)}' if has else 'it is empty'}: put files there that end "
            f"in {', '.join(suffixes[:-1])} or {suffixes[-1]}."
        )
    if len(kinds) > 1:
        found = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
        raise InputError(
            f"The folder {readable(folder)} has files of several kinds ({found}): give the path of "
            f"one, or move the others elsewhere."
        )
    passed = tree.passed.copy()
    passed["other files"] += len(tree.files) - len(wanted)
    by_split = tables_by_split(wanted, NameParser(signal_class.words) if splits else None, passed)
    tables = {
        split: [open_table(folder.joinpath(*file), signal_class, others) for file in files]
        for split, files in by_split.items()
    }
    origins: dict[str, Sequence[str]] = {
        split: ["/".join(file) for file in files] for split, files in by_split.items()
    }
    return FoundTables(readable(folder), tables, origins, +passed)
