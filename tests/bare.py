"""A bare virtual environment: nothing in it but smalti and what its light install brings.

What is installed beside the tests is linked into it, so that it takes a second and no network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import smalti

__all__ = ["make", "run"]

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def make(folder: Path) -> Path:
    """Makes the environment in a folder, and gives its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    place = Path(
        _output([str(python), "-c", "import sysconfig as s; print(s.get_path('purelib'))"])
    )
    for name in sorted(_closure(tomllib.loads(PROJECT.read_text())["project"]["dependencies"])):
        for entry in _entries(metadata.distribution(name)):
            _link(entry, place)
    _link(Path(smalti.__file__).parent, place)
    for entry in _entries(metadata.distribution("smalti")):
        if entry.suffix == ".dist-info":
            _link(entry, place)
    return python


def run(python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the Python of an environment, without what this one's variables add to its modules."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [python, *words],
        capture_output=True,
        text=True,
        env={**variables, "OMP_NUM_THREADS": "1"},
        cwd=python.parent,
    )


def _closure(requirements: list[str]) -> set[str]:
    """The names of the distributions that requirements lead to, by what those require in turn."""
    found: set[str] = set()
    left = [Requirement(text) for text in requirements]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found.add(name)
        extras = ("", *requirement.extras)
        for inner in map(Requirement, metadata.requires(name) or ()):
            if inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in extras):
                left.append(inner)
    return found


def _entries(distribution: metadata.Distribution) -> Iterator[Path]:
    """What a distribution has put among the modules, folders as a whole."""
    tops = {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}
    for top in tops - {"__pycache__"}:
        yield Path(str(distribution.locate_file(top)))


def _link(entry: Path, folder: Path) -> None:
    link = folder / entry.name
    if not link.exists() and entry.suffix != ".pth":
        link.symlink_to(entry)


def _output(words: list[str]) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
