"""Files are written whole or not at all."""

from __future__ import annotations

import pytest

from smalti.files import atomic_file, atomic_folder, write_text


def test_a_file_that_fails_halfway_leaves_the_old_one_and_no_litter(tmp_path):
    path = tmp_path / "report.html"
    write_text(path, "old")
    with pytest.raises(OSError, match="disk"), atomic_file(path) as temporary:
        temporary.write_text("half of the n")
        raise OSError("the disk is full")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_fails_halfway_leaves_the_old_one_and_no_litter(tmp_path):
    path = tmp_path / "tokenizer"
    with atomic_folder(path) as temporary:
        (temporary / "config.json").write_text("old")
    with pytest.raises(OSError, match="disk"), atomic_folder(path) as temporary:
        (temporary / "config.json").write_text("new")
        raise OSError("the disk is full")
    assert (path / "config.json").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "tokenizer"
    for name in ("old", "new"):
        with atomic_folder(path) as temporary:
            (temporary / name).write_text(name)
    assert [file.name for file in path.iterdir()] == ["new"]


def test_missing_parents_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "grün")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "grün".encode()
