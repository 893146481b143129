"""Token grids survive a round trip through every format."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from smalti.errors import InputError
from smalti.tokens import (
    TokenGrids,
    cache_made_from,
    cached_tokenizer,
    read_cache,
    read_tokens,
    write_cache,
    write_tokens,
)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("codebook_size", [256, 257, 65_537])
@pytest.mark.parametrize("grid", [(3, 2), (5,), (2, 2, 4)])
@pytest.mark.parametrize("conditional", [False, True])
def test_round_trip(tmp_path, suffix, codebook_size, grid, conditional):
    indices = torch.randint(codebook_size, (7, *grid))
    indices.view(-1)[0] = codebook_size - 1
    context = torch.rand(7) if conditional else None
    path = tmp_path / f"tokens{suffix}"
    write_tokens(path, TokenGrids(indices, context), codebook_size)
    read = read_tokens(path)
    assert torch.equal(read.indices, indices)
    assert read.indices.dtype == torch.int64
    if context is None:
        assert read.context is None
    else:
        assert torch.equal(read.context, context)


def test_the_smallest_type_is_used(tmp_path):
    indices = torch.randint(256, (1000, 64))
    write_tokens(tmp_path / "a.parquet", TokenGrids(indices), 256)
    assert (tmp_path / "a.parquet").stat().st_size < 1.3 * indices.numel()


def test_a_cache_is_complete_when_its_manifest_is_there(tmp_path):
    train = TokenGrids(torch.randint(9, (5, 2, 2)), torch.arange(5))
    assert cached_tokenizer(tmp_path) is None
    write_cache(tmp_path, [("train", train)], (9,), "abc")
    assert cached_tokenizer(tmp_path) == "abc"
    assert json.loads((tmp_path / "tokens.json").read_text())["splits"] == {"train": 5}
    assert torch.equal(read_cache(tmp_path, "train").indices, train.indices)
    assert torch.equal(read_cache(tmp_path, "train").context, train.context)
    (tmp_path / "tokens.json").write_text('{"tokenizer": "ab')
    assert cached_tokenizer(tmp_path) is None


def test_a_cache_of_several_indices_a_position(tmp_path):
    indices = torch.randint(300, (5, 2, 2, 3))
    write_cache(tmp_path, [("test", TokenGrids(indices))], (300, 300, 300), "abc")
    manifest = json.loads((tmp_path / "tokens.json").read_text())
    assert (manifest["grid"], manifest["codebook_sizes"]) == ([2, 2, 3], [300, 300, 300])
    assert manifest["dtype"] == "uint16"
    assert torch.equal(read_cache(tmp_path, "test").indices, indices)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_damaged_file_is_one_clear_line(tmp_path, suffix):
    path = tmp_path / f"tokens{suffix}"
    write_tokens(path, TokenGrids(torch.zeros(50, 2, 2, dtype=torch.int64)), 9)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="no whole token grids") as caught:
        read_tokens(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("lost", ["indices", "indices_1"])
def test_a_level_that_is_missing_is_named(tmp_path, suffix, lost):
    path = tmp_path / f"tokens{suffix}"
    finer = (torch.zeros(5, 4, 4, dtype=torch.int64), torch.zeros(5, 8, 8, dtype=torch.int64))
    write_tokens(path, TokenGrids(torch.zeros(5, 2, 2, dtype=torch.int64), finer=finer), 9)
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
        write_tokens(tmp_path / "tokens.csv", TokenGrids(torch.zeros(1, 2, dtype=torch.int64)), 2)
    with pytest.raises(InputError, match="no whole tokens of the split"):
        read_cache(tmp_path, "test")


@pytest.mark.parametrize("name", ["test-00000.parquet", "tokens.json"])
def test_one_flipped_bit_in_a_cache_is_noticed(tmp_path, name):
    """Wherever it is: also where the file can still be read, and holds other tokens."""
    cache = tmp_path / "cache"
    grids = TokenGrids(torch.randint(9, (40, 3, 3)))
    write_cache(cache, [("test", grids)], (9,), "abc", made_from={"data": "def"})
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
    assert torch.equal(read_cache(cache, "test").indices, grids.indices)


def _says_the_same(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False
