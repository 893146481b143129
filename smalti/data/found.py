"""The examples that a path or a name on the hub stands for, by split, and how to find them.

Each kind of data looks in the same order, `local_path` first, and reads what is local without a
look at the network:

    a folder       its files (`smalti.data.file_tree.list_files`): tables (`tables_by_split`), or
                   else files in folders (`smalti.data.layout.read_layout`)
    a file         one table
    anything else  a name on the Hugging Face hub (`smalti.data.hub.hub_rows`, `hub_tables`)

What is found must have something to train on (`check_trainable`).
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from smalti.counting import counted
from smalti.data.file_tree import Parts
from smalti.data.names import NameParser
from smalti.data.rows import Rows
from smalti.errors import InputError, first_line
from smalti.signals import Signal
from smalti.spelling import listed, readable

__all__ = ["FoundExamples", "check_trainable", "local_path", "suffix_of", "tables_by_split"]

ORDER = ("train", "validation", "test")
NAMED = 6  # labels and kinds that a line names


class FoundExamples(NamedTuple):
    """The examples that were found at a path or under a name on the hub, not decoded yet.

    Attributes:
        signal_class: The class of the signals.
        where: What messages call the place.
        rows: The examples of each split.
        origins: The folders or files that each split was found in; none where a split is all that
            belongs to no other.
        passed: The number of entries that were passed over, by kind.
    """

    signal_class: type[Signal]
    where: str
    rows: dict[str, Rows]
    origins: Mapping[str, Sequence[str]]
    passed: Counter[str]

    def lines(self, labels: Sequence[str] | None, captions: int = 0) -> list[str]:
        """Describes in one line what was found, and in another what was passed over, if anything.

        Arguments:
            labels: The names of the labels; None where there are none.
            captions: How many different captions there are.
        """
        splits = []
        for split in sorted(self.rows, key=ORDER.index):
            rows = self.rows[split]
            origin = listed(self.origins.get(split, ()), NAMED)
            splits.append(f"{split} {len(rows)}" + f" (of {origin})" * bool(origin))
        n = sum(map(len, self.rows.values()))
        named = (
            "no labels"
            if labels is None
            else f"{counted(len(labels), 'label')} ({listed(labels, NAMED)})"
        )
        if captions:
            named = counted(captions, "different caption")
        found = counted(n, self.signal_class.noun, self.signal_class.plural)
        lines = [f"found {found} in {self.where}: {named}; {', '.join(splits)}"]
        if self.passed:
            kinds = [f"{kind} ({n})" for kind, n in self.passed.most_common()]
            lines.append(f"passed over: {', '.join(kinds)}")
        return lines


def local_path(path: str) -> Path | None:
    """Returns a path if a file or folder is there, with ~ expanded; None if nothing is.

    Raises:
        InputError: If it may not be read, leads nowhere, or is neither a file nor a folder.
    """
    try:
        local = Path(path).expanduser()
        there = os.path.lexists(local)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{readable(path)} is no path ({first_line(error)}): check it.") from error
    if not there:
        return None
    if not local.exists():
        raise InputError(f"{readable(path)} is a link that leads nowhere: give another path.")
    if not os.access(local, os.R_OK):
        raise InputError(f"{readable(path)} may not be read by you: ask for the right, or copy it.")
    if not local.is_dir() and not local.is_file():
        raise InputError(
            f"{readable(path)} is a pipe, a socket or a device: give the path of a folder, or of a "
            f"parquet file."
        )
    return local


def check_trainable(path: str, splits: Collection[str]) -> None:
    """Raises `InputError` unless "train" is among the splits of a data set."""
    if "train" not in splits:
        raise InputError(
            f"{readable(path)} has a {' and a '.join(splits)} split, but nothing to train on: add "
            f"a split named train, or give the path of that part alone."
        )


def suffix_of(file: Parts) -> str:
    """Returns the suffix of a file in lower case, with its dot: ".png"."""
    return PurePath(file[-1]).suffix.lower()


def tables_by_split(
    files: list[Parts], names: NameParser | None, passed: Counter[str]
) -> dict[str, list[Parts]]:
    """Groups parquet files by the split in the name of the file or else of its folders.

    Arguments:
        files: Paths, each as a tuple of names.
        names: Reads the names; None where they say no split.
        passed: Counts what is passed over, by kind.
    """
    found: dict[str, list[Parts]] = defaultdict(list)
    for file in files:
        words = [PurePath(file[-1]).stem, *reversed(file[:-1])]
        said = [split for word in words if names and (split := names.parse(word).split)]
        found[said[0] if said else ""].append(file)
    others = found.pop("", [])
    if "train" in found and others:
        passed["parquet files that are not named after a split"] += len(others)
    elif others:
        found["train"] = others
    return dict(found)
