"""Writes and reads blocks of pieces, several beside one another.

The tokens of a block are coded token by token of the piece, and at each for all its pieces. So the
pieces of a block, and blocks beside one another, are read in the steps of one. Which blocks are
read together changes nothing but the last digits of logits, and those do not matter (see
`smalti.codec.frequencies`): each block can be read alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from smalti.codec.container import Block, Reader, Writer
from smalti.codec.models import AT_ONCE, Step, SymbolModel
from smalti.codec.pieces import Tiling
from smalti.codec.range_coder import Damaged, StreamReader, StreamWriter, Symbols
from smalti.errors import InputError

__all__ = ["BlockCoder", "Job", "given_to", "groups_of"]

TOGETHER = 64  # pieces that are read together, or one block


class Job(NamedTuple):
    """One block that is to be read or written: pieces from `start` to before `end`.

    Attributes:
        tiling: The tiling of its entry.
        context: Values of the condition of the entry, (N, *shape) or (1, *shape); None without.
    """

    tiling: Tiling
    context: Tensor | None
    start: int
    end: int

    @property
    def given(self) -> Tensor | None:
        """Returns the values of the condition of each piece."""
        if self.context is None:
            return None
        signals = torch.arange(self.start, self.end) // self.tiling.pieces
        return self.context[signals % len(self.context)]

    @property
    def coded(self) -> Tensor:
        """Returns which tokens are coded, (M, L)."""
        return self.tiling.coded[self._of_signal]

    @property
    def source(self) -> Tensor:
        """Returns where each token takes its value from, (M, L); see `Tiling`."""
        return self.tiling.source[self._of_signal]

    @property
    def _of_signal(self) -> Tensor:
        return torch.arange(self.start, self.end) % self.tiling.pieces


class BlockCoder:
    """Writes and reads blocks under a model of symbols.

    Arguments:
        model: What tokens are coded under.
    """

    def __init__(self, model: SymbolModel) -> None:
        self.model = model

    @property
    def most(self) -> int:
        """Returns how many pieces a full pass takes at a time, about."""
        return max(1, AT_ONCE // (len(self.model.order) * self.model.layout.largest))

    def write(self, jobs: Sequence[Job], pieces: Sequence[Tensor]) -> list[Block]:
        """Writes blocks, as many together as a full pass takes at a time."""
        made, left = list[Block](), iter(pieces)
        for group in groups_of(jobs, self.most):
            parts = [next(left) for _ in group]
            open_blocks, start = list[_NewBlock](), 0
            for job, part in zip(group, parts, strict=True):
                open_blocks.append(_NewBlock(job, part, start, self.model.layout.largest))
                start += len(part)
            for step in self.model.known(torch.cat(parts), given_to(group)):
                for block in open_blocks:
                    block.write(step)
            made += [block.finish() for block in open_blocks]
        return made

    def check_reading(
        self, jobs: Sequence[Job], blocks: Sequence[Block], pieces: Sequence[Tensor]
    ) -> None:
        """Raises `InputError` unless blocks that were written are read alike."""
        try:
            again = list(self.read(list(zip(jobs, blocks, strict=True))))
        except Damaged:
            again = []
        if len(again) != len(pieces) or not all(map(torch.equal, again, pieces)):
            raise InputError(
                "What was coded is not read alike: the logits of this prior depend on how they are "
                "computed; code with --prior unigram."
            )

    def read(self, jobs: Sequence[tuple[Job, Block]]) -> Iterator[Tensor]:
        """Reads blocks, some of them together: yields the pieces (M, L) of each."""
        left = iter(jobs)
        for group in groups_of([job for job, _ in jobs], TOGETHER):
            yield from self._read_together([next(left) for _ in group])

    def _read_together(self, pairs: Sequence[tuple[Job, Block]]) -> list[Tensor]:
        blocks, start, jobs = list[_OpenBlock](), 0, [job for job, _ in pairs]
        for job, block in pairs:
            blocks.append(_OpenBlock(block, job.coded.numpy(), start, self.model.layout.largest))
            start += job.end - job.start
        source = torch.cat([job.source for job in jobs])
        walk = self.model.walk(start, given_to(jobs))
        pieces = torch.zeros(start, len(self.model.order), dtype=torch.int64)
        for place in self.model.order:
            # What is not coded takes the value of a token before it, or 0.
            of = source[:, place, None]
            column = pieces.gather(1, of.clamp(min=0)).where(of >= 0, 0)[:, 0].numpy()
            listed = [each for own in blocks for each in own.listed(place)]
            symbols = walk.symbols(listed)
            for own in blocks:
                own.read(symbols, place, column)
            pieces[:, place] = torch.from_numpy(column)
            if place != self.model.order[-1]:
                walk.push(pieces[:, place])
        for own in blocks:
            own.check()
        return list(pieces.split([job.end - job.start for job in jobs]))


class _NewBlock:
    """A block that is being written, beside others.

    Arguments:
        job: Which block.
        pieces: Its tokens, (M, L).
        first: The row of its first piece among those of all that are written together.
        largest: The size of the largest codebook.
    """

    def __init__(self, job: Job, pieces: Tensor, first: int, largest: int) -> None:
        self.coded, self.tokens = job.coded.numpy(), pieces.numpy()
        self.first, self.largest = first, largest
        self.stream, self.near = StreamWriter(), list[int]()
        self.check = self.done = 0

    def write(self, step: Step) -> None:
        """Writes a token of all pieces."""
        rows = np.flatnonzero(self.coded[:, step.place])
        if not len(rows):
            return
        symbols = self.tokens[rows, step.place]
        self.stream.put(step.symbols, symbols, self.first + rows)
        self.check = zlib.crc32(symbols.astype("<i8").tobytes(), self.check)
        if step.near is not None:
            numbers, columns = np.nonzero(step.near[self.first + rows])
            self.near += ((self.done + numbers) * self.largest + columns).tolist()
        self.done += len(rows)

    def finish(self) -> Block:
        """Returns the block."""
        out = Writer()
        before = [0, *self.near]
        out.numbers([now - old for now, old in zip(self.near, before, strict=False)])
        return Block(bytes(out.content) + self.stream.finish(), self.check)


class _OpenBlock:
    """A block that is being read, beside others.

    Arguments:
        block: The block.
        coded: (M, L), bool: which tokens of its pieces are coded.
        first: The row of its first piece among those of all that are read together.
        largest: The size of the largest codebook.

    Raises:
        Damaged: If its list is none.
    """

    def __init__(self, block: Block, coded: np.ndarray, first: int, largest: int) -> None:
        self.coded, self.first, self.largest = coded, first, largest
        source = Reader(block.content)
        most = min(source.left, int(coded.sum()) * largest)
        near = np.cumsum([0, *source.numbers(most, 0)], dtype=np.float64)[1:]
        if len(near) and near[-1] >= coded.sum() * float(largest):
            raise Damaged("it lists logits that it has not")
        self.near = near.astype(np.int64).tolist()
        self.stream = StreamReader(source.take(source.left))
        self.wanted, self.found, self.done, self.at = block.check, 0, 0, 0

    def listed(self, place: int) -> list[tuple[int, int]]:
        """Returns rows, among all, and columns of the listed logits of a token."""
        found: list[tuple[int, int]] = []
        if self.at == len(self.near):
            return found
        rows = np.flatnonzero(self.coded[:, place])
        while self.at < len(self.near):
            number, column = divmod(self.near[self.at], self.largest)
            if number >= self.done + len(rows):
                break
            found.append((self.first + int(rows[number - self.done]), column))
            self.at += 1
        return found

    def read(self, symbols: Symbols, place: int, column: np.ndarray) -> None:
        """Reads a token of all pieces into a column of all that are read together."""
        rows = np.flatnonzero(self.coded[:, place])
        if len(rows):
            read = self.stream.get(symbols, self.first + rows)
            column[self.first + rows] = read
            self.found = zlib.crc32(read.astype("<i8").tobytes(), self.found)
            self.done += len(rows)

    def check(self) -> None:
        """Raises `Damaged` unless the tokens are those that were written."""
        if self.found != self.wanted:
            raise Damaged("its tokens are not those that were written")


def groups_of(jobs: Sequence[Job], most: int) -> Iterator[list[Job]]:
    """Yields blocks in groups of about so many pieces, one block at least."""
    group, pieces = list[Job](), 0
    for job in jobs:
        if group and pieces + job.end - job.start > most:
            yield group
            group, pieces = [], 0
        group.append(job)
        pieces += job.end - job.start
    if group:
        yield group


def given_to(jobs: Sequence[Job]) -> Tensor | None:
    """Returns the values of the condition of all pieces of some blocks."""
    given = [job.given for job in jobs if job.given is not None]
    return torch.cat(given) if given else None
