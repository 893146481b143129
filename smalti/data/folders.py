"""Folders and their files as a tree, which the readers of folder layouts go through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from smalti.data.file_tree import Parts
from smalti.spelling import label_name

__all__ = ["Folder"]


@dataclass
class Folder:
    """A folder in a tree of folders.

    Attributes:
        depth: The number of names in the path that leads to it.
        files: The paths of the files that lie in the folder itself.
        folders: Its subfolders with files in them, by their names as labels.
    """

    depth: int
    files: list[Parts] = field(default_factory=list)
    folders: dict[str, Folder] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Iterable[Parts], depth: int = 0) -> Folder:
        """Builds the tree of the folders that hold `files`, from the `depth`-th of each path."""
        root = cls(depth)
        for file in files:
            node = root
            for folder in file[depth:-1]:
                node = node.folders.setdefault(label_name(folder), cls(node.depth + 1))
            node.files.append(file)
        return root

    def all(self) -> list[Parts]:
        """Lists the files in it and below, those of a folder before its folders'."""
        found, waiting = [], [self]
        while waiting:
            node = waiting.pop()
            found += node.files
            waiting += reversed(node.folders.values())
        return found

    def merged(self, names: Iterable[str]) -> Folder:
        """Joins some of its folders to one."""
        files = [file for name in names for file in self.folders[name].all()]
        return Folder.of(files, self.depth + 1)
