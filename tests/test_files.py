"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from smalti.errors import InputError
from smalti.files import (
    atomic_file,
    atomic_files,
    atomic_folder,
    read_bytes,
    sha256,
    tidy,
    write_text,
)

ROOT = str(Path(__file__).parents[1])


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


KILLED = """
import os, sys
from pathlib import Path
import smalti.files as files
if sys.argv[2] != "exchange":
    files._exchange = lambda new, path: False
calls = ["rename", "replace", "chmod"]
left = int(sys.argv[3])
def killing(real):
    def call(self, *rest):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        return real(self, *rest)
    return call
for name in calls:
    setattr(Path, name, killing(getattr(Path, name)))
exchange = files._exchange
def killed_after(new, path):
    done = exchange(new, path)
    if left <= 1 and done:
        os._exit(9)
    return done
files._exchange = killed_after
with files.atomic_folder(Path(sys.argv[1]) / "tokens") as temporary:
    (temporary / "a").write_text("new")
    (temporary / "b").write_text("new")
"""


@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_a_folder_is_whole_wherever_its_writer_is_killed(tmp_path, way):
    """Before, between and after the steps; the next start finishes what was begun."""
    seen = set()
    for steps in range(4):
        home = tmp_path / str(steps)
        with atomic_folder(home / "tokens") as temporary:
            (temporary / "a").write_text("old")
            (temporary / "b").write_text("old")
        words = [sys.executable, "-c", KILLED, str(home), way, str(steps)]
        ended = subprocess.run(words, env={**os.environ, "PYTHONPATH": ROOT}, check=False)
        assert ended.returncode in (0, 9)
        tidy(home)
        assert [file.name for file in home.iterdir()] == ["tokens"]
        contents = {file.read_text() for file in (home / "tokens").iterdir()}
        assert len(contents) == 1
        assert len(list((home / "tokens").iterdir())) == 2
        seen |= contents
    assert seen == {"old", "new"}


def test_what_the_two_renames_of_earlier_versions_left_is_finished(tmp_path):
    for name in (".tokens.abcd_123.partial", ".tokens.abcd_123.old", ".prior.efgh5678.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state").write_text(name.rpartition(".")[2])
    (tmp_path / ".config.4194305.partial.yaml").write_text("half")
    tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prior", "tokens"]
    assert (tmp_path / "tokens" / "state").read_text() == "partial"
    assert (tmp_path / "prior" / "state").read_text() == "old"


def test_leftovers_of_the_dead_are_cleared_and_of_the_living_kept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".a.{dead.pid}-0123abcd.partial.png").write_text("half")
    (tmp_path / f".run.{dead.pid}-0123abcd.partial").mkdir()
    mine = [".a.partial.png", ".b.old", "a.1234.partial", ".git", ".notes.partial"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    with atomic_file(tmp_path / "c.png") as temporary, atomic_folder(tmp_path / "d") as folder:
        temporary.write_text("half")
        tidy(tmp_path)
        assert temporary.is_file()
        assert folder.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, "c.png", "d"])


def test_only_leftovers_of_the_name_are_cleared_where_one_is_given(tmp_path):
    for name in (".a.4194305-0123abcd.partial.png", ".b.4194305-0123abcd.partial.png"):
        (tmp_path / name).write_text("half")
    tidy(tmp_path, "a.png")
    assert [path.name for path in tmp_path.iterdir()] == [".b.4194305-0123abcd.partial.png"]


def test_the_umask_decides_who_may_read_and_what_is_replaced_keeps_its_own(tmp_path):
    for mask in (0o077, 0o027, 0o002):
        before = os.umask(mask)
        try:
            home = tmp_path / f"{mask:o}"
            write_text(home / "a.txt", "a")
            with atomic_folder(home / "model") as temporary:
                (temporary / "config.json").write_text("{}")
        finally:
            os.umask(before)
        modes = [stat.S_IMODE((home / name).stat().st_mode) for name in ("a.txt", "model", ".")]
        assert modes == [0o666 & ~mask, 0o777 & ~mask, 0o777 & ~mask]
        (home / "a.txt").chmod(0o640)
        write_text(home / "a.txt", "b")
        assert stat.S_IMODE((home / "a.txt").stat().st_mode) == 0o640


def test_links_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real/a.txt")
    (tmp_path / "chain.txt").symlink_to("link.txt")
    (tmp_path / "new.txt").symlink_to("real/new.txt")
    for name, target in (("link.txt", "a.txt"), ("chain.txt", "a.txt"), ("new.txt", "new.txt")):
        write_text(tmp_path / name, name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "real" / target).read_text() == name
    (tmp_path / "real" / "model").mkdir()
    (tmp_path / "model").symlink_to("real/model")
    with atomic_folder(tmp_path / "model") as temporary:
        (temporary / "a").write_text("new")
    assert (tmp_path / "model").is_symlink()
    assert (tmp_path / "real" / "model" / "a").read_text() == "new"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels"):
        write_text(tmp_path / "loop", "x")


def test_what_is_no_file_is_neither_waited_for_nor_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for read in (read_bytes, sha256):
            with pytest.raises(InputError, match="is a (pipe|device), not a file"):
                read(path)
        with pytest.raises(InputError, match="is a (pipe|device), and no file can"):
            write_text(path, "x")
    with pytest.raises(InputError, match="is a folder, not a file"):
        read_bytes(tmp_path)
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "x")
    (tmp_path / "large").write_bytes(bytes(100))
    with pytest.raises(InputError, match="has 100 bytes, more than the 99"):
        read_bytes(tmp_path / "large", 99)


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    name = "é" * 125 + ".json"
    write_text(tmp_path / name, "x")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_files_written_together_leave_what_else_is_there(tmp_path):
    (tmp_path / "card").write_text("mine")
    with pytest.raises(OSError, match="disk"), atomic_files(tmp_path, "a", "b") as temporary:
        (temporary / "a").write_text("1")
        raise OSError("the disk is full")
    assert [file.name for file in tmp_path.iterdir()] == ["card"]
    with atomic_files(tmp_path, "a", "b") as temporary:
        for name in ("a", "b"):
            (temporary / name).write_text(name)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b", "card"]
