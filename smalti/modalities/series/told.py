"""Describes to the user the series that were found, and what is odd about them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from smalti.counting import counted
from smalti.data.found import FoundExamples
from smalti.data.manifest import SPLITS
from smalti.data.splitting import fingerprint
from smalti.errors import InputError
from smalti.modalities.series.columns import ChosenColumns
from smalti.modalities.series.recordings import Recording
from smalti.modalities.series.rows import unify_nans
from smalti.modalities.series.signal import Series
from smalti.modalities.series.windows import Windows
from smalti.spelling import listed, readable

__all__ = ["describe_series", "describe_oddities"]

NAMED = 6
EVEN = 0.05  # of the usual step, by which others may differ
MOST = 0.99  # share of the steps that are as the usual one
FEWEST = 16  # steps, of which that can be told


def describe_series(  # noqa: PLR0913 - all that is said of them
    found: FoundExamples,
    columns: ChosenColumns,
    signal: Series,
    recordings: dict[str, list[Recording]],
    cuts: dict[str, Windows],
    stride: int,
    blocks: bool,
) -> Iterator[str]:
    """Yields the lines that describe to the user which series and windows were found."""
    every = [one for part in recordings.values() for one in part]
    splits = []
    for split, part in recordings.items():
        origin = listed(found.origins.get(split, ()), NAMED)
        splits.append(f"{split} {len(part)}" + f" (of {origin})" * bool(origin))
    steps = sum(len(one.values) for one in every)
    rate = "at a rate that is not known"
    if signal.rate is not None:
        slow = signal.rate < 1
        rate = f"one every {1 / signal.rate:g} s" if slow else f"{signal.rate:g} a second"
    time = "in the order of rows" if columns.time is None else f"by {readable(columns.time)}"
    yield (
        f"found {counted(len(every), 'series', 'series')} in {found.where}: {', '.join(splits)}; "
        f"{steps} steps {time}, {rate}"
    )
    channels = listed(columns.channels, NAMED) if signal.names else "without names"
    label = "none" if columns.label is None else readable(columns.label)
    ids = "none" if columns.id is None else readable(columns.id)
    yield f"{counted(signal.channels, 'channel')} ({channels}); ids: {ids}; labels: {label}"
    if columns.aside:
        unnamed = [name for name in ("id", "label") if getattr(columns, name) is None]
        hint = " and ".join(f"--data.columns.{name}" for name in unnamed)
        hint = f"; {hint} say which column that is" if unnamed else ""
        yield f"columns left aside: {listed(columns.aside, 2 * NAMED)}{hint}"
    if found.passed:
        kinds = [f"{kind} ({n})" for kind, n in found.passed.most_common()]
        yield f"passed over: {', '.join(kinds)}"
    n = sum(len(windows.starts) for windows in cuts.values())
    how = "blocks of them, for the series are few" if blocks else "whole series"
    if len({*SPLITS} - recordings.keys()):
        how = f"; held out are {how}"
    else:
        how = ""
    yield f"{n} windows of {signal.lasts(signal.size[0])}, one every {stride}{how}"


def describe_oddities(
    recordings: dict[str, list[Recording]],
    cuts: dict[str, Windows],
    signal: Series,
    columns: ChosenColumns,
) -> Iterator[str]:
    """Yields one line for each oddity of the series, such as uneven times."""
    every = [one for part in recordings.values() for one in part]
    size = signal.size[0]
    counts = Counter(
        padded=sum(windows.padded for windows in cuts.values()),
        dropped=sum(windows.dropped for windows in cuts.values()),
    )
    if counts["padded"]:
        short = [one.name for one in every if len(one.values) < size]
        yield (
            f"shorter than a window: {counted(counts['padded'], 'piece')}"
            f"{f' ({listed(short, 3)})' if short else ''}, each a window that ends in a gap"
        )
    if counts["dropped"]:
        yield (
            f"left out: {counted(counts['dropped'], 'piece')} of less than an eighth of a window "
            f"({max(2, size // 8)} steps)"
        )
    jumps = {one.name: len(one.timing.jumps) for one in every if len(one.timing.jumps)}
    if jumps:
        yield (
            f"times jump {counted(sum(jumps.values()), 'time')} in "
            f"{counted(len(jumps), 'series', 'series')} ({listed([*jumps], 3)}), and these are cut "
            f"there"
        )
    if uneven := {one.name: one.timing.uneven for one in every if one.timing.uneven > 0.01}:
        most = max(uneven.values())
        yield (
            f"times are uneven in {counted(len(uneven), 'series', 'series')} "
            f"({listed([*uneven], 3)}; up to {most:.0%} of the steps differ by a quarter): steps "
            f"are taken for evenly spaced"
        )
    if infinite := sum(one.infinite for one in every):
        yield f"infinite: {counted(infinite, 'value')}, taken for gaps"
    yield from _shared(recordings)
    yield from _of_channels(recordings["train"], signal)
    if columns.time is None and len(clocks := _clocks(recordings["train"], signal)):
        yield (
            f"channels that rise evenly, as times do: {listed(clocks, NAMED)}; if one is the time, "
            f"give it as --data.columns.time, else leave it out with --data.columns.channels"
        )
    yield from _copies(every)


def _of_channels(train: Sequence[Recording], signal: Series) -> Iterator[str]:
    """Yields what is odd about the channels of the training series.

    Raises:
        InputError: If one has no value.
    """
    with np.errstate(all="ignore"):
        low = np.fmin.reduce([np.fmin.reduce(one.values, axis=0) for one in train])
        high = np.fmax.reduce([np.fmax.reduce(one.values, axis=0) for one in train])
    missing = sum(np.isnan(one.values).sum(axis=0) for one in train)
    steps = sum(len(one.values) for one in train)
    names = np.array(signal.labels, dtype=object)
    if len(empty := names[np.isnan(low)]):
        raise InputError(
            f"{counted(len(empty), 'channel has', 'channels have')} no value in any training "
            f"series ({listed(empty.tolist(), NAMED)}): leave them out with "
            f"--data.columns.channels."
        )
    if len(constant := names[low == high]):
        yield (
            f"constant: {counted(len(constant), 'channel')} ({listed(constant.tolist(), NAMED)}), "
            f"which tell nothing"
        )
    if np.sum(missing):
        some = [
            f"{readable(name)} {n / steps:.1%}"
            for name, n in zip(names, np.atleast_1d(missing).tolist(), strict=True)
            if n
        ]
        yield f"gaps: {int(np.sum(missing))} values ({listed(some, NAMED)}), which no loss counts"


def _clocks(train: Sequence[Recording], signal: Series) -> list[str]:
    """Returns the names of channels that rise by one amount at nearly every step."""
    steps = np.concatenate([np.diff(one.values, axis=0) for one in train])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where a channel has no two values
        usual = np.nanmedian(steps, axis=0)
        even = np.abs(steps - usual) <= EVEN * usual
        share = even.sum(axis=0) / np.maximum(np.isfinite(steps).sum(axis=0), 1)
    found = (usual > 0) & (share > MOST) & (np.isfinite(steps).sum(axis=0) >= FEWEST)
    return [name for name, rises in zip(signal.labels, found.tolist(), strict=True) if rises]


def _shared(recordings: dict[str, list[Recording]]) -> Iterator[str]:
    """Yields a line where a split that is given has series of the same id as the training ones."""
    trained = {one.unit for one in recordings["train"] if one.unit is not None}
    for split, part in recordings.items():
        both = sorted({one.unit for one in part if one.unit is not None} & trained)
        if split != "train" and both:
            yield (
                f"{split} and train both have series of {counted(len(both), 'id')} "
                f"({listed(both, 3)}), as they are given"
            )


def _copies(recordings: Sequence[Recording]) -> Iterator[str]:
    """Yields a line where series are exactly alike."""
    first: dict[bytes, str] = {}
    pairs = []
    for one in recordings:
        key = fingerprint(unify_nans(one.values))
        if key in first:
            pairs.append(f"{one.name} as {first[key]}")
        first.setdefault(key, one.name)
    if pairs:
        yield (
            f"exactly alike: {counted(len(pairs), 'series is a copy', 'series are copies')} of "
            f"another ({listed(pairs, 3)})"
        )
