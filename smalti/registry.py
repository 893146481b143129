"""The registry of classes, and the configs that describe their objects.

A config holds the name of a class and the arguments of its constructor, nested where an argument is
itself such an object. Classes are looked up in one explicit registry: nothing is imported because a
config names it. A module that stands in several places, as a shared codebook does, is described
once; in the other places is its number, {"same": 2}.

A class enters the registry by its decorator:

    @registered
    class VectorQuantizer(Quantizer): ...
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from smalti import configs
from smalti.errors import InputError, first_line

__all__ = ["build", "describe", "import_own_classes", "instantiate", "registered", "registry"]

T = TypeVar("T", bound=type)
registry: dict[str, type] = {}


def registered(cls: T) -> T:
    """Registers a class whose objects can be saved (decorator): they remember their arguments."""
    if registry.setdefault(cls.__name__, cls) is not cls:
        raise InputError(
            f"The registry already holds a class named {cls.__name__}: choose another name."
        )
    init: Callable[..., None] = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(init)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [n for n, parameter in signature.parameters.items() if parameter.kind not in variadic]

    @functools.wraps(init)
    def remember(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        init(self, *args, **kwargs)
        arguments = {name: bound.arguments[name] for name in named[1:]}
        # Not a submodule: past nn.Module's own bookkeeping.
        object.__setattr__(self, "_arguments", arguments)

    cls.__init__ = remember  # type: ignore[misc]
    return cls


def describe(value: Any, _known: dict[int, int] | None = None) -> Any:
    """Converts an argument to JSON: a plain value, or a registered object's class and arguments."""
    known = {} if _known is None else _known  # the numbers of modules, in order of appearance
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [describe(item, known) for item in value]
    if type(value).__name__ in registry:
        if isinstance(value, nn.Module):
            if id(value) in known:
                return {"same": known[id(value)]}
            known[id(value)] = len(known)
        return {
            "class": type(value).__name__,
            **{name: describe(item, known) for name, item in value._arguments.items()},
        }
    raise InputError(
        f"A {type(value).__name__} cannot be saved: its class is not in the registry. "
        f"Decorate it with smalti.artifacts.registered."
    )


def build(config: Any) -> Any:
    """Builds an object from its config: the inverse of `describe`.

    Raises:
        InputError: If a class is not in the registry, an argument is not of its annotated type, or
            a constructor refuses the arguments.
    """
    import_own_classes()
    configs.check_config(config, registry)
    return instantiate(config, [])


def import_own_classes() -> None:
    """Imports smalti's classes and the modalities of other packages, so that they are registered.

    They lie above this module, so they are named and not imported at the top.
    """
    for room in ("networks", "autoencoders", "priors", "quantizers", "losses", "conditions"):
        importlib.import_module(f"smalti.{room}")
    importlib.import_module("smalti.modalities.base").import_modalities()


def instantiate(config: Any, known: list[Any]) -> Any:
    """Builds the object that a checked config describes.

    Arguments:
        config: The config, or a part of it.
        known: The modules built so far, to which new ones are appended; configs refer to them by
            number.

    Raises:
        InputError: If a constructor refuses its arguments.
    """
    if isinstance(config, list):
        return tuple(instantiate(item, known) for item in config)
    if not isinstance(config, dict):
        return config
    if config.keys() == {"same"}:
        return _same(known, config["same"])
    fields = dict(config)
    name = fields.pop("class")
    place = len(known)
    if issubclass(registry[name], nn.Module):
        known.append(None)  # its number comes before those of its arguments
    arguments = {key: instantiate(item, known) for key, item in fields.items()}
    try:
        made = registry[name](**arguments)
    except InputError:
        raise
    except Exception as error:  # constructors of torch's raise nearly anything
        raise InputError(
            f"The config of {name} does not fit its constructor: {first_line(error)}. Save the "
            f"model again."
        ) from error
    if isinstance(made, nn.Module):
        known[place] = made
    return made


def _same(known: list[Any], number: Any) -> Any:
    if not isinstance(number, int) or not 0 <= number < len(known) or known[number] is None:
        raise InputError(f"The config names the module {number!r}, got {len(known)} before it.")
    return known[number]
