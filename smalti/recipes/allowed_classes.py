"""Restricts the classes that a recipe may name, since a recipe may come from a stranger.

Beside smalti's own classes and the kinds of data of installed packages these are the optimizers of
torch and the loggers of Lightning; a module of the user's own is allowed by name, with `--allow
MODULE` or `allow_module`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from jsonargparse import _common, set_parsing_settings

from smalti.errors import InputError, first_line
from smalti.modalities.base import import_modalities

__all__ = ["allow_module", "allowed_modules", "restrict_imports"]

KNOWN = ("smalti", "torch.optim", "lightning.pytorch.loggers", "lightning.fabric.loggers")
_by_the_user: list[str] = []


def allow_module(module: str) -> None:
    """Imports a module of the user, and allows recipes to name its classes.

    It is looked for in the working folder too.

    Raises:
        InputError: If there is no such module, or it cannot be imported.
    """
    if not all(part.isidentifier() for part in module.split(".")):
        raise InputError(f"--allow takes the name of a module, e.g. my_models, got {module!r}.")
    here = os.getcwd()  # noqa: PTH109 - sys.path holds words
    if here not in sys.path:
        sys.path.append(here)
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever the module does
        raise InputError(
            f"The module {module} cannot be imported ({first_line(error)}): give one of the "
            f"working folder, or one that is installed."
        ) from error
    if module not in _by_the_user:
        _by_the_user.append(module)


def allowed_modules() -> tuple[str, ...]:
    """Returns the names of the user's modules that are allowed."""
    return tuple(_by_the_user)


@contextmanager
def restrict_imports() -> Iterator[None]:
    """Restricts jsonargparse to import allowed classes only, within a `with` block.

    Its settings are those of the whole process, and others may use it: they are put back.
    """
    before = dict(_common.parsing_settings)
    sources = [source for room in import_modalities() for source in room.sources()]
    allowed = [*KNOWN, *_by_the_user, *(source.__module__ for source in sources)]
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=allowed)
    try:
        yield
    finally:
        _common.parsing_settings.update(before)
