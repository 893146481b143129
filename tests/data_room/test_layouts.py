"""Layouts of folders: read rightly or refused, and test images are never trained on."""

from __future__ import annotations

import logging
import os
import socket
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smalti.cli import main
from smalti.commands.common import data_overrides
from smalti.data import SplitFractions
from smalti.data.layout import read_layout
from smalti.errors import InputError
from smalti.modalities.image import Images
from smalti.modalities.image.signal import Image as ImageSignal
from tiny import clocks_recipe, write_recipe


def _read(text: str, **options):
    """{split: {label: files}} of files whose names are given, and what was passed over."""
    layout = read_layout(
        [tuple(file.split("/")) for file in text.split()], "D", ImageSignal, **options
    )
    read = {}
    for split, part in layout.parts.items():
        read[split] = {}
        for file, label in zip(part.files, part.labels or [None] * len(part.files), strict=True):
            number = int(file[-1].partition(".")[0].rpartition("_")[2])
            read[split].setdefault(label, []).append(number)
    return read, sum(layout.passed.values())


PLAIN = {"train": {"cat": [1], "dog": [2]}, "test": {"cat": [3], "dog": [4]}}


@pytest.mark.parametrize(
    "form",
    [
        "train/{0} test/{1}",
        "Training/{0} Testing/{1}",
        "training_set/{0} test_set/{1}",
        "TrainSet/{0} TestSet/{1}",
        "train2017/{0} test2017/{1}",
        "images_train/{0} test-images/{1}",
        "imagesTr/{0} imagesTs/{1}",
        "seg_train/{0} seg_test/{1}",
        "seg_train/seg_train/{0} seg_test/seg_test/{1}",
        "dataset/train/{0} dataset/test/{1}",
        "a/b/train/{0} a/b/test/{1}",
        "images/train/{0} images/test/{1}",
        "train/images/{0} test/images/{1}",
        "{0} test/{1}",
    ],
)
def test_splits_and_labels_are_found_at_every_depth_under_every_name(form):
    """And images beside them, of masks, and of other folders are passed over."""
    train, test = form.split()
    files = [train.format(f"{label}/{i}.png") for i, label in ((1, "cat"), (2, "dog"))]
    files += [test.replace("{1}", f"{label}/{i}.png") for i, label in ((3, "cat"), (4, "dog"))]
    assert _read(" ".join(files)) == (PLAIN, 0)
    assert _read(" ".join([*files, "7.png"])) == (PLAIN, 1)
    if form.startswith(("train/{", "images/", "Training")):
        assert _read(" ".join([*files, "masks/1.png"]))[0] == PLAIN
    if form.startswith(("train/{", "Training", "training_set", "train2017")):
        assert _read(" ".join([*files, "extra/8.png", "extra/more/9.png"])) == (PLAIN, 2)


@pytest.mark.parametrize("word", ["val", "valid", "validation", "dev", "eval", "Val_256"])
def test_every_word_for_validation(word):
    read, _ = _read(f"train/a/1 train/b/2 {word}/a/3")
    assert read == {"train": {"a": [1], "b": [2]}, "validation": {"a": [3]}}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("cat/train/1 cat/test/3 dog/train/2 dog/test/4", PLAIN),  # splits below labels
        ("train_cat/1 train_dog/2 test_cat/3 test_dog/4", PLAIN),  # both in one name
        ("photos/cat/1 photos/dog/2", {"train": {"cat": [1], "dog": [2]}}),
        ("images_001/1 images_002/2", {"train": {None: [1, 2]}}),
        ("0/1 1/2 10/3", {"train": {"0": [1], "1": [2], "10": [3]}}),
        ("bus/1 train/2 car/3", {"train": {"bus": [1], "train": [2], "car": [3]}}),
        ("test_tube/1 steam_train/2", {"train": {"test_tube": [1], "steam_train": [2]}}),
        ("train/1 train/2 test/3", {"train": {None: [1, 2]}, "test": {None: [3]}}),
        ("1 2 3 test/4", {"train": {None: [1, 2, 3]}, "test": {None: [4]}}),
        ("train/images/1 train/masks/1 test/images/3", {"train": {None: [1]}, "test": {None: [3]}}),
        # Where each split has a label of that name, it is one.
        (
            "train/test/1 train/b/2 test/test/3 test/b/4",
            {"train": {"test": [1], "b": [2]}, "test": {"test": [3], "b": [4]}},
        ),
        # Several folders of one split are one split.
        (
            "train2014/1 train2017/2 dev/3 eval/4",
            {"train": {None: [1, 2]}, "validation": {None: [3, 4]}},
        ),
    ],
)
def test_other_layouts_that_are_understood(files, expected):
    assert _read(files)[0] == expected


@pytest.mark.parametrize(
    "files",
    [
        "bus/1 train/2 test/3",  # vehicles, or splits and one more folder
        "cat/1 dog/2 test/3",
        "cat/1 dog/2 test_set/3 val2017/4",
        "valid/1 invalid/2",
        "trainA/1 trainB/2 test/3",  # labels, or parts
        "cats/1 dogs/2 cats_test/3",
        "train/cat/1 train/test/2 test/cat/3",
        "train/cat/test_images/1 train/dog/2",
        "a/train/1 a/test/2 b/3",
        "A/train/cat/1 A/test/cat/2 B/train/cat/3 B/test/cat/4",
        "train0/1 train1/2 test0/3 test1/4",
        "train_cat/1 test_dog/2 train_dog/3 cat/4",
        "cat/1 dog/2 3.png 4.png 5.png",
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_in_one_line(files):
    with pytest.raises(InputError) as error:
        _read(files)
    assert "\n" not in str(error.value)


def _documented() -> list[tuple[str, str]]:
    """The table of layouts in docs/data.md: files, and what they become."""
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    table = text.partition("## Folders")[2].partition("\n*")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
    return [(files.strip().strip("`"), becomes.strip()) for files, becomes in rows]


def test_the_documented_layouts_are_read_as_documented():
    assert len(_documented()) > 15
    for files, becomes in _documented():
        if becomes == "refused":
            with pytest.raises(InputError):
                _read(files)
            continue
        parts = (part.partition(": ") for part in becomes.split("; "))
        expected = {split: labels.split(", ") if labels else [None] for split, _, labels in parts}
        assert {split: list(labels) for split, labels in _read(files)[0].items()} == expected, files


def test_files_named_after_splits_in_one_folder_are_refused():
    files = [("train_1.png",), ("train_2.png",), ("test_1.png",)]
    with pytest.raises(InputError, match="named after splits"):
        read_layout(files, "D", ImageSignal)
    assert len(read_layout(files, "D", ImageSignal, splits=False).parts["train"].files) == 3


def test_on_purpose_every_folder_is_a_label():
    read, _ = _read("bus/1 train/2 test/3", splits=False)
    assert read == {"train": {"bus": [1], "train": [2], "test": [3]}}


# On the disk


def _write(folder, files):
    """A PNG of one colour for each {name: colour}."""
    for name, colour in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (colour, colour, colour)).save(path)


def _colours(examples) -> list[int]:
    x = examples.__getitems__(range(len(examples))).x
    return ((x[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def _set(folder):
    _write(folder, {f"train/{'ab'[i % 2]}/{i}.png": i for i in range(10)})
    _write(folder, {f"test/{'ab'[i % 2]}/{i}.png": 100 + i for i in range(4)})


def test_given_test_images_are_never_trained_on_and_all_is_said(tmp_path, caplog):
    _set(tmp_path)
    _write(tmp_path, {"stray.png": 200, "extra/a/1.png": 201})
    (tmp_path / "photo.heic").write_bytes(b"heic")
    (tmp_path / "scan.dat").write_bytes((tmp_path / "stray.png").read_bytes())
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "__MACOSX" / "train").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "train" / "1.png").write_bytes(b"")
    with caplog.at_level(logging.INFO, "smalti.data.found"):
        splits = Images(str(tmp_path), 4, held_out=SplitFractions(validation=0.2)).load()
    assert sorted(_colours(splits.train) + _colours(splits.validation)) == list(range(10))
    assert _colours(splits.test) == [100, 102, 101, 103]
    assert splits.test.conditions.tolist() == [0, 0, 1, 1]
    assert splits.condition.names == ("a", "b")
    first, second, third, last = caplog.messages
    assert "14 images" in first and "2 labels (a, b)" in first
    assert first.endswith("train 10 (of train/), test 4 (of test/)")
    for kind in (
        "images in extra/",
        "images beside the folders of splits or labels",
        ".heic files, a kind of picture that is not read",
        "pictures by their content, but with the ending .dat",
        "other files",
        "hidden files and folders",
        "files and folders of the system's own",
    ):
        assert f"{kind} (1)" in second
    assert third == "images of 4×4 px: 14 RGB"
    held = len(splits.validation)
    assert last == f"to train on: {10 - held}; validation {held} (held out), test 4 (given)"


def test_packed_files_are_named_among_what_is_passed_over(tmp_path, caplog):
    _set(tmp_path)
    (tmp_path / "test.zip").write_bytes(b"PK")
    with caplog.at_level(logging.INFO, "smalti.data.found"):
        Images(str(tmp_path), 4).load()
    assert "passed over: .zip files, which are not unpacked (1)" in caplog.messages


def test_fit_prints_first_what_it_found(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "set"
    _set(folder)
    for split in ("train", "test"):
        (folder / split / "a").rename(folder / split / "é")
    data = {"class_path": "Images", "init_args": {"path": str(folder), "size": 16}}
    recipe = write_recipe(tmp_path / "r.yaml", {**clocks_recipe(), "data": data})

    def enough(*_):  # the data are loaded
        raise InputError("enough")

    monkeypatch.setattr("smalti.runs._try_out", enough)
    capsys.readouterr()
    assert main(["fit", str(recipe), "--out", str(tmp_path / "run")]) == 2
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"found 14 images in {folder}: 2 labels (b, é)")


def test_nothing_but_ordinary_files_is_opened(tmp_path, caplog):
    """A pipe would wait for ever, so this test would, too."""
    _set(tmp_path)
    for name in ("pipe.png", "train-images-idx3-ubyte", "a.parquet"):
        os.mkfifo(tmp_path / name)
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(tmp_path / "socket.png"))
    server.close()
    (tmp_path / "broken.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    (tmp_path / "null.png").symlink_to("/dev/zero")
    (tmp_path / "train" / "a" / "folder.png").mkdir()
    # A link that comes first in the alphabet takes nothing from the folder that it leads to.
    (tmp_path / "again").symlink_to(tmp_path / "train")
    with caplog.at_level(logging.INFO, "smalti.data.found"):
        splits = Images(str(tmp_path), 4).load()
    assert sum(map(len, splits[:3])) == 14
    assert "pipes, sockets or devices (5)" in caplog.text
    assert "links that lead nowhere (2)" in caplog.text
    assert "links to folders that are here already (1)" in caplog.text


def test_a_path_that_is_no_folder_and_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    (tmp_path / "set.zip").write_bytes(b"PK")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path / "broken", tmp_path / "set.zip", "a\0b"):
        with pytest.raises(InputError) as error:
            Images(str(path), 4).load()
        assert "\n" not in str(error.value)


def test_folders_that_cannot_be_read_are_counted(tmp_path, caplog, monkeypatch):
    _set(tmp_path)
    (tmp_path / "train" / "c").mkdir()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("c"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with caplog.at_level(logging.INFO, "smalti.data.found"):
        Images(str(tmp_path), 4).load()
    assert "folders that cannot be read (1)" in caplog.text


# Names


def test_names_that_are_no_utf_8_and_accents_stored_in_two_ways(tmp_path, caplog):
    composed, decomposed = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))
    for i, name in enumerate((composed, decomposed, "hiver")):
        _write(tmp_path, {f"{name}/{i}{k}.png": 10 * i + k for k in range(3)})
    bad = os.fsdecode(b"caf\xe9")
    _write(tmp_path, {f"{bad}/{bad}{k}.png": k for k in range(3)})
    with caplog.at_level(logging.INFO, "smalti.data.found"):
        splits = Images(str(tmp_path), 4).load()
    assert splits.condition.names == ("caf\\xe9", "hiver", composed)
    together = torch.cat([examples.conditions for examples in splits[:3]])
    assert together.bincount().tolist() == [3, 3, 6]
    for asked in (composed, decomposed, "ÉTÉ", " été "):
        assert splits.condition.parse(asked) == 2
    assert splits.condition.parse(os.fsdecode(b"caf\xe9")) == 0
    caplog.text.encode("utf-8")


def test_numbered_folders_are_asked_for_by_their_names(tmp_path):
    _write(tmp_path, {f"{k}/{i}.png": k for k in (1, 2, 10) for i in range(4)})
    label = Images(str(tmp_path), 4).load().condition
    assert [label.format(label.parse(text)) for text in ("1", "2", "10", "010")] == [
        *("1", "2", "10", "10")
    ]
    with pytest.raises(InputError, match="There is no label '0': the labels are called 1, 2, 10;"):
        label.parse("0")


def test_what_cannot_be_decoded_is_named_even_if_its_name_is_no_text(tmp_path):
    _set(tmp_path)
    for name in (b"\xff.png", b"\xfe.png"):  # more than a tenth
        (tmp_path / "train" / "a" / os.fsdecode(name)).write_bytes(b"broken")
    with pytest.raises(InputError, match=r"\\xff.png \(not an image\)"):
        Images(str(tmp_path), 4).load()


def test_pixels_of_links_are_those_of_their_targets(tmp_path):
    _write(tmp_path, {"real/1.png": 50, "real/2.png": 60, "real/3.png": 70})
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "real")
    splits = Images(str(tmp_path / "set"), 4).load()
    assert sorted(c for part in splits[:3] for c in _colours(part)) == [50, 60, 70]
    assert np.unique([len(part) for part in splits[:3]]).tolist() == [1]


def test_pictures_without_an_ending_and_folders_without_end(tmp_path, caplog):
    Image.new("L", (4, 4)).save(tmp_path / "00001", "PNG")
    with pytest.raises(InputError, match="pictures by their content, so have their names end"):
        Images(str(tmp_path), 4).load()
    _write(tmp_path, {f"{i}.png": i for i in range(5)})
    (tmp_path / "test").mkdir()
    tmp_path.joinpath(*["a"] * 150).mkdir(parents=True)
    with caplog.at_level(logging.INFO, "smalti.data.found"):
        assert sum(map(len, Images(str(tmp_path), 4).load()[:3])) == 5
    assert "folders that lie 100 deep (1)" in caplog.text and "empty folders (1)" in caplog.text


def test_a_path_that_no_recipe_can_hold_is_refused(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    with pytest.raises(InputError, match=r"caf\\xe9 is no UTF-8.*rename"):
        data_overrides(str(folder))
