"""The recipe of a tokenizer that keeps the first stages of a residual quantizer alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalti.errors import InputError

__all__ = ["count_stages", "keep_first_stages"]


def count_stages(config: Mapping[str, Any]) -> int | None:
    """Returns how many stages the quantizer of a recipe lists; `None` if it lists none.

    Example:
        >>> count_stages({"tokenizer": {"quantizer": {"init_args": {"stages": [1, 2]}}}})
        2
        >>> count_stages({"autoencoder": {}}) is None
        True
    """
    quantizer = (config.get("tokenizer") or {}).get("quantizer") or {}
    stages = (quantizer.get("init_args") or {}).get("stages")
    return len(stages) if isinstance(stages, list) else None


def keep_first_stages(config: Mapping[str, Any], stages: int) -> dict[str, Any]:
    """Returns a recipe without the stages of its quantizer after the first ones.

    Arguments:
        config: The recipe, as plain values.
        stages: How many stay, from 1 on.

    Raises:
        InputError: If its quantizer lists no stages, or fewer.

    Example:
        >>> config = {"tokenizer": {"quantizer": {"init_args": {"stages": ["a", "b", "c"]}}}}
        >>> keep_first_stages(config, 2)
        {'tokenizer': {'quantizer': {'init_args': {'stages': ['a', 'b']}}}}
    """
    there = count_stages(config)
    if there is None:
        raise InputError(
            f"The first stages are those of a ResidualQuantizer, got {stages} of a recipe without: "
            f"leave --stages out."
        )
    if not 1 <= stages <= there:
        raise InputError(
            f"The quantizer of this recipe has {there} stages, got {stages}: give --stages a "
            f"number from 1 to {there}."
        )
    tokenizer = config["tokenizer"]
    quantizer = tokenizer["quantizer"]
    arguments = {**quantizer["init_args"], "stages": quantizer["init_args"]["stages"][:stages]}
    quantizer = {**quantizer, "init_args": arguments}
    return {**config, "tokenizer": {**tokenizer, "quantizer": quantizer}}
