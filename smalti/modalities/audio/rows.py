"""Rows of tables with a column of sounds, as files or as values with their rate.

{bytes, path}              the audio columns of Hugging Face
bytes                      sound files
{array, sampling_rate}     values, and how many there are a second
a list of numbers          values, their rate in another column, or said by the user
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smalti.data.rows import (
    LabelColumn,
    Shard,
    TableRows,
    UndecodedExample,
    find_media_column,
    list_columns,
)
from smalti.errors import InputError
from smalti.modalities.audio.decoding import wav_bytes
from smalti.modalities.audio.signal import Sound
from smalti.spelling import readable

if TYPE_CHECKING:
    from datasets import Features

__all__ = ["SoundTable", "holds_sounds"]

RATE_COLUMNS = ("sampling_rate", "sample_rate", "rate", "sr")
SPEAKERS = ("speaker", "speaker_id")
AT_ONCE = 64  # rows


class SoundTable(TableRows):
    """Rows of Hugging Face tables with a column of sounds, one table loaded at a time.

    Attributes:
        audio_column: Name of the column of sounds.
        rate_column: Name of the column of their rates; None where they say it themselves.

    Arguments:
        shards: The tables.
        features: Their columns.
        audio_column: Name of the column of sounds; None to find it.
        label_column: Name of the column of labels; None to find it, or to do without.
        folder: The folder that paths in the tables are relative to.
        text_column: Name of the column of captions; None to do without.
        rate: Samples per second of lists of values, where no column says it.

    Raises:
        InputError: If there is no such column, or it does not hold what it should.
    """

    def __init__(  # noqa: PLR0913 - those of `TableRows`, and of a table of sounds
        self,
        shards: Sequence[Shard],
        features: Features,
        audio_column: str | None,
        label_column: str | None,
        folder: Path = Path(),
        text_column: str | None = None,
        rate: int | None = None,
    ) -> None:
        self._folder, self._rate = folder, rate
        self.audio_column = find_media_column(
            features,
            audio_column,
            shards[0].name,
            signal=Sound,
            holds=holds_sounds,
            usual=("audio", "sound", "speech"),
            stored="bytes, as bytes and path, or as lists of values with a rate",
        )
        self.rate_column = None
        if _is_list(features[self.audio_column]):
            self.rate_column = next((name for name in RATE_COLUMNS if name in features), None)
            if self.rate_column is None and rate is None:
                raise InputError(
                    f"The column {self.audio_column!r} of {shards[0].name} holds values, and no "
                    f"column called {' or '.join(RATE_COLUMNS[:3])} says how many there are a "
                    f"second: give --data.rate."
                )
        super().__init__(shards, features, label_column, text_column)

    def stored(self) -> Iterator[UndecodedExample]:
        columns = [self.audio_column, *([self.rate_column] if self.rate_column else [])]
        for shard in self.shards:
            table = shard.load(columns).with_format("arrow")
            row = 0
            for batch in table.iter(batch_size=AT_ONCE):
                rates = batch[self.rate_column].to_pylist() if self.rate_column else None
                for place in range(len(batch)):
                    rate = self._rate if rates is None else rates[place]
                    value = batch[self.audio_column][place]
                    yield self._sound(value, rate, f"row {row} of {shard.name}")
                    row += 1

    def fits(self, features: Features) -> bool:
        needed = (self.text_column, self.rate_column)
        there = all(name is None or name in features for name in needed)
        return there and holds_sounds(features.get(self.audio_column))

    @property
    def speaker_column(self) -> str | None:
        """Returns the column that is called after speakers and holds words or numbers, if any."""
        from datasets import ClassLabel, Value

        for name in SPEAKERS:
            feature = self.features.get(name)
            plain = isinstance(feature, Value) and feature.dtype.startswith(("string", "int"))
            if isinstance(feature, ClassLabel) or plain:
                return name
        return None

    def words(self, column: str) -> LabelColumn:
        """Reads a column of words or numbers, such as of speakers.

        Raises:
            InputError: If there is no such column, or a row has no value.
        """
        if column not in self.features:
            raise InputError(
                f"There is no column {column!r} in {self.shards[0].name}, whose columns are "
                f"{list_columns(self.features)}: name one of these."
            )
        values = [v for shard in self.shards for v in shard.load([column])[column]]
        if None in values or not all(isinstance(value, str | int) for value in values):
            raise InputError(
                f"The column {column!r} of {self.shards[0].name} has a word or a whole number in "
                f"every row, got another value: fill it in, or name another column."
            )
        names = getattr(self.features[column], "names", None)
        return LabelColumn([names[v] if names else v for v in values], None)

    def _sound(self, value: Any, rate: Any, name: str) -> UndecodedExample:
        """Returns a value of the column as the bytes or the path of a file."""
        import pyarrow as pa

        if not value.is_valid:
            return UndecodedExample(name, b"")
        if pa.types.is_struct(value.type):
            given = {field.name for field in value.type}
            if "array" in given:
                rate = value["sampling_rate"].as_py() if "sampling_rate" in given else rate
                return UndecodedExample(name, _as_wav(value["array"], rate))
            stored = value.as_py()
            content, path = stored.get("bytes"), stored.get("path")
            if content is None and path is None:
                return UndecodedExample(name, b"")
            if content is None:
                return UndecodedExample(readable(str(path)), self._folder / str(path))
            return UndecodedExample(f"{readable(str(path))}, {name}" if path else name, content)
        if pa.types.is_binary(value.type) or pa.types.is_large_binary(value.type):
            return UndecodedExample(name, value.as_py())
        return UndecodedExample(name, _as_wav(value, rate))


def _as_wav(value: Any, rate: Any) -> bytes:
    """Returns a list of values, or of channels of values, as a WAV file; empty without a rate."""
    if not value.is_valid or not isinstance(rate, int | float) or not rate > 0:
        return b""
    values = value.values
    if hasattr(values, "values") and hasattr(values, "offsets"):  # of channels
        rows = [row.values.to_numpy(zero_copy_only=False) for row in values if row.is_valid]
        if len({len(row) for row in rows}) != 1:
            return b""
        array = np.stack(rows, axis=1)  # (T, C)
    else:
        array = values.to_numpy(zero_copy_only=False)
    return wav_bytes(array, round(rate))


def holds_sounds(feature: object) -> bool:
    """Returns whether the type of a column is that of sounds: bytes, paths and bytes, or values."""
    from datasets import Audio, Value

    if isinstance(feature, Audio):
        return True
    if isinstance(feature, dict):
        return (
            "array" in feature and _is_list(feature["array"]) or holds_sounds(feature.get("bytes"))
        )
    if isinstance(feature, Value):
        return feature.dtype in ("binary", "large_binary")
    return _is_list(feature)


def _is_list(feature: object) -> bool:
    """Returns whether the type of a column is that of lists of numbers, or of channels of these."""
    from datasets import LargeList, List, Value

    if isinstance(feature, List | LargeList):
        inner = feature.feature
        return _is_list(inner) or (
            isinstance(inner, Value) and inner.dtype.startswith(("float", "int", "uint"))
        )
    return False
