"""Options that `smalti sample` and `smalti edit` share: a run's conditions, and how to draw."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from smalti.commands.common import call_with_options, read_condition
from smalti.conditions import Condition, conditions_by_name
from smalti.errors import InputError
from smalti.priors import SamplingConfig
from smalti.spelling import readable

__all__ = ["call_with_conditions", "drawing_options", "positional_words"]


def call_with_conditions(
    function: Callable[..., None], words: Sequence[str], *positional: str
) -> None:
    """Parses a command line and calls `function`; each condition of the run is an option, too.

    Arguments:
        function: A command, whose first parameter is the run directory, and whose `**` parameter
            takes the texts of conditions by name. See `call_with_options`.
        words: The words of the command line.
        positional: Names of the parameters that are positional.

    Raises:
        InputError: If there is no such option, or a condition has the name of one.
    """
    command = function.__module__.rpartition(".")[2]
    named: Mapping[str, Condition] = {}
    if folders := positional_words(function, words):
        own = _parameters(function)
        condition = read_condition(folders[0])
        named = conditions_by_name(condition)
        if taken := next((name for name in named if name in own), None):
            raise InputError(
                f"The condition {taken!r} has the name of an option of smalti {command}, got both: "
                f"{command} in Python, model.{command}(…, {{{taken!r}: …}})."
            )
        _check_options(command, words, [*own, *named, "help"], condition, folders[0])
    more = {name: f"{name} to show: {each.help}" for name, each in named.items()}
    call_with_options(function, words, *positional, more=more)


def positional_words(function: Callable[..., None], words: Sequence[str]) -> list[str]:
    """Returns the words that are neither options of a command nor values of one."""
    own = _parameters(function).items()
    flags = ["help", *(name for name, parameter in own if parameter.annotation == "bool")]
    found, left = [], iter(words)
    for word in left:
        if not word.startswith("-"):
            found.append(word)
        elif word.startswith("--") and "=" not in word and word[2:] not in flags:
            next(left, None)
    return found


def drawing_options(
    prior: str, seed: int | None, config: SamplingConfig, candidates: int
) -> dict[str, Any]:
    """Returns the options of `Model.sample` and `Model.edit` that are not at their defaults."""
    options: dict[str, Any] = {}
    if prior != "learned":
        options["prior"] = prior
    if seed is not None:
        options["seed"] = seed
    if config.chosen():
        options["config"] = config
    if candidates != 1:
        options["candidates"] = candidates
    return options


def _parameters(function: Callable[..., None]) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a command that are options, by name."""
    parameters = inspect.signature(function).parameters.items()
    return {name: each for name, each in parameters if each.kind is each.KEYWORD_ONLY}


def _check_options(
    command: str,
    words: Sequence[str],
    known: Sequence[str],
    condition: Condition | None,
    folder: str,
) -> None:
    """Raises `InputError` for an option that there is not, and says which conditions there are."""
    for word in words:
        name = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and name not in known:
            options = " and ".join(f"--{each}" for each in conditions_by_name(condition))
            has = f"is conditioned on a {condition.name}, {options}" if condition else ""
            raise InputError(
                f"There is no option --{readable(name)[:60]}: this model "
                f"{has or 'has no condition'}; smalti {command} {readable(folder)} --help lists "
                f"all."
            )
