"""Tokens to bytes and back: blocks of pieces, each a stream of a range coder.

    encode      grids ─▶ pieces ─▶ blocks ─▶ streams ─▶ container
    decode      container ─▶ streams ─▶ blocks ─▶ pieces ─▶ grids

What was written is read again before it is given away, by the steppers where a full pass wrote it,
and compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from smalti.arguments import as_integers
from smalti.codec.blocks import BlockCoder, Job, given_to, groups_of
from smalti.codec.condition_values import check_values, rows_of_values, values_of_rows
from smalti.codec.container import Block, Container, Entry, is_name, read, write
from smalti.codec.models import SymbolModel
from smalti.codec.pieces import Tiling
from smalti.codec.range_coder import Damaged
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.memory import check_memory

__all__ = ["Codec", "Coded"]

BLOCK = 1 << 16  # bits of a block if all indices were equally likely
CODERS = {0: "uniform", 1: "unigram", 2: "learned"}


class Coded(NamedTuple):
    """The tokens of the signals of one file.

    Attributes:
        levels: The indices of each level, (N, *shape), coarse to fine.
        name: The name of the file.
        context: (N, *shape) or (1, *shape) for all, values of the condition; None without.
        size: The size of the signals; None for that of the model.
        names: A name for each signal; None without.
        start: Where its first block begins along the first axis of the coarsest grid.
    """

    levels: tuple[Tensor, ...]
    name: str = "0"
    context: Tensor | None = None
    size: tuple[int, ...] | None = None
    names: Sequence[str] | None = None
    start: int = 0


class Codec:
    """Turns tokens into bytes and back.

    Arguments:
        model: What tokens are coded under.
        layout: The layout of the tokenizer; that of the model's if not given.
        tokenizer: The digest of the tokenizer, 8 bytes.
        rate: Values of a signal a second; None where there is none.

    Example:
        >>> from smalti.codec.models import UniformModel
        >>> codec = Codec(UniformModel(Layout(((4, 4),), ((16,),))))
        >>> tokens = torch.arange(16).view(1, 4, 4)
        >>> content = codec.encode(tokens)
        >>> len(content), torch.equal(codec.decode(content), tokens)
        (54, True)
    """

    def __init__(
        self,
        model: SymbolModel,
        layout: Layout | None = None,
        tokenizer: bytes = bytes(8),
        rate: float | None = None,
    ) -> None:
        self.model, self.tokenizer, self.coder = model, tokenizer, BlockCoder(model)
        self.layout = model.layout if layout is None else layout
        self.rate = 0 if rate is None else round(1000 * rate)
        nominal = float(model.layout.sizes_of_tokens().double().log2().sum())
        # Of a piece, a bit per token at least: that bounds the tokens of a block.
        self.piece_bits = max(nominal, model.layout.positions)

    def encode(
        self,
        tokens: Any,
        context: Tensor | None = None,
        *,
        size: tuple[int, ...] | None = None,
    ) -> bytes:
        """Encodes the tokens of a batch of signals.

        Arguments:
            tokens: As `Model.encode` gives them: (N, *grid), of a hierarchy a tuple.
            context: (N, *shape), or (1, *shape) for all, values of the prior's condition.
            size: The size of the signals, where it is not the model's own.

        Raises:
            InputError: If they do not fit the model.
        """
        levels = tuple(tokens) if isinstance(tokens, list | tuple) else (tokens,)
        return self.encode_all([Coded(levels, context=context, size=size)])

    def decode(self, content: bytes) -> Any:
        """Decodes the tokens of a single file: as `encode` took them.

        Raises:
            InputError: If the bytes are of no such file or of another model, or hold several.
        """
        found = self.decode_all(content)
        if len(found) != 1:
            raise InputError(f"This holds {len(found)} files: decode one of them by decode_all.")
        levels = found[0].levels
        return levels if len(levels) > 1 else levels[0]

    def encode_all(self, files: Iterable[Coded]) -> bytes:
        """Encodes the tokens of several files to one archive.

        Raises:
            InputError: If they do not fit the model, names are none or come twice, or what was
                written is not read alike.
        """
        entries, jobs, pieces = list[Entry](), list[Job](), list[Tensor]()
        for file in files:
            entry, own, parts = self._prepared(file)
            entries.append(entry)
            jobs += own
            pieces += parts
        names = [entry.name for entry in entries]
        if len(set(names)) < len(names):
            raise InputError("Files in an archive have different names, got one twice: rename it.")
        blocks = self.coder.write(jobs, pieces)
        self.coder.check_reading(jobs, blocks, pieces)
        left = iter(blocks)
        entries = [entry._replace(blocks=[next(left) for _ in entry.blocks]) for entry in entries]
        layout = self.model.layout
        return write(
            Container(
                self.model.code,
                self.tokenizer,
                self.model.digest,
                layout.grids,
                layout.codebook_sizes,
                self.rate,
                entries,
            )
        )

    def bits(self, file: Coded) -> Tensor:
        """Computes −log₂ p of the tokens of each signal of a file, (N,), float64.

        Raises:
            InputError: See `encode`.
        """
        _, jobs, pieces = self._prepared(file)
        found, left = [torch.zeros(0, dtype=torch.float64)], iter(pieces)
        for group in groups_of(jobs, self.coder.most):
            parts = torch.cat([next(left) for _ in group])
            coded = torch.cat([job.coded for job in group])
            found.append(self.model.bits(parts, coded, given_to(group)))
        return torch.cat(found).view(len(file.levels[0]), -1).sum(1)

    def nominal_bits(self, files: Iterable[Coded]) -> float:
        """Returns how many bits the tokens of files are if all indices are equally likely."""
        total = 0.0
        for file in files:
            for level, sizes in zip(file.levels, self.layout.codebook_sizes, strict=True):
                total += level.numel() / len(sizes) * sum(math.log2(size) for size in sizes)
        return total

    def open(self, content: bytes) -> Container:
        """Reads what a file holds, and checks that it is of this model.

        Raises:
            InputError: If the bytes are of no such file, or of another model.
        """
        try:
            found = read(content)
        except Damaged as error:
            _refuse(error)
        if found.coder != self.model.code:
            raise InputError(
                f"This file was coded with --prior {CODERS.get(found.coder, '?')}, got "
                f"{self.model.name}: give that."
            )
        theirs = (found.tokenizer, found.grids, found.codebook_sizes, found.rate)
        layout = self.model.layout
        if theirs != (self.tokenizer, layout.grids, layout.codebook_sizes, self.rate):
            raise InputError(
                "This file was coded with another tokenizer: decode it with the run that wrote it."
            )
        if found.prior != self.model.digest:
            raise InputError(
                f"This file was coded with another {self.model.name} prior of the same tokenizer: "
                f"decode it with the run as it was."
            )
        return found

    def decode_all(
        self,
        content: bytes,
        names: Sequence[str] | None = None,
        blocks: tuple[int, int] | None = None,
    ) -> list[Coded]:
        """Decodes the files of an archive.

        Arguments:
            content: The bytes of the archive.
            names: Those that are wanted; all if not given.
            blocks: From which block to before which, of each file; all if not given. They are whole
                signals of a file with many, or a stretch along the first axis of one.

        Raises:
            InputError: If the bytes are of no such archive, of another model or damaged, or there
                is no such file or block.
        """
        found = self.open(content)
        entries = found.entries
        if names is not None:
            known = {entry.name: entry for entry in entries}
            if missing := next((name for name in names if name not in known), None):
                raise InputError(
                    f"There is no {missing!r:.80} in this file: it holds "
                    f"{', '.join(list(known)[:8])}."
                )
            entries = [known[name] for name in names]
        try:
            return self._read(entries, blocks)
        except Damaged as error:
            _refuse(error)

    def _read(self, entries: Sequence[Entry], part: tuple[int, int] | None) -> list[Coded]:
        plans = [self._plan(entry, part) for entry in entries]
        tokens = sum(plan.pieces for plan in plans) * len(self.model.order)
        check_memory(40 * tokens, "The tokens of this file", "decode some of its blocks")
        jobs = [
            (job, block)
            for plan in plans
            for job, block in zip(plan.jobs, plan.blocks, strict=True)
        ]
        pieces = iter(list(self.coder.read(jobs)))
        made = []
        for entry, plan in zip(entries, plans, strict=True):
            own = [next(pieces) for _ in plan.jobs]
            x = torch.cat(own) if own else torch.zeros(0, len(self.model.order), dtype=torch.int64)
            levels = self._as_tokenizer(tuple(plan.tiling.join(x, plan.along)), entry.shapes)
            names = None if entry.names is None else entry.names[plan.signals]
            context = plan.context
            if context is not None and len(context) > 1:
                context = context[plan.signals]
            start = (plan.along.start or 0) * (plan.tiling.own[0] or (0,))[0]
            made.append(Coded(levels, entry.name, context, entry.size, names, start))
        return made

    def _plan(self, entry: Entry, part: tuple[int, int] | None) -> _Plan:
        """Finds what of an entry is to be read, and how its blocks are laid out."""
        shapes = self.layout.shapes if entry.shapes is None else entry.shapes
        try:
            tiling = Tiling(self.model.layout, self._flat(shapes), self.model.order)
            context = values_of_rows(self.model.condition, entry)
        except (InputError, ValueError) as error:
            raise Damaged("its shapes or conditions are none of this model") from error
        rows, per = entry.signals * tiling.tiles[0], self._rows_of_block(tiling)
        if len(entry.blocks) != -(-rows // per):
            raise Damaged("it has another number of blocks than signals")
        first, last = (0, len(entry.blocks)) if part is None else part
        if not 0 <= first < last <= len(entry.blocks) and (part or entry.blocks):
            raise InputError(
                f"{entry.name} has the blocks 0 to {len(entry.blocks) - 1}, got {first}:{last}: "
                f"give from:to, the last not included."
            )
        if part is not None and entry.signals > 1 and tiling.tiles[0] > 1:
            raise InputError(
                f"Blocks of {entry.name} hold parts of several signals, got {first}:{last}: decode "
                f"all of it."
            )
        whole = first == 0 and last == len(entry.blocks)
        start, end = first * per, min(last * per, rows)
        across = tiling.across
        jobs = [
            Job(tiling, context, row * across, min(row + per, end) * across)
            for row in range(start, end, per)
        ]
        many = tiling.tiles[0] == 1
        along = slice(None) if whole or many else slice(start, end)
        signals = slice(start, end) if many else slice(None)
        pieces = (rows if part is None else end - start) * across
        return _Plan(tiling, context, jobs, entry.blocks[first:last], pieces, along, signals)

    def _rows_of_block(self, tiling: Tiling) -> int:
        return max(1, int(BLOCK / (self.piece_bits * tiling.across)))

    def _prepared(self, file: Coded) -> tuple[Entry, list[Job], list[Tensor]]:
        """Returns the entry of a file with empty blocks, the blocks to write, and their pieces."""
        levels = tuple(as_integers(level, "Tokens").cpu() for level in file.levels)
        self._check(levels, file)
        n, shapes = len(levels[0]), tuple(tuple(level.shape[1:]) for level in levels)
        own = shapes == self.layout.shapes and file.size is None
        context = check_values(self.model.condition, file.context, n)
        tiling = Tiling(self.model.layout, self._flat(shapes), self.model.order)
        per = self._rows_of_block(tiling) * tiling.across
        pieces = tiling.cut(self._as_model(levels))
        parts = list(pieces.split(per)) if len(pieces) else []
        starts = range(0, len(pieces), per)
        jobs = [
            Job(tiling, context, start, start + len(part))
            for start, part in zip(starts, parts, strict=True)
        ]
        entry = Entry(
            file.name,
            n,
            None if own else file.size or (),
            None if own else shapes,
            rows_of_values(context),
            None if file.names is None else list(file.names),
            [Block(b"", 0)] * len(jobs),
        )
        return entry, jobs, parts

    def _check(self, levels: tuple[Tensor, ...], file: Coded) -> None:
        """Raises `InputError` unless tokens and names can be coded."""
        if len(levels) != self.layout.levels or len({len(level) for level in levels}) != 1:
            raise InputError(
                f"This model has {self.layout.levels} level(s) of tokens of one batch, got "
                f"{[tuple(level.shape) for level in levels]}: give all, coarse to fine."
            )
        for level, sizes, shape in zip(
            levels, self.layout.codebook_sizes, self.layout.shapes, strict=True
        ):
            if len(sizes) > 1 and level.shape[-1] != len(sizes) or level.ndim < 1 + len(shape):
                raise InputError(
                    f"Tokens of this model have the shape (N, {', '.join(map(str, shape))}), got "
                    f"{tuple(level.shape)}: give what it encoded."
                )
            if 0 in level.shape[1:]:
                raise InputError(f"Grids have a token each way, got {tuple(level.shape)}.")
            most = torch.tensor(sizes)
            beyond = (level < 0) | (level >= (most if len(sizes) > 1 else most[0]))
            if bool(beyond.any()):
                raise InputError(
                    f"Tokens are from 0 on and below the sizes {sizes[:8]} of their codebooks, got "
                    f"{int(level.min())} to {int(level.max())}: give those of the own tokenizer."
                )
        if not is_name(file.name):
            raise InputError(
                f"A file in an archive has a name without folders, got {file.name!r:.80}: give one."
            )
        if file.names is not None and len(file.names) != len(levels[0]):
            raise InputError(
                f"Each of {len(levels[0])} signals has a name, got {len(file.names)}: give as many."
            )

    def _flat(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Returns the shapes of a signal's indices as the model's layout has them."""
        if tuple(shapes) == self.layout.shapes:
            return list(self.model.layout.shapes)
        return list(shapes)

    def _as_model(self, levels: tuple[Tensor, ...]) -> list[Tensor]:
        """Reshapes levels of a tokenizer's own grids to those of the model's layout."""
        shapes = self._flat([tuple(level.shape[1:]) for level in levels])
        packed = torch.cat([level.flatten(1) for level in levels], 1)
        parts = packed.split([math.prod(shape) for shape in shapes], 1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]

    def _as_tokenizer(
        self, levels: tuple[Tensor, ...], shapes: tuple[tuple[int, ...], ...] | None
    ) -> tuple[Tensor, ...]:
        """Undoes `_as_model`."""
        if shapes is not None:
            return levels
        packed = torch.cat([level.flatten(1) for level in levels], 1)
        parts = packed.split([math.prod(shape) for shape in self.layout.shapes], 1)
        return tuple(
            part.reshape(-1, *shape) for part, shape in zip(parts, self.layout.shapes, strict=True)
        )


class _Plan(NamedTuple):
    """What of an entry is read: see `Codec._plan`."""

    tiling: Tiling
    context: Tensor | None
    jobs: list[Job]
    blocks: list[Block]
    pieces: int
    along: slice  # the rows of one signal
    signals: slice


def _refuse(error: Damaged) -> NoReturn:
    raise InputError(
        f"This is no whole file of smalti compress ({error}): get it again, or compress anew."
    ) from error
