"""Finds the folders that are named after splits, such as "train" and "test".

    train/, test/               one folder each
    train_1/, train_2/, val/    several of one split
    seg_train/, seg_test/       a split, and a word that all of them have
    train_cat/, test_cat/       a split, and a label
    val/, cat/, dog/            held-out files beside the labels of training

Where the names allow of two readings, they are refused.
"""

from __future__ import annotations

from smalti.data.folders import Folder
from smalti.data.names import NameParser, ParsedName
from smalti.errors import InputError
from smalti.spelling import listed

__all__ = ["HELD", "Branches", "SplitFolders"]

HELD = ("validation", "test")

Branches = dict[str, list[tuple[str, str | None]]]
"""The folders of each split, each with the label in its name, if any."""


class SplitFolders:
    """Finds, among the subfolders of a folder, those that are named after splits.

    Arguments:
        where: What messages call the whole folder.
        plural: What messages call the files, in the plural.
        names: The parser of the folders' names.
    """

    def __init__(self, where: str, plural: str, names: NameParser) -> None:
        self.where, self.plural, self.names = where, plural, names

    def branches(self, node: Folder) -> Branches:
        """Groups the folders of a level by split, each with the label in its name, if any."""
        words = {name: self.names.parse(name) for name in node.folders}
        strong = [name for name, word in words.items() if word.split and not word.rest]
        weak = [name for name, word in words.items() if word.split and word.rest]
        plain = [
            name for name, word in words.items() if not word.split and not self.names.is_apart(name)
        ]
        if not strong:
            return self._from_weak(node, words, weak, plain)
        splits = {words[name].split for name in strong}
        flat = not any(node.folders[name].folders for name in strong)
        held_weak = [name for name in weak if words[name].split != "train"]
        train_weak = [name for name in weak if words[name].split == "train"]
        if "train" in splits and len(splits) > 1:
            if flat and plain:
                raise self._ambiguous(strong, plain)
            self._check_numbers(node, strong, words)
            return _grouped(strong, words)
        if splits == {"train"}:
            if not plain:
                return _grouped([*strong, *held_weak], words)
            if held_weak or not flat:
                raise self._ambiguous([*strong, *held_weak], plain)
            return {}  # one label among others that is called "train"
        if train_weak and not plain:
            rests = {words[name].rest for name in train_weak}
            if len(rests) > 1 and not any(node.folders[name].folders for name in train_weak):
                raise self._ambiguous([*strong, *train_weak], [])  # labels, or parts
            return _grouped([*strong, *train_weak], words)
        return self._held_alone(node, strong, [*train_weak, *plain], words)

    def _held_alone(
        self, node: Folder, strong: list[str], others: list[str], words: dict[str, ParsedName]
    ) -> Branches:
        """Folders of held-out files with no folder of training files beside them."""
        found = _grouped(strong, words)
        labels = {name for held in strong for name in node.folders[held].folders}
        if not others:
            if node.files and not labels:
                found["train"] = []  # the files beside them
            return found
        if not labels or not labels <= set(others):
            raise self._ambiguous(strong, others)
        found["train"] = [(name, name) for name in others]
        return found

    def _from_weak(
        self, node: Folder, words: dict[str, ParsedName], weak: list[str], plain: list[str]
    ) -> Branches:
        """Splits where all names have other words, too: seg_train, seg_test."""
        train = {words[name].rest for name in weak if words[name].split == "train"}
        held = {words[name].rest for name in weak if words[name].split != "train"}
        known = train | {words[name].rest for name in plain}
        if not held & known:
            return {}  # labels such as test_tube and steam_train
        if len(train) == 1 and held == train:
            flat = not any(node.folders[name].folders for name in weak)
            if flat and plain:
                raise self._ambiguous(weak, plain)
            return _grouped(weak, words)
        if plain or not held <= train:
            raise self._ambiguous(weak, plain)
        return _grouped(weak, words, labelled=True)

    def _check_numbers(self, node: Folder, strong: list[str], words: dict[str, ParsedName]) -> None:
        """Refuses train_0, train_1, test_0, test_1, whose numbers may be labels or parts."""
        numbers: dict[str | None, set[tuple[str, ...]]] = {}
        for name in strong:
            numbers.setdefault(words[name].split, set()).add(words[name].numbers)
        first, *rest = numbers.values()
        flat = not any(node.folders[name].folders for name in strong)
        if flat and len(first) > 1 and all(other == first for other in rest):
            raise InputError(
                f"The numbers in {listed(strong, 4)} of {self.where} may be labels or parts: move "
                f"the {self.plural} to folders such as train/0, or to one folder a split."
            )

    def _ambiguous(self, splits: list[str], others: list[str]) -> InputError:
        """Returns the error for folders of splits beside others, which may all be labels."""
        beside = f", beside {listed(others, 4)}, which may be labels" if others else ""
        return InputError(
            f"{self.where} has folders named after splits, {listed(splits, 4)}{beside}: move "
            f"the ones or the others elsewhere, or say --data.splits none to take every folder as "
            f"a label."
        )


def _grouped(names: list[str], words: dict[str, ParsedName], labelled: bool = False) -> Branches:
    """Groups folder names by split, as (name, the rest of it as a label where `labelled`)."""
    found: Branches = {}
    for name in names:
        split = words[name].split
        assert split is not None
        found.setdefault(split, []).append((name, words[name].rest if labelled else None))
    return found
