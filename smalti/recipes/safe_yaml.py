"""Reads YAML safely, within bounds on its size, since a recipe may come from a stranger.

Anchors and aliases are taken, but what they come to is counted before anything is made of it; a
text that refers to itself, nests deeply, says a key twice, or names Python's own types is refused.
Whatever is wrong is said in one line, at once.
"""

from __future__ import annotations

import codecs
import re
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import set_loader
from yaml import MappingNode, Node, ScalarNode, SequenceNode, YAMLError

from smalti.errors import InputError, first_line

__all__ = ["WITHIN_BOUNDS", "UnreadableYaml", "load", "read"]

LENGTH = 1 << 20  # characters of a file or value; a resolved recipe has some thousands
DEPTH = 40
VALUES = 50_000  # with what aliases repeat
TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("null", "bool", "int", "float", "str", "map", "seq", "merge")
}

PLAIN_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)")
DIGITS = 400  # of a number: beyond, even a float is infinite


class UnreadableYaml(YAMLError):
    """The error for a text that is not YAML, or exceeds the bounds."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe types but dates, with 1e-3 a number and every key once."""


_Loader.yaml_implicit_resolvers = {
    letter: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float")
    ]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
        |[-+]?\.[0-9_]+(?:[eE][-+]?[0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
        re.X,
    ),
    list("-+0123456789."),
)


def _integer(loader: Any, node: ScalarNode) -> int:
    """Reads an integer; raises `UnreadableYaml` if it is too long or not decimal."""
    text = node.value
    if len(text) > DIGITS:
        raise UnreadableYaml(f"a number of {len(text)} digits is longer than any that is taken")
    if not PLAIN_INTEGER.fullmatch(text):
        raise UnreadableYaml(
            f"{text} is no decimal number to YAML (octal, binary or sexagesimal): put it in quotes "
            f"if it is a word, or write it as decimal"
        )
    return int(loader.construct_yaml_int(node))


def _float(loader: Any, node: ScalarNode) -> float:
    if len(node.value) > DIGITS:
        raise UnreadableYaml(
            f"a number of {len(node.value)} digits is longer than any that is taken"
        )
    return float(loader.construct_yaml_float(node))


def _mapping(loader: Any, node: MappingNode) -> dict[Hashable, Any]:
    """Reads a mapping, with its keys as text; raises `UnreadableYaml` if one comes twice."""
    said: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            raise UnreadableYaml("a key is not a word")
        if key.value in said and key.tag != "tag:yaml.org,2002:merge":
            raise UnreadableYaml(f"the key {key.value} is there twice")
        said.add(key.value)
    loader.flatten_mapping(node)
    made = {}
    for key, value in node.value:
        name = loader.construct_object(key, deep=True)
        # A word such as yes or 3 is a key like any other: nothing in a recipe has others.
        made[name if isinstance(name, str) else key.value] = loader.construct_object(
            value, deep=True
        )
    return made


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load(text: str) -> Any:
    """Parses a YAML text to its value, within bounds.

    Raises:
        UnreadableYaml: If it is not YAML, or exceeds the bounds.
    """
    if len(text) > LENGTH:
        raise UnreadableYaml(f"it has {len(text):,} characters, and at most {LENGTH:,} are read")
    if "\0" in text:
        raise UnreadableYaml("it holds a NUL character")
    try:
        _check_events(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_nodes(node)
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except UnreadableYaml:
        raise
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnreadableYaml(_said(error)) from error
    if any("\0" in word for word in _words(value)):
        raise UnreadableYaml("it holds a NUL character")
    return value


def read(path: str | Path) -> Any:
    """Reads a YAML file and parses it to its value, within bounds.

    Raises:
        InputError: If it cannot be read as a YAML of a sensible size.
    """
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):  # else a pipe is waited for
        raise InputError(f"{path} is not a file: give a recipe's name or a YAML.")
    with path.open("rb") as file:
        raw = file.read(LENGTH * 4 + 1)
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = raw.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not a YAML text (of UTF-8): give a recipe's name or a YAML."
        ) from error
    try:
        return load(text)
    except UnreadableYaml as error:
        raise InputError(f"{path} cannot be read as YAML: {error}. Correct it there.") from error


def _check_events(text: str) -> None:
    """Checks nesting and number of values of a YAML text, before any tree of it is built.

    Raises:
        UnfitText: If it nests too deep or holds too many values.
    """
    depth = values = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        values += 1
        if depth > DEPTH:
            raise UnreadableYaml(f"it nests more than {DEPTH} levels deep")
        if values > 2 * VALUES:
            raise UnreadableYaml(f"it holds more than {VALUES:,} values")


def _check_nodes(root: Node) -> None:
    """Checks types, nesting and number of values of a tree, with all that its aliases repeat.

    Raises:
        UnfitText: If it refers to itself, names a type, nests too deep or holds too many values.
    """
    sizes: dict[int, int] = {}
    heights: dict[int, int] = {}
    inside: set[int] = set()

    def visit(node: Node) -> None:
        key = id(node)
        if key in inside:
            raise UnreadableYaml("it refers to itself")
        if key in sizes:
            return
        if node.tag not in TAGS:
            raise UnreadableYaml(f"it names the type {node.tag.removeprefix('tag:yaml.org,2002:')}")
        inside.add(key)
        below: list[Node] = []
        if isinstance(node, SequenceNode):
            below = node.value
        elif isinstance(node, MappingNode):
            below = [part for pair in node.value for part in pair]
        for part in below:
            visit(part)
        inside.discard(key)
        sizes[key] = 1 + sum(sizes[id(part)] for part in below)
        heights[key] = 1 + max((heights[id(part)] for part in below), default=0)
        if sizes[key] > VALUES:
            raise UnreadableYaml(
                f"with what its aliases repeat it holds more than {VALUES:,} values"
            )
        if heights[key] > DEPTH:
            raise UnreadableYaml(
                f"with what its aliases repeat it nests more than {DEPTH} levels deep"
            )

    visit(root)


def _words(value: Any) -> list[str]:
    """Lists all texts in a value, keys included."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [word for pair in value.items() for part in pair for word in _words(part)]
    if isinstance(value, list | tuple | set):
        return [word for part in value for word in _words(part)]
    return []


def _said(error: Exception) -> str:
    """Returns PyYAML's several lines as one: what is wrong, and where."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or first_line(error)
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
    return f"{' '.join(str(problem).split())}{place}"


WITHIN_BOUNDS = "smalti"
"""The `parser_mode` of a parser of jsonargparse's that reads its values with `load`."""

set_loader(WITHIN_BOUNDS, load, (YAMLError,))
