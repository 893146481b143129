"""`smalti interpolate`: the way from one image to another."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from smalti.commands.common import call, write_pictures
from smalti.data.files import read_images
from smalti.errors import InputError
from smalti.generation import ContinuousModel, Model, load

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
    convert: bool = False,
) -> None:
    """Mixes two images in the latent space, and decodes what lies between them.

    A model with tokens mixes the vectors before they are quantized.

    Args:
        folder: The run directory.
        files: Two image files, or two numbers of test images of the run's data.
        steps: Images on the way, both ends included.
        out: A .png for one picture of all, or a folder for a file each.
        columns: Images a row in the picture; all in one row if not given.
        convert: Resize and crop images of another size, turn grey into colour and back.
    """
    if len(files) != 2:
        raise InputError(f"A way has two ends, got {len(files)} images: give two.")
    model = load(folder)
    numbers = [int(name) for name in files if name.isdecimal()]
    if len(numbers) == 2:
        x = test_images(model, numbers)
    else:
        x = read_images(files, model.signal, convert)
    inputs = [] if len(numbers) == 2 else files
    write_pictures(
        model.interpolate(x[0], x[1], steps), out, steps if columns is None else columns, inputs
    )


def test_images(model: Model | ContinuousModel, numbers: list[int]) -> Tensor:
    """Test images of the data that a run was learned from, by their numbers from 0 on.

    Raises:
        InputError: If there are not so many.
    """
    assert model.run is not None
    test = model.run.recipe().data.load().test
    if max(numbers) >= len(test):
        raise InputError(
            f"There are {len(test)} test images, numbered from 0, got {max(numbers)}: choose a "
            f"smaller number."
        )
    return test.__getitems__(numbers).x
