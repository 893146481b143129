"""Loads data sets of the Hugging Face hub by their names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from smalti.data.found import FoundExamples
from smalti.data.names import NameParser
from smalti.data.rows import Rows, RowsBuilder, Shard
from smalti.errors import InputError, first_line
from smalti.signals import Signal
from smalti.spelling import readable

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["HubTables", "hub_rows", "hub_tables"]

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


class HubTables(NamedTuple):
    """The tables of a data set on the Hugging Face hub, by split.

    Attributes:
        tables: The tables of each split that is used, each with its name for messages.
        origins: The data set's own names for the parts of each split.
        passed: The number of entries that were passed over, by kind.
    """

    tables: dict[str, list[tuple[str, Dataset]]]
    origins: dict[str, list[str]]
    passed: Counter[str]


def hub_rows(name: str, make: RowsBuilder, signal_class: type[Signal]) -> FoundExamples:
    """Loads the examples of a data set on the Hugging Face hub by split, from a cache if possible.

    Arguments:
        name: Name of the data set.
        make: Builds the rows of a split from its tables.
        signal_class: The class of the signals that they hold.

    Raises:
        InputError: If there is no such name, or the data set has no split to train on.
    """
    found = hub_tables(name, signal_class)
    rows: dict[str, Rows] = {}
    for split, tables in found.tables.items():
        shards = [Shard(each, len(table), table.select_columns) for each, table in tables]
        rows[split] = make(shards, tables[0][1].features, Path())
    return FoundExamples(signal_class, name, rows, found.origins, found.passed)


def hub_tables(name: str, signal_class: type[Signal]) -> HubTables:
    """Loads the tables of a data set on the Hugging Face hub by split.

    Arguments:
        name: Name of the data set.
        signal_class: The class of the signals that they hold, whose words may name splits.

    Raises:
        InputError: If there is no such name, or the data set has no split to train on.
    """
    nothing = f"{readable(name)} is neither a local path nor a data set on the Hugging Face hub"
    if not HUB_NAME.fullmatch(name):
        raise InputError(f"{nothing}: check the path.")
    from datasets import DatasetDict, load_dataset
    from huggingface_hub import HfApi, constants

    try:
        if not constants.HF_HUB_OFFLINE:  # one quick question, where load_dataset tries for long
            HfApi().dataset_info(name, timeout=10)
        splits = load_dataset(name)
    except Exception as error:  # of the network, of the hub, or of a data set that needs a script
        raise InputError(f"{nothing} ({first_line(error)}): check the name.") from error
    if not isinstance(splits, DatasetDict) or not splits:
        raise InputError(f"{name} on the hub has no splits: download it and give the path.")
    words = {str(split): NameParser(signal_class.words).parse(str(split)) for split in splits}
    chosen: dict[str, list[str]] = defaultdict(list)
    for split, word in words.items():
        if word.split and not word.rest:
            chosen[word.split].append(split)
    if not chosen and len(words) == 1:
        chosen["train"] = list(words)
    if not chosen:
        raise InputError(
            f"{name} has the splits {', '.join(words)}, of which none is named train or test: "
            f"download it and give the path of one."
        )
    tables = {
        split: [(f"{name} ({each})", splits[each]) for each in names]
        for split, names in chosen.items()
    }
    used = {split for names in chosen.values() for split in names}
    left = [split for split in words if split not in used]
    passed = Counter(
        {f"{signal_class.plural} of the split {split}": len(splits[split]) for split in left}
    )
    return HubTables(tables, chosen, passed)
