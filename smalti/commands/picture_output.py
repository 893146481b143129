"""Pictures that a command writes: as one sheet, or each to a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from smalti.counting import counted
from smalti.errors import InputError
from smalti.modalities.image import pictures
from smalti.outputs import check_file, output

__all__ = ["Pictures"]

LONGEST = 240  # bytes of a name, its .png left out


class Pictures:
    """Where the pictures of a command go, checked before they are made.

    Arguments:
        out: A .png for one sheet of all, or a folder for a file each.
        count: How many there will be.
        columns: Images in a row of the sheet; None for as square a sheet as possible.
        inputs: Files that they are made from: as many as images, or one for all. Where there are as
            many, files in a folder have their names, with a number before each where two are alike.
        overwrite: Whether files that smalti did not write may be replaced.

    Raises:
        InputError: If `out` is empty or of another kind, there are no columns, an input would be
            overwritten, or a file that smalti did not write.
    """

    def __init__(
        self,
        out: str,
        count: int,
        *,
        columns: int | None = None,
        inputs: Sequence[str] = (),
        overwrite: bool = False,
    ) -> None:
        if columns is not None and columns < 1:
            raise InputError(
                f"A sheet has at least 1 column, got --columns {columns}: give 1 or more."
            )
        # Inputs come first: they are never overwritten, also where that is asked for.
        self.path = output(out, (".png",), folder=True, overwrite=True)
        self.single = (
            self.path.suffix.lower() == ".png" and not self.path.is_dir() and out[-1] != "/"
        )
        self.columns, self.overwrite = columns, overwrite
        self._names = _names(inputs) if len(inputs) == count else None
        sources = {Path(file).resolve() for file in inputs}
        for file in self._there(count):
            if file.resolve() in sources:
                raise InputError(
                    f"{file} is an input and would be overwritten: choose another --out."
                )
            check_file(file, overwrite)

    def write(self, images: Tensor, columns: int | None = None) -> None:
        """Writes images (B, C, H, W) in [-1, 1], and says where.

        Arguments:
            images: As many as were announced, or another number where they go to one sheet.
            columns: Images in a row, where the user has not chosen.
        """
        if self.single:
            sheet = pictures.grid(images, columns=self.columns or columns)
            pictures.save_png(sheet, self.path, self.overwrite)
            print(f"{self.path}: {counted(len(images), 'image')} in one picture")
            return
        for number, image in enumerate(images):
            name = f"{number:05d}" if self._names is None else self._names[number]
            file = self.path / f"{name}.png"
            pictures.save_png(pictures.to_image(image), file, self.overwrite)
        print(f"{self.path}/: {counted(len(images), 'image')}")

    def _there(self, count: int) -> Iterator[Path]:
        """Yields the files to be written that exist already."""
        if self.single:
            yield self.path
        elif self.path.is_dir():
            names = None if self._names is None else {f"{name}.png" for name in self._names}
            for file in self.path.iterdir():
                if file.name in names if names is not None else _is_number(file, count):
                    yield file


def _names(inputs: Sequence[str]) -> list[str]:
    """Returns a name for each input, all different even without upper and lower case."""
    names = [Path(file).stem for file in inputs]
    alike = len({name.casefold() for name in names}) < len(names)
    if alike or any(len(name.encode(errors="replace")) > LONGEST for name in names):
        return [f"{number:05d}-{name[:50]}" for number, name in enumerate(names)]
    return names


def _is_number(file: Path, count: int) -> bool:
    stem = file.stem
    if file.suffix != ".png" or not (stem.isascii() and stem.isdecimal()) or len(stem) > 12:
        return False
    return int(stem) < count and stem == f"{int(stem):05d}"
