"""Compiled code finds the same codewords as torch, and nobody needs it."""

from __future__ import annotations

import os
import shutil
import stat

import pytest
import torch

from placements import PLACES, assert_nearest
from smalti.quantizers import compiled, native, nearest
from smalti.quantizers.exact import exact_nearest

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no compiler here"
)


def search(z, codebook):
    return native.native_nearest(
        z, codebook, lambda work: work(), lambda count, work: work(iter(range(count)))
    )


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(native, "WORTH", 0)


@needs_compiler
@pytest.mark.parametrize("place", PLACES)
def test_it_is_the_nearest_anywhere_or_none_is_given(place, always):
    given = 0
    for k, dim in [(2, 1), (70, 3), (64, 8), (1500, 4), (600, 16), (300, 9)]:
        z, codebook = PLACES[place](k, dim)
        index = search(z, codebook)
        if index is not None:
            assert_nearest(index, z, codebook)
            assert torch.equal(index, exact_nearest(z, codebook))
            given += 1
    left = ("tiny", "huge", "as large as float32 goes", "vectors of all sizes")
    assert given or place in left


@needs_compiler
@pytest.mark.parametrize("n", [1, 15, 17, 2100])
def test_it_equals_torch(n, always, monkeypatch):
    z, codebook = torch.randn(n, 7), torch.randn(1111, 7)
    codebook[500:600] = codebook[:100]  # of equals the first
    found = search(z, codebook)
    assert torch.equal(found, exact_nearest(z, codebook))
    assert torch.equal(search(z.bfloat16(), codebook), exact_nearest(z.bfloat16(), codebook))
    assert torch.equal(nearest(z.T.contiguous().T, codebook), found)
    monkeypatch.setattr(native, "compiled_library", lambda: None)
    assert torch.equal(nearest(z, codebook), found)


@needs_compiler
def test_what_is_not_finite_is_left_to_torch(always):
    z, codebook = torch.randn(50, 4), torch.randn(100, 4)
    z[3, 1] = torch.nan
    assert search(z, codebook) is None and nearest(z, codebook)[3] == -1
    codebook[5] = torch.inf
    assert search(torch.randn(5, 4), codebook) is None
    assert search(torch.randn(5, 17), torch.randn(9, 17)) is None
    assert search(torch.randn(5, 4).double(), torch.randn(9, 4)) is None


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiled.compiled_library.cache_clear()
    yield tmp_path / "cache"
    compiled.compiled_library.cache_clear()


@needs_compiler
def test_it_is_compiled_once_and_only_for_the_user(cache, monkeypatch):
    assert compiled.compiled_library() is not None
    (made,) = (cache / "smalti").iterdir()
    assert stat.S_IMODE((cache / "smalti").stat().st_mode) == 0o700
    monkeypatch.setattr(compiled.subprocess, "run", None)  # not again
    compiled.compiled_library.cache_clear()
    assert compiled.compiled_library() is not None
    monkeypatch.setattr(os, "getuid", lambda: made.stat().st_uid + 1)
    compiled.compiled_library.cache_clear()
    assert compiled.compiled_library() is None


@pytest.mark.parametrize("lacking", ["compiler", "folder", "wish"])
def test_without_it_torch_searches(lacking, cache, monkeypatch, always):
    if lacking == "compiler":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    elif lacking == "folder":
        cache.write_text("in the way")
    else:
        monkeypatch.setenv("SMALTI_NATIVE", "0")
    z, codebook = torch.randn(100, 4), torch.randn(300, 4)
    assert search(z, codebook) is None
    assert torch.equal(nearest(z, codebook), exact_nearest(z, codebook))
