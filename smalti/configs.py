"""Reads and checks the config of a saved model without trusting it.

A config may come from a stranger. Before anything is built from it, its text is bounded in size and
depth, every argument of every class is checked against the annotation of that class's constructor
and against its range (`smalti.ranges`), and all that the constructors refuse is one line.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from smalti import ranges
from smalti.errors import InputError
from smalti.files import read_bytes

__all__ = ["check_config", "class_names", "read_config"]

LARGEST = 64 << 20  # bytes; a million labels take about 20 MB
DEEPEST = 100  # objects within each other
WIDEST = 2**63  # of an integer
TINY, HUGE = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max

Registry = Mapping[str, type]


def read_config(path: Path) -> dict[str, Any]:
    """Reads the JSON object in a file, within bounds of size and depth.

    Raises:
        InputError: If the file is no file or too large.
        ValueError: If the file holds no JSON object, or one with a key twice, with numbers that are
            not finite, or with more than 100 objects within each other.
    """
    content = read_bytes(path, LARGEST)
    try:
        config = json.loads(content, object_pairs_hook=_distinct, parse_constant=_no_number)
    except RecursionError:
        raise ValueError(f"objects lie more than {DEEPEST} deep within each other") from None
    if not isinstance(config, dict):
        raise ValueError("it is no JSON object")
    level: list[Any] = [config]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return config
    raise ValueError(f"objects lie more than {DEEPEST} deep within each other")


def check_config(config: Any, registry: Registry, wanted: Any = Any) -> None:
    """Checks a config against the annotations of the classes that it names.

    Arguments:
        config: The config, as `registry.describe` gives it.
        registry: The classes that may be named.
        wanted: The annotation that it must fit.

    Raises:
        InputError: If a class is not in the registry, or an argument is not of its type or outside
            of its range.
    """
    _ConfigChecker(registry).value(config, wanted, "")


class _ConfigChecker:
    """Checks the values of a config, and counts the modules in it.

    Arguments:
        registry: The classes that a config may name.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.modules: list[type] = []  # in order of appearance, as `build` numbers them

    def value(self, value: Any, wanted: Any, path: str) -> None:
        """Raises `InputError` unless a value is of an annotated type."""
        origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
        if origin in (typing.Union, types.UnionType):
            self._one_of(value, inner, wanted, path)
        elif origin is typing.Annotated:
            self.value(value, inner[0], path)
        elif origin is Literal:
            if not any(value == word and type(value) is type(word) for word in inner):
                raise _wrong(value, f"one of {', '.join(map(repr, inner))}", path)
        elif isinstance(value, dict):
            self._object(value, wanted, path)
        elif wanted in (bool, int, float, str, None, types.NoneType):
            _plain(value, wanted, path)
        elif _is_sequence(origin or wanted) or (wanted is Any and isinstance(value, list)):
            self._sequence(value, origin, inner, path)
        elif isinstance(wanted, type) and wanted not in (object, Any):
            raise _wrong(value, f"a {wanted.__name__}", path)
        elif not _is_number_of_range(value):
            raise _wrong(value, "a finite number", path)

    def _one_of(self, value: Any, inner: tuple[Any, ...], wanted: Any, path: str) -> None:
        """Raises `InputError` unless a value fits one of the types of a union."""
        if value is None and types.NoneType in inner:
            return None
        reasons, before = [], list(self.modules)
        for part in inner:
            self.modules[:] = before
            try:
                return self.value(value, part, path)
            except InputError as error:
                reasons.append(error)
        options = [part for part in inner if part is not types.NoneType]
        raise reasons[0] if len(options) == 1 else _wrong(value, str(wanted), path)

    def _sequence(self, value: Any, origin: Any, inner: tuple[Any, ...], path: str) -> None:
        """Raises `InputError` unless a value is a list whose items fit the annotation."""
        if not isinstance(value, list):
            raise _wrong(value, "a list", path)
        fixed = origin is tuple and inner[-1:] != (Ellipsis,)
        if fixed and len(value) != len(inner):
            raise _wrong(value, f"a list of {len(inner)}", path)
        for place, item in enumerate(value):
            kind = inner[place] if fixed else (inner[0] if inner else Any)
            self.value(item, kind, f"{path}[{place}]")

    def _object(self, fields: dict[str, Any], wanted: Any, path: str) -> None:
        """Raises `InputError` unless the fields describe an object of the class that is wanted."""
        if fields.keys() == {"same"}:
            number = fields["same"]
            known = range(len(self.modules))
            if type(number) is not int or number not in known:
                raise InputError(
                    f"The config names the module {number!r}, got {len(known)} before it: save the "
                    f"model again."
                )
            cls = self.modules[number]
            arguments: dict[str, Any] = {}
        else:
            cls, arguments = self._class(fields)
        if wanted is not Any and not (isinstance(wanted, type) and issubclass(cls, wanted)):
            name = getattr(wanted, "__name__", str(wanted))
            raise _wrong(cls.__name__, f"a {name}", path)
        if arguments is not None and fields.keys() != {"same"}:
            self._arguments(cls, arguments, f"{path}.{cls.__name__}".lstrip("."))

    def _class(self, fields: dict[str, Any]) -> tuple[type, dict[str, Any]]:
        """Returns the registered class that fields name, and its arguments."""
        arguments = dict(fields)
        name = arguments.pop("class", None)
        if not isinstance(name, str) or name not in self.registry:
            names = ", ".join(sorted(self.registry))
            raise InputError(
                f"The config names the class {_short(name)}, which is not in the registry: it "
                f"holds {names}."
            )
        return self.registry[name], arguments

    def _arguments(self, cls: type, arguments: dict[str, Any], path: str) -> None:
        """Raises `InputError` unless the arguments fit the constructor, in type and range."""
        if issubclass(cls, nn.Module):
            self.modules.append(cls)
        wanted = _parameters(cls)
        for name in arguments:
            if name not in wanted:
                raise InputError(
                    f"The config of {cls.__name__} does not fit its constructor: it takes no "
                    f"{_short(name)}. Save the model again."
                )
        for name, (annotation, needed) in wanted.items():
            if name in arguments:
                self.value(arguments[name], annotation, f"{path}.{name}")
                _in_range(cls, name, arguments[name], path)
            elif needed:
                raise InputError(
                    f"The config of {cls.__name__} does not fit its constructor: {name} is "
                    f"missing. Save the model again."
                )


def class_names(config: Any) -> set[str]:
    """Returns the names of all classes in a config."""
    if isinstance(config, dict):
        inner = set().union(*map(class_names, config.values()))
        return inner | ({config["class"]} if "class" in config else set())
    return set().union(*map(class_names, config)) if isinstance(config, list) else set()


@functools.cache
def _parameters(cls: type) -> dict[str, tuple[Any, bool]]:
    """Returns the annotation of each parameter of a constructor, and whether it is required."""
    init = inspect.unwrap(cls.__init__)  # type: ignore[misc]
    try:
        hints = typing.get_type_hints(init, include_extras=True)
    except Exception:  # of somebody's own class, with names that cannot be found
        hints = {}
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = list(inspect.signature(init).parameters.values())[1:]
    return {
        parameter.name: (
            hints.get(parameter.name, Any),
            parameter.default is inspect.Parameter.empty,
        )
        for parameter in parameters
        if parameter.kind not in variadic
    }


def _plain(value: Any, wanted: Any, path: str) -> None:
    """Raises `InputError` unless a value is a number, text, truth value or null as annotated."""
    if wanted in (None, types.NoneType):
        fits, name = value is None, "null"
    elif wanted is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # All are calculated with in float32, in which others are infinite or 0.
        small = number and (value == 0 or TINY <= abs(value) <= HUGE)
        fits, name = small, "a number that float32 holds"
    elif wanted is int:
        fits, name = type(value) is int and abs(value) < WIDEST, "a whole number"
    else:
        fits, name = type(value) is wanted, "true or false" if wanted is bool else "a text"
    if not fits:
        raise _wrong(value, name, path)


def _in_range(cls: type, name: str, value: Any, path: str) -> None:
    """Raises `InputError` if a number is outside of the range of its argument."""
    allowed = ranges.range_of(cls, name)
    # By the same word a class of a user's may mean anything.
    if cls.__module__.partition(".")[0] == "smalti" and allowed != ranges.Range():
        try:
            ranges.check_range(f"{path}.{name}", value, allowed)
        except InputError as error:
            why = str(error).rpartition(":")[0]
            raise InputError(f"The config does not fit: {why}: copy the model again.") from None


def _is_number_of_range(value: Any) -> bool:
    """Returns False for a number that is not finite or not below 2^63; True for all else."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < WIDEST


def _is_sequence(wanted: Any) -> bool:
    return isinstance(wanted, type) and (issubclass(wanted, list | tuple) or wanted is Sequence)


def _wrong(value: Any, wanted: str, path: str) -> InputError:
    return InputError(
        f"The config says {path.lstrip('.') or 'model'} is {_short(value)}, and it must be "
        f"{wanted}: copy the model again, or save it again."
    )


def _short(value: Any) -> str:
    """Shows a value in at most 60 characters, however large it is."""
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'JSON object'} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 200:
        return "an integer of hundreds of digits"
    words = repr(value)
    return words if len(words) <= 60 else f"{words[:57]}..."


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a dictionary of pairs; raises `ValueError` if a key comes twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it holds {_short(twice)} more than once")
    return fields


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number that JSON has")
