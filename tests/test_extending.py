"""The examples of docs/extending.md run as they stand there, in a module with an entry point."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PROGRAM = """
import doctest, sys, types
module = sys.modules["tides"] = types.ModuleType("tides")
text = open(sys.argv[1], encoding="utf-8").read()
page = doctest.DocTestParser().get_doctest(text, {}, "extending.md", sys.argv[1], 0)
page.globs = vars(module)
flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
print(doctest.DocTestRunner(optionflags=flags).run(page, clear_globs=False))
"""


def test_every_example_of_the_page_runs(tmp_path):
    info = tmp_path / "tides-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tides\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[smalti.modalities]\ntide = tides\n")
    paths = [str(tmp_path), str(DOCS.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(DOCS / "extending.md")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert (found := re.search(r"failed=(\d+), attempted=(\d+)", said)), said
    assert found[1] == "0", said
    assert int(found[2]) > 50


def test_the_suites_that_the_page_names_are_there():
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    for name in re.findall(r"`(tests/\S+\.py)`", text):
        assert (DOCS.parent / name).is_file(), name
