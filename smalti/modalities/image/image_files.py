"""Reads single image files as a model takes them.

A data set is brought to one size and one number of channels when it is loaded. A single file that
is given to a trained model becomes the same where nothing is lost: a grey image is given to a model
of colour images in three equal channels. What loses something, colour or size, is asked for first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from smalti.data.file_tree import is_regular
from smalti.errors import InputError
from smalti.modalities.image.decoding import decode_picture, describe_read_error, read_image
from smalti.modalities.image.file_decoding import ORIENTATION, open_image
from smalti.modalities.image.pixel_range import Range
from smalti.signals import Signal
from smalti.spelling import readable

__all__ = ["convert_image", "read_image_mask", "read_images", "read_partial_image"]

GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
HALVES = ("top", "bottom", "left", "right")


def read_images(
    paths: Sequence[str | Path],
    signal: Signal,
    convert: bool = False,
    value_range: Range | None = None,
) -> Tensor:
    """Reads image files for a model of `signal`: (B, C, H, W) in [-1, 1].

    Arguments:
        paths: Paths of the files.
        signal: The signal that the model takes; without a size, all images have one, of any size.
        convert: Whether images of another size are resized and cropped, and colour is made grey
            for a model of grey images; grey is made colour in any case.
        value_range: The numbers for black and white, for images of more than 8 bits, as in the
            model's data; those of the format if None.

    Raises:
        InputError: If a file is missing or damaged, or, without `convert`, is not of that signal.
    """
    size = (signal.size[0], signal.size[1]) if signal.size else None
    for path in [] if convert else paths:
        _check(Path(path), signal)
    return torch.stack(
        [read_image(path, size, signal.channels, value_range=value_range) for path in paths]
    )


def convert_image(image: Image.Image, signal: Signal, value_range: Range | None = None) -> Tensor:
    """Converts an image of Pillow to the tensor that a model takes: (C, H, W) in [-1, 1].

    Arguments:
        image: The image, which is not changed.
        signal: The signal that the model takes.
        value_range: The numbers for black and white, for images of more than 8 bits; those of
            the format if None.

    Raises:
        InputError: If it is not of that signal, or cannot be decoded.
    """
    name = readable(str(getattr(image, "filename", "") or "an image in memory"))
    _check_content(image, name, signal)
    size = (signal.size[0], signal.size[1]) if signal.size else None
    return decode_picture(image, name, size, signal.channels, value_range=value_range)


def read_partial_image(
    path: str | Path,
    signal: Signal,
    keep: str | None = None,
    convert: bool = False,
    value_range: Range | None = None,
) -> tuple[Tensor, Tensor]:
    """Reads an image of which only a part is given, for completion.

    Arguments:
        path: Path of the file. Its transparent pixels are not given; without any, one half is.
        signal: The signal that the model takes.
        keep: The half that is given: "top" (also if None), "bottom", "left" or "right". It must be
            None for an image with transparent pixels.
        convert: Whether the image is resized, cropped or made grey to fit; a resized pixel is given
            if all pixels it is made of are.
        value_range: The numbers for black and white, for images of more than 8 bits; those of
            the format if None.

    Returns:
        x (C, H, W) in [-1, 1], the mean colour where nothing is given, and `given` (H, W), bool.

    Raises:
        InputError: If the file is missing, damaged or of another signal, there is no such half, or
            one is named of an image with transparent pixels.
    """
    if keep is not None and keep not in HALVES:
        raise InputError(f"There is no half {keep!r}: keep one of {', '.join(HALVES)}.")
    (x,) = read_images([path], signal, convert, value_range)
    given = _opaque(Path(path), tuple(x.shape[1:]))
    if given.all():
        height, width = given.shape
        given = torch.zeros_like(given)
        given[_half(keep or "top", height, width)] = True
    elif keep is not None and given.any():
        raise InputError(
            f"{readable(path)} has transparent pixels, which are what is filled in, got the half "
            f"{keep!r} to keep, too: leave it out, or give an image that is opaque."
        )
    if not given.any():
        raise InputError(f"{readable(path)} is wholly transparent: leave opaque what is given.")
    mean = x[:, given].mean(dim=1)[:, None, None]
    return torch.where(given, x, mean), given


def read_image_mask(path: str | Path, signal: Signal, convert: bool = False) -> Tensor:
    """Reads an image that marks pixels by white: (H, W), bool, True where it does.

    Arguments:
        path: Path of the file. White is what is at least half as bright as can be (128 of 255);
            what is transparent is none.
        signal: The signal that the model takes.
        convert: Whether a mask of another size is resized and cropped as an image would be; a
            resized pixel is white if any of those it is made of is.

    Raises:
        InputError: If the file is missing or damaged, nothing in it is white, or, without
            `convert`, it has another size.
    """
    path, name = Path(path), readable(path)
    _check_file(path, name)
    with _readable_image(path, name) as image:
        white = _white(ImageOps.exif_transpose(image))
    if signal.size and white.shape != tuple(signal.size):
        height, width = signal.size
        if not convert:
            raise InputError(
                f"The mask {name} has {white.shape[1]}×{white.shape[0]} pixels, and the model's "
                f"images {width}×{height}: give one of the same size (--convert resizes both)."
            )
        white = _any_of(white, (height, width))
    if not white.any():
        raise InputError(
            f"The mask {name} has no white pixel: paint white what is to be edited, the rest black."
        )
    return torch.from_numpy(white)


def _white(image: Image.Image) -> np.ndarray:
    """Returns (H, W), True where an image is at least half as bright as can be, and opaque."""
    if image.mode[0] in "IF":  # of 16 bits, or of fractions
        return np.array(image) >= (0.5 if image.mode == "F" else 1 << 15)
    rgba = image.convert("RGBA")
    on_black = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)
    return np.array(on_black.convert("L")) >= 128


def _any_of(marked: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns (H, W), True where any pixel is marked of those that it is resized and cropped from.

    In fractions: of bytes, one pixel of many would be rounded away.
    """
    shares = Image.fromarray(marked.astype(np.float32))
    return np.array(ImageOps.fit(shares, (size[1], size[0]), Image.Resampling.BOX)) > 0


def _half(keep: str, height: int, width: int) -> tuple[slice, slice]:
    rows = {"top": slice(height // 2), "bottom": slice(height // 2, None)}
    columns = {"left": slice(width // 2), "right": slice(width // 2, None)}
    return rows.get(keep, slice(None)), columns.get(keep, slice(None))


def _opaque(path: Path, size: tuple[int, int]) -> Tensor:
    """Returns (H, W), True where the file's pixel is opaque, resized as the image is."""
    with open_image(path) as image:
        if image.mode[0] in "IF":
            return torch.ones(size, dtype=torch.bool)
        alpha = ImageOps.exif_transpose(image).convert("RGBA").getchannel("A")
    if alpha.size != (size[1], size[0]):
        return torch.from_numpy(~_any_of(np.array(alpha) < 255, size))
    return torch.from_numpy(np.array(alpha)) > 127


def _check(path: Path, signal: Signal) -> None:
    """Raises `InputError` unless a file is an image with the colours and the size of the signal."""
    name = readable(path)
    _check_file(path, name)
    _check_content(path, name, signal)


def _check_file(path: Path, name: str) -> None:
    """Raises `InputError` unless there is such a file."""
    if not is_regular(path):
        hint = "name the files in this folder" if path.is_dir() else "check the path"
        raise InputError(f"There is no image file {name}: {hint}.")


@contextlib.contextmanager
def _readable_image(content: Path | Image.Image, name: str) -> Iterator[Image.Image]:
    """Opens an image; whatever goes wrong in the `with` block is told as an `InputError`."""
    try:
        with open_image(content) as image:
            yield image
    except InputError:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything at a broken file
        raise InputError(
            f"{name} cannot be read as an image ({describe_read_error(error)}): replace it."
        ) from error


def _check_content(content: Path | Image.Image, name: str, signal: Signal) -> None:
    """Raises `InputError` unless content is an image that fits the signal in colours and size."""
    with _readable_image(content, name) as image:
        turned = image.format != "TIFF" and image.getexif().get(ORIENTATION, 1) > 4
        (width, height), mode = image.size[:: -1 if turned else 1], image.mode
    if signal.channels == 1 and mode not in GREY:
        raise InputError(
            f"The model was trained on grey images, got the colour image {name}: convert it first "
            f"(--convert does)."
        )
    if signal.size and (height, width) != tuple(signal.size):
        raise InputError(
            f"The model was trained on images of {signal.size[1]}×{signal.size[0]} pixels, "
            f"got {name} with {width}×{height}: resize it first (--convert does; "
            f"encode and reconstruct take it as it is with --any_size)."
        )
