"""Streams of a range coder: symbols to bytes and back, under integer frequencies of 24 bits.

The coder is that of the package constriction. It takes probabilities as floating-point numbers;
given f − 1 of whole frequencies f that sum to 2²⁴, every number that it computes of them is whole
and exact in float32, so that its cumulative frequencies are those of f.

References:
    Range encoding: an algorithm for removing redundancy from a digitised message, G. N. N. Martin,
    1979.
    Understanding Entropy Coding With Asymmetric Numeral Systems (ANS): a Statistician's
    Perspective, R. Bamler, 2022, arXiv 2201.01741 (constriction).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import constriction
import numpy as np

from smalti.codec.frequencies import LARGEST, TOTAL

__all__ = [
    "Damaged",
    "Frequencies",
    "StreamReader",
    "StreamWriter",
    "Symbols",
    "Tabled",
    "UniformOf",
]

CATEGORICAL = constriction.stream.model.Categorical
UNIFORM = constriction.stream.model.Uniform
DIGIT = 12  # bits of the lower digits of indices of large codebooks


class Damaged(ValueError):
    """A stream, or what is around it, is not what any writer wrote."""


class Symbols(ABC):
    """Abstract: the distributions of the indices of some signals at one token, M of them."""

    @abstractmethod
    def put(self, coder: Any, symbols: np.ndarray, rows: slice | np.ndarray) -> None:
        """Writes the symbols (m,), int64, of some rows to a range encoder."""

    @abstractmethod
    def get(self, coder: Any, rows: np.ndarray) -> np.ndarray:
        """Reads the symbols (m,), int64, of some rows from a range decoder."""


class UniformOf(Symbols):
    """All of K indices are equally likely.

    Those of large codebooks are written as digits, the highest first.

    Arguments:
        size: K.
    """

    def __init__(self, size: int) -> None:
        self.digits: list[tuple[int, Any]] = []  # shift, and the model of what is there
        shift = 0
        while (size - 1 >> shift) + 1 > LARGEST:
            self.digits.insert(0, (shift, UNIFORM(1 << DIGIT)))
            shift += DIGIT
        highest = (size - 1 >> shift) + 1
        if highest > 1:
            self.digits.insert(0, (shift, UNIFORM(highest)))
        self.size = size

    def bits(self) -> np.ndarray:
        """Returns −log₂ p of all indices, (1,)."""
        return np.log2([float(self.size)])

    def put(self, coder: Any, symbols: np.ndarray, rows: slice | np.ndarray) -> None:
        """See `Symbols.put`."""
        rest = symbols
        for shift, model in self.digits:
            coder.encode((rest >> shift).astype(np.int32), model)
            rest = rest & ((1 << shift) - 1)

    def get(self, coder: Any, rows: np.ndarray) -> np.ndarray:
        """See `Symbols.get`."""
        symbols = np.zeros(len(rows), dtype=np.int64)
        for shift, model in self.digits:
            symbols += coder.decode(model, len(rows)).astype(np.int64) << shift
        if len(rows) and symbols.max() >= self.size:
            raise Damaged("an index is beyond its codebook")
        return symbols


class Tabled(Symbols):
    """All rows have one distribution.

    Arguments:
        frequencies: f − 1, (K,), float32; see `smalti.codec.frequencies`.
    """

    def __init__(self, frequencies: np.ndarray) -> None:
        self.frequencies = frequencies
        single = len(frequencies) == 1  # which the coder takes for no distribution
        self.model = None if single else CATEGORICAL(frequencies, perfect=False)

    def bits(self) -> np.ndarray:
        """Returns −log₂ p of each index, (K,)."""
        return np.log2(TOTAL / (self.frequencies.astype(np.float64) + 1))

    def put(self, coder: Any, symbols: np.ndarray, rows: slice | np.ndarray) -> None:
        """See `Symbols.put`."""
        if self.model is not None:
            coder.encode(symbols.astype(np.int32), self.model)

    def get(self, coder: Any, rows: np.ndarray) -> np.ndarray:
        """See `Symbols.get`."""
        if self.model is None:
            return np.zeros(len(rows), dtype=np.int64)
        return coder.decode(self.model, len(rows)).astype(np.int64)


class Frequencies(Symbols):
    """Each row has a distribution of its own.

    Arguments:
        frequencies: f − 1, (M, K), float32; see `smalti.codec.frequencies`.
    """

    family = CATEGORICAL(perfect=False)

    def __init__(self, frequencies: np.ndarray) -> None:
        self.frequencies = frequencies

    def put(self, coder: Any, symbols: np.ndarray, rows: slice | np.ndarray) -> None:
        """See `Symbols.put`."""
        if self.frequencies.shape[1] > 1:
            coder.encode(symbols.astype(np.int32), self.family, self.frequencies[rows])

    def get(self, coder: Any, rows: np.ndarray) -> np.ndarray:
        """See `Symbols.get`."""
        if self.frequencies.shape[1] == 1:
            return np.zeros(len(rows), dtype=np.int64)
        return coder.decode(self.family, self.frequencies[rows]).astype(np.int64)


class StreamWriter:
    """Writes symbols, and makes bytes of them."""

    def __init__(self) -> None:
        self.coder = constriction.stream.queue.RangeEncoder()

    def put(self, distribution: Symbols, symbols: np.ndarray, rows: slice | np.ndarray) -> None:
        """Writes the symbols (m,) of some rows of a distribution."""
        distribution.put(self.coder, symbols, rows)

    def finish(self) -> bytes:
        """Returns the shortest bytes from which a reader, which takes zeros for more, gets all.

        What may follow is read alike: any number from that of all lowest symbols to that of all
        highest will do, and the shortest is taken.
        """
        low, high = (_bytes(_followed(self.coder, end)) for end in (0, (1 << DIGIT) - 1))
        for n in range(len(high)):
            if high[:n].ljust(len(low), b"\0") >= low:
                return high[:n]
        return high


class StreamReader:
    """Reads the symbols that a `StreamWriter` wrote.

    Arguments:
        content: Its bytes.
    """

    def __init__(self, content: bytes) -> None:
        whole = content + bytes(12 + -len(content) % 4)
        words = np.frombuffer(whole, dtype=">u4").astype(np.uint32)
        self.coder = constriction.stream.queue.RangeDecoder(words)

    def get(self, distribution: Symbols, rows: np.ndarray) -> np.ndarray:
        """Reads the symbols (m,), int64, of some rows of a distribution.

        Raises:
            Damaged: If the stream cannot be of these distributions.
        """
        try:
            return distribution.get(self.coder, rows)
        except AssertionError as error:  # of constriction
            raise Damaged("its stream is of other frequencies") from error


def _followed(coder: Any, symbol: int) -> Any:
    """Returns a coder that was given four more symbols, 48 bits."""
    coder = coder.clone()
    coder.encode(np.full(4, symbol, dtype=np.int32), UNIFORM(1 << DIGIT))
    return coder


def _bytes(coder: Any) -> bytes:
    return coder.get_compressed().astype(">u4").tobytes()
