"""Which columns of a table hold what, as a recipe says it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SoundColumns"]


@dataclass(frozen=True)
class SoundColumns:
    """The columns of a table, where they cannot be found by their names.

    Of a folder of sound files they are those of a metadata.csv or captions.csv there, which has the
    names of the files in file_name.

    Arguments:
        audio: The column of sounds; found if not given.
        label: The column of labels; if not given, the column called label, or the only one of named
            classes, or none; of files, their folders.
        speaker: The column of speakers, which then are a condition beside the label.
        text: The column of captions, which then take the place of labels. Of files without such a
            table it is the .txt file beside each.
    """

    audio: str | None = None
    label: str | None = None
    speaker: str | None = None
    text: str | None = None
