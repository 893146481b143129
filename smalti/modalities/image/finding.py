"""Finds the images at a path or under a name on the hub, by split.

    a folder of IDX files          train-images-idx3-ubyte …         → train, test
    a parquet file, or a folder    data/train-00000-of-00001.parquet → the split in the file's name
    a folder of image files        train/cat/1.jpg, test/dog/2.jpg   → see `smalti.data.layout`
    anything else                  owner/name                        → the Hugging Face hub

What is local is read without a look at the network. What is passed over is counted.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from smalti.data.caption_files import folder_captions, may_caption
from smalti.data.file_kinds import FileKinds, check_parquet, find_parquet
from smalti.data.file_tree import list_files
from smalti.data.found import FoundExamples, check_trainable, local_path, suffix_of
from smalti.data.hub import hub_rows
from smalti.data.layout import read_layout
from smalti.data.names import NameParser
from smalti.data.parquet import parquet_rows
from smalti.data.rows import FileRows, Rows, RowsBuilder, Shard, TableRows
from smalti.data.source import FOUND
from smalti.errors import InputError
from smalti.modalities.image.idx import find_idx
from smalti.modalities.image.rows import ImageTable
from smalti.modalities.image.signal import Image
from smalti.spelling import readable

if TYPE_CHECKING:
    from datasets import Features

__all__ = ["find_images", "logger"]

logger = logging.getLogger(FOUND)

IMAGES = FileKinds(
    signal=Image,
    word="picture",
    read=frozenset(
        {
            *(".avif", ".bmp", ".gif", ".ico", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm"),
            *(".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
        }
    ),
    unread=frozenset(
        {
            *(".heic", ".heif", ".jxl", ".svg", ".svgz", ".psd", ".xcf", ".eps", ".pdf", ".exr"),
            *(".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw"),
            *(".dcm", ".nii", ".npy", ".npz", ".mat", ".fits", ".apng", ".pcx", ".dds", ".icns"),
            *(".sgi", ".mng", ".pfm"),
        }
    ),
    magic=re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|II\*\0|MM\0\*|BM....\0\0\0\0", re.S),
    endings=".png, .jpg, .webp or the like",
    usual=(".png", ".jpg"),
)
NAMES = NameParser(Image.words)


def find_images(
    path: str,
    image_column: str | None,
    label_column: str | None,
    splits: bool = True,
    text_column: str | None = None,
) -> FoundExamples:
    """Finds the images of a data set by split: "train", and "validation" and "test" if it has them.

    Arguments:
        path: A path, or a name on the hub.
        image_column: Column of a table that holds the images; None to find it.
        label_column: Column of a table that holds the labels; None to find it.
        splits: Whether folders and files that are named after splits are splits.
        text_column: Column of a table, or of the captions.csv of a folder of image files, that
            holds the captions; None to do without.

    Raises:
        InputError: If there is nothing of that name, there are no images in it, or none to train
            on, or its layout can be read in more than one way.
    """

    def table(shards: Sequence[Shard], features: Features, folder: Path) -> TableRows:
        return ImageTable(shards, features, image_column, label_column, folder, text_column)

    local = local_path(path)
    if local is None:
        found = hub_rows(path, table, Image)
    elif local.is_dir():
        found = _in_folder(local, table, splits, text_column)
    else:
        rows = parquet_rows([check_parquet(local)], table, Image)
        found = FoundExamples(Image, readable(path), {"train": rows}, {}, Counter())
    check_trainable(path, found.rows)
    return found


def _in_folder(
    folder: Path, table: RowsBuilder, splits: bool, text_column: str | None
) -> FoundExamples:
    """Finds the images of a folder: IDX files, parquet files, or pictures."""
    tree = list_files(folder)
    where, passed = readable(folder), tree.passed
    idx = find_idx([folder.joinpath(*file) for file in tree.files])
    if idx:
        used = sum(len(files) for files in idx.values())
        passed["other files"] += len(tree.files) - used
        rows: dict[str, Rows] = {split: parts.rows for split, parts in idx.items()}
        origins = {split: [file.name for file in parts.files] for split, parts in idx.items()}
        return FoundExamples(Image, where, rows, origins, +passed)
    found = find_parquet(folder, tree, IMAGES, table, NAMES if splits else None)
    if found is not None:
        return found
    images = [file for file in tree.files if suffix_of(file) in IMAGES.read]
    if not images:
        raise InputError(IMAGES.describe_missing(folder, tree.files))
    captions = None
    others = [file for file in tree.files if suffix_of(file) not in IMAGES.read]
    if text_column is not None:
        captions = folder_captions(folder, tree.files, images, text_column)
        others = [file for file in others if not may_caption(file)]
    passed.update(IMAGES.count_others(folder, others))
    layout = read_layout(images, where, Image, splits)
    rows = {
        split: FileRows(folder, part.files, part.labels, captions)
        for split, part in layout.parts.items()
    }
    origins = {split: [f"{name}/" for name in part.folders] for split, part in layout.parts.items()}
    return FoundExamples(Image, where, rows, origins, +(passed + layout.passed))
