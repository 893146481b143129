"""Levels: what is black and white is known from the format, or asked for, and never guessed."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image, ImageCms

from smalti.data import Source
from smalti.data.rows import UndecodedExample
from smalti.errors import InputError
from smalti.generation.checks import source_arguments
from smalti.modalities.image import Images, file_decoding, read_image
from smalti.modalities.image.decoding import decode_pictures
from smalti.modalities.image.image_files import read_images, read_partial_image
from smalti.modalities.image.pixel_range import UnknownRange
from smalti.modalities.image.signal import Image as ImageSignal
from smalti.runs import Run

STEPS = np.arange(24).reshape(4, 6)
RAMP = torch.from_numpy((STEPS / 23 * 255).round())  # what every ramp from black to white becomes


def _file(image: Image.Image, kind: str = "TIFF", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _tiff(numbers: np.ndarray | bytes, bits: int, kind: int, white: int = 1) -> bytes:
    """A TIFF of 6×4 px as no library writes it: `kind` is 1 unsigned, 2 signed, 3 float."""
    big = isinstance(numbers, np.ndarray) and numbers.dtype.byteorder == ">"
    end = ">" if big else "<"
    data = bytes(numbers) if isinstance(numbers, bytes) else numbers.tobytes()
    tags = [(256, 6), (257, 4), (258, bits), (259, 1), (262, white), (273, 8), (277, 1), (278, 4)]
    tags += [(279, len(data)), (339, kind)]
    directory = b"".join(struct.pack(f"{end}HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(f"{end}I", 8 + len(data))
    return head + data + struct.pack(f"{end}H", len(tags)) + directory + bytes(4)


def _png16(numbers: np.ndarray, colour: int) -> bytes:
    """A PNG of 16 bits a channel (H, W, C)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, _ = numbers.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in numbers)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _read(*contents: bytes, value_range=None, channels=1) -> torch.Tensor:
    pictures = [UndecodedExample(f"image {i}", content) for i, content in enumerate(contents)]
    pixels, readable = decode_pictures(
        pictures, len(pictures), (4, 6), channels, "none", None, value_range
    )
    assert bool(readable.all())
    return pixels


def _ramp(high: float, low: float = 0.0) -> np.ndarray:
    return low + STEPS * ((high - low) / 23)


def _packed() -> bytes:
    """12 bits a number, two numbers in three bytes."""
    pairs = _ramp(4095).round().astype(int).reshape(-1, 2).tolist()
    return b"".join((a << 12 | b).to_bytes(3, "big") for a, b in pairs)


KNOWN = {
    "float": _file(Image.fromarray(_ramp(1).astype("f4"))),
    "big-endian float": _tiff(_ramp(1).astype(">f4"), 32, 3),
    "16 bits": _file(Image.fromarray(_ramp(65_535).astype("u2"))),
    "16-bit PNG": _file(Image.fromarray(_ramp(65_535).astype("u2")), "PNG"),
    "big-endian 16 bits": _tiff(_ramp(65_535).astype(">u2"), 16, 1),
    "16 bits, white is 0": _tiff((65_535 - _ramp(65_535)).astype("<u2"), 16, 1, white=0),
    "packed 12 bits": _tiff(_packed(), 12, 1),
    "PGM of 12 bits": b"P5 6 4 4095\n" + _ramp(4095).round().astype(">u2").tobytes(),
    "PGM of 24 levels": b"P5 6 4 23\n" + STEPS.astype("u1").tobytes(),
    "PGM of 16 bits": b"P5 6 4 65535\n" + _ramp(65_535).astype(">u2").tobytes(),
    "JPEG 2000": _file(Image.fromarray(_ramp(65_535).astype("u2")), "JPEG2000"),
    "16-bit colour": _png16(np.stack([_ramp(65_535)] * 3, 2), 2),
    "16-bit grey and alpha": _png16(np.stack([_ramp(65_535), _ramp(0) + 65_535], 2), 4),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_what_a_format_says_is_taken_at_its_word(kind):
    assert (_read(KNOWN[kind])[0, 0] - RAMP).abs().max() <= 1


ASKED = {  # what, and the range that is right
    "floats to 255": (_file(Image.fromarray(_ramp(255).astype("f4"))), (0, 255)),
    "floats from -1": (_file(Image.fromarray(_ramp(1, -1).astype("f4"))), (-1, 1)),
    "12 bits in 16": (_file(Image.fromarray(_ramp(4095).astype("u2"))), (0, 4095)),
    "12 bits in a PNG": (_file(Image.fromarray(_ramp(4095).astype("u2")), "PNG"), (0, 4095)),
    "14 bits in 16": (_file(Image.fromarray(_ramp(16_383).astype("u2"))), (0, 16_383)),
    "32 bits": (_tiff(_ramp(2**32 - 256).astype("<u4"), 32, 1), (0, 2**32 - 1)),
    "signed 32 bits": (_tiff(_ramp(1e9, -1e9).astype("<i4"), 32, 2), (-1e9, 1e9)),
    "signed 16 bits": (_tiff(_ramp(2000, -1000).astype("<i2"), 16, 2), (-1000, 2000)),
    "signed 16, big-endian": (_tiff(_ramp(2000, -1000).astype(">i2"), 16, 2), (-1000, 2000)),
    "signed 8 bits": (_tiff(_ramp(127, -128).round().astype("i1"), 8, 2), (-128, 127)),
}


@pytest.mark.parametrize("kind", ASKED)
def test_what_is_not_known_is_asked_for_in_one_line_and_then_right(kind, tmp_path):
    content, right = ASKED[kind]
    with pytest.raises(UnknownRange, match="--data.range") as error:
        _read(content)
    assert "\n" not in str(error.value)
    assert (_read(content, value_range=right)[0, 0] - RAMP).abs().max() <= 1

    # And so for a single file, which a model is given, in the range of its data.
    path, grey = tmp_path / "a.tif", ImageSignal(1, (4, 6))
    path.write_bytes(content)
    if kind != "14 bits in 16":  # of one file alone, these can be dark
        with pytest.raises(UnknownRange, match="a.tif.*nothing says") as error:
            read_image(path, None, 1)
        assert "\n" not in str(error.value)
    x = read_images([path], grey, value_range=right)[0, 0]
    assert (x - (RAMP / 127.5 - 1)).abs().max() <= 1.01 / 127.5
    y, _ = read_partial_image(path, grey, "top", value_range=right)
    assert torch.equal(y[0, :2], x[:2])


def test_the_range_is_a_field_of_recipes_and_belongs_to_a_run(tmp_path):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=Source)
    words = ["--data=Images", "--data.path=a", "--data.size=4"]
    config = parser.parse_args([*words, "--data.range", "[0, 4095]", "--data.splits", "none"])
    (tmp_path / "config.yaml").write_text(parser.dump(config))
    source = parser.instantiate(config).data
    assert (source.range, source.splits) == ((0, 4095), "none")
    assert source_arguments(Run(tmp_path))["range"] == [0, 4095]
    (tmp_path / "config.yaml").write_text(parser.dump(parser.parse_args(words)))
    assert source_arguments(Run(tmp_path)).get("range") is None


def test_one_range_holds_for_a_whole_set():
    """So a dark frame is as dark as it is beside a bright one."""
    dark, bright = (_file(Image.fromarray(_ramp(high).astype("u2"))) for high in (4095, 65_535))
    assert _read(dark, bright).amax((1, 2, 3)).tolist() == [16, 255]
    frames = [_file(Image.fromarray(_ramp(high).astype("f4"))) for high in (1, 255)]
    with pytest.raises(UnknownRange, match="floats from 0 to 255"):
        _read(*frames)
    assert _read(*frames, value_range=(0, 255)).amax((1, 2, 3)).tolist() == [1, 255]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_no_number_makes_an_image_unreadable(number):
    broken = _ramp(1).astype("f4")
    broken[1, 2] = number
    good = _file(Image.fromarray(_ramp(1).astype("f4")))
    with pytest.raises(InputError, match="1 of 3 .*image 1 .it has pixels that are NaN or inf"):
        _read(good, _file(Image.fromarray(broken)), good)


def test_numbers_outside_a_range_that_was_given_are_not_cut():
    with pytest.raises(InputError, match="its numbers go from 0 to 255, not 0 to 1"):
        _read(ASKED["floats to 255"][0], value_range=(0, 1))
    colour = _png16(np.stack([_ramp(4095)] * 3, 2), 2)
    with pytest.raises(InputError, match="16 bits.*convert it to 8 bits"):
        _read(colour, value_range=(0, 4095))
    with pytest.raises(UnknownRange, match="between 0 and 3855"):
        _read(colour)


@pytest.mark.parametrize("wrong", [(1, 0), (0, 0), (0, float("nan")), (0, float("inf"))])
def test_a_range_is_two_numbers_that_grow(wrong):
    with pytest.raises(InputError, match="smaller number first"):
        Images("somewhere", 4, range=wrong)


def test_every_mode_of_8_bits_is_what_a_viewer_shows():
    grey = Image.fromarray(RAMP.byte().numpy())
    colour = grey.convert("RGB")
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    lab = ImageCms.profileToProfile(colour, *profiles, outputMode="LAB")
    kinds = [grey, colour, colour.convert("CMYK"), lab, grey.convert("LA"), colour.convert("RGBA")]
    for image in [*kinds, grey.quantize(24), grey.quantize(24).convert("PA")]:
        assert (_read(_file(image))[0, 0] - RAMP).abs().max() <= 1
    bits = (RAMP > 127).byte().numpy() * 255
    assert torch.equal(_read(_file(Image.fromarray(bits).convert("1")))[0, 0], torch.tensor(bits))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_of_several_frames_the_first_is_taken_and_that_is_said(kind, tmp_path, caplog):
    first = Image.fromarray(RAMP.byte().numpy())

    def animated(image: Image.Image) -> bytes:
        options = {"save_all": True, "append_images": [Image.new("L", (6, 4), 9)]}
        return _file(image, kind, **options, **({"lossless": True} if kind == "WEBP" else {}))

    content = animated(first)
    assert (_read(content)[0, 0] - RAMP).abs().max() <= 1
    for i in range(4):
        path = tmp_path / f"{i}.{kind.lower()}"
        image = Image.fromarray(RAMP.byte().numpy() // (i + 1))
        path.write_bytes(animated(image))
    with caplog.at_level("INFO", "smalti.data.found"):
        Images(str(tmp_path), 4, channels=1).load()
    assert "4 with several frames, of which the first is taken" in caplog.text


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_turned_images_stand_upright_whatever_their_format(kind, orientation, tmp_path):
    upright = Image.fromarray(np.kron(RAMP.byte().numpy(), np.ones((8, 8), dtype="u1")))
    undo = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
    undo[8] = Image.Transpose.ROTATE_270
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    stored.save(path, kind, exif=exif, quality=100)
    channels = 3 if kind == "WEBP" else 1
    x = read_images([path], ImageSignal(channels, (32, 48)))  # refused if of another size
    assert (x[0, 0] - torch.from_numpy(np.array(upright)) / 127.5 + 1).abs().mean() < 0.02


# What is too large


def _claims(kind: str, side: int) -> bytes:
    """A file that claims a size and has hardly any pixels."""
    content = bytearray(_file(Image.new("L", (8, 8)), kind))
    if kind == "PNG":
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif kind == "GIF":
        content[6:10] = struct.pack("<HH", side, side)
    elif kind == "BMP":
        content[18:26] = struct.pack("<ii", side, side)
    elif kind == "TIFF":
        content = bytearray(_tiff(bytes(24), 8, 1))
        for tag in (256, 257):
            place = content.index(struct.pack("<HHI", tag, 3, 1)) + 8
            content[place : place + 4] = struct.pack("<HH", side, 0)
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("side", [60_000, 17_000])
def test_a_bomb_is_refused_by_the_size_that_it_claims(kind, side, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="claims more than 268435456 pixels"):
            _read(_claims(kind, side))
        path = tmp_path / "bomb.img"
        path.write_bytes(_claims(kind, side))
        for read in (
            lambda: read_image(path, (4, 4), 1),
            lambda: read_images([path], ImageSignal(1, (4, 4))),
        ):
            with pytest.raises(InputError, match="bomb.img cannot be read .*claims more than"):
                read()


def test_a_large_photo_is_read_without_a_warning_and_pillow_is_left_as_it_was(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    large = Image.fromarray(RAMP.byte().numpy()).resize((600, 400), Image.Resampling.NEAREST)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (_read(_file(large, "PNG"))[0, 0] - RAMP).abs().max() <= 12
    assert Image.MAX_IMAGE_PIXELS == 1000


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "1", "LA", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_in_bands_an_image_is_what_it_is_as_a_whole(mode, orientation, monkeypatch):
    i, j = np.mgrid[:400, :260]
    smooth = (127 + 60 * np.sin(i / 40) + 60 * np.cos(j / 60)).astype("u1")
    if mode == "I;16":
        image = Image.fromarray(smooth.astype("u2") * 257)
    else:
        image = Image.fromarray(smooth).convert("RGB" if mode in ("RGBA", "CMYK") else "L")
        image = image.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray((j * 255 // 259).astype("u1")))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = _file(image, "TIFF" if mode == "CMYK" else "PNG", exif=exif)

    def read(size):
        pixels, _ = decode_pictures([UndecodedExample("it", content)], 1, size, 3, "center")
        return pixels.float()

    whole = [read(size) for size in ((20, 30), (300, 200))]
    monkeypatch.setattr(file_decoding, "LARGE", 1000)
    monkeypatch.setattr(file_decoding, "BAND", 5000)
    for size, expected in zip(((20, 30), (300, 200)), whole, strict=True):
        assert (read(size) - expected).abs().mean() < 2.5


def test_threads_share_the_memory_that_large_images_take(monkeypatch):
    """Together they never take more than the budget, unless one alone does."""
    monkeypatch.setattr(file_decoding, "LARGE", 1000)
    monkeypatch.setattr(file_decoding, "AT_ONCE", 4 * 300 * 200 + 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr("smalti.modalities.image.decoding.CHUNK", 1)
    active, most = [], []
    original = file_decoding._upright_and_flat

    def watched(image, *rest):
        active.append(1)
        most.append(len(active))
        result = original(image, *rest)
        active.pop()
        return result

    monkeypatch.setattr(file_decoding, "_upright_and_flat", watched)
    content = _file(Image.new("RGB", (300, 200)), "PNG")
    _read(*[content] * 12)
    assert max(most) == 1
