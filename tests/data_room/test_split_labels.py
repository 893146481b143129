"""Data sets whose splits are not all labelled: what has no labels is passed over and said."""

from __future__ import annotations

import io
import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from smalti.errors import InputError
from smalti.modalities.image import Columns, Images


def _png(seed: int) -> bytes:
    pixels, buffer = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), "u1"), io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _write(folder, names) -> None:
    for seed, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_png(seed))


def _loaded(path, caplog, **options):
    """The splits, and the lines of what was found and passed over."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "smalti.data.found"):
        splits = Images(str(path), 4, **options).load()
    return splits, " | ".join(caplog.messages)


TRAIN = [f"{{0}}/{'ab'[i % 2]}/{i}.png" for i in range(20)]


@pytest.mark.parametrize(
    ("train", "others"),
    [
        ("train", ["val", "test"]),  # of ImageNet, as it is unpacked
        ("train", ["test"]),  # of contests
        ("Train", ["Valid", "TEST"]),
        ("train", ["dev", "test/images"]),
        ("train", ["val/val", "test/test1"]),
        ("data/images/train", ["data/images/val"]),
        ("train_set", ["test_set"]),
        ("seg_train/seg_train", ["seg_test/seg_test"]),
    ],
)
def test_splits_without_labels_beside_labelled_training_images(train, others, tmp_path, caplog):
    held = [f"{other}/{i}.png" for other in others for i in (100, 101, 102)]
    _write(tmp_path, [*(name.format(train) for name in TRAIN), *held])
    splits, lines = _loaded(tmp_path, caplog)
    assert splits.condition.names == ("a", "b")
    assert sum(map(len, splits[:3])) == 20
    assert all(examples.conditions is not None for examples in splits[:3])
    for other in others:
        split = "test" if "test" in other.casefold() else "validation"
        head = "/".join(other.split("/")[: 3 if other.startswith("data") else 1])
        said = f"{split} images (of {head}/) without labels, which the training images have (3)"
        assert said in lines
    assert "(given)" not in lines
    assert splits.manifest.left_out  # and the run keeps what was passed over


def test_of_two_held_out_splits_the_labelled_one_is_kept(tmp_path, caplog):
    names = [name.format("train") for name in TRAIN]
    _write(tmp_path, [*names, "val/a/1.png", "val/b/2.png", "test/3.png"])
    splits, lines = _loaded(tmp_path, caplog)
    assert splits.validation.conditions.tolist() == [0, 1]
    assert "test images (of test/) without labels" in lines
    assert "validation 2 (given)" in lines


def test_labels_of_held_out_images_alone_are_passed_over_and_said(tmp_path, caplog):
    names = [f"train/{i}.png" for i in range(10)]
    _write(tmp_path, [*names, "test/a/1.png", "test/b/2.png"])
    splits, lines = _loaded(tmp_path, caplog)
    assert splits.condition is None
    assert len(splits.test) == 2
    assert "labels of the test images, as the training images have none (2)" in lines


def test_labels_beside_training_images_of_one_label_are_passed_over_and_said(tmp_path, caplog):
    names = [f"train/a/{i}.png" for i in range(10)]
    _write(tmp_path, [*names, "test/a/1.png", "test/b/2.png"])
    splits, lines = _loaded(tmp_path, caplog)
    assert splits.condition is None
    assert "labels of the test images, as the training images have one alone (2)" in lines


def test_a_folder_of_held_out_images_that_may_be_a_label_is_refused(tmp_path):
    _write(tmp_path, [*(name.format("train") for name in TRAIN), "test/unknown/1.png"])
    with pytest.raises(InputError, match="'unknown' of the test images is none of the 2 labels"):
        Images(str(tmp_path), 4).load()


@pytest.mark.parametrize("label", [None, -1, "-1", "absent"])
@pytest.mark.parametrize("name", ["{}.parquet", "data/{}-00000-of-00001.parquet", "{}/0.parquet"])
def test_tables_whose_test_images_have_no_labels(label, name, tmp_path, caplog):
    for split, first, n in ("train", 0, 20), ("test", 100, 4):
        labels = ["ab"[i % 2] if isinstance(label, str) else i % 2 for i in range(n)]
        columns = {"image": [_png(first + i) for i in range(n)], "label": labels}
        if split == "test":
            kind = pa.string() if isinstance(label, str) else pa.int64()
            columns["label"] = pa.array([label] * n, kind)
            if label == "absent":
                del columns["label"]
        file = tmp_path / name.format(split)
        file.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), file)
    splits, lines = _loaded(tmp_path, caplog)
    assert splits.condition.dim == 2
    assert sum(map(len, splits[:3])) == 20
    assert f"test images (of {name.format('test')}) without labels" in lines
    if label is None:
        named, _ = _loaded(tmp_path, caplog, columns=Columns(label="label"))
        assert named.condition.dim == 2


def test_numbered_labels_are_named_where_the_test_images_have_none(tmp_path, caplog):
    for split, first, label in ("train", 0, 1), ("test", 100, -1):
        labels = [i % 2 if label == 1 else -1 for i in range(20)]
        images = [_png(first + i) for i in range(20)]
        table = pa.table({"image": images, "label": labels})
        pq.write_table(table, tmp_path / f"{split}.parquet")
    splits, _ = _loaded(tmp_path, caplog, class_names=["cat", "dog"])
    assert splits.condition.names == ("cat", "dog")
