"""Kinds of data are found by their signals; those of other packages by their entry points."""

from __future__ import annotations

import subprocess
import sys

import pytest

from smalti.errors import InputError
from smalti.modalities.base import BUILT_IN, import_modalities, modality_of
from wave_signal import Wave


def test_importing_them_imports_nothing_that_reads_or_draws():
    code = (
        "import sys\n"
        "from smalti.modalities.base import import_modalities\n"
        "import_modalities()\n"
        "print([m for m in ('PIL', 'datasets', 'pyarrow', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_signal_of_no_kind_is_one_line():
    with pytest.raises(InputError, match=r"No kind of data has the signal Wave: install"):
        modality_of(Wave(1, (8,)))


def test_a_package_that_is_broken_is_a_warning_and_hinders_no_other(tmp_path, monkeypatch):
    """A package is a folder on the path with its metadata, as an installer leaves it."""
    info = tmp_path / "broken-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[smalti.modalities]\nsmell = no_such_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(UserWarning, match="smell of no_such_module cannot be imported"):
        rooms = import_modalities()
    assert [room.__name__ for room in rooms] == list(BUILT_IN)
