"""The bytes of a file of coded tokens: what is read of it before a model is needed.

    4   magic, 0x9A S M T
    1   version, 1
    1   coder: 0 uniform, 1 unigram, 2 learned
    8   digest of the tokenizer
    8   digest of the prior, or of the counts; 0 for uniform
        layout of a piece: levels, and of each its grid and codebook sizes
        rate in mHz, 0 for none
        number of entries, and each of them:
            name, number of signals, flags
            if any size:    size of the signals, shape of the indices of each level
            if conditioned: number of rows of values of the condition, 1 or as many as signals, and
                            these, as they are or deflated
            if named:       names of the signals, likewise
            number of blocks, and of each: its length, and the CRC-32 of its tokens, 4 bytes
        the blocks of all entries, one after another
    4   CRC-32 of all before

Numbers are unsigned, 7 bits a byte, the lowest first (LEB128), at most 2⁶³ − 1. A block is the list
of the logits near a half (their number, and how far each is from the one before), and the stream.

Nothing is believed: each number is compared with what is left of the file before memory is taken
for it, and what cannot be raises `Damaged`.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from smalti.codec.range_coder import Damaged
from smalti.errors import InputError

__all__ = [
    "MAGIC",
    "Block",
    "Container",
    "Entry",
    "Reader",
    "Writer",
    "is_name",
    "packed",
    "read",
    "write",
    "write_row",
]

MAGIC = b"\x9aSMT"
VERSION = 1
ANY_SIZE, CONDITIONED, NAMED = 1, 2, 4
LONGEST_NAME = 1 << 10  # bytes
MOST_AXES = 4
LARGEST_TABLE = 1 << 24  # bytes of all names of signals and conditions in a file, unpacked


class Block(NamedTuple):
    """The coded tokens of some rows.

    Attributes:
        content: The list of near logits, and the stream.
        check: CRC-32 of the tokens.
    """

    content: bytes
    check: int


class Entry(NamedTuple):
    """The signals of one file.

    Attributes:
        name: The name of the file.
        signals: N, the number of signals.
        size: The size of each; None for that of the model.
        shapes: The shape of the indices of each level; None for that of the model.
        context: Rows of values of the condition, one for all or one for each; None without.
        names: A name for each signal; None without.
        blocks: The blocks.
    """

    name: str
    signals: int
    size: tuple[int, ...] | None
    shapes: tuple[tuple[int, ...], ...] | None
    context: list[list[float]] | None
    names: list[str] | None
    blocks: list[Block]


class Container(NamedTuple):
    """All that a file holds.

    Attributes:
        coder: The number of the model of symbols.
        tokenizer: The digest of the tokenizer.
        prior: The digest of the prior.
        grids: The grid of a piece at each level.
        codebook_sizes: The codebook sizes of each level.
        rate: Values a second in mHz; 0 where there is none.
        entries: The entries.
    """

    coder: int
    tokenizer: bytes
    prior: bytes
    grids: tuple[tuple[int, ...], ...]
    codebook_sizes: tuple[tuple[int, ...], ...]
    rate: int
    entries: list[Entry]


class Writer:
    """Joins numbers and bytes."""

    def __init__(self) -> None:
        self.content = bytearray()

    def number(self, n: int) -> None:
        """Adds a whole number from 0 on."""
        while n > 127:
            self.content.append(n & 127 | 128)
            n >>= 7
        self.content.append(n)

    def numbers(self, many: Sequence[int]) -> None:
        """Adds how many numbers there are, and the numbers."""
        self.number(len(many))
        for n in many:
            self.number(n)

    def text(self, content: bytes) -> None:
        """Adds bytes, with their length before them."""
        self.number(len(content))
        self.content += content


class Reader:
    """Takes numbers and bytes off, and raises `Damaged` where there are none.

    Arguments:
        content: The bytes.
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.at, self.room = content, 0, LARGEST_TABLE

    @property
    def left(self) -> int:
        """Returns how many bytes are left."""
        return len(self.content) - self.at

    def take(self, n: int) -> bytes:
        """Takes n bytes."""
        if n > self.left:
            raise Damaged("it ends too early")
        self.at += n
        return self.content[self.at - n : self.at]

    def number(self, most: int = 2**63 - 1) -> int:
        """Takes a number of at most `most`."""
        n = shift = 0
        while True:
            (byte,) = self.take(1)
            n |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 56:
                raise Damaged("a number is too long")
        if n > most:
            raise Damaged("a number is too large")
        return n

    def numbers(self, most: int, lowest: int = 1) -> tuple[int, ...]:
        """Takes at most so many numbers, each from `lowest` on."""
        many = tuple(self.number() for _ in range(self.number(min(most, self.left))))
        if min(many, default=lowest) < lowest:
            raise Damaged("a number is too small")
        return many

    def text(self, most: int) -> bytes:
        """Takes bytes with their length before them, at most so many."""
        return self.take(self.number(most))


def write(container: Container) -> bytes:
    """Makes the bytes of a file."""
    out = Writer()
    out.content += MAGIC + bytes([VERSION, container.coder])
    out.content += container.tokenizer + container.prior
    out.number(len(container.grids))
    for grid, sizes in zip(container.grids, container.codebook_sizes, strict=True):
        out.numbers(grid)
        out.numbers(_runs(sizes))
    out.number(container.rate)
    out.number(len(container.entries))
    for entry in container.entries:
        _write_entry(out, entry)
    for entry in container.entries:
        for block in entry.blocks:
            out.content += block.content
    return bytes(out.content) + struct.pack("<I", zlib.crc32(out.content))


def read(content: bytes) -> Container:
    """Reads the bytes of a file.

    Raises:
        Damaged: If they are of no such file, or not all that was written.
    """
    if content[:4] != MAGIC:
        raise Damaged("it does not begin as one")
    if content[4:5] != bytes([VERSION]):
        raise Damaged("it is of another version of the format")
    if len(content) < 27 or struct.pack("<I", zlib.crc32(content[:-4])) != content[-4:]:
        raise Damaged("its checksum differs: it was truncated or altered")
    source = Reader(content[5:-4])
    coder = source.take(1)[0]
    tokenizer, prior = source.take(8), source.take(8)
    levels = [
        (source.numbers(MOST_AXES), _lengths(source.numbers(1 << 16)))
        for _ in range(source.number(min(64, source.left)))
    ]
    rate = source.number()
    found = [_read_entry(source, len(levels)) for _ in range(source.number(source.left // 4))]
    entries = [
        entry._replace(blocks=[Block(source.take(length), check) for length, check in index])
        for entry, index in found
    ]
    if source.left:
        raise Damaged("something follows its blocks")
    grids, sizes = tuple(grid for grid, _ in levels), tuple(sizes for _, sizes in levels)
    return Container(coder, tokenizer, prior, grids, sizes, rate, entries)


def _write_entry(out: Writer, entry: Entry) -> None:
    out.text(entry.name.encode())
    out.number(entry.signals)
    parts = {
        ANY_SIZE: entry.shapes is not None,
        CONDITIONED: entry.context is not None,
        NAMED: entry.names is not None,
    }
    out.number(sum(flag for flag, there in parts.items() if there))
    if entry.shapes is not None:
        out.numbers(entry.size or ())
        for shape in entry.shapes:
            out.numbers(shape)
    if entry.context is not None:
        rows = Writer()
        for row in entry.context:
            write_row(rows, row)
        out.number(len(entry.context))
        out.content += packed(rows)
    if entry.names is not None:
        names = Writer()
        for name in entry.names:
            names.text(name.encode())
        out.content += packed(names)
    out.number(len(entry.blocks))
    for block in entry.blocks:
        out.number(len(block.content))
        out.content += struct.pack("<I", block.check)


def _read_entry(source: Reader, levels: int) -> tuple[Entry, list[tuple[int, int]]]:
    """Reads an entry, and of each of its blocks the length and the checksum."""
    name, count = _text(source.text(LONGEST_NAME)), source.number()
    if not is_name(name):
        raise Damaged("a file in it has a name that none can have")
    flags = source.number(ANY_SIZE | CONDITIONED | NAMED)
    size = shapes = context = names = None
    if flags & ANY_SIZE:
        size = source.numbers(MOST_AXES) or None
        shapes = tuple(source.numbers(MOST_AXES) for _ in range(levels))
    if flags & CONDITIONED:
        context = _read_rows(source)
    if flags & NAMED:
        names = _read_names(source, count)
    index = [
        (source.number(), struct.unpack("<I", source.take(4))[0])
        for _ in range(source.number(source.left // 5))
    ]
    return Entry(name, count, size, shapes, context, names, []), index


def is_name(name: str) -> bool:
    """Returns whether a name is that of a file and of nothing else, such as a path."""
    return (
        name not in ("", ".", "..")
        and len(name.encode(errors="replace")) <= LONGEST_NAME
        and not any(sign in "/\\" or ord(sign) < 32 or 126 < ord(sign) < 160 for sign in name)
    )


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Damaged("a name is no UTF-8") from error


def _runs(sizes: Sequence[int]) -> list[int]:
    """Returns how often each size comes in a row, and the size, one after another."""
    runs = [(len(list(same)), size) for size, same in itertools.groupby(sizes)]
    return list(itertools.chain(*runs))


def _lengths(runs: Sequence[int]) -> tuple[int, ...]:
    """Undoes `_runs`."""
    if len(runs) % 2 or not runs or sum(runs[::2]) > 1 << 16:
        raise Damaged("its codebooks cannot be")
    return tuple(size for n, size in zip(runs[::2], runs[1::2], strict=True) for _ in range(n))


def write_row(out: Writer, row: Sequence[float]) -> None:
    """Writes the values of a condition: small ones where all are whole, else float64."""
    whole = all(float(x).is_integer() and abs(x) < 2**52 for x in row)
    out.number(2 * len(row) + whole)
    if not whole:
        out.content += struct.pack(f"<{len(row)}d", *row)
        return
    for x in row:
        out.number(2 * int(x) if x >= 0 else -2 * int(x) - 1)


def _read_row(source: Reader) -> list[float]:
    length, whole = divmod(source.number(), 2)
    if not whole:
        return list(struct.unpack(f"<{length}d", source.take(8 * length)))
    signed = (source.number() for _ in range(length))
    return [float(n // 2 if n % 2 == 0 else -(n + 1) // 2) for n in signed]


def _read_rows(source: Reader) -> list[list[float]]:
    count = source.number()
    rows = _unpacked(source)
    if count > rows.left:
        raise Damaged("it has fewer conditions than it says")
    found = [_read_row(rows) for _ in range(count)]
    if rows.left:
        raise Damaged("it has more conditions than it says")
    return found


def _read_names(source: Reader, count: int) -> list[str]:
    names = _unpacked(source)
    if count > names.left:
        raise Damaged("it has fewer names than signals")
    found = [_text(names.text(names.left)) for _ in range(count)]
    if names.left:
        raise Damaged("it has more names than signals")
    return found


def packed(rows: Writer) -> bytes:
    """Returns what was written, deflated where that is shorter, and which of both it is."""
    content = bytes(rows.content)
    if len(content) > LARGEST_TABLE:
        raise InputError(
            f"Names and conditions of the signals of a file may have {LARGEST_TABLE:,} bytes, got "
            f"{len(content):,}: split it."
        )
    deflated = zlib.compress(content, 9)
    kind, packed = (1, deflated) if len(deflated) < len(content) else (0, content)
    out = Writer()
    out.content.append(kind)
    out.text(packed)
    return bytes(out.content)


def _unpacked(source: Reader) -> Reader:
    """Takes off what `packed` made."""
    kind, content = source.take(1), source.text(source.left)
    if kind == b"\1":
        unpacking = zlib.decompressobj()
        try:
            content = unpacking.decompress(content, source.room + 1)
        except zlib.error as error:
            raise Damaged("its names or conditions cannot be unpacked") from error
        if not unpacking.eof:
            raise Damaged("its names or conditions cannot be unpacked")
    elif kind != b"\0":
        raise Damaged("its names or conditions are packed in an unknown way")
    source.room -= len(content)
    if source.room < 0:
        raise Damaged("its names and conditions are too many")
    return Reader(content)
