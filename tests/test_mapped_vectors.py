"""Vectors that lie in a file are never copied whole: memory does not grow with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("mapped_run.py")
# What is freed goes back to the system at once, so that memory is what is held.
OPTIONS = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told by /proc")
def test_a_fit_with_ids_and_report_holds_no_copy_of_a_mapped_file(tmp_path):
    few, many = (used(tmp_path, rows) for rows in (3000, 36000))
    more = (file_size(tmp_path, 36000) - file_size(tmp_path, 3000)) / 2**20
    assert more > 125
    # Names, codes and IDs of the items take 80 to 97 MB; one copy of the vectors would add 129.
    assert many - few < more, (few, many)


def used(folder: Path, rows: int) -> float:
    """The most memory in MB of a process that goes from so many vectors to codes."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), str(rows)],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, **OPTIONS, "SMALTI_CACHE": str(folder / "cache")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    most, heavy = done.stderr.split()[-2:]
    assert heavy == "-"
    return float(most)


def file_size(folder: Path, rows: int) -> int:
    return (folder / f"{rows}.npy").stat().st_size
