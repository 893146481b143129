"""Vectors that lie in a file are never copied whole: memory does not grow with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("mapped_run.py")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told by /proc")
def test_a_fit_with_ids_and_report_holds_no_copy_of_a_mapped_file(tmp_path):
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), "3000", "18000"],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1", "SMALTI_CACHE": str(tmp_path / "cache")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *found, heavy = done.stderr.split()[-3:]
    few, many = map(float, found)
    megabytes = (tmp_path / "18000.npy").stat().st_size / 2**20
    assert megabytes > 70
    # Names, codes and IDs of the items take some; one copy of the vectors would take it all.
    assert many - few < 0.4 * megabytes, (few, many)
    assert heavy == "-"
