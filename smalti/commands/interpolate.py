"""`smalti interpolate`: the way from one image to another."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.commands.common import call, named_images
from smalti.commands.picture_output import Pictures
from smalti.counting import counted
from smalti.errors import InputError
from smalti.generation import load

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """See `interpolate`."""
    call(interpolate, words, "folder", "files")


def interpolate(  # noqa: PLR0913 - the options of the command
    folder: str,
    files: list[str],
    *,
    steps: int = 9,
    out: str = "interpolation.png",
    columns: int | None = None,
    data: str | None = None,
    convert: bool = False,
    overwrite: bool = False,
) -> None:
    """Mixes two images in the latent space, and decodes what lies between them.

    A model with tokens mixes the vectors before they are quantized.

    Arguments:
        folder: The run directory.
        files: Two images, each a file or the number of a test image of the run's data.
        steps: Images on the way, both ends included.
        out: A .png for one picture of all, or a folder for a file each.
        columns: Images per row in the picture; all in one row if not given.
        data: Where the run's data lie now, if they were moved.
        convert: Resize and crop images of another size, turn colour grey for a grey model.
        overwrite: Replace what smalti did not write, too.
    """
    if len(files) != 2:
        raise InputError(f"A way has two ends, got {counted(len(files), 'image')}: give two.")
    pictures = Pictures(out, steps, columns=columns, inputs=files, overwrite=overwrite)
    model = load(folder)
    x_a, x_b = named_images(model, files, convert, data)
    pictures.write(model.interpolate(x_a, x_b, steps), columns=steps)
