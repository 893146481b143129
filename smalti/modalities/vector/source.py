"""The source of the user's vectors: a file of numbers, a table, or the Hugging Face hub.

Vectors stay on the disk and are mapped into memory, so that there may be more of them than memory
holds. What a data set does not set apart itself is held out from its training vectors: first the
test vectors, then those for validation.

Rows that cannot be used are named and left out, as long as they are few: a value that is not
finite, all values zero, another length than most, none at all, or an id that came before. Vectors
that are exactly alike are different items with the same codes: they are counted, and stay together.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from smalti import ranges
from smalti.counting import counted
from smalti.data.dividing import SplitExamples, divide_in_splits, make_manifest
from smalti.data.found import FoundExamples
from smalti.data.found_tables import find_tables
from smalti.data.items import Category, Items
from smalti.data.labels import match_labels, number_labels
from smalti.data.left_out import report_left_out
from smalti.data.source import FOUND, Examples, Source, SplitName, Splits, StoredExamples
from smalti.data.splitting import FingerprintGroups, SplitFractions
from smalti.errors import InputError
from smalti.modalities.vector.columns import ChosenColumns, choose_columns
from smalti.modalities.vector.conversion import convert_vectors
from smalti.modalities.vector.rows import VectorRows, describe_fault
from smalti.modalities.vector.signal import Vector
from smalti.modalities.vector.stored import StoredVectors
from smalti.modalities.vector.tables import ARRAYS
from smalti.name_array import NameArray
from smalti.networks import Affine, Normalization, UnitLength, Whitening
from smalti.spelling import listed, readable

__all__ = ["Vectors"]

logger = logging.getLogger(__name__)
found_logger = logging.getLogger(FOUND)

NAMED = 3  # copies that a line names
CHUNK = 8192  # rows that are read at a time
SPLITS = ("train", "validation", "test")


class Vectors(Source):
    """The source of the user's own vectors, with names, labels and categories if there are any.

    Arguments:
        path: A file (.npy, .npz, .parquet, .csv, .tsv, .arrow, .feather), a folder of such, or the
            name of a data set on the Hugging Face hub.
        embedding: The columns that hold the vectors: one of lists of numbers, or several of
            numbers, also by a pattern such as "pca_*"; found if not given.
        id: The column of the names of items, which differ; if not given, one called item_id, id or
            the like, or the numbers of rows.
        categories: Columns of categories that the codes are compared with; if not given, columns
            of words or whole numbers of which each value comes often.
        label: The column of labels, if a prior is to be conditional on them; if not given, the
            column called label, or none.
        title: The column of words that reports show of an item; if not given, one called title,
            name, text or the like, or its id.
        held_out: The shares that are held out of the training vectors.
        normalize: How vectors are normalized before networks and quantizers; it is learned on the
            training vectors, kept with the model and undone when it decodes. none: not at all;
            center: minus their mean; rescale: also scaled to variance 1 on average, which keeps the
            proportions of distances; standardize: each dimension of mean 0 and variance 1; whiten:
            also uncorrelated, by PCA; unit: to length 1, which decoding cannot undo.
        dims: How many directions whitening keeps, those of the largest variance; all if not given.
        splits: names: files that are named after splits (train, test …) are these splits; none:
            all are for training.

    Raises:
        InputError: If an argument is out of its range.
    """

    RANGES: ClassVar[Mapping[str, ranges.Range]] = {"dims": ranges.Range(1, 2**20)}

    def __init__(  # noqa: PLR0913 - the fields of a recipe
        self,
        path: str,
        embedding: str | list[str] | None = None,
        id: str | None = None,
        categories: list[str] | None = None,
        label: str | None = None,
        title: str | None = None,
        normalize: Literal["none", "center", "rescale", "standardize", "whiten", "unit"] = "none",
        dims: int | None = None,
        held_out: SplitFractions = SplitFractions(),  # noqa: B008 (frozen)
        splits: Literal["names", "none"] = "names",
    ) -> None:
        if splits not in ("names", "none"):
            raise InputError(f"splits is names or none, got {splits!r}: choose one of the two.")
        ways = ("none", "center", "rescale", "standardize", "whiten", "unit")
        if normalize not in ways:
            raise InputError(f"normalize is one of {', '.join(ways)}, got {normalize!r}.")
        if dims is not None and normalize != "whiten":
            raise InputError(
                f"Only whitening keeps fewer dimensions, got dims={dims} with {normalize}: "
                f"leave dims out, or set normalize to whiten."
            )
        self.normalize, self.dims = normalize, dims
        self.path, self.embedding, self.id = str(path), embedding, id
        self.categories, self.label, self.title = categories, label, title
        self.held_out, self.splits = held_out, splits

    def load(self) -> Splits:
        return self._load(by_order=False)

    def load_by_order(self) -> Splits:
        return self._load(by_order=True)

    def examples(self, split: SplitName) -> Examples:
        examples: Examples = getattr(self.load(), split)
        return examples

    def _load(self, by_order: bool) -> Splits:
        """Finds, converts and labels the vectors, and divides them into splits."""
        found, columns, rows = self._found()
        found, labels_of = match_labels(found)
        condition, labels = number_labels(labels_of, None, Vector)
        for line in found.lines(None if condition is None else condition.names):
            found_logger.info(line)
        rows = {split: rows[split] for split in found.rows}
        found_logger.info(_line(columns, rows["train"]))
        left_out = [(f"{n} {kind}", "passed over") for kind, n in found.passed.items()]
        left_out += [fault for part in rows.values() for fault in part.left_out]
        known: list[NameArray] = []
        parts: dict[str, SplitExamples] = {}
        for split, part in rows.items():
            converted = convert_vectors(part)
            faults = _faults(part, converted.faults, known)
            report_left_out(
                [f"{name} ({fault})" for name, fault in (*part.left_out, *faults.values())],
                len(part) + len(part.left_out),
                Vector,
                "cannot be used",
                logger,
            )
            left_out += faults.values()
            examples = StoredVectors(converted.values, labels[split])
            whole = SplitExamples(split, examples, converted.fingerprints, part.facts.names)
            usable = torch.ones(len(part), dtype=torch.bool)
            usable[[*faults]] = False
            parts[split] = whole.take(usable) if faults else whole
        _tell_copies(parts)
        parts = divide_in_splits(parts, self.held_out, Vector, by_order=by_order)
        return Splits(
            train=parts["train"].examples,
            validation=parts["validation"].examples,
            test=parts["test"].examples,
            signal=Vector(rows["train"].dim, unit=self.normalize == "unit"),
            condition=condition,
            augment=None,
            manifest=make_manifest(parts, condition, left_out, Vector),
            normalization=self._learned(parts["train"].examples),
            items=_items([*rows.values()]),
        )

    def _learned(self, train: StoredExamples) -> Normalization | None:
        """Learns the normalization on the training vectors."""

        def chunks() -> Iterator[Tensor]:
            for start in range(0, len(train), CHUNK):
                yield train.__getitems__(range(start, min(start + CHUNK, len(train)))).x

        if self.normalize in ("center", "rescale", "standardize"):
            alike = self.normalize == "rescale"
            return Affine.learned(chunks(), scaled=self.normalize != "center", alike=alike)
        if self.normalize == "whiten":
            return Whitening.learned(chunks(), self.dims)
        return UnitLength() if self.normalize == "unit" else None

    def _found(self) -> tuple[FoundExamples, ChosenColumns, dict[str, VectorRows]]:
        """Finds the tables of all splits, and which columns of them hold what.

        Raises:
            InputError: If splits have vectors of different lengths.
        """
        found = find_tables(self.path, Vector, ARRAYS, self.splits == "names")
        first = found.tables["train"][0]
        columns = choose_columns(
            first,
            self.embedding,
            self.id,
            self.label,
            self.categories,
            self.title,
        )
        several = len(found.tables) > 1
        rows = {
            split: VectorRows(tables, columns, f"{split}:" if several else "")
            for split, tables in sorted(found.tables.items(), key=lambda one: SPLITS.index(one[0]))
        }
        for split, part in rows.items():
            if part.dim != rows["train"].dim:
                raise InputError(
                    f"The vectors of {part.tables[0].name} have {part.dim} dimensions, those of "
                    f"{first.name} {rows['train'].dim}: the {split} and the training vectors are "
                    f"of one kind."
                )
        as_rows = FoundExamples(Vector, found.where, dict(rows), found.origins, found.passed)
        return as_rows, columns, rows


def _items(parts: Sequence[VectorRows]) -> Items:
    """Returns what is known of the items of all splits."""
    starts = np.cumsum([0, *map(len, parts)])
    several = [part.facts.categories for part in parts]
    categories = {
        name: _joined([categories[name] for categories in several])
        for name in several[0]
        if all(name in categories for categories in several)
    }

    def titles(rows: Sequence[int]) -> list[str]:
        numbers = np.asarray(rows, dtype=np.int64)
        of_part = np.searchsorted(starts, numbers, side="right") - 1
        found = np.empty(len(numbers), dtype=object)
        for place, part in enumerate(parts):
            mine = of_part == place
            found[mine] = part.titles((numbers[mine] - starts[place]).tolist())
        return found.tolist()

    return Items(NameArray.joined([part.facts.names for part in parts]), categories, titles)


def _joined(parts: Sequence[Category]) -> Category:
    """Joins a category of several splits, with one numbering of its values."""
    names = sorted({name for part in parts for name in part.names})
    number = {name: i for i, name in enumerate(names)}
    codes = [
        np.array([*(number[name] for name in part.names), -1], dtype=np.int32)[part.codes]
        for part in parts
    ]
    return Category(np.concatenate(codes), tuple(names))


def _line(columns: ChosenColumns, rows: VectorRows) -> str:
    """Says which columns hold what."""
    if not columns.in_lists:
        where = f"{len(columns.embedding)} columns ({listed(columns.embedding, 3)})"
    else:
        where = readable(columns.embedding[0])
    named = "their rows" if columns.id is None else readable(columns.id)
    if columns.id is None and columns.categories:
        named += " (give the column of their names as --data.id, if there is one)"
    categories = listed([*rows.facts.categories], 12) or "none"
    dims = counted(rows.dim, "dimension")
    return f"vectors of {dims} from {where}, named by {named}; categories: {categories}"


def _faults(
    rows: VectorRows, faults: np.ndarray, known: list[NameArray]
) -> dict[int, tuple[str, str]]:
    """Returns name and fault of each row that cannot be used, by its number.

    Arguments:
        rows: The rows of a split.
        faults: (N,), the numbers of what is wrong with the vectors.
        known: The ids of earlier splits, to which those of this one are added.
    """
    names = rows.facts.names
    found: dict[int, tuple[str, str]] = {}
    for row in np.flatnonzero(faults).tolist():
        found[row] = names[row], describe_fault(int(faults[row]), rows.dim)
    if rows.columns.id is not None:
        for row in names.repeated(known).tolist():
            found[row] = names[row], "its id comes twice"
        known.append(names)
    return dict(sorted(found.items()))


def _tell_copies(parts: dict[str, SplitExamples]) -> None:
    """Says which items have exactly the vector of another."""
    groups = FingerprintGroups(np.concatenate([part.fingerprints for part in parts.values()]))
    copies = np.flatnonzero(groups.first[groups.group_of] != np.arange(len(groups.group_of)))
    if not len(copies):
        return
    names = NameArray.joined([part.names for part in parts.values()])
    pairs = [
        f"{names[i]} as {names[groups.first[groups.group_of[i]]]}" for i in copies[:NAMED].tolist()
    ]
    found_logger.info(
        f"exactly alike: {counted(len(copies), 'vector is a copy', 'vectors are copies')} of "
        f"another ({', '.join(map(readable, pairs))}{', …' * (len(copies) > NAMED)}): copies get "
        f"the same codes, and lie in one split where that is not given"
    )
