"""Decoding: every kind of image file becomes the pixels that a viewer shows."""

from __future__ import annotations

import io
import logging
import os

import numpy as np
import pytest
import torch
from PIL import Image

from smalti.data.allocation import allocate
from smalti.data.rows import UndecodedExample
from smalti.errors import InputError
from smalti.modalities.image import read_image
from smalti.modalities.image.decoding import decode_pictures


def _file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _ramp(height: int = 24, width: int = 16) -> np.ndarray:
    """A colour image in which no two pixels are the same."""
    i, j = np.mgrid[:height, :width]
    return np.stack([8 * i, 12 * j, 100 + 0 * i], axis=2).astype(np.uint8)


def _decoded(content, size=(24, 16), channels=3, crop="center") -> torch.Tensor:
    (pixels,), readable = decode_pictures(
        [UndecodedExample("it", content)], 1, size, channels, crop
    )
    assert bool(readable.all())
    return pixels


RAMP = torch.from_numpy(_ramp()).permute(2, 0, 1)
PLAIN = Image.fromarray(_ramp())


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "GIF", "WEBP"])
def test_lossless_files_of_the_right_size_come_back_byte_for_byte(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    image = PLAIN.quantize(256) if kind == "GIF" else PLAIN
    expected = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(_decoded(_file(image, kind, **options)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photos_stand_upright(orientation):
    """The note says how the stored image is to be turned; here it is turned the other way first."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # stored turned left, to be shown turned right
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = PLAIN.transpose(undo[orientation]) if orientation > 1 else PLAIN
    assert torch.equal(_decoded(_file(stored, exif=exif)), RAMP)


def test_transparency_is_flattened_on_white():
    opacity = Image.new("L", PLAIN.size, 0)
    opacity.paste(255, (0, 0, 8, 24))
    see_through = PLAIN.copy()
    see_through.putalpha(opacity)
    pixels = _decoded(_file(see_through))
    assert torch.equal(pixels[:, :, :8], RAMP[:, :, :8])
    assert bool((pixels[:, :, 8:] == 255).all())

    grey = see_through.convert("LA")
    assert bool((_decoded(_file(grey), channels=1)[:, :, 8:] == 255).all())


def test_a_transparent_colour_of_a_palette_is_white():
    image = Image.fromarray(np.arange(24 * 16, dtype=np.uint8).reshape(24, 16) % 4, "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    pixels = _decoded(_file(image, transparency=0))
    assert pixels[:, 0, :4].T.tolist() == [[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8_and_not_clipped(kind):
    levels = np.linspace(0, 65_535, 24 * 16).reshape(24, 16)
    pixels = _decoded(_file(Image.fromarray(levels.astype(np.uint16)), kind), channels=1)
    expected = torch.from_numpy(levels / 257).round()
    assert (pixels[0] - expected).abs().max() <= 1


def test_floating_point_images_in_0_to_1_are_scaled():
    levels = np.linspace(0, 1, 24 * 16, dtype=np.float32).reshape(24, 16)
    pixels = _decoded(_file(Image.fromarray(levels), "TIFF"), channels=1)
    assert (pixels[0] - 255 * torch.from_numpy(levels)).abs().max() <= 1


def test_grey_becomes_colour_and_colour_grey():
    grey = PLAIN.convert("L")
    expected = torch.from_numpy(np.array(grey))
    assert torch.equal(_decoded(_file(grey)), expected.expand(3, -1, -1))
    assert torch.equal(_decoded(_file(PLAIN), channels=1), expected[None])


@pytest.mark.parametrize("size", [(8, 8), (10, 30), (64, 64), (12, 18)])
def test_cropping_takes_the_largest_middle_part_and_keeps_proportions(size):
    """A disc stays a disc, in the middle, of the radius that the shorter way asks for."""
    disc = np.zeros((120, 200), dtype=np.uint8)
    i, j = np.mgrid[:120, :200]
    disc[(i - 59.5) ** 2 + (j - 99.5) ** 2 < 40**2] = 255
    (pixels,) = _decoded(_file(Image.fromarray(disc)), size=size, channels=1).float() / 255
    scale = max(size[0] / 120, size[1] / 200)
    assert pixels.sum().item() == pytest.approx(np.pi * (40 * scale) ** 2, rel=0.1)
    assert torch.allclose(pixels, pixels.flip(0), atol=0.02)
    assert torch.allclose(pixels, pixels.flip(1), atol=0.02)


def test_without_a_crop_the_whole_image_is_resized():
    marked = np.zeros((40, 80), dtype=np.uint8)
    marked[:, :20] = 255  # the left quarter, which a crop to a square would cut off
    content = _file(Image.fromarray(marked))
    whole = _decoded(content, size=(20, 20), channels=1, crop="none").float().mean() / 255
    cut = _decoded(content, size=(20, 20), channels=1, crop="center").float().mean() / 255
    assert whole.item() == pytest.approx(0.25, abs=0.02)
    assert cut.item() == pytest.approx(0, abs=0.02)


def test_a_large_jpeg_is_the_same_as_its_png_but_for_compression():
    i, j = np.mgrid[:960, :1280]
    photo = Image.fromarray((127 + 60 * np.sin(i / 40) + 60 * np.cos(j / 60)).astype(np.uint8))
    png, jpeg = (
        _decoded(_file(photo, kind), size=(48, 64), channels=3).float() for kind in ("PNG", "JPEG")
    )
    assert (png - jpeg).abs().mean() < 2


def _pictures(n: int, broken: set[int]):
    good = _file(PLAIN)
    for i in range(n):
        yield UndecodedExample(f"file {i}", good[: len(good) // 2] if i in broken else good)


def test_a_broken_file_among_many_is_named_counted_and_left_out(caplog):
    with caplog.at_level(logging.WARNING):
        pixels, readable = decode_pictures(_pictures(300, {7, 130}), 300, (24, 16), 3, "center")
    assert (~readable).nonzero()[:, 0].tolist() == [7, 130]
    assert bool((pixels[readable] == RAMP).all())
    assert "file 7 (" in caplog.text
    assert "file 130 (" in caplog.text
    assert "Left out 2 of 300" in caplog.text


def test_more_than_one_in_a_hundred_broken_files_stop_the_run():
    broken = {1, 2, 3, 4}
    with pytest.raises(InputError, match="4 of 300 images cannot be read, more than 1%") as error:
        decode_pictures(_pictures(300, broken), 300, (24, 16), 3, "center")
    assert "file 1 (" in str(error.value)
    assert "file 3 (" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("n", "broken", "allowed"),
    [(51, 1, True), (51, 3, True), (51, 4, False), (10, 1, True), (10, 2, False), (9, 1, False)],
)
def test_a_few_broken_files_of_a_small_set_are_named_and_left_out(n, broken, allowed, caplog):
    pictures = _pictures(n, set(range(broken)))
    if not allowed:
        with pytest.raises(
            InputError, match=f"{broken} of {n} images cannot be read, more than .*: file 0"
        ):
            decode_pictures(pictures, n, (24, 16), 3, "center")
        return
    _, readable = decode_pictures(pictures, n, (24, 16), 3, "center")
    assert readable.tolist() == [False] * broken + [True] * (n - broken)
    assert all(f"file {i} (" in caplog.text for i in range(broken))
    assert f"Left out {broken} of {n} images." in caplog.text


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n" + 40 * b"x"])
def test_what_is_no_image_is_broken(content):
    with pytest.raises(InputError, match="1 of 1 image cannot be read"):
        _decoded(content)


def test_pixels_that_do_not_fit_into_memory_lie_in_a_file(monkeypatch, tmp_path):
    monkeypatch.setattr("smalti.data.allocation.IN_MEMORY", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pixels, _ = decode_pictures(_pictures(70, set()), 70, (24, 16), 3, "center")
    assert isinstance(allocate((1001,), np.uint8, "They", "take less"), np.memmap)
    assert bool((pixels == RAMP).all())
    assert list(tmp_path.iterdir()) == []  # nameless: nothing is left behind


def test_a_disk_without_room_is_an_input_error(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("smalti.data.allocation.IN_MEMORY", 1000)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match="No space left on device.*TMPDIR"):
        decode_pictures(_pictures(70, set()), 70, (24, 16), 3, "center")


def test_one_file_is_read_in_the_range_of_models(tmp_path):
    path = tmp_path / "a.png"
    PLAIN.save(path)
    x = read_image(path, None, 3)
    torch.testing.assert_close(x, RAMP / 127.5 - 1)
    assert read_image(path, (8, 8), 1).shape == (1, 8, 8)


@pytest.mark.parametrize("name", ["nothing.png", "broken.png", "."])
def test_one_file_that_cannot_be_read_is_an_input_error(tmp_path, name):
    (tmp_path / "broken.png").write_bytes(_file(PLAIN)[:60])
    with pytest.raises(InputError) as error:
        read_image(tmp_path / name, None, 3)
    assert "\n" not in str(error.value)
