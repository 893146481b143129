"""`smalti reconstruct`: images beside what the model makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from smalti.commands.common import call, range_of
from smalti.commands.picture_output import Pictures
from smalti.errors import InputError
from smalti.generation import load
from smalti.modalities.image.image_files import read_images
from smalti.modalities.image.metrics import psnr

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """See `reconstruct`."""
    call(reconstruct, words, "folder", "files")


def reconstruct(  # noqa: PLR0913 - the options of the command
    folder: str,
    files: list[str],
    *,
    out: str = "reconstructions.png",
    convert: bool = False,
    levels: int | None = None,
    overwrite: bool = False,
) -> None:
    """Writes images above their reconstructions, and says how close they are.

    Arguments:
        folder: The run directory.
        files: Image files.
        out: A .png for one picture (originals above reconstructions), or a folder for a file each.
        convert: Resize and crop images of another size, turn colour grey for a grey model.
        levels: Of a hierarchy, how many levels are decoded, from the coarsest; all if not given.
        overwrite: Replace what smalti did not write, too.
    """
    pictures = Pictures(out, len(files), columns=len(files), inputs=files, overwrite=overwrite)
    model = load(folder)
    x = read_images(files, model.signal, convert, range_of(model))
    indices = model.encode(x)
    if levels is not None:
        most = len(indices) if isinstance(indices, tuple) else 1
        if most == 1 or not 1 <= levels <= most:
            has = f"{most} levels" if most > 1 else "no levels"
            mend = f"give 1 to {most}" if most > 1 else "leave it out"
            raise InputError(f"This model has {has}, got --levels {levels}: {mend}.")
        indices = indices[:levels]
    x_hat = model.decode(indices)
    for file, original, reconstruction in zip(files, x, x_hat, strict=True):
        print(f"{file}: PSNR {psnr(reconstruction[None], original[None]):.2f} dB")
    pictures.write(torch.cat([x, x_hat]) if pictures.single else x_hat)
