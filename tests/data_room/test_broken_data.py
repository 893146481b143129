"""Data that are broken or hostile: one line each, in a moment and in little memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import time
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from smalti.errors import InputError
from smalti.modalities.image import Images, read_image
from smalti.modalities.image.image_files import read_images, read_partial_image
from smalti.modalities.image.signal import Image as ImageSignal


def _png(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def _refused(path, match: str = ".") -> str:
    with pytest.raises(InputError, match=match) as error:
        Images(str(path), 4).load()
    assert "\n" not in str(error.value)
    return str(error.value)


# Tables


def _table(**columns) -> pa.Table:
    images = [_png(i) for i in range(12)]
    return pa.table({"image": images, "label": [i % 2 for i in range(12)], **columns})


def _write(path, table: pa.Table, metadata: object) -> None:
    content = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    pq.write_table(table.replace_schema_metadata({b"huggingface": content}), path)


def _features(label: object) -> dict:
    image = {"dtype": "binary", "_type": "Value"}
    return {"info": {"features": {"image": image, "label": label}}}


@pytest.mark.parametrize(
    "metadata",
    [
        b"no json {",
        b"\xff\xfe",
        b"[" * 100_000,
        [],
        "text",
        {"info": 3},
        {"info": {"features": []}},
        {"info": {"features": {"image": 3}}},
        _features({"_type": "NoSuchType"}),
        _features({"_type": "ClassLabel", "names": ["cat", "cat"]}),
        _features({"_type": "ClassLabel", "names": 3}),
        _features({"_type": "ClassLabel", "names": ["e\u0301", "\u00e9"]}),
        _features({"_type": "ClassLabel", "names": ["only one"]}),
        _features({"_type": "Image"}),
        {"info": {"features": {"other": {"dtype": "int64", "_type": "Value"}}}},
    ],
)
def test_broken_metadata_of_a_table_are_one_line_or_do_no_harm(metadata, tmp_path):
    _write(tmp_path / "a.parquet", _table(), metadata)
    try:
        splits = Images(str(tmp_path), 4).load()
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert sum(map(len, splits[:3])) == 12


def test_two_classes_of_one_name_are_refused(tmp_path):
    for names in (["cat", "cat"], ["e\u0301", "\u00e9"], ["cat ", "cat"]):
        label = {"_type": "ClassLabel", "names": names}
        _write(tmp_path / "a.parquet", _table(), _features(label))
        assert any(word in _refused(tmp_path) for word in ("called", "metadata"))


def test_tables_of_one_split_that_do_not_belong_together_are_refused(tmp_path):
    label = {"_type": "ClassLabel", "names": ["cat", "dog"]}
    _write(tmp_path / "train-0.parquet", _table(), _features(label))
    other = _table().rename_columns(["picture", "label"])
    pq.write_table(other, tmp_path / "train-1.parquet")
    _refused(tmp_path, "train-1.parquet has other columns or class names")
    label["names"] = ["dog", "cat"]
    _write(tmp_path / "train-1.parquet", _table(), _features(label))
    _refused(tmp_path, "train-1.parquet has other columns or class names")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[float(i)] * 48 for i in range(12)]),
        pa.array([{"bytes": [i], "path": "a"} for i in range(12)]),
        pa.array([None] * 12, pa.binary()),
        pa.array([np.arange(48, dtype="u2").tolist()] * 12, pa.list_(pa.uint16())),
        pa.array([{"bytes": None, "path": "/dev/zero"} for _ in range(12)]),
    ],
)
def test_columns_that_hold_something_else_than_images_are_refused(column, tmp_path):
    pq.write_table(pa.table({"image": column}), tmp_path / "a.parquet")
    _refused(tmp_path)


def test_a_pipe_that_a_table_names_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    rows = [{"bytes": None, "path": "pipe.png"}]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "a.parquet")
    _refused(tmp_path, "pipe.png .not a file")


def test_parquet_files_are_of_the_split_in_their_names(tmp_path):
    for name in ("train2017-0", "val2017-0", "test_set", "unsupervised"):
        pq.write_table(_table(), tmp_path / f"{name}.parquet")
    splits = Images(str(tmp_path), 4).load()
    assert [len(part) for part in splits[:3]] == [12, 12, 12]
    for table in tmp_path.iterdir():
        if table.name != "test_set.parquet":
            table.unlink()
    _refused(tmp_path, "nothing to train on")


def test_a_table_that_unpacks_to_gigabytes_is_refused_by_what_it_claims(tmp_path):
    """256 MB of zeros are 10 kB; the limits are set low, so that the test is quick."""
    zeros = pa.array([bytes(1 << 20)] * 16, pa.large_binary())
    table = pa.table({"image": zeros})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    assert (tmp_path / "a.parquet").stat().st_size < 1 << 17
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smalti.data.parquet.LARGEST", 1 << 20)
        _refused(tmp_path, "claims 16 rows and 0.0 GiB")
    null = pa.table({"image": pa.array([None] * 10_000_000, pa.binary())})
    pq.write_table(null, tmp_path / "a.parquet")
    _refused(tmp_path, "claims 10000000 rows")


# IDX files


def _head(*sizes: int) -> bytes:
    return struct.pack(f">HBB{len(sizes)}I", 0, 8, len(sizes), *sizes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_head(2**32 - 1, 28, 28), "announces 3367254359280 values"),
        (_head(*[2**32 - 1] * 255), "announces"),
        (_head(1000, 1000, 1000), "more than .* bytes can hold"),
        (_head(2, 2, 2) + bytes(1 << 24), "8 values are announced, got 1048584 or more"),
        (_head(2, 2, 2) + bytes(7), "8 values are announced, got 7"),
        (_head(2, 2, 2) + bytes(9), "8 values are announced, got 9"),
        (struct.pack(">HBB", 0, 8, 0), "not an IDX file"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_is_not_unpacked_beyond_what_it_announces(content, message, packed, tmp_path):
    name = tmp_path / ("train-images-idx3-ubyte" + ".gz" * packed)
    name.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    try:
        _refused(tmp_path, message)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20 if packed else 48 << 20
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_with_a_rightful_head_is_refused_before_it_is_unpacked(tmp_path):
    """10 GB of zeros, announced: so many values are more than any file may have."""
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(_head(10_000_000, 32, 32) + bytes(1 << 24))
    )
    start = time.monotonic()
    _refused(tmp_path, "announces 10240000000 values")
    assert time.monotonic() - start < 5


# Files in the place of data


def test_archives_are_to_be_unpacked_first(tmp_path):
    (tmp_path / "photos.zip").write_bytes(b"PK\3\4")
    _refused(tmp_path, "unpack what is packed")
    _refused(tmp_path / "photos.zip", "unpack it")


def test_a_pipe_a_device_or_a_folder_in_the_place_of_an_image_is_no_image(tmp_path):
    """Nothing of it is opened: a pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "itself.png").symlink_to(tmp_path / "itself.png")
    signal = ImageSignal(3, (4, 4))
    for path in (*tmp_path.iterdir(), "/dev/zero", "a\0b.png"):
        for read in (
            lambda path: read_image(path, None, 3),
            lambda path: read_images([path], signal),
            lambda path: read_partial_image(path, signal, "top"),
        ):
            with pytest.raises(InputError, match="There is no image file") as error:
                read(path)
            assert "\n" not in str(error.value)
