"""Replaces each "auto" of a recipe by a number, which the run's config.yaml then has.

It stands for the dropout of a prior, for its token noise and for its weight decay, of every level,
and for the views of each example and how far they are moved. The numbers follow from how much data
there is (`smalti.priors.regularisation`). A run that goes on has those that it began with.

The dim of a codebook can be "auto", too: that of what the tokenizer's networks see of the data,
their channels, of which each part of a `ProductQuantizer` has its share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jsonargparse import Namespace

from smalti.counting import counted
from smalti.errors import InputError
from smalti.priors import AutoregressivePrior, TokenPrior
from smalti.priors.regularisation import SHIFT, advise_regularisation, advise_views
from smalti.training import Training

__all__ = ["AUTO", "has_auto_dim", "resolve_auto", "resolve_dims", "without_auto"]

AUTO = "auto"


def without_auto(config: Namespace) -> Namespace:
    """Replaces every "auto" of a configuration by 0 (views and dims by 1), to try it out."""
    config = config.clone()
    if config.prior is not None and config.prior.views == AUTO:
        config.prior.views = 1
    if config.prior is not None and config.prior.shift == AUTO:
        config.prior.shift = 0.0
    for _, _, fields, name in _left_open(config):
        fields[name] = 0.0
    for fields in _open_dims(config.tokenizer):
        fields["dim"] = 1
    return config


def has_auto_dim(config: Namespace) -> bool:
    """Returns whether a codebook of a recipe's tokenizer has the dim "auto"."""
    return any(True for _ in _open_dims(config.tokenizer))


def resolve_dims(config: Namespace, channels: int) -> Namespace:
    """Replaces every dim "auto" of a configuration by a number.

    Arguments:
        config: A configuration with "auto" in places.
        channels: Number of channels that the tokenizer's networks see.

    Raises:
        InputError: If some parts of a product have the dim "auto" and others a number, or there are
            more parts than channels.
    """
    config = config.clone()
    _fill_dims(config.tokenizer, channels)
    return config


def resolve_auto(
    config: Namespace,
    trained: Sequence[tuple[TokenPrior, Training]],
    examples: int,
    there: Mapping[str, Any],
    movable: bool,
) -> Namespace:
    """Replaces every "auto" of a configuration by the number that suits the data.

    Arguments:
        config: A configuration with "auto" in places.
        trained: The prior of each level with its training.
        examples: Number of examples that become tokens.
        there: Configuration of the run that is resumed, whose numbers stay; empty for a new run.
        movable: Whether examples may be shifted a little as augmentation.
    """
    config = config.clone()
    _settle_views(config, trained[0][1], examples, there.get("prior") or {}, movable)
    for level, means, fields, name in list(_left_open(config)):
        prior, training = trained[level]
        advice = advise_regularisation(
            sum(parameter.numel() for parameter in prior.parameters()),
            examples * prior.positions,
            _passes(training, examples * config.prior.views),
        )
        if means == "token_noise" and not isinstance(prior, AutoregressivePrior):
            fields[name] = 0.0  # which has masks in its place
            continue
        old = _of_run(there, level).get(means)
        fields[name] = old if isinstance(old, int | float) else getattr(advice, means)
    return config


def _settle_views(
    config: Namespace, training: Training, examples: int, there: Mapping[str, Any], movable: bool
) -> None:
    """Puts numbers in place of "auto" for the views of each example, and how far they are moved."""
    prior, shift = config.prior, 0.0
    if prior.views == AUTO:
        advice = advise_views(_passes(training, examples)) if movable else 1
        prior.views = there.get("views", advice)
        shift = SHIFT if movable and prior.views > 1 else 0.0
    if prior.shift == AUTO:  # views that somebody counts are augmented as the data say
        prior.shift = there.get("shift", shift)


def _passes(training: Training, examples: int) -> float:
    """Returns how often a training goes over so many examples."""
    return training.steps * training.batch_size * training.accumulate / examples


def _open_dims(node: Any) -> Iterator[Namespace]:
    """Yields the fields that have the dim "auto", in a part of a configuration."""
    if isinstance(node, Namespace):
        if node.get("dim") == AUTO:
            yield node
        for value in list(vars(node).values()):
            yield from _open_dims(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _open_dims(value)


def _fill_dims(node: Any, channels: int) -> None:
    """Puts numbers in place of the dims "auto" in a part of a configuration."""
    parts = node.get("parts") if isinstance(node, Namespace) else None
    if parts and any(True for _ in _open_dims(parts)):
        if not all(any(True for _ in _open_dims(part)) for part in parts):
            raise InputError(
                "Some parts of a ProductQuantizer have the dim auto, and others a number: give all "
                "of them auto, or none."
            )
        if len(parts) > channels:
            raise InputError(
                f"A vector of {counted(channels, 'dimension')} has no {len(parts)} parts: give the "
                f"ProductQuantizer fewer."
            )
        for place, part in enumerate(parts):
            _fill_dims(part, channels // len(parts) + (place < channels % len(parts)))
    elif isinstance(node, Namespace):
        if node.get("dim") == AUTO:
            node["dim"] = channels
        for value in list(vars(node).values()):
            _fill_dims(value, channels)
    elif isinstance(node, list | tuple):
        for value in node:
            _fill_dims(value, channels)


def _left_open(config: Namespace) -> Iterator[tuple[int, str, Namespace, str]]:
    """Yields every "auto": its level, what it is, and the fields and the name that hold it."""
    if config.prior is None:
        return
    for level, part in enumerate([config.prior, *(config.prior.fine_levels or [])]):
        model = part.model
        inside = getattr(model, "init_args", None)
        if inside is not None and inside.get("dropout") == AUTO:
            yield level, "dropout", inside, "dropout"
        for name in ("token_noise", "weight_decay"):
            if part.get(name) == AUTO:
                yield level, name, part, name


def _of_run(there: Mapping[str, Any], level: int) -> dict[str, Any]:
    """Returns the three numbers of a level in the configuration of a run, if it has them."""
    part = there.get("prior") or {}
    if level:
        finer = part.get("fine_levels") or []
        part = finer[level - 1] if len(finer) >= level else {}
    model = part.get("model")
    inside = model.get("init_args") if isinstance(model, dict) else None
    return {
        "dropout": (inside or {}).get("dropout"),
        "token_noise": part.get("token_noise"),
        "weight_decay": part.get("weight_decay"),
    }
