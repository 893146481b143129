"""The recipes that come with smalti: one YAML file for each worked problem.

Each begins with a comment: what it is for, the command, the time it takes and the result to expect.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from smalti.errors import InputError

__all__ = ["find", "names", "summary"]

_FOLDER = Path(str(files(__name__)))


def names() -> list[str]:
    """Lists the names of the recipes that come with smalti.

    Example:
        >>> "clocks-demo" in names()
        True
    """
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def summary(name: str) -> str:
    """Returns the first line of a packaged recipe, which says what it is for."""
    return find(name).read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def find(recipe: str) -> Path:
    """Finds the YAML file of a recipe, given by its name or by a path.

    Raises:
        InputError: If there is neither a recipe nor a file of that name.
    """
    packaged = _FOLDER / f"{recipe}.yaml"
    if packaged.is_file():
        return packaged
    if Path(recipe).is_file() and Path(recipe).suffix in (".yaml", ".yml"):
        return Path(recipe)
    raise InputError(
        f"There is no recipe and no YAML file named {recipe!r}: "
        f"choose one of {', '.join(names())}, or give the path of a YAML."
    )
