"""Reads, writes and builds recipes, whose fields are in `smalti.recipes.fields`.

A recipe is read by jsonargparse: types are checked against the signatures of the very classes it
builds, every field can be overridden by a dotted option
(`--tokenizer.quantizer.codebook.codebook_size 1024`), and the whole resolved
configuration can be written back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from yaml import YAMLError

from smalti import recipes
from smalti.errors import InputError, first_line
from smalti.recipes import safe_yaml
from smalti.recipes.allowed_classes import restrict_imports
from smalti.recipes.fields import (
    Amount,
    AutoencoderRecipe,
    Evaluation,
    FeaturesRecipe,
    FineLevel,
    FinePrior,
    IdsRecipe,
    PriorRecipe,
    Recipe,
    RerankerRecipe,
    TokenizerRecipe,
)
from smalti.recipes.mistakes import explain_error
from smalti.recipes.options import set_null, split_nulls
from smalti.recipes.sizes import check_model_memory
from smalti.recipes.validation import check_numbers

__all__ = [
    "Amount",
    "AutoencoderRecipe",
    "Evaluation",
    "FeaturesRecipe",
    "FineLevel",
    "FinePrior",
    "IdsRecipe",
    "PriorRecipe",
    "Recipe",
    "RerankerRecipe",
    "TokenizerRecipe",
    "build",
    "dump",
    "parsed",
    "parser",
    "read",
]


@cache  # it keeps nothing of what it parses
def parser() -> ArgumentParser:
    """Returns the parser of recipes: a YAML with `--config`, any field as a dotted option."""
    made = ArgumentParser(
        prog="smalti fit",
        exit_on_error=False,
        allow_abbrev=False,
        description="Learns a tokenizer and a prior from data.",
        parser_mode=safe_yaml.WITHIN_BOUNDS,
    )
    made.add_argument("--config", action="config", help="A YAML with any of the fields below.")
    made.add_class_arguments(Recipe)
    return made


def read(recipe: str, overrides: Sequence[str] = ()) -> Namespace:
    """Reads a recipe by name or path to a configuration, with dotted options that override it.

    Raises:
        InputError: If it cannot be read, or a key or a value does not fit.
    """
    fields = safe_yaml.read(recipes.find(recipe))
    if fields is None:
        raise InputError(
            f"The recipe {recipe} is empty: start from what smalti recipes clocks-demo prints."
        )
    words = []
    for place, word in enumerate(overrides):  # a YAML over the first is read as that is
        if place and overrides[place - 1] == "--config":
            word = _as_yaml(safe_yaml.read(word))
        elif word.startswith("--config="):
            word = f"--config={_as_yaml(safe_yaml.read(word.removeprefix('--config=')))}"
        words.append(word)
    return _parsed(f"The recipe {recipe}", fields, words)


def parsed(fields: dict[str, Any]) -> Namespace:
    """Parses a dictionary of fields, as YAML gives it, to the configuration of a recipe.

    Raises:
        InputError: If a key or a value does not fit.
    """
    return _parsed("The recipe", fields, [])


def _parsed(which: str, fields: Any, overrides: Sequence[str]) -> Namespace:
    """Parses fields and then the options over them; raises `InputError`, which `which` begins."""
    try:
        _check_network(fields, overrides)
        _check_schedules(fields, overrides)
        words, nulls = split_nulls(overrides)
        with restrict_imports():
            config = parser().parse_args(["--config", _as_yaml(fields), *words])
            for key in nulls:
                set_null(config, key)
            if nulls:
                check_numbers(Recipe, config)  # what may not be null would get its default
                config = parser().parse_args([], namespace=config)
        check_numbers(Recipe, config)
    except InputError as error:
        raise InputError(f"{which} cannot be used: {error}") from error
    except (ArgumentError, YAMLError) as error:
        raise InputError(f"{which} cannot be used: {explain_error(str(error))}") from error
    return config


def _check_network(fields: Any, overrides: Sequence[str]) -> None:
    """Raises `InputError` for the field of networks from before they could be chosen."""
    for part in ("tokenizer", "autoencoder"):
        inside = fields.get(part) if isinstance(fields, dict) else None
        if isinstance(inside, dict) and "network" in inside:
            sizes = yaml.safe_dump(inside["network"], default_flow_style=True, width=1000).strip()
            raise InputError(
                f"{part}.network is now {part}.encoder: write encoder: {{class_path: ConvEncoder, "
                f"init_args: {sizes}}} in its place."
            )
        for word in overrides:
            if word.startswith(f"--{part}.network"):
                option = word.partition("=")[0]
                raise InputError(
                    f"{option} is now {option.replace('.network', '.encoder', 1)}: give that."
                )


def _check_schedules(fields: Any, overrides: Sequence[str], place: str = "") -> None:
    """Raises `InputError` for the schedule that had the name of a geometry of codebooks before."""
    inside: Iterable[tuple[str, Any]] = fields.items() if isinstance(fields, dict) else ()
    if isinstance(fields, list):
        inside = [(str(number), value) for number, value in enumerate(fields)]
    for name, value in inside:
        here = f"{place}.{name}".lstrip(".")
        path = value.get("class_path") if isinstance(value, dict) else value
        if name == "schedule" and str(path).rpartition(".")[2] == "Cosine":
            raise InputError(f"{here} Cosine is now CosineDecay: write that in its place.")
        _check_schedules(value, (), here)
    for word, value in pairwise([*overrides, ""]):
        option, _, given = word.partition("=")
        if option.endswith(".schedule") and (given or value).rpartition(".")[2] == "Cosine":
            raise InputError(f"{option} Cosine is now CosineDecay: give that.")


def _as_yaml(fields: Any) -> str:
    return yaml.dump(fields, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)


def dump(config: Namespace) -> str:
    """Writes a resolved configuration as a YAML text, nulls included where they are no default."""
    settled = config.clone()
    settled.pop("config", None)
    with restrict_imports():
        return parser().dump(settled, format="yaml", skip_unset=False)


def build(config: Namespace) -> Recipe:
    """Builds the objects that a configuration describes; weights depend on the seed alone.

    Raises:
        InputError: If an argument is out of its range, or a part is more than the machine can hold.
    """
    check_model_memory(lambda: _built(config))
    torch.manual_seed(config.seed)
    try:
        return Recipe(**_built(config))
    except ValueError as error:  # jsonargparse's own, about a part that may also be left out
        cause = error.__cause__
        while isinstance(cause, ValueError) and not isinstance(cause, InputError):
            cause = cause.__cause__
        if isinstance(cause, InputError):
            raise cause from error
        raise
    except (RuntimeError, MemoryError, OverflowError) as error:  # torch's own
        raise InputError(
            f"The recipe cannot be built ({first_line(error)}): choose other sizes."
        ) from error


def _built(config: Namespace) -> dict[str, Any]:
    """Builds the fields of a recipe."""
    with restrict_imports():
        fields = dict(vars(parser().instantiate(config)))
    fields.pop("config", None)
    return fields
