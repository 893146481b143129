"""What the subcommands share: parsers made from signatures, and pictures in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from torch import Tensor

from smalti import pictures
from smalti.data.files import read_images
from smalti.errors import InputError
from smalti.files import atomic_file
from smalti.generation import Model

__all__ = ["call", "read_signals", "write_pictures"]


def call(function: Callable[..., None], words: Sequence[str], *positional: str) -> None:
    """Calls `function` with what the command line says.

    Types and help come from its signature and docstring; the parameters named in `positional` are positional, the last
    of them taking one or more values if its name is "files".
    """
    parser = ArgumentParser(prog=f"smalti {function.__name__}", exit_on_error=False)
    for name in positional:
        several: dict[str, Any] = {"nargs": "+"} if name == "files" else {}
        parser.add_argument(name, type=str, **several)
    parser.add_function_arguments(function, skip=set(positional))
    parser.description = (function.__doc__ or "").split("\n")[0]
    options = parser.parse_args(list(words))
    function(**vars(options))


def read_signals(files: Sequence[str], model: Model, resize: bool) -> Tensor:
    """Reads image files as the model takes them: (B, C, H, W) in its range."""
    return read_images(files, model.signal, resize=resize)


def write_pictures(images: Tensor, out: str, columns: int | None = None) -> None:
    """Writes images (B, C, H, W) as one grid to a .png, or each to a file of its own in a folder.

    Raises:
        InputError: If `out` is a file of another kind.
    """
    path = Path(out)
    if path.suffix.lower() == ".png":
        pictures.save_png(pictures.grid(images, columns=columns), path)
        print(f"{path}: {len(images)} images in one picture")
        return
    if path.suffix:
        raise InputError(f"Pictures are written to a .png, or to a folder each, got {out}: choose one.")
    for number, image in enumerate(images):
        pictures.save_png(pictures.to_image(image), path / f"{number:05d}.png")
    print(f"{path}/: {len(images)} images")
