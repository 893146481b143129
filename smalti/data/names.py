"""Parses the names of folders and files, which may say a split.

The name of a folder can say which split it holds:

    training_set, train2017, TrainFiles, files-train     → train
    val, valid, dev, eval, val_256                       → validation
    test, testing, t10k, holdout                         → test
    seg_train, cats_test, trainA                         → a split, and a rest: seg, cats, a

A name is read word by word; numbers and words such as "set" or "files" say nothing, nor do words
for what lies there, which each kind of data has its own of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from smalti.spelling import label_name

__all__ = ["NameParser", "ParsedName"]

SPLITS = {
    "train": ("train", "training", "trn", "trainval"),
    "validation": (
        "validation",
        "validate",
        "valid",
        "val",
        "minival",
        "dev",
        "eval",
        "evaluation",
    ),
    "test": ("test", "tests", "testing", "tst", "devtest", "holdout", "t10k"),
}
SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words}
SHORT = {"tr": "train", "ts": "test", "te": "test"}  # only beside a filler: filesTr

CONTENT = frozenset("data dataset datasets file files".split())
FILLER = frozenset(
    "set sets split splits part parts shard shards folder dir new old final full all the my our raw"
    " orig original resized processed cropped v x px of".split()
)
ANNOTATION = set(
    "mask masks label labels annotation annotations annot annots segmentation segmentations"
    " segmentationclass segmentationobject groundtruth gt".split()
)
APART = set("extra extras unlabeled unlabelled unsupervised pred preds prediction".split())


class ParsedName(NamedTuple):
    """The parts of the name of a folder or file: its split, its numbers and its other words.

    Attributes:
        split: "train", "validation" or "test"; None where the name says none.
        rest: The words that are left, without fillers and numbers.
        numbers: The numbers in the name.
    """

    split: str | None
    rest: str
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class NameParser:
    """Parses the names of folders and files: finds the split that a name says.

    Arguments:
        content: Words that only say what kind of data lies there, and are skipped: "photos".

    Example:
        >>> names = NameParser(frozenset({"photos"}))
        >>> [names.parse(name).split for name in ("Val", "train2017", "test_photos", "trainers")]
        ['validation', 'train', 'test', None]
        >>> names.parse("seg_train")
        ParsedName(split='train', rest='seg', numbers=())
    """

    content: frozenset[str] = frozenset()

    def parse(self, name: str) -> ParsedName:
        """Reads the split, the other words and the numbers out of a name."""
        splits, rest, numbers, fillers = [], [], [], 0
        for word in _words(name):
            split = self._split_word(word)
            if split:
                splits.append(split)
            elif word.isdecimal():
                numbers.append(word)
            elif self._fills(word):
                fillers += 1
            else:
                rest.append(word)
        if not splits and fillers and len(rest) == 1 and rest[0] in SHORT:
            splits.append(SHORT[rest.pop()])
        return ParsedName(_one(splits), " ".join(rest), tuple(numbers))

    def is_filler(self, name: str) -> bool:
        """Returns whether a name only says that there are data: "files", "data_01"."""
        words = _words(name)
        content = any(self._is_content(word) for word in words)
        return content and all(self._fills(word) or word.isdecimal() for word in words)

    def is_annotation(self, name: str) -> bool:
        """Returns whether a name is that of annotations, such as masks, and not of examples."""
        words = [word for word in _words(name) if not word.isdecimal() and not self._fills(word)]
        return bool(words) and all(
            word in ANNOTATION or (word in ("class", "object") and len(words) > 1) for word in words
        )

    def is_apart(self, name: str) -> bool:
        """Returns whether a name is that of examples beside the splits: "extra", "unlabeled"."""
        return any(word in APART for word in _words(name))

    def _is_content(self, word: str) -> bool:
        return word in CONTENT or word in self.content

    def _fills(self, word: str) -> bool:
        return word in FILLER or self._is_content(word)

    def _split_word(self, word: str) -> str | None:
        """Returns the split of one word, also with a filler written to it: "trainset"."""
        if word in SPLIT_OF:
            return SPLIT_OF[word]
        for known, split in SPLIT_OF.items():
            rest = word.removeprefix(known)
            if word.startswith(known) and self._fills(rest) and rest not in ("x", "v", "s"):
                return split
            if word.endswith(known) and self._is_content(word.removesuffix(known)):
                return split
        return None


def _one(splits: list[str]) -> str | None:
    """Returns the split of several words: "train_val" is for training, "devtest" a test."""
    different = set(splits)
    if different == {"train", "validation"}:
        return "train"
    if different == {"validation", "test"}:
        return "test"
    return different.pop() if len(different) == 1 else None


def _words(name: str) -> list[str]:
    """Splits a folder's name into lower-case words and numbers."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label_name(name)).casefold()
    name = re.sub(r"\b(held|hold)[\W_]*out(?![^\W_])", "holdout", name.replace("_", " "))
    words = []
    for word in re.findall(r"[^\W_]+", name):
        words += [word] if word == "t10k" else re.findall(r"\d+|[^\W\d_]+", word)
    return words
