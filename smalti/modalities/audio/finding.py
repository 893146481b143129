"""Finds the sounds at a path or under a name on the hub, by split.

    a parquet file, or a folder    data/train-00000-of-00001.parquet → the split in the file's name
    a folder of sound files        train/seven/1.wav, test/one/2.mp3 → see `smalti.data.layout`
    anything else                  owner/name                        → the Hugging Face hub

What is local is read without a look at the network. What is passed over is counted.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from smalti.data.caption_files import folder_captions, may_caption
from smalti.data.file_kinds import FileKinds, check_parquet, find_parquet
from smalti.data.file_tree import Parts, list_files
from smalti.data.found import FoundExamples, check_trainable, local_path, suffix_of
from smalti.data.hub import hub_rows
from smalti.data.layout import read_layout
from smalti.data.names import NameParser
from smalti.data.parquet import parquet_rows
from smalti.data.rows import FileRows, LabelColumn, Rows, RowsBuilder, Shard, TableRows
from smalti.data.source import FOUND
from smalti.errors import InputError
from smalti.modalities.audio.columns import SoundColumns
from smalti.modalities.audio.decoding import READ
from smalti.modalities.audio.rows import SoundTable
from smalti.modalities.audio.signal import Sound
from smalti.spelling import readable

if TYPE_CHECKING:
    from datasets import Features

__all__ = ["SoundFiles", "find_sounds", "logger", "speaker_column", "speakers_of"]

logger = logging.getLogger(FOUND)

SOUNDS = FileKinds(
    signal=Sound,
    word="sound",
    read=frozenset(READ),
    unread=frozenset(
        {
            *(".m4a", ".aac", ".wma", ".mp4", ".webm", ".amr", ".ape", ".wv", ".mka", ".ra"),
            *(".mid", ".midi", ".ac3", ".dts", ".mpc", ".tta", ".alac", ".m4b", ".3gp", ".mov"),
            *(".raw", ".pcm"),
        }
    ),
    magic=re.compile(rb"RIFF....WAVE|fLaC|OggS|ID3|FORM....AIF[FC]|\.snd|caff", re.S),
    endings=".wav, .flac, .ogg or .mp3",
    usual=(".wav", ".flac"),
)
NAMES = NameParser(Sound.words)


class SoundFiles(FileRows):
    """Rows of a folder of sound files, with the speaker of each if a table says it.

    Arguments: those of `FileRows`, and
        speakers: The speakers of those files that have one; None where they are not wanted.
    """

    def __init__(
        self,
        folder: Path,
        files: list[Parts],
        names: list[str] | None,
        captions: Mapping[Parts, str] | None = None,
        speakers: Mapping[Parts, str] | None = None,
    ) -> None:
        super().__init__(folder, files, names, captions)
        self._speakers = speakers

    def words(self) -> LabelColumn:
        """Returns the speaker of each file; raises `InputError` if one has none."""
        return LabelColumn(_all_of(self._speakers or {}, self._files, "speaker"), None)


def speaker_column(rows: Rows, wanted: str | None) -> str | None:
    """Returns the column of speakers that is asked for, or is called so in a table; else None."""
    if wanted is not None or not isinstance(rows, SoundTable):
        return wanted
    return rows.speaker_column


def speakers_of(rows: Rows, column: str) -> LabelColumn:
    """Reads the speaker of every row.

    Raises:
        InputError: If there is no such column, or a row has no speaker.
    """
    if isinstance(rows, SoundTable):
        return rows.words(column)
    assert isinstance(rows, SoundFiles)
    return rows.words()


def find_sounds(
    path: str, columns: SoundColumns, splits: bool = True, rate: int | None = None
) -> FoundExamples:
    """Finds the sounds of a data set by split: "train", and "validation" and "test" if it has them.

    Arguments:
        path: A path, or a name on the hub.
        columns: The columns that are named.
        splits: Whether folders and files that are named after splits are splits.
        rate: Samples per second of lists of values in a table, where no column says it.

    Raises:
        InputError: If there is nothing of that name, there are no sounds in it, or none to train
            on, or its layout can be read in more than one way.
    """

    def table(shards: Sequence[Shard], features: Features, folder: Path) -> TableRows:
        return SoundTable(
            shards, features, columns.audio, columns.label, folder, columns.text, rate
        )

    local = local_path(path)
    if local is None:
        found = hub_rows(path, table, Sound)
    elif local.is_dir():
        found = _in_folder(local, table, splits, columns)
    else:
        rows = parquet_rows([check_parquet(local)], table, Sound)
        found = FoundExamples(Sound, readable(path), {"train": rows}, {}, Counter())
    check_trainable(path, found.rows)
    return found


def _in_folder(
    folder: Path, table: RowsBuilder, splits: bool, columns: SoundColumns
) -> FoundExamples:
    """Finds the sounds of a folder: parquet files, or sound files."""
    tree = list_files(folder)
    where, passed = readable(folder), tree.passed
    found = find_parquet(folder, tree, SOUNDS, table, NAMES if splits else None)
    if found is not None:
        return found
    sounds = [file for file in tree.files if suffix_of(file) in SOUNDS.read]
    if not sounds:
        raise InputError(SOUNDS.describe_missing(folder, tree.files))
    read = {  # a .txt beside a sound is its caption, and says nothing else
        what: None if column is None else folder_captions(folder, tree.files, files, column)
        for what, column, files in (
            ("text", columns.text, sounds),
            ("label", columns.label, ()),
            ("speaker", columns.speaker, ()),
        )
    }
    others = [file for file in tree.files if suffix_of(file) not in SOUNDS.read]
    if any(found is not None for found in read.values()):
        others = [file for file in others if not may_caption(file)]
    passed.update(SOUNDS.count_others(folder, others))
    layout = read_layout(sounds, where, Sound, splits)
    labelled = read["label"]
    rows: dict[str, Rows] = {
        split: SoundFiles(
            folder,
            part.files,
            part.labels if labelled is None else _all_of(labelled, part.files, "label"),
            read["text"],
            read["speaker"],
        )
        for split, part in layout.parts.items()
    }
    origins = {split: [f"{name}/" for name in part.folders] for split, part in layout.parts.items()}
    return FoundExamples(Sound, where, rows, origins, +(passed + layout.passed))


def _all_of(found: Mapping[Parts, str], files: Sequence[Parts], what: str) -> list[str]:
    """Returns what a table says of each file; raises `InputError` if it leaves one out."""
    without = [file for file in files if not found.get(file, "").strip()]
    if without:
        raise InputError(
            f"Each sound has a {what} or none has, got none for "
            f"{readable('/'.join(without[0]))} and {len(without) - 1} others of {len(files)}: "
            f"write them into metadata.csv, or leave --data.columns.{what} out."
        )
    return [found[file].strip() for file in files]
