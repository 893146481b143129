"""`smalti stream`: encodes and decodes a file at the pace of its signal, and shows the latency."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from smalti.autoencoders.streams import algorithmic_latency
from smalti.commands.common import call_with_options, read_files
from smalti.counting import counted
from smalti.errors import InputError
from smalti.generation import load
from smalti.generation.live import Live, stream_live
from smalti.modalities.base import JoinedInFile, Modality, modality_of
from smalti.outputs import check_file, check_output
from smalti.ranges import Range, check_range
from smalti.signals import Signal

__all__ = ["run"]

RANGES = {
    "chunk": Range(0, 60_000, above=True),
    "threads": Range(1, 1024),
    "rate": Range(0, 1e9, above=True),
}


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `stream`."""
    call_with_options(stream, words, "folder", "file")


def stream(  # noqa: PLR0913 - the options of the command
    folder: str,
    file: str,
    *,
    out: str | None = None,
    chunk: float = 20.0,
    rate: float | None = None,
    codebooks: int | None = None,
    fast: bool = False,
    threads: int = 1,
    convert: bool = False,
    overwrite: bool = False,
) -> None:
    """Encodes and decodes a file chunk by chunk, as it would arrive, and prints the latency.

    Arguments:
        folder: The run directory. Its networks must be causal.
        file: A file of the kind that the run was learned from, of any length.
        out: The file that the reconstruction is written to; none if not given.
        chunk: Milliseconds of the signal that arrive at once.
        rate: Values per second, of a signal that has no rate of its own.
        codebooks: How many of several codebooks are used, from the first on, for fewer bits; all
            if not given.
        fast: Go on as fast as possible, without waiting for what would arrive later.
        threads: Threads of the processor.
        convert: Make the file fit the model, though it loses by it.
        overwrite: Replace what smalti did not write, too.
    """
    for name, value in (("chunk", chunk), ("threads", threads), ("rate", rate)):
        check_range(f"--{name}", value, RANGES[name])
    model = load(folder)
    signal, modality = model.signal, modality_of(model.signal)
    per_second, latency = _rate(signal, rate), algorithmic_latency(model.autoencoder)
    if out is not None:
        _check_out(out, file, modality, overwrite)
    (x,) = read_files(model, [file], convert, any_size=True)
    positions = max(round(chunk / 1e3 * per_second), 1)
    print(
        f"{file}: {x.shape[1] / per_second:.3g} s in chunks of {_ms(positions / per_second)}, "
        f"{counted(threads, 'thread')}",
        flush=True,
    )
    with _threads(threads):
        tell = _say_nothing if fast else _say
        live = stream_live(model.autoencoder, x, positions, per_second, codebooks, not fast, tell)
    print(_latency(live, latency, positions, per_second))
    for line in _speeds(live, positions / per_second, fast):
        print(line)
    if out is not None:
        modality.write(live.x_hat, out, overwrite, signal)
        print(f"{out}: the reconstruction")


def _check_out(out: str, file: str, modality: Modality, overwrite: bool) -> None:
    """Raises `InputError` unless the output may be written."""
    joined = isinstance(modality, JoinedInFile)
    suffixes = modality.written_joined if joined else modality.suffixes[:1]  # type: ignore[attr-defined]
    # The input comes first: it is never overwritten, also where that is asked for.
    path = check_output(out, suffixes, overwrite=True)
    if path.resolve() == Path(file).resolve():
        raise InputError(f"{out} is an input and would be overwritten: choose another --out.")
    check_file(path, overwrite)


def _rate(signal: Signal, given: float | None) -> float:
    """Returns the values per second of a signal of one dimension.

    Raises:
        InputError: If it has several dimensions, or says no rate and none is given, or both do.
    """
    if signal.spatial_dims != 1:
        raise InputError(
            f"A stream is of signals that go on in time, got {signal.plural}: use smalti "
            f"reconstruct."
        )
    own = getattr(signal, "rate", None)
    if own and given is not None and given != own:
        raise InputError(
            f"The {signal.plural} of this run have {own:g} values per second, got --rate "
            f"{given:g}: leave it out."
        )
    if not own and given is None:
        raise InputError(
            f"The {signal.plural} of this run say no rate, got none: give --rate with the values "
            f"per second."
        )
    return float(own or given or 0)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Has torch take so many threads within a `with` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _say(at: float, delays: Sequence[float]) -> None:
    worst = max(delays)
    print(f"  {at:.0f} s: decoded {_ms(worst)} after its arrival at the latest", flush=True)


def _say_nothing(at: float, delays: Sequence[float]) -> None:
    pass


def _latency(live: Live, latency: int, chunk: int, rate: float) -> str:
    """Says how long after a value its reconstruction is there at the latest, and why."""
    # A value waits for its chunk, and where those do not end together for its patch as well.
    waits = (chunk + latency - math.gcd(chunk, latency)) / rate
    worst = max(live.delays.seconds)
    return (
        f"latency: {_ms(waits + worst)} at worst: {_ms(waits)} until chunk and patch are whole "
        f"(algorithmic {_ms(latency / rate)}, {counted(latency, 'value')}), {_ms(worst)} until "
        f"they are computed"
    )


def _speeds(live: Live, chunk: float, fast: bool) -> Iterator[str]:
    """Yields the lines that say how long it took, and whether that is fast enough."""
    yield f"encoding: {live.encoding} a chunk, {_speed(live.encoding.total, live.lasts)}"
    yield f"decoding: {live.decoding} a chunk, {_speed(live.decoding.total, live.lasts)}"
    late = sum(delay > chunk for delay in live.delays.seconds)
    own = live.processor / live.lasts
    if live.load > 1:
        busy = own < live.load / 2
        mend = "free the processor" if busy else "use longer chunks, more --threads"
        yield (
            f"It does not keep up: a second takes {live.load:.3g} s, {own:.3g} s of the processor, "
            f"so that the delay grows; {mend}, or smaller networks."
        )
    elif late and not fast:
        yield (
            f"It keeps up on the whole, and {late} of {len(live.delays.seconds)} chunks were "
            f"decoded after the next one had arrived."
        )
    else:
        yield f"It keeps up: a second takes {_ms(live.load)}, {_ms(own)} of the processor."


def _speed(seconds: float, lasts: float) -> str:
    return f"{lasts / max(seconds, 1e-9):.3g} times real time"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"
