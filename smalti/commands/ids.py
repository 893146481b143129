"""`smalti ids`: looks up the ID of an item, and the items of an ID or of its first codes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from smalti.artifacts import checksum
from smalti.checksums import check_made_from
from smalti.commands.common import call_with_options
from smalti.counting import counted
from smalti.errors import InputError
from smalti.ids import IdTable, parse_prefix
from smalti.outputs import KEY, MARK, check_output, write_file
from smalti.run_directory import Run
from smalti.spelling import readable

__all__ = ["read_ids", "read_ids_of_run", "run", "summarise_ids"]

SHOWN = 20  # items that are printed
MEND = "give the ids.parquet of this run, or the run that it is of."


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `ids`."""
    call_with_options(ids, words, "folder", "asked")


def ids(folder: str, asked: str = "", *, out: str | None = None, overwrite: bool = False) -> None:
    """Looks up IDs both ways: of an item, and the items of an ID or of its first codes.

    Arguments:
        folder: The run directory, or an ids.parquet.
        asked: The name of an item (item-42), or the first codes of an ID (3,9 or <a_3><b_9>). If
            not given, all IDs are listed. If an item has a name such as 3,9, end codes in a comma.
        out: A .json or .csv file to write all results to; 20 are printed.
        overwrite: Replace what smalti did not write, too; of a .csv that cannot be told.
    """
    path = None if out is None else check_output(out, (".json", ".csv"), overwrite=overwrite)
    table = read_ids(folder)
    row = table.find(asked) if asked else None
    prefix = None if row is not None else parse_prefix(asked) if asked else []
    if row is None and prefix is None:
        row = table.row(asked)  # says that it is not there, and which names are near
    rows = table.tree.rows(prefix) if prefix is not None else np.array([row])
    if row is not None:
        _print_item(table, int(row), folder)
    elif prefix:
        print(f"{counted(len(rows), 'item')} below {_codes(prefix)}")
    else:
        print(summarise_ids(table))
    if row is None and prefix:
        for number in rows[: SHOWN if path is None else 0].tolist():
            print(f"  {_line(table, number)}")
        if path is None and len(rows) > SHOWN:
            print(f"  … and {len(rows) - SHOWN} more: --out items.csv has all")
    if path is not None:
        write_file(_content(table, rows, path.suffix), path, overwrite)
        print(f"{path}: {counted(len(rows), 'item')}")


def read_ids(folder: str) -> IdTable:
    """Reads the table of IDs of a run, or of a file of IDs.

    Raises:
        InputError: If the run has no IDs, or they were made by another tokenizer than the run's.
    """
    if Path(folder).is_file():
        return IdTable.read(folder)
    finished = Run.existing(folder)
    if not finished.ids.exists():
        asks = finished.read_config().get("ids") is not None
        mend = (
            "give the same smalti fit again to go on"
            if asks
            else "fit with ids: {collisions: index} in the recipe, to another --out"
        )
        raise InputError(f"{folder} has no {finished.ids.name}: {mend}.")
    if not finished.tokenizer.exists():
        return IdTable.read(finished.ids)
    mend = "copy the right one back, or delete it and fit again to give IDs anew."
    return read_ids_of_run(finished, finished.ids, mend)


def read_ids_of_run(run: Run, path: str | Path, mend: str = MEND) -> IdTable:
    """Reads a table of IDs that the tokenizer of a run made.

    Arguments:
        run: A run with a tokenizer.
        path: Path of the file of IDs.
        mend: What the message advises if another tokenizer made them.

    Raises:
        InputError: If the file holds no IDs, or another tokenizer made them.
    """
    table = IdTable.read(path)
    wanted = {"tokenizer": (checksum(run.tokenizer),)}
    check_made_from(readable(path), table.made_from, wanted, mend)
    return table


def summarise_ids(table: IdTable) -> str:
    """Describes a table of IDs in one line: numbers of items and IDs, and how collisions ended."""
    different, n = len(table.tree.keys[-1]), len(table)
    sizes = "×".join(map(str, table.codebook_sizes))
    how = {
        "index": f"{int(table.resolved.sum())} told apart by the further code",
        "nearest": f"{int(table.resolved.sum())} moved to the nearest that was free",
        "none": "collisions stay",
    }[table.collisions]
    beams = " and ".join(map(str, table.beams))
    searched = f"; codes of some searched with a beam of {beams}" if beams else ""
    return f"{counted(n, 'item')}, {counted(different, 'ID')} of {sizes} codes; {how}{searched}"


def _print_item(table: IdTable, row: int, folder: str) -> None:
    """Prints an item's ID, and with how many it shares the beginning of it."""
    print(_line(table, row))
    codes = table.codes[row].tolist()
    if table.resolved[row]:
        print(f"  resolved: the tokenizer gave {_codes(table.own[row])}")
    for depth in range(1, len(codes)):
        n = table.tree.count(codes[:depth]) - 1
        others = f"{counted(n, 'other item')}, too" if n else "no other item"
        print(f"  {_codes(codes[:depth])} is the beginning of {others}")
    if n := table.tree.count(codes) - 1:
        print(f"  the whole ID is that of {counted(n, 'other item')}, too")
    name = table.item_ids[row].as_py()
    if (prefix := parse_prefix(name) if name.isdecimal() else None) and (
        prefix[0] < table.codebook_sizes[0] and table.tree.count(prefix)
    ):
        print(f"  the items whose ID begins with {_codes(prefix)}: smalti ids {folder} {name},")


def _line(table: IdTable, row: int) -> str:
    name = readable(table.item_ids[row].as_py())
    return f"{name}  {table.strings[row].as_py()}  {_codes(table.codes[row])}"


def _codes(codes: Sequence[int] | np.ndarray) -> str:
    return ",".join(map(str, codes))


def _content(table: IdTable, rows: np.ndarray, suffix: str) -> bytes:
    """Returns rows as the content of a file."""
    found: list[dict[str, Any]] = table.to_arrow().take(pa.array(rows)).to_pylist()
    if suffix == ".json":
        return json.dumps({KEY: MARK, "items": found}, indent=1, ensure_ascii=False).encode()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(found[0] if found else table.to_arrow().column_names)
    for item in found:
        writer.writerow(
            [_codes(cell) if isinstance(cell, list) else cell for cell in item.values()]
        )
    return text.getvalue().encode()
