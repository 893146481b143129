"""Converts tensors in [-1, 1] to 8-bit images, sheets of images and PNG files.

    value v ∈ [-1, 1]  →  byte  round(127.5 (v + 1)) ∈ {0, …, 255}

Small pictures are enlarged by a whole factor and by repeating pixels, so that a pixel stays a
square and nothing is shown that the model did not make. The gaps of a sheet are transparent: it
looks right on white and on black.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import torch
from einops import rearrange, repeat
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torch.nn import functional as F

from smalti.errors import InputError
from smalti.files import atomic_file
from smalti.outputs import MARK, check_file

__all__ = ["grid", "save_png", "to_image", "to_png", "to_uint8"]

MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")  # of Pillow's, that PNG holds
VISIBLE = 64  # px: the shorter side that a picture is enlarged to at least, where no scale is given


def to_uint8(x: Tensor) -> Tensor:
    """Scales values from [-1, 1] to bytes of the same shape, on the CPU; clips others.

    Raises:
        InputError: If one is NaN or infinite, of which there is no picture.

    Example:
        >>> to_uint8(torch.tensor([-1.0, 0.0, 1.0, 3.0]))
        tensor([  0, 128, 255, 255], dtype=torch.uint8)
    """
    x = x.detach().float().cpu()
    if not bool(x.isfinite().all()):
        raise InputError(
            f"A picture has finite values in [-1, 1], got NaN or infinity in "
            f"{(~x.isfinite()).sum().item()} of {x.numel()}: correct what they were made from."
        )
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_image(x: Tensor) -> Image.Image:
    """Converts an image (C, H, W) in [-1, 1] to one of Pillow, of the same size.

    Example:
        >>> to_image(torch.zeros(1, 28, 20)).size
        (20, 28)
    """
    return grid(x[None], scale=1)


def grid(
    images: Tensor, columns: int | None = None, scale: int | None = None, padding: int = 2
) -> Image.Image:
    """Arranges a batch of images on one sheet, row by row.

    Arguments:
        images: (B, C, H, W) in [-1, 1], with one channel (grey), three (colour), or two or four
            (the last one is the opacity: -1 for transparent, 1 for opaque).
        columns: Images per row; default: as square a sheet as possible.
        scale: The side of the square that a pixel becomes; default: the smallest that makes the
            shorter side of an image at least 64 px.
        padding: The gap between images in px of the sheet. Gaps and places left empty are
            transparent.

    Raises:
        InputError: If there are no images, they are not such a batch, or a value is not finite.

    Example:
        >>> sheet = grid(torch.zeros(6, 3, 32, 32), columns=3, padding=4)
        >>> sheet.size, sheet.mode
        ((200, 132), 'RGBA')
    """
    if images.ndim != 4 or not 1 <= images.shape[1] <= 4 or not images.numel():
        raise InputError(
            f"A sheet shows images of the shape (B, C, H, W) with 1 to 4 channels, "
            f"got {tuple(images.shape)}: give at least one such image."
        )
    if columns is not None and columns < 1:
        raise InputError(f"A sheet has at least 1 column, got columns={columns}.")
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    scale = scale or math.ceil(VISIBLE / min(images.shape[2:]))

    cells = to_uint8(images)
    if cells.shape[1] in (1, 3):  # opacity as the last channel
        cells = torch.cat([cells, torch.full_like(cells[:, :1], 255)], dim=1)
    cells = repeat(cells, "b c h w -> b c (h s) (w t)", s=scale, t=scale)
    cells = F.pad(cells, (0, padding, 0, padding))
    cells = torch.cat([cells, cells.new_zeros(-len(cells) % columns, *cells.shape[1:])])
    sheet = rearrange(cells, "(r k) c h w -> (r h) (k w) c", k=columns)
    sheet = sheet[: sheet.shape[0] - padding, : sheet.shape[1] - padding]
    return _image(sheet)


def save_png(image: Image.Image, path: str | Path, overwrite: bool = False) -> None:
    """Writes an image to a PNG file, atomically; its metadata names smalti (see `to_png`).

    Raises:
        InputError: If it is no picture of bytes, the name does not end in .png, or a file that
            smalti did not write would be replaced without `overwrite`.
    """
    path = Path(path)
    if not isinstance(image, Image.Image):
        raise InputError(
            f"A picture is one of Pillow's, got a {type(image).__name__}: make one of images with "
            f"pictures.grid."
        )
    if image.mode not in MODES:
        raise InputError(
            f"PNG holds bytes, got a picture of the mode {image.mode}: convert it with "
            f'.convert("RGB").'
        )
    if path.suffix.lower() != ".png":
        raise InputError(f"Pictures are written as PNG, got {path.name}: name it {path.stem}.png.")
    check_file(path, overwrite)
    with atomic_file(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=_mark())


def to_png(image: Image.Image) -> bytes:
    """Encodes an image of Pillow to the content of a PNG file.

    Its metadata names smalti as the writer, so that it may be replaced later (`smalti.outputs`).

    Example:
        >>> to_png(to_image(torch.zeros(1, 4, 4)))[1:4]
        b'PNG'
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=_mark())
    return buffer.getvalue()


def _mark() -> PngInfo:
    mark = PngInfo()
    mark.add_text("Software", MARK)
    return mark


def _image(sheet: Tensor) -> Image.Image:
    """Makes a picture of bytes (H, W, C + 1), the last of opacity, without opacity if all of it is
    opaque.
    """
    if bool((sheet[..., -1] == 255).all()):
        sheet = sheet[..., :-1]
    return Image.fromarray(sheet.squeeze(-1).contiguous().numpy())
