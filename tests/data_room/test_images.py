"""Images: every place they may lie in gives the same splits; every mistake gives one clear line."""

from __future__ import annotations

import gzip
import io
import shutil
import socket
import struct
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import HfApi, constants
from jsonargparse import ArgumentParser
from PIL import Image

from smalti.data import Source, SplitFractions
from smalti.errors import InputError
from smalti.modalities.image import Columns, Images

DATA = Path(__file__).parents[1] / "data"
EMOJI, FASHION = DATA / "emoji", DATA / "fashion-mnist"


def _rows(folder: Path = EMOJI) -> list[dict]:
    files = sorted(folder.rglob("*.png"))
    return [
        {"image": {"bytes": file.read_bytes(), "path": file.name}, "label": file.parent.name}
        for file in files
    ]


def _parquet(path: Path, rows: list[dict], features: datasets.Features | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if features is not None:
        table = table.cast(features.arrow_schema)
    pq.write_table(table, path)
    return path


def _all(splits) -> tuple[torch.Tensor, torch.Tensor]:
    """All images and labels of all splits, in an order that does not depend on the split."""
    batches = [examples.__getitems__(range(len(examples))) for examples in splits[:3]]
    x = torch.cat([batch.x for batch in batches])
    labels = torch.cat([batch.condition for batch in batches])
    order = np.lexsort(x.flatten(1).numpy().T)
    return x[order], labels[order]


def _one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments, **_):
        raise AssertionError(f"looked at the network: {arguments}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    # Even where the user has not switched the hub off.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)


# Where images lie


def test_subfolders_are_labels(no_network):
    splits = Images(str(EMOJI), 32).load()
    assert splits.condition.names == ("animals", "food")
    assert sum(len(examples) for examples in splits[:3]) == 20
    assert all(1 <= len(examples) <= 5 for examples in splits[1:3])
    _, labels = _all(splits)
    assert labels.bincount().tolist() == [10, 10]
    for examples in splits[:3]:
        batch = examples.__getitems__(range(len(examples)))
        splits.signal.check(batch.x)
        splits.condition.check(batch.condition)
        assert torch.equal(batch.condition, examples.conditions)


def test_a_folder_a_parquet_file_and_the_hub_give_the_same(tmp_path, monkeypatch, no_network):
    file = _parquet(tmp_path / "all.parquet", _rows())
    table = datasets.Dataset(pq.read_table(file))
    monkeypatch.setattr(HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name: datasets.DatasetDict({"train": table})
    )
    expected, expected_labels = _all(Images(str(EMOJI), (24, 32)).load())
    for path in (str(file), str(tmp_path), "somebody/emoji"):
        x, labels = _all(Images(path, (24, 32)).load())
        assert torch.equal(x, expected)
        assert torch.equal(labels, expected_labels)


def test_pixels_are_those_of_the_files():
    x, labels = _all(Images(str(EMOJI), 64).load())
    koala = np.array(Image.open(EMOJI / "animals" / "koala.png")).transpose(2, 0, 1)
    koala = torch.from_numpy(koala) / 127.5 - 1
    found = (x - koala).abs().flatten(1).amax(dim=1) < 1e-6
    assert found.sum() == 1
    assert labels[found].tolist() == [0]


def test_folders_named_after_splits_are_splits(tmp_path, no_network):
    for split, kinds in {"train": "ab", "val": "ab", "test": "b"}.items():
        for kind in kinds:
            (tmp_path / split / kind).mkdir(parents=True)
            for i, file in enumerate(sorted((EMOJI / "food").iterdir())[:3]):
                shutil.copy(file, tmp_path / split / kind / f"{i}.png")
    splits = Images(str(tmp_path), 16).load()
    assert [len(examples) for examples in splits[:3]] == [6, 6, 3]
    assert splits.condition.names == ("a", "b")
    assert splits.test.conditions.tolist() == [1, 1, 1]


def test_images_without_subfolders_have_no_labels():
    splits = Images(str(EMOJI / "food"), 16).load()
    assert splits.condition is None
    assert splits.train.conditions is None
    assert splits.train[0].condition is None


def test_parquet_files_are_split_by_their_names(tmp_path, no_network):
    rows = _rows()
    _parquet(tmp_path / "data" / "train-00000-of-00002.parquet", rows[:7])
    _parquet(tmp_path / "data" / "train-00001-of-00002.parquet", rows[7:16])
    _parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", rows[16:18])
    _parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows[18:])
    splits = Images(str(tmp_path), 16).load()
    assert [len(examples) for examples in splits[:3]] == [16, 2, 2]
    assert splits.train.conditions.tolist() == 10 * [0] + 6 * [1]
    assert splits.test.conditions.tolist() == [1, 1]


def test_idx_files_with_the_split_of_mnist(no_network):
    splits = Images(str(FASHION), 28, channels=1, held_out=SplitFractions(validation=0.1)).load()
    train, validation, test = map(len, splits[:3])
    assert (train + validation, test) == (200, 50)
    assert 10 <= validation <= 30
    assert splits.condition.names == tuple("0123456789")
    assert splits.test.conditions[:5].tolist() == [9, 2, 1, 1, 6]
    stored = gzip.open(FASHION / "t10k-images-idx3-ubyte.gz").read()[16:]
    stored = torch.frombuffer(bytearray(stored), dtype=torch.uint8).reshape(50, 1, 28, 28)
    x = splits.test.__getitems__(range(50)).x
    torch.testing.assert_close(x, stored / 127.5 - 1)


def test_idx_files_may_be_unpacked_resized_and_without_labels(tmp_path):
    packed = FASHION / "train-images-idx3-ubyte.gz"
    (tmp_path / "train-images.idx3-ubyte").write_bytes(gzip.open(packed).read())
    shutil.copy(packed, tmp_path)
    shutil.copy(FASHION / "t10k-images-idx3-ubyte.gz", tmp_path)
    with pytest.raises(InputError, match="more than one data set"):
        Images(str(tmp_path), 32).load()
    (tmp_path / packed.name).unlink()
    splits = Images(str(tmp_path), 32).load()
    assert splits.train[0].x.shape == (1, 3, 32, 32)
    assert splits.condition is None


def test_numbered_classes_can_be_named():
    names = [f"class {i}" for i in range(10)]
    splits = Images(str(FASHION), 28, channels=1, class_names=names).load()
    plain = Images(str(FASHION), 28, channels=1).load()
    assert splits.condition.names == tuple(names)
    assert splits.condition.parse("class 7") == 7
    numbers = range(len(plain.train))
    assert torch.equal(splits.train.conditions_at(numbers), plain.train.conditions_at(numbers))


@pytest.mark.parametrize(
    ("path", "names", "message"),
    [
        (FASHION, ["bag", "boot"], r"labels 0 to 9, got 2 \(bag, boot\): give 10"),
        (FASHION, ["bag"] * 10, "different names"),
        (EMOJI, ["bag", "boot"], "names its labels already"),
    ],
)
def test_class_names_that_do_not_fit(path, names, message):
    with pytest.raises(InputError, match=message) as error:
        Images(str(path), 16, class_names=names).load()
    _one_line(error)


# Columns


def test_labels_may_be_words_numbers_or_named_classes(tmp_path):
    rows = _rows()
    named = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["food", "none", "animals"])
    )
    number = {"animals": 2, "food": 0}
    numbered = [{**row, "label": number[row["label"]]} for row in rows]
    tens = [{**row, "label": str(10 - number[row["label"]])} for row in rows]
    expected = {
        "words": (rows, None, ("animals", "food"), [0, 1]),
        "numbers": (numbered, None, ("0", "2"), [1, 0]),
        "classes": (numbered, named, ("food", "none", "animals"), [2, 0]),
        "digits": (tens, None, ("8", "10"), [0, 1]),  # by size, not by letter
    }
    for name, (stored, features, names, first_and_last) in expected.items():
        file = _parquet(tmp_path / f"{name}.parquet", stored, features)
        splits = Images(str(file), 16).load()
        assert splits.condition.names == names
        labels = splits.train.conditions  # in the order of the file
        assert [labels[0].item(), labels[-1].item()] == first_and_last


def test_columns_are_found_or_named(tmp_path):
    rows = [
        {
            "thumb": {"bytes": b"broken", "path": None},
            "picture": row["image"]["bytes"],
            "kind": row["label"],
            "text": row["image"]["path"],
        }
        for row in _rows()
    ]
    file = str(_parquet(tmp_path / "a.parquet", rows))
    assert Images(file, 16, columns=Columns("picture")).load().condition is None
    splits = Images(file, 16, columns=Columns("picture", "kind")).load()
    assert splits.condition.names == ("animals", "food")


def test_paths_in_a_table_start_from_its_folder(tmp_path):
    shutil.copytree(EMOJI / "food", tmp_path / "pictures")
    rows = [
        {"image": {"bytes": None, "path": f"pictures/{file.name}"}}
        for file in sorted((tmp_path / "pictures").iterdir())
    ]
    features = datasets.Features(image=datasets.Image())
    _parquet(tmp_path / "train.parquet", rows, features)
    assert len(Images(str(tmp_path / "train.parquet"), 16).load().train) == 8


# Held-out images


def test_held_out_images_are_taken_from_training_only_and_by_seed():
    one, same, other = (
        Images(str(EMOJI), 16, held_out=SplitFractions(test=0.2, validation=0.25, seed=seed)).load()
        for seed in (0, 0, 1)
    )
    assert all(1 <= len(examples) <= 8 for examples in one[1:3])
    assert len(_all(one)[0].unique(dim=0)) == 20  # all differ, so none is in two splits
    for a, b in zip(one[:3], same[:3], strict=True):
        assert torch.equal(a.rows, b.rows)
    assert not torch.equal(one.test.rows, other.test.rows)


def test_validation_never_comes_from_test(tmp_path):
    rows = _rows()
    _parquet(tmp_path / "train.parquet", rows[5:])
    _parquet(tmp_path / "test.parquet", rows[:5])
    splits = Images(str(tmp_path), 16, held_out=SplitFractions(validation=0.5)).load()
    train, validation, test = map(len, splits[:3])
    assert (train + validation, test) == (15, 5)
    assert 4 <= validation <= 11
    assert splits.test.conditions.tolist() == 5 * [0]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 20])
def test_a_share_lies_between_0_and_1(share):
    with pytest.raises(InputError, match="between 0 and 1"):
        SplitFractions(test=share)


# Unreadable files


def test_an_unreadable_file_keeps_images_and_labels_together(tmp_path, caplog):
    good = _rows()
    rows = [{**good[i % 20], "label": good[i % 20]["label"]} for i in range(200)]
    rows[3] = {
        "image": {"bytes": rows[3]["image"]["bytes"][:200], "path": "x.png"},
        "label": "food",
    }
    file = _parquet(tmp_path / "a.parquet", rows)
    splits = Images(str(file), 64).load()
    assert sum(len(examples) for examples in splits[:3]) == 199
    assert "x.png, row 3 of" in caplog.text

    x, labels = _all(splits)
    known, known_labels = _all(Images(str(EMOJI), 64).load())
    which = (x[:, None] == known).flatten(2).all(dim=2).int().argmax(dim=1)
    assert torch.equal(labels, known_labels[which])


def test_too_many_unreadable_files_are_named(tmp_path):
    shutil.copytree(EMOJI, tmp_path / "emoji")
    for name in ("bulb", "lamp", "lump"):
        (tmp_path / "emoji" / "food" / f"{name}.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"3 of 23 .*lamp.jpg \(not an image\)") as error:
        Images(str(tmp_path / "emoji"), 16).load()
    _one_line(error)


# Mistakes


def test_a_folder_without_images_says_what_it_has(tmp_path):
    with pytest.raises(InputError, match="no images, it is empty") as error:
        Images(str(tmp_path), 16).load()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    (tmp_path / ".hidden.png").write_text("a")
    with pytest.raises(InputError, match=r"no images, only \.txt") as error:
        Images(str(tmp_path), 16).load()
    _one_line(error)


@pytest.mark.parametrize("path", ["/no/such/folder", "./nothing", "a/b/c", "~/nothing here"])
def test_a_path_that_does_not_exist_is_no_question_for_the_hub(path, no_network):
    with pytest.raises(InputError, match="neither a local path nor") as error:
        Images(path, 16).load()
    _one_line(error)


def test_a_name_that_the_hub_does_not_know(monkeypatch):
    def unknown(*_, **__):
        raise ConnectionError("not\nthere")

    monkeypatch.setattr(datasets, "load_dataset", unknown)
    with pytest.raises(InputError, match=r"neither a local path nor .*\(not\)") as error:
        Images("somebody/nothing", 16).load()
    _one_line(error)


def test_a_single_file_that_is_no_table():
    with pytest.raises(InputError, match="not a parquet file"):
        Images(str(DATA / "README.md"), 16).load()


def test_a_data_set_without_training_images(tmp_path):
    _parquet(tmp_path / "test-0.parquet", _rows())
    with pytest.raises(InputError, match="nothing to train on"):
        Images(str(tmp_path), 16).load()
    assert len(Images(str(tmp_path / "test-0.parquet"), 16).load().train) >= 12


def test_too_few_images_to_divide(tmp_path):
    _parquet(tmp_path / "a.parquet", _rows()[:2])
    with pytest.raises(InputError, match="add other images"):
        Images(str(tmp_path), 16).load()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(image="picture"), "'picture' is not there.*columns are image, label, score"),
        (Columns(image="label"), "'label' does not hold images"),
        (Columns(label="kind"), "no label column 'kind'.*columns are image, label, score"),
        (Columns(label="score"), "whole numbers or words"),
        (Columns(label="image"), "whole numbers or words"),
        (Columns(label="hole"), "has no value in row 1"),
    ],
)
def test_columns_that_are_not_there_or_hold_something_else(tmp_path, columns, message):
    rows = [{**row, "score": 0.5, "hole": None if i == 1 else i} for i, row in enumerate(_rows())]
    _parquet(tmp_path / "a.parquet", rows)
    with pytest.raises(InputError, match=message) as error:
        Images(str(tmp_path), 16, columns=columns).load()
    _one_line(error)


def test_a_table_without_images(tmp_path):
    _parquet(tmp_path / "a.parquet", [{"text": "a", "n": 1}])
    with pytest.raises(InputError, match="columns are text, n"):
        Images(str(tmp_path), 16).load()


def test_a_column_of_texts_is_no_column_of_labels(tmp_path):
    rows = [{"image": _rows()[0]["image"], "label": f"text {i}"} for i in range(1100)]
    _parquet(tmp_path / "a.parquet", rows)
    with pytest.raises(InputError, match="1100 different values in 1100 rows"):
        Images(str(tmp_path), 16).load()


def test_a_label_that_only_the_test_images_have(tmp_path):
    rows = _rows()
    _parquet(tmp_path / "train.parquet", rows[:18])
    _parquet(tmp_path / "test.parquet", [{**rows[18], "label": "cars"}])
    with pytest.raises(InputError, match="'cars' of the test images"):
        Images(str(tmp_path), 16).load()


def test_a_truncated_parquet_file(tmp_path):
    file = _parquet(tmp_path / "a.parquet", _rows())
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read as parquet") as error:
        Images(str(file), 16).load()
    _one_line(error)


def _idx(values: np.ndarray, kind: int = 8) -> bytes:
    header = struct.pack(f">HBB{values.ndim}I", 0, kind, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (_idx(np.zeros((4, 3, 3)))[:-5], None, "36 values are announced, got 31"),
        (_idx(np.zeros((4, 3, 3)))[:3], None, "truncated or broken"),
        (_idx(np.zeros((4, 3, 3)), kind=13), None, "not an IDX file of unsigned bytes"),
        (_idx(np.zeros((4, 3))), None, "2 dimensions"),
        (_idx(np.zeros((4, 3, 3))), _idx(np.zeros(3)), "4 images, but .* 3 labels"),
    ],
)
def test_broken_idx_files(tmp_path, images, labels, message):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    if labels is not None:
        (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(InputError, match=message) as error:
        Images(str(tmp_path), 16).load()
    _one_line(error)


def test_a_truncated_packed_idx_file(tmp_path):
    packed = (FASHION / "train-images-idx3-ubyte.gz").read_bytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match="truncated or broken"):
        Images(str(tmp_path), 16).load()


@pytest.mark.parametrize("wrong", [{"size": 0}, {"channels": 2}, {"crop": "left"}])
def test_arguments_out_of_range(wrong):
    with pytest.raises(InputError):
        Images(**{"path": str(EMOJI), "size": 16, **wrong})


# As the rest of smalti uses it


def test_augmentation_only_where_it_is_asked_for():
    assert Images(str(EMOJI), 16).load().augment is None
    augment = Images(str(EMOJI), 16, crop="random", flip=True).load().augment
    assert (augment.flip, augment.move) == (True, True)


def test_a_recipe_can_name_it():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=Source)
    words = ["--data=Images", f"--data.path={EMOJI}", "--data.size=[16, 24]"]
    words += ["--data.held_out.test=0.2", "--data.crop=none"]
    config = parser.parse_args(words)
    again = parser.parse_string(parser.dump(config))  # as a run directory keeps it
    source = parser.instantiate(again).data
    assert (source.size, source.held_out.test, source.crop) == ((16, 24), 0.2, "none")


def test_links_that_go_in_circles_end(tmp_path):
    shutil.copytree(EMOJI / "food", tmp_path / "food")
    (tmp_path / "food" / "again").symlink_to(tmp_path)
    assert len(_list(Images(str(tmp_path), 16).load())) == 10


def _list(splits) -> list[int]:
    return [i for examples in splits[:3] for i in examples.rows.tolist()]


def test_images_may_be_bytes_of_any_kind(tmp_path):
    rows = []
    for row, kind in zip(_rows(), 10 * ["JPEG", "WEBP"], strict=True):
        buffer = io.BytesIO()
        Image.open(io.BytesIO(row["image"]["bytes"])).save(buffer, kind, quality=95)
        rows.append({"image": buffer.getvalue(), "label": row["label"]})
    file = _parquet(tmp_path / "a.parquet", rows)
    splits = Images(str(file), 64).load()
    exact = Images(str(EMOJI), 64).load()
    x, y = (_all(s)[0] for s in (splits, exact))
    nearest = (x[:, None] - y).abs().flatten(2).mean(2).min(1)
    assert nearest.values.max() < 0.08
    assert nearest.indices.unique().numel() == 20
