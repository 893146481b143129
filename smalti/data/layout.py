"""Reads the layout of a folder: which split each file belongs to, and its label.

    cat/1.jpg, dog/2.jpg                      folders are labels
    train/cat/1.jpg, test_set/cat/2.jpg       folders named after splits, labels below them
    cat/train/1.jpg, cat/val/2.jpg            labels, and splits below each
    photos/train2017/…, photos/val2017/…      folders around all of this do not matter
    train/data/1.jpg, train/masks/1.png       nor do folders that say no more than "data"
    train_cat/1.jpg, test_cat/2.jpg           a split and a label in one name

A folder that is named after a split is never taken for a label by itself, so that test data are
never trained on unnoticed: where names allow of two readings, the layout is refused. Files beside
such folders are passed over and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

from smalti.counting import counted
from smalti.data.file_tree import Parts
from smalti.data.folders import Folder
from smalti.data.names import NameParser
from smalti.data.split_folders import HELD, SplitFolders
from smalti.errors import InputError
from smalti.signals import Signal
from smalti.spelling import label_name, readable

__all__ = ["FolderLayout", "SplitFiles", "read_layout"]


class SplitFiles(NamedTuple):
    """The files of one split and their labels.

    Attributes:
        files: The path of each file, as a tuple of names.
        labels: The label of each file; None where there are no labels.
        folders: The folders that are named after the split; empty where none is.
        depth: The number of names in each path up to the split's own folders.
    """

    files: list[Parts]
    labels: list[str] | None
    folders: tuple[str, ...]
    depth: int = 0


class FolderLayout(NamedTuple):
    """The files of a folder by split.

    Attributes:
        parts: The files and labels of each split.
        passed: The number of files that were passed over, by kind.
    """

    parts: dict[str, SplitFiles]
    passed: Counter[str]


def read_layout(
    files: Sequence[Parts], where: str, signal_class: type[Signal], splits: bool = True
) -> FolderLayout:
    """Reads the split and the label of each file from the names of its folders.

    Arguments:
        files: Paths, each as a tuple of names.
        where: Name of the folder, for messages.
        signal_class: The class of the signals in the files.
        splits: Whether folders named after splits are splits; else they are labels.

    Raises:
        InputError: If the names allow of more than one reading.
    """
    reader = _Reader(where, signal_class, splits)
    parts = reader.read(Folder.of(files), ())
    layout = FolderLayout(parts, reader.passed)
    if splits:
        reader.check(layout)
    return layout


class _Reader:
    """Reads one layout, level by level, and notes what it passes over."""

    def __init__(self, where: str, signal_class: type[Signal], splits: bool) -> None:
        self.where, self.splits = readable(where), splits
        self.noun, self.plural, self.names = (
            signal_class.noun,
            signal_class.plural,
            NameParser(signal_class.words),
        )
        self.groups = SplitFolders(self.where, self.plural, self.names)
        self.passed: Counter[str] = Counter()

    # The levels above splits and labels

    def read(self, node: Folder, path: Parts) -> dict[str, SplitFiles]:
        if self.splits:
            node = self._without_annotations(node)
            branches = self.groups.branches(node)
            if branches:
                return self._by_split(node, branches, path)
            if self._is_split_below(node):
                return self._labels_above(node, path)
        if not node.folders:
            return {"train": SplitFiles(node.files, None, (), len(path))}
        inside = self._around(node)
        if inside is not None:
            below = self.read(node.merged(inside), (*path, inside[0]))
            plain = set(below) == {"train"} and not below["train"].folders
            if plain and below["train"].labels is None:
                return {"train": SplitFiles(node.all(), None, (), len(path))}
            return self._without_strays(node.files, below, path)
        return self._without_strays(node.files, {"train": self._labelled(node, path)}, path)

    def _labelled(self, node: Folder, path: Parts) -> SplitFiles:
        """Reads a level whose folders are labels."""
        files, labels = [], []
        for label, inner in node.folders.items():
            found = inner.all()
            files += found
            labels += [label] * len(found)
        return SplitFiles(files, labels, (), len(path))

    def _without_strays(
        self, strays: list[Parts], parts: dict[str, SplitFiles], path: Parts
    ) -> dict[str, SplitFiles]:
        """Passes over files that lie beside folders of splits or labels, if they are few."""
        inside = sum(len(part.files) for part in parts.values())
        if len(strays) > inside:
            raise InputError(
                f"{self._here(path)} has {counted(len(strays), self.noun, self.plural)} of its "
                f"own and {inside} in folders that look like splits or labels: move the ones or "
                f"the others elsewhere."
            )
        if strays:
            self.passed[f"{self.plural} beside the folders of splits or labels"] += len(strays)
        return parts

    def _without_annotations(self, node: Folder) -> Folder:
        """Leaves out folders of masks and the like beside folders of files."""
        others = {name for name in node.folders if self.names.is_annotation(name)}
        if not others or not any(
            self.names.is_filler(name) or self.names.parse(name).split for name in node.folders
        ):
            return node
        for name in others:
            left = node.folders[name].all()
            self.passed[f"{self.plural} in folders named {readable(name)}"] += len(left)
        kept = {name: inner for name, inner in node.folders.items() if name not in others}
        return Folder(node.depth, node.files, kept)

    # Splits

    def _by_split(
        self, node: Folder, branches: dict[str, list[tuple[str, str | None]]], path: Parts
    ) -> dict[str, SplitFiles]:
        """Returns the files of each split, whose folders are `branches`: (name, label or None).

        No folders at all for a split: its files lie directly in `node`. Folders of no split are
        counted in `passed`.
        """
        used = {name for names in branches.values() for name, _ in names}
        for name, inner in node.folders.items():
            if name not in used:
                self.passed[f"{self.plural} in {readable('/'.join((*path, name)))}/"] += len(
                    inner.all()
                )
        depth, parts, merged = len(path) + 1, {}, {}
        for split, names in branches.items():
            if not names:  # training files lie beside the folders of the others
                parts[split] = SplitFiles(node.files, None, (), len(path))
            elif all(label is not None for _, label in names):
                inside = Folder(
                    depth, [], {str(label): node.folders[name] for name, label in names}
                )
                parts[split] = self._labelled(inside, path)._replace(depth=depth)
            else:
                merged[split] = node.merged(name for name, _ in names)
        parts |= self._label_level(merged, depth)
        for split, names in branches.items():
            folders = ["/".join((*path, name)) for name, _ in names if self.names.parse(name).split]
            parts[split] = parts[split]._replace(folders=tuple(folders))
        strays = [] if [] in branches.values() else node.files
        return self._without_strays(strays, parts, path)

    # Labels

    def _label_level(self, nodes: dict[str, Folder], depth: int) -> dict[str, SplitFiles]:
        """Labels of the folders of all splits together, below folders that mean nothing."""
        while True:
            nodes = {split: self._without_annotations(node) for split, node in nodes.items()}
            names = {name for node in nodes.values() for name in node.folders}
            if not names:
                break
            lone = len(names) == 1 and any(
                inner.folders for node in nodes.values() for inner in node.folders.values()
            )
            around = all(
                self.names.is_filler(name) or self.names.parse(name).split == split
                for split, node in nodes.items()
                for name in node.folders
            )
            if not lone and not around:
                break
            for node in nodes.values():
                if node.folders and node.files:
                    self.passed[f"{self.plural} beside the folders of splits or labels"] += len(
                        node.files
                    )
            nodes = {
                split: node.merged(node.folders) if node.folders else node
                for split, node in nodes.items()
            }
            depth += 1
        parts = {}
        labels = set(nodes["train"].folders if "train" in nodes else {})
        for split, node in nodes.items():
            if labels and split != "train":
                node = self._flattened(node, split, labels)
            if not node.folders:
                parts[split] = SplitFiles(node.files, None, (), depth)
                continue
            part = self._labelled(node, ())._replace(depth=depth)
            parts[split] = self._without_strays(node.files, {split: part}, (split,))[split]
        return parts

    def _is_split_below(self, node: Folder) -> bool:
        """Returns whether each folder of a level has folders of splits and nothing else."""
        splits = set()
        for inner in node.folders.values():
            below = {
                self.names.parse(name) for name in inner.folders if not self.names.is_apart(name)
            }
            if not below or any(not word.split or word.rest for word in below):
                return False
            splits |= {word.split for word in below}
        return len(node.folders) > 1 and bool(splits & set(HELD))

    def _labels_above(self, node: Folder, path: Parts) -> dict[str, SplitFiles]:
        """Returns the files of each split where folders of labels hold folders of splits."""
        found: dict[str, tuple[list[Parts], list[str], set[str]]] = {}
        strays = list(node.files)
        for label, inner in node.folders.items():
            strays += inner.files
            for name, held in inner.folders.items():
                if any(not self.names.is_filler(below) for below in held.folders):
                    raise InputError(
                        f"{self.where} has folders of splits such as {readable(label)}/"
                        f"{readable(name)} with folders above and below, each of which may be "
                        f"labels: give the path of one of the upper ones alone."
                    )
                split = self.names.parse(name).split
                if split is None:
                    self.passed[f"{self.plural} in folders named {readable(name)}"] += len(
                        held.all()
                    )
                    continue
                files, labels, names = found.setdefault(split, ([], [], set()))
                inside = held.all()
                files += inside
                labels += [label] * len(inside)
                names.add(f"*/{name}")
        parts = {
            split: SplitFiles(files, labels, tuple(sorted(names)), len(path) + 2)
            for split, (files, labels, names) in found.items()
        }
        return self._without_strays(strays, parts, path)

    # What is refused

    def check(self, layout: FolderLayout) -> None:
        """Refuses training files whose folder or name says another split."""
        train = layout.parts.get("train")
        if train is None:
            return
        labels = [set(part.labels or ()) for part in layout.parts.values()]
        shared = set.intersection(*labels) if len(labels) > 1 else set()
        for folders in {file[train.depth : -1] for file in train.files}:
            for folder in folders:
                word = self.names.parse(folder)
                if word.split in HELD and not word.rest and label_name(folder) not in shared:
                    raise InputError(
                        f"{self.where} has training {self.plural} in "
                        f"{readable('/'.join(folders))}, a folder named after a split: move them "
                        f"out or rename it, or say --data.splits none to take every folder as a "
                        f"label."
                    )
        if set(layout.parts) == {"train"} and not train.folders:
            heads = {self.names.parse(PurePath(file[-1]).stem).split for file in train.files}
            if "train" in heads and heads <= {"train", *HELD} and len(heads) > 1:
                raise InputError(
                    f"The files in {self.where} are named after splits, e.g. "
                    f"{readable(train.files[0][-1])}: move each split to a folder of its own, or "
                    f"say --data.splits none to take them as they are."
                )

    def _here(self, path: Parts) -> str:
        return readable("/".join((self.where, *path)))

    def _around(self, node: Folder) -> list[str] | None:
        """Returns the folders of a level that only wrap others; None where they are labels."""
        names = list(node.folders)
        if len(names) == 1:
            return names
        return names if all(map(self.names.is_filler, names)) and _alike(names) else None

    def _flattened(self, node: Folder, split: str, labels: set[str]) -> Folder:
        """Joins folders that mean nothing, such as test/data, where training has labels."""
        names = list(node.folders)
        while names and not labels & set(names):
            if not all(
                self.names.is_filler(name) or self.names.parse(name).split == split
                for name in names
            ):
                break
            inner = node.merged(names)
            node = Folder(node.depth, [*node.files, *inner.files], inner.folders)
            names = list(node.folders)
        return node


def _alike(names: list[str]) -> bool:
    """Returns whether names differ in their numbers alone: part_001, part_002."""
    letters = {"".join(c for c in name.casefold() if not c.isdecimal()) for name in names}
    return len(letters) == 1
