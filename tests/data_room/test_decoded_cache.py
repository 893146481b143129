"""Images are decoded once a machine: the second load of the same content decodes nothing."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from smalti.cli import main
from smalti.data.decoded_cache import cache_disabled
from smalti.errors import InputError
from smalti.modalities.image import Images, decoding
from smalti.recipes import schema
from smalti.runs import fit, load_run_examples
from tiny import clocks_recipe, write_recipe


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of its own."""
    monkeypatch.delenv("SMALTI_NO_CACHE", raising=False)
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path):
    """Forty images of 20×12 px under two labels, one with 16 bits, one broken."""
    rng = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(rng.integers(0, 255, (12, 20, 3), dtype=np.uint8)).save(path)
    deep = rng.integers(0, 65_535, (12, 20), dtype=np.uint16)
    Pillow.fromarray(deep).save(tmp_path / "photos/cat/deep.png")
    (tmp_path / "photos/dog/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return tmp_path / "photos"


@pytest.fixture
def decoded(monkeypatch):
    """Counts what is decoded."""
    calls, really = [], decoding.decode_image

    def counted(content, *args, **options):
        calls.append(content)
        return really(content, *args, **options)

    monkeypatch.setattr(decoding, "decode_image", counted)
    return calls


def load(photos, size=8, **options):
    return Images(str(photos), size=size, **options).load()


def assert_same(one, other):
    for a, b in zip(one[:3], other[:3], strict=True):
        everything = range(len(a))
        assert torch.equal(a.__getitems__(everything).x, b.__getitems__(everything).x)
        assert torch.equal(a.conditions, b.conditions)
    assert one.manifest.checksum == other.manifest.checksum
    assert one.manifest.left_out == other.manifest.left_out
    assert list(one.manifest.names) == list(other.manifest.names)


def test_the_second_load_decodes_nothing_and_is_the_same(cache, photos, decoded, caplog):
    with cache_disabled():
        wanted = load(photos)
    assert len(decoded) == 42 and not cache.exists()
    said = []
    for calls in (42, 0, 0):
        decoded.clear(), caplog.clear()
        with caplog.at_level(logging.INFO):
            assert_same(load(photos), wanted)
        assert len(decoded) == calls
        said.append([record.getMessage() for record in caplog.records])
    assert said[0] == said[1] == said[2]  # what was found, and what could not be read
    assert any("40 RGB, 1 I;16" in line for line in said[0])
    assert any("broken.png" in line for line in said[0])


def test_other_ways_to_decode_have_other_entries(cache, photos, decoded):
    load(photos)
    for options in ({"size": 4}, {"channels": 1}, {"crop": "none"}, {"range": [0, 65_535]}):
        decoded.clear()
        first = load(photos, **options)
        assert decoded
        decoded.clear()
        assert_same(load(photos, **options), first)
        assert not decoded
    load(photos, crop="random", flip=True)  # which is decoded as center is
    assert not decoded


def test_only_what_changed_is_decoded_anew(cache, photos, decoded):
    load(photos)
    changed = photos / "cat" / "00.png"
    times = changed.stat()
    pixels = np.full((12, 20, 3), 7, dtype=np.uint8)
    Pillow.fromarray(pixels).save(changed)
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))  # its content says so, no clock
    (photos / "dog" / "05.png").rename(photos / "dog" / "other-name.png")
    (photos / "dog" / "07.png").unlink()
    decoded.clear()
    now = load(photos)
    assert len(decoded) == 1
    with cache_disabled():
        assert_same(now, load(photos))


@pytest.mark.parametrize("damage", ["a bit", "shorter", "rows", "facts", "gone", "no JSON"])
def test_a_damaged_entry_is_made_anew(cache, photos, decoded, damage, caplog):
    wanted = load(photos)
    wanted = [part.__getitems__(range(len(part))).x.clone() for part in wanted[:3]]
    (values,) = cache.rglob("values")
    if damage == "a bit":
        content = bytearray(values.read_bytes())
        content[100] ^= 1
        values.write_bytes(content)
    elif damage == "shorter":
        values.write_bytes(values.read_bytes()[:-1])
    elif damage == "rows":
        (values.parent / "rows.npy").write_bytes(b"nothing")
    elif damage == "facts":
        (values.parent / "facts.json").write_text("{}")
    elif damage == "no JSON":
        (values.parent / "facts.json").write_text("{")
    else:
        (values.parent / "facts.json").unlink()
    for calls in (42, 0):
        decoded.clear()
        again = load(photos)
        assert len(decoded) == calls
        for x, part in zip(wanted, again[:3], strict=True):
            assert torch.equal(part.__getitems__(range(len(part))).x, x)
    assert ("is damaged" in caplog.text) == (damage != "gone")


PROGRAM = """
import sys
from smalti.modalities.image import Images
splits = Images(sys.argv[1], size=8).load()
print(splits.manifest.checksum, float(splits.train[0].x.sum()))
"""


def test_several_processes_at_once_agree(cache, photos):
    command = [sys.executable, "-c", PROGRAM, str(photos)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate(timeout=120)[0] for process in running}
    assert len(said) == 1 and all(process.returncode == 0 for process in running)
    assert len(list(cache.rglob("values"))) == 1
    assert not list(cache.rglob(".*"))  # nothing half made is left


def test_it_takes_no_more_room_than_it_may(cache, photos, decoded, monkeypatch, caplog):
    one = 42 * 3 * 8 * 8
    monkeypatch.setenv("SMALTI_CACHE_GIB", str(2.5 * one / 2**30))
    load(photos, crop="none")
    load(photos)
    load(photos, crop="none")  # used again
    load(photos, range=[0, 65_535])  # the third makes the one used least recently go
    assert len(list(cache.rglob("values"))) <= 2
    decoded.clear()
    load(photos, crop="none")
    assert not decoded
    monkeypatch.setenv("SMALTI_CACHE_GIB", str(0.5 * one / 2**30))
    load(photos, size=9)
    assert "more than the cache may hold" in caplog.text
    monkeypatch.setenv("SMALTI_CACHE_GIB", "much")
    with pytest.raises(InputError, match="got 'much': give a number"):
        load(photos)


def test_where_it_cannot_be_written_the_data_are_loaded_all_the_same(
    cache, photos, decoded, caplog
):
    cache.write_text("no folder")
    splits = load(photos)
    assert "cannot be used" in caplog.text
    with cache_disabled():
        assert_same(splits, load(photos))


@pytest.mark.parametrize("word", ["1", "yes"])
def test_a_variable_switches_it_off(cache, photos, monkeypatch, word):
    monkeypatch.setenv("SMALTI_NO_CACHE", word)
    load(photos)
    assert not cache.exists()


def test_what_is_mapped_can_be_changed_by_nobody(cache, photos):
    first = load(photos)
    x = first.train.pixels
    before = x.clone()
    x.zero_()  # a copy of this process's alone
    assert torch.equal(load(photos).train.pixels, before)


def test_an_option_of_every_command_switches_it_off(cache, photos, tmp_path):
    recipe = clocks_recipe()
    recipe["data"] = {"class_path": "Images", "init_args": {"path": str(photos), "size": 8}}
    path, out = write_recipe(tmp_path / "recipe.yaml", recipe), str(tmp_path / "run")
    assert main(["fit", str(path), "--no_cache", "--out", out]) == 0
    assert not cache.exists()
    assert main(["evaluate", out]) == 0
    assert len(list(cache.rglob("values"))) == 1


def test_interpolating_decodes_the_two_images_and_no_others(photos, tmp_path, decoded, capsys):
    recipe = clocks_recipe()
    recipe["data"] = {
        "class_path": "Images",
        "init_args": {"path": str(photos), "size": 16, "held_out": {"test": 0.3}},
    }
    out = tmp_path / "run"
    fitted, splits = fit(schema.parsed(recipe), out)
    decoded.clear()
    assert main(["interpolate", str(out), "0", "1", "--out", str(tmp_path / "way.png")]) == 0
    assert len(decoded) == 2
    assert "are not those" not in capsys.readouterr().err
    test = load_run_examples(fitted, "test")
    decoded.clear()
    assert torch.equal(test[1].x, splits.test[1].x)
    assert torch.equal(test.__getitems__([2, 0, 2]).x, splits.test.__getitems__([2, 0, 2]).x)
    assert len(decoded) == 3
    assert torch.equal(test.conditions, splits.test.conditions)


def test_lazy_examples_are_those_of_load(photos):
    source = Images(str(photos), size=8)
    lazy, whole = source.load_lazily(["dog/broken.png"]), source.load()
    assert lazy.manifest.checksum == whole.manifest.checksum
    for one, other in zip(lazy[:3], whole[:3], strict=True):
        everything = range(len(other))
        assert torch.equal(one.__getitems__(everything).x, other.__getitems__(everything).x)
