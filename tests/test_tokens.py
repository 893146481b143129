"""Token grids survive a round trip through every format."""

from __future__ import annotations

import json
import os
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from smalti.errors import InputError
from smalti.layout import Layout
from smalti.token_cache import cache_made_from, cached_tokenizer, read_cache, write_cache
from smalti.tokens import TokenGrids, read_tokens, write_tokens


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("codebook_size", [256, 257, 65_537, 2**36, 2**62])
@pytest.mark.parametrize("grid", [(3, 2), (5,), (2, 2, 4)])
@pytest.mark.parametrize("conditional", [None, (7,), (7, 3)])
def test_round_trip(tmp_path, suffix, codebook_size, grid, conditional):
    indices = torch.randint(codebook_size, (7, *grid))
    indices.view(-1)[0] = codebook_size - 1
    context = None if conditional is None else torch.rand(conditional)
    path = tmp_path / f"tokens{suffix}"
    write_tokens(path, TokenGrids((indices,), context), codebook_size)
    read = read_tokens(path)
    assert torch.equal(read.levels[0], indices)
    assert read.levels[0].dtype == torch.int64
    if context is None:
        assert read.context is None
    else:
        assert torch.equal(read.context, context)


def test_the_smallest_type_is_used(tmp_path):
    indices = torch.randint(256, (1000, 64))
    write_tokens(tmp_path / "a.parquet", TokenGrids((indices,)), 256)
    assert (tmp_path / "a.parquet").stat().st_size < 1.3 * indices.numel()


def test_a_cache_is_complete_when_its_manifest_is_there(tmp_path):
    train = TokenGrids((torch.randint(9, (5, 2, 2)),), torch.arange(5))
    assert cached_tokenizer(tmp_path) is None
    write_cache(tmp_path, [("train", train)], Layout(((2, 2),), ((9,),)), "abc")
    assert cached_tokenizer(tmp_path) == "abc"
    assert json.loads((tmp_path / "tokens.json").read_text())["splits"] == {"train": 5}
    assert torch.equal(read_cache(tmp_path, "train").levels[0], train.levels[0])
    assert torch.equal(read_cache(tmp_path, "train").context, train.context)
    (tmp_path / "tokens.json").write_text('{"tokenizer": "ab')
    assert cached_tokenizer(tmp_path) is None


def test_a_cache_of_several_indices_a_position(tmp_path):
    indices = torch.randint(300, (5, 2, 2, 3))
    write_cache(
        tmp_path, [("test", TokenGrids((indices,)))], Layout(((2, 2),), ((300, 300, 300),)), "abc"
    )
    manifest = json.loads((tmp_path / "tokens.json").read_text())
    assert (manifest["grid"], manifest["codebook_sizes"]) == ([2, 2, 3], [300, 300, 300])
    assert manifest["dtype"] == "uint16"
    assert torch.equal(read_cache(tmp_path, "test").levels[0], indices)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_damaged_file_is_one_clear_line(tmp_path, suffix):
    path = tmp_path / f"tokens{suffix}"
    write_tokens(path, TokenGrids((torch.zeros(50, 2, 2, dtype=torch.int64),)), 9)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="no whole token grids") as caught:
        read_tokens(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("lost", ["indices", "indices_1"])
def test_a_level_that_is_missing_is_named(tmp_path, suffix, lost):
    path = tmp_path / f"tokens{suffix}"
    finer = (torch.zeros(5, 4, 4, dtype=torch.int64), torch.zeros(5, 8, 8, dtype=torch.int64))
    write_tokens(path, TokenGrids((torch.zeros(5, 2, 2, dtype=torch.int64), *finer)), 9)
    assert len(read_tokens(path).levels) == 3
    if suffix == ".npz":
        with np.load(path) as arrays:
            np.savez(path, **{name: array for name, array in arrays.items() if name != lost})
    else:
        pq.write_table(pq.read_table(path).drop_columns(lost), path)
    with pytest.raises(InputError, match=f"{lost} is missing among indices"):
        read_tokens(path)


def test_missing_files_and_other_formats_are_refused(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        read_tokens(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"\.npz or \.parquet"):
        read_tokens(tmp_path / "tokens.csv")
    with pytest.raises(InputError, match=r"\.npz or \.parquet"):
        write_tokens(
            tmp_path / "tokens.csv", TokenGrids((torch.zeros(1, 2, dtype=torch.int64),)), 2
        )
    with pytest.raises(InputError, match="no whole tokens of the split"):
        read_cache(tmp_path, "test")


@pytest.mark.parametrize("name", ["test-00000.parquet", "tokens.json"])
def test_one_flipped_bit_in_a_cache_is_noticed(tmp_path, name):
    """Wherever it is: also where the file can still be read, and holds other tokens."""
    cache = tmp_path / "cache"
    grids = TokenGrids((torch.randint(9, (40, 3, 3)),))
    write_cache(
        cache, [("test", grids)], Layout(((3, 3),), ((9,),)), "abc", made_from={"data": "def"}
    )
    assert cache_made_from(cache) == {"data": "def"}
    whole = (cache / name).read_bytes()
    for place in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        (cache / name).write_bytes(flipped)
        if name == "tokens.json" and _says_the_same(flipped, whole):
            continue  # as a space that has become a line break
        assert cached_tokenizer(cache) is None
        with pytest.raises(InputError, match="no whole tokens of the split 'test'"):
            read_cache(cache, "test")
    (cache / name).write_bytes(whole)
    assert torch.equal(read_cache(cache, "test").levels[0], grids.levels[0])


def _says_the_same(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def lists(values, type_=None, grid=(2, 2), **columns):
    """A parquet table as another program may write it."""
    column = pa.array(values, type=type_)
    metadata = None if grid is None else {"grid": json.dumps(grid)}
    return pa.table({"indices": column, **columns}, metadata=metadata)


ROWS = [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    "type_",
    [pa.list_(kind()) for kind in (pa.int8, pa.int32, pa.int64, pa.uint16, pa.uint64)]
    + [pa.large_list(pa.int64()), pa.list_(pa.uint32(), 4)],
    ids=str,
)
def test_lists_of_whatever_integers_are_read(tmp_path, type_):
    pq.write_table(lists(ROWS, type_), tmp_path / "a.parquet", row_group_size=1)
    read = read_tokens(tmp_path / "a.parquet").levels[0]
    assert read.dtype == torch.int64
    assert read.tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (lists([[0, 1, 2], [4, 5, 6, 7, 3]]), "row 0 of indices has not just the 4 indices"),
        (lists([[0, 1, 2, 3], [4, 5, 6, 7], []]), "row 2 of indices"),
        (lists([[0, 1, 2, 3], None]), "row 1 of indices"),
        (lists([[0, 1, 2, 3], [4, None, 6, 7]]), "indices has 1 empty places"),
        (lists([[0, 1, 2, 2**64 - 1]], pa.list_(pa.uint64())), "18446744073709551615, more"),
        (lists([[0, 1, 2, -1]]), "hold -1, and none is negative"),
        (lists([[0.0, 1.0, 2.0, 3.0]]), "not lists of integers"),
        (lists([[True, False, True, True]]), "not lists of integers"),
        (lists([["a", "b", "c", "d"]]), "not lists of integers"),
        (lists([[[0, 1], [2, 3]]]), "not lists of integers"),
        (lists([1, 2]), "is of the type int64, not lists"),
        (lists([{"a": 1}]), "not lists of integers"),
        (lists(ROWS, grid=None), "has no grid that says the shape"),
        (lists(ROWS, grid=[2, -2]), "has no grid"),
        (lists(ROWS, grid="2x2"), "has no grid"),
        (lists(ROWS, grid=[1 << 40, 1 << 40]), "row 0 of indices"),
        (lists([], pa.list_(pa.int64())), "at least one"),
        (lists(ROWS, context=["a", "b"]), "context is of the type string"),
        (lists(ROWS, context=[1, None]), "context has 1 empty places"),
        (lists(ROWS, context=[1.0, float("nan")]), "context is not finite"),
    ],
)
def test_a_parquet_that_would_shift_or_change_tokens_is_refused(tmp_path, table, line):
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no whole token grids") as caught:
        read_tokens(tmp_path / "a.parquet")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(ROWS)] * 2, names=["indices", "indices"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="holds indices more than once"):
        read_tokens(tmp_path / "a.parquet")


def test_other_columns_and_arrays_are_passed_over(tmp_path):
    table = lists(ROWS, name=["a", "b"], indices_text=["c", "d"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert len(read_tokens(tmp_path / "a.parquet").levels) == 1
    np.savez(tmp_path / "a.npz", indices=np.zeros((2, 2, 2), int), names=np.array(["a", None]))
    assert read_tokens(tmp_path / "a.npz").context is None


GRID = np.arange(8).reshape(2, 2, 2)


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i4", ">u8", "<u8", "i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_whatever_integers_are_read(tmp_path, dtype, order):
    np.savez(tmp_path / "a.npz", indices=np.asarray(GRID, dtype, order))
    assert read_tokens(tmp_path / "a.npz").levels[0].tolist() == GRID.tolist()
    context = np.array([0, 1], ">i2")
    np.savez_compressed(tmp_path / "b.npz", indices=GRID, context=context)
    assert read_tokens(tmp_path / "b.npz").context.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"indices": np.array([[2**64 - 1]], np.uint64)}, "hold 18446744073709551615"),
        ({"indices": -GRID}, "none is negative"),
        ({"indices": GRID / 2}, "float64, not integers"),
        ({"indices": GRID > 2}, "bool, not integers"),
        ({"indices": GRID.astype(str)}, "not integers"),
        ({"indices": GRID.astype(object)}, "Python objects"),
        ({"indices": np.array(3)}, "single number"),
        ({"indices": GRID[:0]}, "at least one"),
        ({"latents": np.zeros((2, 6))}, "it holds latents, which a run with an autoencoder"),
        (
            {"tokens": GRID, "x": GRID},
            "indices is missing among tokens, x; it takes indices (N, *grid)",
        ),
        ({}, "indices is missing among no arrays"),
        ({f"a{n}": GRID for n in range(20)}, "a5, a6, a7 and 12 more; it takes"),
        ({"indices": GRID, "indices_1": GRID[:1]}, "indices 2, indices_1 1"),
        ({"indices": GRID, "context": np.zeros(3, int)}, "indices 2, context 3"),
        ({"indices": GRID, "context": GRID}, "not one value or row each"),
        ({"indices": GRID, "context": np.array(["a", "b"])}, "not integers"),
    ],
)
def test_an_npz_that_holds_something_else_is_refused(tmp_path, arrays, line):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match="no whole token grids") as caught:
        read_tokens(tmp_path / "a.npz")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def npz_of(path, header, body=b"", **info):
    """An .npz with one array that claims what it likes."""
    padded = header.encode().ljust(118) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        content = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + body
        archive.writestr("indices.npy", content)


def test_an_archive_that_claims_more_than_it_holds_is_refused(tmp_path):
    whole = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"
    for header, body in {
        whole.format("<i8", "(1000000000000, 4)"): bytes(64),
        whole.format("<i8", "(2, 2)"): bytes(31),
        whole.format("<i8", "(-1, 2)"): bytes(16),
        whole.format("|O", "(2, 2)"): b"cos\nsystem\n(S'true'\ntR.",
        "__import__('os')": b"",
    }.items():
        npz_of(tmp_path / "a.npz", header, body)
        with pytest.raises(InputError, match="no whole token grids") as caught:
            read_tokens(tmp_path / "a.npz")
        assert "\n" not in str(caught.value)


def test_an_archive_that_unpacks_to_gigabytes_is_refused_by_its_claim(tmp_path, monkeypatch):
    monkeypatch.setattr("smalti.npz.MODEST", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", indices=np.zeros((1 << 12, 32, 32), np.int64))
    pq.write_table(lists([[0] * 1024] * (1 << 12), grid=[32, 32]), tmp_path / "a.parquet")
    for name in ("a.npz", "a.parquet"):
        with pytest.raises(InputError, match="would unpack to"):
            read_tokens(tmp_path / name)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_pipe_or_a_folder_in_the_place_of_tokens_is_one_line(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    for name, line in (("pipe", "is a pipe"), ("folder", "is a folder")):
        with pytest.raises(InputError, match=line):
            read_tokens(tmp_path / f"{name}{suffix}")


def test_indices_beyond_the_codebook_are_not_written_as_others(tmp_path):
    for index, size in ((256, 256), (-1, 256), (9, 9)):
        with pytest.raises(InputError, match="are from 0 to"):
            write_tokens(tmp_path / "a.npz", TokenGrids((torch.tensor([[index]]),)), size)
    assert not (tmp_path / "a.npz").exists()
