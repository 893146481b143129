"""The source of the user's sounds: a folder, parquet files, or the Hugging Face hub.

Every sound is decoded once, to 16-bit samples of one rate and one number of channels, and cut into
excerpts of one length. Labels 0 … K − 1 are in the order of their names. What a data set does not
set apart itself is held out from its training sounds, whole: excerpts of one recording stay
together.

Sounds that cannot be used are named and left out, as long as they are few: those that cannot be
read or are cut off, silent ones, those with values that are not finite.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from smalti import ranges
from smalti.conditions import Condition, Conditions, Label
from smalti.counting import counted
from smalti.data.captions import number_captions, with_captions
from smalti.data.dividing import SplitExamples, divide_in_splits, make_manifest
from smalti.data.found import FoundExamples
from smalti.data.items import Category, Items
from smalti.data.labels import match_captions, match_labels, number_labels
from smalti.data.left_out import report_left_out
from smalti.data.several_labels import combine_labels, with_several_labels
from smalti.data.source import FOUND, Examples, Source, SplitName, Splits
from smalti.data.splitting import SIZE, SplitFractions, fingerprint
from smalti.errors import InputError
from smalti.modalities.audio.augmentation import shift_randomly
from smalti.modalities.audio.columns import SoundColumns
from smalti.modalities.audio.excerpts import StoredExcerpts, cut_excerpts
from smalti.modalities.audio.loudness import gain_to
from smalti.modalities.audio.signal import Sound
from smalti.spelling import listed, readable

if TYPE_CHECKING:
    from smalti.modalities.audio.recordings import FoundSounds, Recordings

__all__ = ["SoundColumns", "Sounds"]

logger = logging.getLogger(__name__)
found_logger = logging.getLogger(FOUND)

HIGHEST = 24_000  # Hz, the rate that is chosen at most
USUAL = 1.0  # s of an excerpt


class Sounds(Source):
    """The source of the user's own sounds, with labels if there are any.

    Arguments:
        path: A folder of sounds (.wav, .flac, .ogg, .mp3), whose subfolders are labels; or a
            parquet file, or a folder of such; or the name of a data set on the Hugging Face hub.
        rate: Samples per second, to which all are resampled; if not given, the rate of most of
            them, but 24000 at most.
        channels: 1 for mono, 2 for stereo; if not given, what most of the training sounds are.
        seconds: Length of the excerpts that a model is trained on; if not given, 1, or less where
            all sounds are shorter. In training they begin anywhere in a sound, in validation and
            test they cover it. After a shorter one there is silence.
        columns: The columns of a table that hold sounds, labels, speakers or captions.
        loudness: The root mean square in decibels below full scale, such as -25, that each sound is
            brought to, unless its peak would be beyond full scale; if not given, sounds stay as
            loud as they are.
        held_out: The shares that are held out of the training sounds.
        splits: names: folders and files that are named after splits (train, test_set, dev …)
            are these splits; none: every folder is a label, and all sounds are for training.

    Raises:
        InputError: If an argument is out of its range.
    """

    RANGES: ClassVar[Mapping[str, ranges.Range]] = {
        "rate": ranges.Range(1000, 192_000),
        "channels": ranges.Range(1, 2),
        "seconds": ranges.Range(0, 3600, above=True),
        "loudness": ranges.Range(-60, 0),
    }

    def __init__(  # noqa: PLR0913 - the fields of a recipe
        self,
        path: str,
        rate: int | None = None,
        channels: int | None = None,
        seconds: float | None = None,
        columns: SoundColumns = SoundColumns(),  # noqa: B008 (frozen)
        loudness: float | None = None,
        held_out: SplitFractions = SplitFractions(),  # noqa: B008 (frozen)
        splits: Literal["names", "none"] = "names",
    ) -> None:
        given = {"rate": rate, "channels": channels, "seconds": seconds, "loudness": loudness}
        for name, value in given.items():
            if value is not None:
                ranges.check_range(f"{name} of sounds", value, self.RANGES[name])
        if splits not in ("names", "none"):
            raise InputError(f"splits is names or none, got {splits!r}: choose one of the two.")
        if columns.text is not None and (columns.label or columns.speaker):
            raise InputError(
                f"Sounds have captions or labels, got columns.text {columns.text!r} and labels: "
                f"leave one of the two out."
            )
        self.path, self.rate, self.channels, self.seconds = str(path), rate, channels, seconds
        self.columns, self.loudness, self.held_out = columns, loudness, held_out
        self.splits = splits

    def load(self) -> Splits:
        """See `Source.load`."""
        # What reads sounds needs the extra audio, without which other sources can be named.
        from smalti.modalities.audio.finding import find_sounds
        from smalti.modalities.audio.recordings import decode_once, look_at_sounds
        from smalti.modalities.audio.told import describe_sounds

        by_name = self.splits == "names"
        found, named = self._named(find_sounds(self.path, self.columns, by_name, self.rate))
        for line in named.lines(found):
            found_logger.info(line)
        left_out = [(f"{n} {kind}", "passed over") for kind, n in found.passed.items()]
        seen = {
            split: look_at_sounds(rows.stored(), len(rows)) for split, rows in found.rows.items()
        }
        for split, sounds in seen.items():
            self._check_readable(split, sounds)
        rate = self.rate or _commonest_rate(seen)
        channels = self.channels or _commonest_channels(seen["train"])
        decoded = {
            split: decode_once(found.rows[split].stored, sounds, rate, channels)
            for split, sounds in seen.items()
        }
        for split, part in decoded.items():
            left_out += self._report(seen[split], part)
        size = self._size(decoded, rate)
        signal = Sound(channels, rate, (size,))
        parts = {
            split: self._part(split, seen[split], part, size, named.numbers[split])
            for split, part in decoded.items()
        }
        items = self._items(found, parts)
        for line in describe_sounds(
            decoded, seen, {k: len(v.names) for k, v in parts.items()}, signal
        ):
            found_logger.info(line)
        parts = divide_in_splits(parts, self.held_out, Sound, by_label=named.by_label)
        splits = Splits(
            train=parts["train"].examples,
            validation=parts["validation"].examples,
            test=parts["test"].examples,
            signal=signal,
            condition=named.condition,
            augment=None,
            manifest=make_manifest(parts, named.condition, left_out, Sound, named.captions),
            shift=shift_randomly,
            items=items,
        )
        if named.together is not None and named.condition is not None:
            return with_several_labels(splits, named.together, named.condition.names)
        return splits if named.captions is None else with_captions(splits, named.captions)

    def examples(self, split: SplitName) -> Examples:
        """See `Source.examples`."""
        examples: Examples = getattr(self.load(), split)
        return examples

    def _named(self, found: FoundExamples) -> tuple[FoundExamples, _Named]:
        """Numbers the captions, or labels and speakers, of what was found."""
        from smalti.modalities.audio.finding import speakers_of

        if self.columns.text is not None:
            found, columns = match_captions(found)
            captions, texts = number_captions(columns)
            return found, _Named(None, captions, dict(texts))
        found, columns = match_labels(found)
        condition, numbers = number_labels(columns, None, Sound)
        if self.columns.speaker is None:
            return found, _Named(condition, None, numbers)
        asked = {s: speakers_of(rows, str(self.columns.speaker)) for s, rows in found.rows.items()}
        speaker, who = number_labels({**asked}, None, Sound)
        if speaker is None:
            raise InputError(
                f"Speakers are a condition where there are two or more, got one in the column "
                f"{self.columns.speaker!r}: leave --data.columns.speaker out."
            )
        speaker = Label(speaker.names, name="speaker")
        if condition is None:
            return found, _Named(speaker, None, who)
        both = [{s: n for s, n in part.items() if n is not None} for part in (numbers, who)]
        together, names, combined = combine_labels([condition, speaker], both)
        return found, _Named(Label(names), None, dict(combined), together)

    def _items(self, found: FoundExamples, parts: Mapping[str, SplitExamples]) -> Items | None:
        """Returns who speaks in each excerpt, where a column says it: reports measure with it."""
        from smalti.modalities.audio.finding import speaker_column, speakers_of

        column = speaker_column(found.rows["train"], self.columns.speaker)
        if column is None:
            return None
        numbers: dict[str, int] = {}
        names: list[str] = []
        codes: list[int] = []
        for split, part in parts.items():
            try:
                words = speakers_of(found.rows[split], column).values
            except InputError as error:
                found_logger.info(f"no speakers are measured ({error})")
                return None
            examples = part.examples
            assert isinstance(examples, StoredExcerpts)
            codes += [
                numbers.setdefault(str(words[number]), len(numbers))
                for number in examples.cuts.recordings.tolist()
            ]
            names += part.names
        who = Category(np.array(codes, dtype=np.int32), tuple(numbers))
        return Items(names, {"speaker": who})

    def _check_readable(self, split: str, sounds: FoundSounds) -> None:
        """Refuses a split without one sound that can be read."""
        if all(fault is not None for fault in sounds.faults):
            faults = [f"{n} ({f})" for n, f in zip(sounds.names, sounds.faults, strict=True)]
            raise InputError(
                f"None of the {len(faults)} {split} sounds of {readable(self.path)} can be read: "
                f"{listed(faults, 3)}. Give sounds such as .wav or .flac."
            )

    def _report(self, sounds: FoundSounds, decoded: Recordings) -> list[tuple[str, str]]:
        """Warns of sounds that cannot be used; returns name and fault of each."""
        folder = f"{Path(self.path).expanduser()}{os.sep}"
        named = zip(sounds.names, decoded.faults, strict=True)
        faults = [(name.replace(folder, ""), fault) for name, fault in named if fault is not None]
        words = [f"{name} ({fault})" for name, fault in faults]
        report_left_out(words, len(sounds.names), Sound, "cannot be used", logger)
        return faults

    def _size(self, decoded: Mapping[str, Recordings], rate: int) -> int:
        """Returns the samples of an excerpt."""
        if self.seconds is not None:
            return max(1, round(self.seconds * rate))
        longest = max(one.samples for one in decoded["train"].statistics if one is not None)
        return min(round(USUAL * rate), longest)

    def _part(
        self,
        split: str,
        sounds: FoundSounds,
        decoded: Recordings,
        size: int,
        numbers: Tensor | None,
    ) -> SplitExamples:
        """Returns the excerpts of a split as examples with labels."""
        known = decoded.statistics
        lengths = np.array([0 if one is None else one.samples for one in known], dtype=np.int64)
        gains = np.array([gain_to(self.loudness, one) for one in known], dtype=np.float32)
        cuts = cut_excerpts(decoded.starts, lengths, size, gains)
        heard = np.array(
            [
                bool(decoded.samples[begin + offset : begin + min(offset + size, length)].any())
                for begin, offset, length in zip(
                    cuts.begins, cuts.offsets, cuts.lengths, strict=True
                )
            ],
            dtype=bool,
        )
        cuts = cuts.take(np.flatnonzero(heard))
        values = None if numbers is None else numbers[torch.from_numpy(cuts.recordings)]
        folder = f"{Path(self.path).expanduser()}{os.sep}"
        several = np.bincount(cuts.recordings, minlength=len(lengths)) > 1
        names, prints = [], []
        for number, offset in zip(cuts.recordings.tolist(), cuts.offsets.tolist(), strict=True):
            name = sounds.names[number].replace(folder, "")
            names.append(f"{name} from sample {offset}" if several[number] else name)
            of_file = sounds.fingerprints[number].tobytes()
            prints.append(
                fingerprint(of_file + offset.to_bytes(8, "little")) if several[number] else of_file
            )
        return SplitExamples(
            split,
            StoredExcerpts(decoded.samples, cuts, size, values),
            np.frombuffer(b"".join(prints), dtype=np.uint8).reshape(-1, SIZE),
            names,
            sounds.fingerprints[cuts.recordings],
        )


class _Named(NamedTuple):
    """The captions or labels of what was found, and the numbers of each split."""

    condition: Label | None
    captions: tuple[str, ...] | None
    numbers: dict[str, Tensor | None]
    together: Conditions | None = None  # of several labels, whose combinations are numbered

    @property
    def by_label(self) -> bool:
        """Returns whether each label keeps an example to train on; of many rare ones none does."""
        train, label = self.numbers["train"], self.condition
        if self.together is None or train is None or label is None:
            return self.captions is None
        return 4 * len(label.names) <= len(train)

    def lines(self, found: FoundExamples) -> list[str]:
        """Describes what was found, and who speaks."""
        label: Condition | None = self.condition
        speakers: Condition | None = None
        if self.together is not None:
            label, speakers = self.together.named["label"], self.together.named["speaker"]
        elif label is not None and label.name == "speaker":
            label, speakers = None, label
        assert label is None or isinstance(label, Label)
        lines = found.lines(None if label is None else label.names, len(self.captions or ()))
        if isinstance(speakers, Label):
            lines.append(f"{counted(len(speakers.names), 'speaker')}: {listed(speakers.names, 6)}")
        return lines


def _commonest_rate(seen: Mapping[str, FoundSounds]) -> int:
    """Returns the rate of most sounds, of equally many the higher; 24,000 Hz at most."""
    rates = Counter(h.rate for part in seen.values() for h in part.headers if h is not None)
    return min(max(rates, key=lambda rate: (rates[rate], rate)), HIGHEST)


def _commonest_channels(train: FoundSounds) -> int:
    """Returns 2 where most sounds have more channels than one."""
    channels = [header.channels for header in train.headers if header is not None]
    return 1 + (2 * sum(n > 1 for n in channels) > len(channels))
