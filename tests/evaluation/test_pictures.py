"""Tensors to pictures and files."""

import numpy as np
import pytest
import torch
from PIL import Image

from smalti.errors import InputError
from smalti.modalities.image.pictures import grid, save_png, to_image, to_uint8


def test_bytes_survive_the_way_to_values_and_back():
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(pixels.float() / 127.5 - 1), pixels)


def test_every_image_stands_in_its_place():
    images = torch.linspace(-1, 1, 6)[:, None, None, None].expand(6, 1, 4, 4)
    sheet = np.array(grid(images, columns=3, scale=2, padding=1))
    assert sheet.shape == (2 * 8 + 1, 3 * 8 + 2, 2)
    corners = sheet[0::9, 0::9, 0]
    assert corners.flatten().tolist() == to_uint8(images[:, 0, 0, 0]).tolist()


def test_enlarging_repeats_pixels():
    image = torch.rand(1, 3, 5, 7) * 2 - 1
    small = np.array(grid(image, scale=1))
    assert np.array_equal(np.array(grid(image, scale=3)), small.repeat(3, 0).repeat(3, 1))


def test_small_images_are_made_visible_and_large_ones_left():
    assert grid(torch.zeros(1, 3, 32, 48)).size == (96, 64)
    assert grid(torch.zeros(1, 3, 100, 80)).size == (80, 100)


def test_gaps_and_places_left_empty_are_transparent():
    sheet = grid(torch.ones(3, 3, 4, 4), columns=2, scale=1, padding=2)
    opacity = np.array(sheet)[..., 3]
    assert sheet.mode == "RGBA"
    assert opacity[:4, 4:6].max() == 0
    assert opacity[6:, 6:].max() == 0
    assert opacity[6:, :4].min() == 255


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_single_image_has_no_opacity(channels, mode):
    image = to_image(torch.zeros(channels, 6, 9))
    assert (image.mode, image.size) == (mode, (9, 6))


def test_png_keeps_every_byte(tmp_path):
    x = torch.randint(256, (3, 8, 9)).float() / 127.5 - 1
    save_png(to_image(x), tmp_path / "deep" / "a.png")
    read = torch.from_numpy(np.array(Image.open(tmp_path / "deep" / "a.png")))
    assert torch.equal(read.permute(2, 0, 1), to_uint8(x))
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["a.png"]


def test_another_format_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match=r"name it a\.png"):
        save_png(to_image(torch.zeros(1, 2, 2)), tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(3, 4, 4), (0, 3, 4, 4), (1, 5, 4, 4)])
def test_what_is_no_batch_of_images_is_refused(shape):
    with pytest.raises(InputError, match="at least one such image"):
        grid(torch.zeros(shape))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_picture_of_values_that_are_not_finite_is_refused(bad, tmp_path):
    images = torch.zeros(3, 1, 4, 4)
    images[1, 0, 2, 3] = bad
    for make in (grid, to_uint8, lambda x: to_image(x[1])):
        with pytest.raises(InputError, match="got NaN or infinity in 1 of") as error:
            make(images)
        assert "\n" not in str(error.value)
    black = Image.new("F", (4, 4), bad)
    with pytest.raises(InputError, match="got a picture of the mode F"):
        save_png(black, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
    for mode in ("1", "L", "LA", "I;16", "P", "RGB", "RGBA"):
        save_png(Image.new(mode, (4, 4)), tmp_path / f"{mode[0]}{len(mode)}.png")
