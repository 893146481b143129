"""Handles options that set a field to null, which jsonargparse misreads.

    --prior.training.clip null     --tokenizer.quantizer.dead_code_reset null     --prior null

The last word on a field counts, as everywhere: an option that comes later undoes a null.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace

from smalti.errors import InputError
from smalti.recipes.safe_yaml import UnreadableYaml, load

__all__ = ["parse_options", "set_null", "split_nulls"]

NULLS = ("null", "Null", "NULL", "~")


def parse_options(words: Sequence[str]) -> list[tuple[str, str, int]]:
    """Parses "--key value" and "--key=value": key, value and number of the first word of each."""
    found = []
    for place, word in enumerate(words):
        if not word.startswith("--") or word == "--":
            continue
        key, given, value = word.removeprefix("--").partition("=")
        if not given:
            if place + 1 == len(words) or words[place + 1].startswith("--"):
                continue
            value = words[place + 1]
        found.append((key, value, place))
    return found


def split_nulls(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits options in those with a value, and the names of the fields that are set to null.

    Raises:
        InputError: If a value is too long to be read.

    Example:
        >>> words = ["--seed", "3", "--prior.training.clip=null", "--prior.fine_levels", "null"]
        >>> split_nulls(words)
        (['--seed', '3'], ['prior.training.clip', 'prior.fine_levels'])
        >>> split_nulls(["--prior.fine_levels", "null", "--prior.fine_levels", "[]"])
        (['--prior.fine_levels', '[]'], [])
    """
    given = parse_options(words)
    dropped: set[int] = set()
    nulls: list[str] = []
    for number, (key, value, place) in enumerate(given):
        _check_option_value(key, value)
        if value.strip() not in NULLS:
            continue
        dropped |= {place} if "=" in words[place] else {place, place + 1}
        inside = any(f"{key}.".startswith(f"{null}.") for null in nulls)
        undone = any(
            _overlap(key, later) and said.strip() not in NULLS
            for later, said, _ in given[number + 1 :]
        )
        if not inside and not undone:
            nulls.append(key)
    return [word for place, word in enumerate(words) if place not in dropped], nulls


def set_null(config: Namespace, key: str) -> None:
    """Sets a field of a configuration to null; the parser checks whether it may be.

    Raises:
        InputError: If there is no such field.
    """
    *above, last = [part for part in key.split(".") if part != "init_args"]
    node: Any = config
    for part in above:
        node = _fields(node).get(part) if node is not None else None
    fields = _fields(node)
    if last not in fields:
        raise InputError(f"there is no field {key} to set to null: smalti fit --help lists them.")
    fields[last] = None


def _fields(node: Any) -> dict[str, Any]:
    """Returns the fields of a part, whether it names a class or not."""
    if isinstance(node, Namespace):
        node = vars(node)
    if not isinstance(node, dict):
        return {}
    if "class_path" in node and "init_args" in node:
        return _fields(node["init_args"])
    return node


def _overlap(key: str, later: str) -> bool:
    """Returns whether a later option sets the same field."""
    key, later = (f"{name.replace('.init_args', '').rstrip('+')}." for name in (key, later))
    return key.startswith(later) or later.startswith(key)


def _check_option_value(key: str, value: str) -> None:
    """Raises `InputError` if an option's long or structured value is no YAML of a sensible size."""
    if len(value) < 200 and not value.lstrip().startswith(("{", "[", "&", "*", "!")):
        return
    try:
        load(value)
    except UnreadableYaml as error:
        if value.lstrip().startswith(("{", "[")) or len(value) > 10_000:
            raise InputError(
                f"the value of --{key} cannot be read ({error}): correct it."
            ) from error
