"""Writes the signals that a command makes: as one picture of all, or one file each.

Signals of a kind of which a file holds many are written to one such file, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from smalti.counting import counted
from smalti.errors import InputError
from smalti.modalities.base import JoinedInFile, ManyPerFile, modality_of
from smalti.outputs import check_file, check_output, write_file
from smalti.reporting.blocks import Block
from smalti.signals import Signal

__all__ = ["SignalOutput"]

LONGEST = 240  # bytes of a name, its suffix left out


class SignalOutput:
    """Writes the signals that a command makes to a file or a folder.

    The destination is checked at once, before the signals are made.

    Arguments:
        signal: The kind of signals that are written.
        out: One of three: a picture of all (.png); a folder, for one file per signal; or, for kinds
            of data with many signals per file, or whose signals can stand one after another in it,
            one file of all, such as a table.
        count: The number of signals that will be written.
        default_name: Name, without its suffix, of the picture that is written if `out` is None.
        columns: Signals per row of the picture; None for the modality's choice.
        inputs: Files that the signals are made from: one for each, or one for all. One for each
            gives its name to the file in the folder; equal names get a number in front.
        also_read: Further files that the signals are made from, which give no names.
        overwrite: Whether files that smalti did not write may be replaced.

    Raises:
        InputError: If `out` is empty or has an unknown suffix, `columns` is below 1, or an input or
            a file that smalti did not write would be overwritten.
    """

    def __init__(
        self,
        signal: Signal,
        out: str | None,
        count: int,
        *,
        default_name: str,
        columns: int | None = None,
        inputs: Sequence[str] = (),
        also_read: Sequence[str] = (),
        overwrite: bool = False,
    ) -> None:
        if columns is not None and columns < 1:
            raise InputError(
                f"A sheet has at least 1 column, got --columns {columns}: give 1 or more."
            )
        self.signal, self.modality = signal, modality_of(signal)
        sheet, self.suffix = self.modality.shown_as, self.modality.suffixes[0]
        out = f"{default_name}{sheet}" if out is None else out
        # Inputs come first: they are never overwritten, also where that is asked for.
        together = () if self._many is None else self._many.written_together
        if isinstance(self.modality, JoinedInFile):
            together = self.modality.written_joined
        self.path = check_output(out, (sheet, *together), folder=True, overwrite=True)
        is_file = not self.path.is_dir() and out[-1] != "/"
        self.single = self.path.suffix.lower() == sheet and is_file
        self.together = self.path.suffix.lower() in together and is_file
        self.columns, self.overwrite = columns, overwrite
        self._names = _names(inputs) if len(inputs) == count else None
        sources = {Path(file).resolve() for file in (*inputs, *also_read)}
        for file in self._there(count):
            if file.resolve() in sources:
                raise InputError(
                    f"{file} is an input and would be overwritten: choose another --out."
                )
            check_file(file, overwrite)

    @property
    def _many(self) -> ManyPerFile | None:
        """Returns the modality where a file holds many signals, else `None`."""
        return self.modality if isinstance(self.modality, ManyPerFile) else None

    def write(
        self,
        x: Tensor | Sequence[Tensor],
        columns: int | None = None,
        names: Sequence[str] | None = None,
        title: str = "",
    ) -> None:
        """Writes signals (B, C, *size), or a list of them of any sizes, and says where.

        Arguments:
            x: As many as were announced, or another number where they go to one file.
            columns: Signals in a row, where the user has not chosen.
            names: What they are called in a file that holds all of them.
            title: What a picture of them shows, such as the caption that was asked for.
        """
        counted_x = counted(len(x), self.signal.noun, self.signal.plural)
        if self.together and isinstance(self.modality, JoinedInFile):
            self.modality.write_joined(list(x), self.path, self.overwrite, self.signal)
            print(f"{self.path}: {counted_x}" + ", one after another" * (len(x) > 1))
            return
        if self.single or self.together:
            stacked = x if isinstance(x, Tensor) else torch.stack(list(x))
            if self.together and self._many is not None:
                self._many.write_all(stacked, self.path, names, self.overwrite, self.signal)
                print(f"{self.path}: {counted_x}")
                return
            shown = stacked if self._many is None else stacked[: self._many.shown]
            block = self.modality.render(shown, title, self.columns or columns, self.signal)
            self._draw(block, counted_x + f" of {title}" * bool(title), shown)
            return
        for number, one in enumerate(x):
            name = f"{number:05d}" if self._names is None else self._names[number]
            file = self.path / f"{name}{self.suffix}"
            self.modality.write(one, file, self.overwrite, self.signal)
        print(f"{self.path}/: {counted_x}")

    def write_pairs(self, x: Tensor, x_hat: Tensor) -> None:
        """Draws signals and their reconstructions, both (B, C, *size), in one picture."""
        shown = x if self._many is None else x[: self._many.compared]
        counted_x = counted(
            len(x), f"{self.signal.noun} and its", f"{self.signal.plural} and their"
        )
        block = self.modality.compare(shown, x_hat[: len(shown)], "", self.signal)
        self._draw(block, f"{counted_x} reconstruction{'s' * (len(x) != 1)}", shown)

    def _draw(self, block: Block, counted_x: str, shown: Tensor) -> None:
        write_file(block.files()[self.modality.shown_as], self.path, self.overwrite)
        first = "" if counted_x.startswith(f"{len(shown)} ") else f"the first {len(shown)} of "
        print(f"{self.path}: {first}{counted_x} in one picture")

    def _there(self, count: int) -> Iterator[Path]:
        """Yields the files to be written that exist already."""
        if self.single or self.together:
            yield self.path
        elif self.path.is_dir():
            names = None if self._names is None else {name + self.suffix for name in self._names}
            for file in self.path.iterdir():
                if file.name in names if names is not None else self._is_number(file, count):
                    yield file

    def _is_number(self, file: Path, count: int) -> bool:
        stem = file.stem
        if file.suffix != self.suffix or not (stem.isascii() and stem.isdecimal()):
            return False
        return len(stem) <= 12 and int(stem) < count and stem == f"{int(stem):05d}"


def _names(inputs: Sequence[str]) -> list[str]:
    """Returns a name for each input, all different even without upper and lower case."""
    names = [Path(file).stem for file in inputs]
    alike = len({name.casefold() for name in names}) < len(names)
    if alike or any(len(name.encode(errors="replace")) > LONGEST for name in names):
        return [f"{number:05d}-{name[:50]}" for number, name in enumerate(names)]
    return names
