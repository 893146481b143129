"""Compares every number of a recipe with its range, as soon as the recipe is read.

The configuration is walked beside the types of its fields, so that a mistake is told with its whole
place, and nothing has been built, loaded or written when it is.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any, get_args, get_type_hints

from jsonargparse import Namespace

from smalti.errors import InputError
from smalti.ranges import Range, check_range, range_of
from smalti.training import Hardware

__all__ = ["check_numbers"]


def check_numbers(recipe: type, config: Namespace) -> None:
    """Checks that every number of a configuration is in its allowed range.

    Arguments:
        recipe: The dataclass that the configuration is for.
        config: The parsed fields.

    Raises:
        InputError: If one is NaN, infinite or outside of its range, or hardware has no such name.
    """
    _check_fields(recipe, vars(config), "")
    if isinstance(hardware := config.get("hardware"), Namespace):
        Hardware(**{**vars(hardware), "loggers": None})


def _check_fields(owner: type, fields: Mapping[str, Any], place: str) -> None:
    """Raises `InputError` for null or a number out of range in the fields of a class, and below."""
    hints = _hints(owner)
    for name, value in fields.items():
        where = f"{place}.{name}".lstrip(".")
        if name in ("config", "class_path"):
            continue
        for part, at in _parts(value, where):
            if "class_path" in part:
                _check_fields(_class(part["class_path"]), _plain(part.get("init_args")), at)
            elif inner := _dataclass_of(hints.get(name)):
                _check_fields(inner, part, at)
        if value is None and not _may_be_null(owner, hints.get(name, Any)):
            raise InputError(f"{where} cannot be null: give it a value, or leave it out.")
        known = owner.__module__.partition(".")[0] in ("smalti", "torch")
        # By the same word a class of the user's may mean anything.
        check_range(where, _numbers(value), range_of(owner, name) if known else Range())


def _plain(fields: Any) -> Mapping[str, Any]:
    return vars(fields) if isinstance(fields, Namespace) else fields or {}


def _may_be_null(owner: type, hint: Any) -> bool:
    ours = owner.__module__.partition(".")[0] == "smalti"  # others' annotations may say less
    return not ours or hint in (Any, None, NoneType) or NoneType in get_args(hint)


def _parts(value: Any, place: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yields the parts with fields of their own: the value itself, or those of a list."""
    if isinstance(value, Namespace):
        yield vars(value), place
    elif isinstance(value, dict) and "class_path" in value:
        yield value, place
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _parts(item, f"{place}[{number}]")


def _numbers(value: Any) -> Any:
    """Returns the numbers of a value, without the parts that have fields of their own."""
    if isinstance(value, list | tuple):
        return [_numbers(item) for item in value]
    if isinstance(value, Namespace) or (isinstance(value, dict) and "class_path" in value):
        return None
    return value


def _hints(owner: type) -> dict[str, Any]:
    try:
        return get_type_hints(owner if dataclasses.is_dataclass(owner) else owner.__init__)  # type: ignore[misc]
    except (NameError, TypeError):  # of a class of others, with types that are not there
        return {}


def _dataclass_of(hint: Any) -> type | None:
    """Returns the dataclass among the alternatives of a type, if there is one."""
    for candidate in (hint, *get_args(hint), *(a for h in get_args(hint) for a in get_args(h))):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def _class(path: str) -> type:
    """Returns a class that the parser has imported, by its path."""
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, object)
    return found if isinstance(found, type) else object
