"""Compares a run with a recipe, and builds the recipe of a run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from functools import lru_cache
from typing import Any

import yaml
from jsonargparse import Namespace

from smalti.automatic import AUTO
from smalti.errors import InputError
from smalti.extension import Place, find_extended_steps, value_at, with_old_steps
from smalti.recipes import schema
from smalti.recipes.allowed_classes import allowed_modules
from smalti.recipes.schema import Recipe
from smalti.run_directory import Run

__all__ = ["check_recipe", "recipe_of"]

PLACE = "data.init_args.path"


def check_recipe(run: Run, config: Namespace, extend: bool = False) -> dict[Place, int]:
    """Checks that a run's folder is empty, or holds a run of the same configuration.

    Arguments:
        run: The run.
        config: The resolved configuration of a recipe.
        extend: Whether the configuration may have more steps than the run.

    Returns:
        The run's number of steps for each training that gets more, by its path in the recipe.

    Raises:
        InputError: If the folder holds a run of another recipe.
    """
    if not run.config.is_file():
        hidden = "."  # what a start leaves that is killed while it writes
        if run.folder.exists() and any(path.name[0] != hidden for path in run.folder.iterdir()):
            raise InputError(
                f"{run.folder} is not empty and no run directory: choose another --out."
            )
        return {}
    wanted = yaml.safe_load(schema.dump(config))
    # Where data lie is no part of a recipe where a manifest says what they are.
    known = (PLACE,) if run.data.exists() else ()
    there = run.read_config()
    more = find_extended_steps(there, wanted)
    same = with_old_steps(wanted, more)
    difference = _difference(there, same, unimportant=known)
    if difference:  # of fields that came after the run was made, it has the defaults
        with suppress(InputError):
            there = yaml.safe_load(schema.dump(schema.read(str(run.config))))
            difference = _difference(there, same, unimportant=known)
    if not difference and more and not extend:
        first = next(iter(more))
        name, steps = ".".join(map(str, first)), value_at(wanted, first)
        raise InputError(
            f"{run.folder} holds a run of another recipe ({name} is {more[first]} there and "
            f"{steps} here): give --extend to go on with more steps, choose another --out, or "
            f"run it with the same options."
        )
    if difference:
        raise InputError(
            f"{run.folder} holds a run of another recipe ({difference}): "
            f"choose another --out, or run it with the same options."
        )
    return more


def recipe_of(run: Run, data: str | None = None) -> Recipe:
    """Builds the objects of an existing run's recipe.

    Arguments:
        run: The run.
        data: The path of its data, if they were moved.
    """
    options = () if data is None else ("--data.path", data)
    content = run.config.read_bytes() if run.config.is_file() else b""
    return schema.build(deepcopy(_read(str(run.config), content, options, allowed_modules())))


@lru_cache(maxsize=1)  # a report reads the same recipe several times
def _read(
    path: str, content: bytes, options: tuple[str, ...], allowed: tuple[str, ...]
) -> Namespace:
    """Reads a configuration, which its content, the options and the allowed modules decide."""
    return schema.read(path, options)


def _difference(there: Any, wanted: Any, path: str = "", unimportant: Sequence[str] = ()) -> str:
    """Says where two configurations first differ; empty if they are equal."""
    # The first two change where and how much, not what.
    if path in ("hardware", "evaluation", *unimportant):
        return ""
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in [*there, *(key for key in wanted if key not in there)]:
            below = f"{path}.{key}".lstrip(".")
            inner = _difference(there.get(key), wanted.get(key), below, unimportant)
            if inner:
                return inner
        return ""
    if isinstance(there, list) and isinstance(wanted, list) and len(there) == len(wanted):
        for place, (old, new) in enumerate(zip(there, wanted, strict=True)):
            if inner := _difference(old, new, f"{path}[{place}]", unimportant):
                return inner
        return ""
    if wanted == AUTO and isinstance(there, int | float):
        return ""  # the number that it became
    return "" if there == wanted else f"{path} is {there} there and {wanted} here"
