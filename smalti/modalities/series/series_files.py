"""Reads files of one series for a trained model, and writes such files.

A file is taken by the names of its channels, where the model has names, and at the rate of the
model, where both are known. What does not fit is told of, or made to fit where the user asks for
that: another rate is resampled, jumps of the time become gaps, another length is cut or padded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.counting import counted
from smalti.data.tables import Table
from smalti.errors import InputError
from smalti.files import atomic_file
from smalti.modalities.series.arrays import ArrayTable
from smalti.modalities.series.columns import SeriesColumns, choose_columns
from smalti.modalities.series.recordings import LabelNumbering, Recording, read_recordings
from smalti.modalities.series.signal import Series
from smalti.modalities.series.tables import missing_words, open_table
from smalti.npz import write_npz
from smalti.outputs import check_file
from smalti.signals import Signal
from smalti.spelling import listed, readable

__all__ = ["WRITTEN", "read_series", "write_series"]

WRITTEN = (".csv", ".npz")
SAME_RATE = 0.01  # by which two rates differ at most that are taken for one
MOST = 4  # times as many steps as rows that jumps may make


def read_series(
    path: str | Path,
    signal: Signal,
    convert: bool = False,
    source: Mapping[str, Any] | None = None,
) -> Tensor:
    """Reads the one series in a file: (C, T), NaN in gaps.

    Arguments:
        path: Path of the file.
        signal: The signal that the model takes; without a size, any length fits.
        convert: Whether a series with another rate or length, or with jumps in its times, is made
            to fit.
        source: The arguments of the source that the model's data were read with.

    Raises:
        InputError: If it cannot be read, holds several series, or does not fit.
    """
    assert isinstance(signal, Series)
    words = missing_words((source or {}).get("missing"))
    table = open_table(Path(path), words)
    recording = _recording(table, signal, source or {})
    x = _even(recording, signal, convert)
    if signal.size and x.shape[1] != signal.size[0]:
        x = _long(x, signal, recording.name, convert)
    signal.check(x[None])
    return x


def write_series(
    x: Tensor, path: str | Path, overwrite: bool = False, signal: Series | None = None
) -> None:
    """Writes a series (C, T) to a .csv or .npz file, atomically.

    Arguments:
        x: The series, NaN in gaps, which a CSV file leaves empty.
        path: Path of the file. It has the times of the steps in seconds if the rate is known, else
            their numbers, and the channels by their names.
        overwrite: Whether a file that smalti did not write may be replaced.
        signal: The signal, with the rate and the names of the channels.

    Raises:
        InputError: If there is no value, or an infinite one, or the file may not be replaced or has
            another suffix.
    """
    path, signal = Path(path), signal or Series(len(x))
    replace(signal, size=()).check(x.detach().float()[None])
    if path.suffix.lower() not in WRITTEN:
        raise InputError(
            f"Series are written as {' or '.join(WRITTEN)}, got {path.name}: choose one of the two."
        )
    check_file(path, overwrite)
    values = np.ascontiguousarray(x.detach().float().cpu().numpy())
    times = np.arange(values.shape[1]) / (signal.rate or 1.0)
    with atomic_file(path) as temporary:
        if path.suffix.lower() == ".npz":
            names = np.array(signal.labels)
            write_npz(temporary, {"x": values, "time": times, "names": names})
            return
        head = ",".join(["time", *map(_quoted, signal.labels)])
        rows = [
            ",".join([f"{time:.9g}", *("" if np.isnan(v) else f"{v:.9g}" for v in row)])
            for time, row in zip(times.tolist(), values.T.tolist(), strict=True)
        ]
        # The last line ends as no program ends it alone: the mark of smalti (`smalti.outputs`).
        temporary.write_bytes(("\n".join([head, *rows]) + "\r\n").encode())


def _recording(table: Table, signal: Series, source: Mapping[str, Any]) -> Recording:
    """Returns the only series of a table, of the channels that the model takes."""
    given = source.get("columns") or {}
    given = given if isinstance(given, Mapping) else {}
    there = {readable(name): name for name in table.schema.names}
    asked = {what: given[what] for what in ("time", "id", "label") if given.get(what) in there}
    by_name = signal.names and not (isinstance(table, ArrayTable) and not table.named)
    if by_name:
        missing = [name for name in signal.names if name not in there]
        if missing:
            raise InputError(
                f"{table.name} has no {listed(missing, 3)}, and the model was trained on the "
                f"{counted(signal.channels, 'channel')} {listed(signal.names, 12)}: give files "
                f"with these columns."
            )
        asked["channels"] = [there[name] for name in signal.names]
    columns = choose_columns(table, SeriesColumns(**asked))
    if len(columns.channels) != signal.channels:
        raise InputError(
            f"The model was trained on series with {counted(signal.channels, 'channel')}, got "
            f"{len(columns.channels)} in {table.name} ({listed(columns.channels, 12)}): leave the "
            f"other columns out."
        )
    words = missing_words(source.get("missing"))
    columns = columns._replace(label=None)
    found = list(read_recordings(table, columns, LabelNumbering(), missing=words))
    if len(found) != 1:
        raise InputError(
            f"One series is wanted, got {len(found)} in {table.name}: give a file of each."
        )
    if found[0].fault:
        raise InputError(f"{table.name} cannot be used, {found[0].fault}: correct it.")
    return found[0]


def _even(recording: Recording, signal: Series, convert: bool) -> Tensor:
    """Returns a recording (C, T) in even steps of the model's rate."""
    x, found = torch.from_numpy(recording.values.T.copy()), recording.timing
    if len(found.jumps):
        if not convert:
            raise InputError(
                f"The times of {recording.name} jump {counted(len(found.jumps), 'time')}, first "
                f"before row {found.jumps[0]}: give the parts one by one, or --convert to fill "
                f"what is missing with a gap."
            )
        x = _with_gaps(x, recording)
    if signal.rate is None or found.rate is None:
        return x
    if abs(found.rate - signal.rate) <= SAME_RATE * signal.rate:
        return x
    if not convert:
        raise InputError(
            f"The model was trained on series of {signal.rate:g} steps a second, got "
            f"{found.rate:g} in {recording.name}: resample it, or --convert to have that done."
        )
    return _resampled(x, max(1, round(x.shape[1] * signal.rate / found.rate)))


def _with_gaps(x: Tensor, recording: Recording) -> Tensor:
    """Puts a gap into x (C, T) wherever the times jump, as long as the jump."""
    missing = [max(1, round(steps) - 1) for steps in recording.timing.lengths]
    if sum(missing) > MOST * x.shape[1]:
        raise InputError(
            f"The jumps in the times of {recording.name} are as long as {sum(missing)} steps, and "
            f"it has {x.shape[1]}: give its parts one by one."
        )
    parts = x.tensor_split(recording.timing.jumps.tolist(), dim=1)
    filled = [parts[0]]
    for n, part in zip(missing, parts[1:], strict=True):
        filled += [x.new_full((len(x), n), torch.nan), part]
    return torch.cat(filled, dim=1)


def _resampled(x: Tensor, steps: int) -> Tensor:
    """Resamples x (C, T) to other steps: straight lines between values, and to fewer steps weighted
    means, so that no frequency appears that was not there. A gap stays one.
    """
    there = ~x.isnan()
    both = torch.cat([torch.where(there, x, 0.0), there.to(x.dtype)])[:, None, None]  # (2C,1,1,T)
    size = (1, steps)
    made = F.interpolate(both, size, mode="bilinear", align_corners=False, antialias=True)
    values, weight = made[:, 0, 0].chunk(2)
    return torch.where(weight >= 0.5, values / weight.clamp(min=0.5), torch.nan)


def _long(x: Tensor, signal: Series, name: str, convert: bool) -> Tensor:
    """Returns x (C, T) at the length of the model."""
    (size,) = signal.size
    if not convert:
        raise InputError(
            f"The model was trained on windows of {signal.lasts(size)}, got {x.shape[1]} steps in "
            f"{name}: take it as long as it is with --any_size, or --convert to cut it there or "
            f"pad it with a gap."
        )
    return F.pad(x[:, :size], (0, max(0, size - x.shape[1])), value=torch.nan)


def _quoted(name: str) -> str:
    if any(letter in name for letter in ',"\n\r'):
        return '"' + name.replace('"', '""') + '"'
    return name
