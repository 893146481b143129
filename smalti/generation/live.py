"""Encodes and decodes a signal chunk by chunk, at the pace at which it would arrive, and measures.

Chunk i has arrived when its last position has, (i + 1) · chunk / rate seconds after the first.
Whoever encodes and decodes it must be done before the next one has, on average: else the delay
grows from chunk to chunk.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from smalti.autoencoders import Autoencoder, Tokenizer
from smalti.autoencoders.streams import StreamDecoder, StreamEncoder
from smalti.quantizers.first_codebooks import check_codebooks, first_codebooks

__all__ = ["Live", "Times", "stream_live"]


@dataclass
class Times:
    """The seconds that something took, chunk by chunk.

    Example:
        >>> times = Times([0.001, 0.004, 0.001])
        >>> str(times), times.total
        ('median 1.00 ms, worst 4.00 ms', 0.006)
    """

    seconds: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        """Returns the sum."""
        return sum(self.seconds)

    def __str__(self) -> str:
        median, worst = statistics.median(self.seconds), max(self.seconds)
        return f"median {1e3 * median:.2f} ms, worst {1e3 * worst:.2f} ms"


@dataclass
class Live:
    """What was measured of a stream.

    Attributes:
        lasts: Seconds that the signal lasts.
        encoding: Seconds that the indices of each chunk took.
        decoding: Seconds that decoding these took.
        delays: Seconds from the arrival of each chunk until what it made known was decoded. Without
            a pace, those of computing alone.
        x_hat: The reconstruction, (C, T).
        processor: Seconds that the process computed. With one thread they are those of encoding and
            decoding, unless other programs take the processor meanwhile.
    """

    lasts: float
    x_hat: Tensor
    processor: float = 0.0
    encoding: Times = field(default_factory=Times)
    decoding: Times = field(default_factory=Times)
    delays: Times = field(default_factory=Times)

    @property
    def load(self) -> float:
        """Returns the seconds of computing per second of the signal; above 1 it is too slow."""
        return (self.encoding.total + self.decoding.total) / self.lasts


def stream_live(
    autoencoder: Autoencoder,
    x: Tensor,
    chunk: int,
    rate: float,
    codebooks: int | None = None,
    paced: bool = True,
    tell: Callable[[float, Sequence[float]], None] = lambda at, delays: None,
) -> Live:
    """Encodes and decodes a signal chunk by chunk.

    Arguments:
        autoencoder: A tokenizer with causal networks.
        x: The signal, (C, T), in its range.
        chunk: Positions of a chunk.
        rate: Positions per second.
        codebooks: How many of several codebooks are used, from the first on; all if not given.
        paced: Whether each chunk is waited for until it would have arrived.
        tell: Called once for each second of the signal with the time in the signal, and with the
            delays of the chunks since the last call.

    Raises:
        InputError: If the tokenizer has no causal networks, or not so many codebooks, or x is no
            such signal.
    """
    levels = autoencoder.levels if isinstance(autoencoder, Tokenizer) else ()
    kept = None if codebooks is None else check_codebooks(levels, codebooks)
    encoder, decoder = StreamEncoder(autoencoder), StreamDecoder(autoencoder)
    _warm_up(autoencoder, x[:, :chunk])
    live, parts, told = Live(x.shape[1] / rate, x[:, :0]), list[Tensor](), 0
    began = time.perf_counter()
    for number, part in enumerate(_chunks(x, chunk)):
        arrived = time.perf_counter()
        if paced:
            arrived = began + min((number + 1) * chunk, x.shape[1]) / rate
            time.sleep(max(arrived - time.perf_counter(), 0))
        computed, start = time.process_time(), time.perf_counter()
        indices = encoder.finish() if part is None else encoder.push(part[None])
        encoded = time.perf_counter()
        parts.append(decoder.push(first_codebooks(indices, kept))[0])
        end = time.perf_counter()
        live.processor += time.process_time() - computed
        live.encoding.seconds.append(encoded - start)
        live.decoding.seconds.append(end - encoded)
        live.delays.seconds.append(end - arrived)
        at = min((number + 1) * chunk, x.shape[1]) / rate
        if int(at) > int(told * chunk / rate):
            tell(at, live.delays.seconds[told:])
            told = number + 1
    live.x_hat = torch.cat(parts, 1)[:, : x.shape[1]]
    return live


def _chunks(x: Tensor, chunk: int) -> Iterator[Tensor | None]:
    """Yields the chunks of x (C, T), and `None` for its end."""
    yield from x.split(chunk, 1)
    yield None


def _warm_up(autoencoder: Autoencoder, part: Tensor) -> None:
    """Runs a few chunks of a stream of its own: the first are slower, for all is made for them."""
    encoder, decoder = StreamEncoder(autoencoder), StreamDecoder(autoencoder)
    for _ in range(2 + autoencoder.downsampling // part.shape[1]):
        decoder.push(encoder.push(part[None]))
