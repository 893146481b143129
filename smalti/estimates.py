"""Tries out what a recipe trains, and estimates the memory and disk it needs, before any training.

    weights        counted in a model that is built without memory (`smalti.recipes.sizes`)
    a step         the activations that one example leaves for the backward pass, times the batch
    tokens         positions of all views of all examples, in memory and on disk

All are lower bounds: what they refuse cannot be done on this machine; what they let pass may still
prove too much.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smalti.autoencoders import Autoencoder, DiscreteAutoencoder, Tokenizer
from smalti.building import (
    build_autoencoder,
    build_features,
    build_objective,
    build_prior,
    build_reranker,
    level_config,
)
from smalti.counting import counted
from smalti.data import Splits
from smalti.errors import InputError, first_line
from smalti.item_ids import why_no_items
from smalti.memory import available_memory, check_disk, check_memory
from smalti.networks import FeatureNetwork
from smalti.priors import Prior
from smalti.quantizers import Codebook, MultiScaleQuantizer
from smalti.quantizers.fitting import Fitting
from smalti.quantizers.fitting.rows import CHUNK
from smalti.recipes.schema import Recipe, TokenizerRecipe
from smalti.recipes.sizes import check_model_memory, count_bytes
from smalti.signals import Signal
from smalti.training import Objective, Training
from smalti.training.adversary import detach_reconstruction

__all__ = [
    "check_report_memory",
    "check_step_memory",
    "check_token_space",
    "any_context",
    "count_activation_bytes",
    "dry_run",
]

FLOAT = 4  # bytes


def check_step_memory(
    forward: Callable[[], Any], model: nn.Module, training: Training, recipe: Recipe, what: str
) -> None:
    """Checks that a training step fits in memory.

    Arguments:
        forward: Computes the loss of one example, or its part with most of the memory.
        model: The model that is trained.
        training: The settings of its training.
        recipe: The recipe, for its hardware.
        what: One word for the model, for the message.

    Raises:
        InputError: If it cannot.
    """
    device = recipe.hardware.device()
    room = available_memory()
    if device.type == "cuda":
        room = torch.cuda.get_device_properties(device).total_memory
    each = count_activation_bytes(forward, model)
    if "32" not in recipe.hardware.precision and "64" not in recipe.hardware.precision:
        each //= 2  # bfloat16, on a device that is faster in it
    mend = f"set {what}.training.batch_size to less, and accumulate to more"
    many = (
        f"A training step of the {what} with {counted(training.batch_size, 'example', commas=True)}"
    )
    check_memory(each * training.batch_size + 2 * count_bytes(model), many, mend, room)


def count_activation_bytes(forward: Callable[[], Any], model: nn.Module) -> int:
    """Counts the bytes of activations that a forward pass keeps for the backward pass."""
    own = {weights.untyped_storage().data_ptr() for weights in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        result = forward()  # held, so that no memory is used twice
    del result
    return sum(size for place, size in kept.items() if place not in own)


def any_context(prior: Prior) -> Tensor | None:
    """Makes some valid context for one grid of a prior, to try it out; None if it takes none."""
    condition = prior.condition
    if condition is None:
        return None
    return condition.draw(1, torch.Generator().manual_seed(0))


def check_token_space(recipe: Recipe, tokenizer: Tokenizer, splits: Splits, run: Path) -> None:
    """Checks that the tokens of a recipe's prior fit in memory and on disk.

    Arguments:
        recipe: The recipe.
        tokenizer: The tokenizer that makes them.
        splits: The data.
        run: The run directory.

    Raises:
        InputError: If they cannot.
    """
    if recipe.prior is None:
        return
    positions = tokenizer.layout.positions
    size = tokenizer.layout.largest
    examples = recipe.prior.examples or len(splits.train)
    if not splits.train.endless:
        examples = min(examples, len(splits.train))
    views = int(recipe.prior.views)
    tokens = examples * views * positions
    seen = counted(views, "view", commas=True)
    what = f"A set of tokens of {counted(examples, 'example', commas=True)} in {seen}"
    mend = "set prior.examples or prior.views to less"
    check_memory(8 * tokens, what, mend)
    check_disk(tokens * min(1.0, math.log2(max(size, 2)) / 8) / 10, run, what, mend)


def check_report_memory(recipe: Recipe, signal: Signal) -> None:
    """Checks that the samples of a report fit in memory.

    Raises:
        InputError: If they cannot.
    """
    values = signal.channels * math.prod(signal.size)
    count = recipe.evaluation.samples
    check_memory(
        FLOAT * count * values, f"A report with {count:,} samples", "set evaluation.samples to less"
    )


def dry_run(recipe: Recipe, splits: Splits) -> list[tuple[nn.Module, Training | None]]:
    """Tries one forward pass of all that is trained; returns the models and how they are trained.

    The training of a tokenizer that is fitted is `None`.

    Raises:
        InputError: If it does not fit together, or cannot fit in memory.
    """
    check_report_memory(recipe, splits.signal)
    x = splits.train.__getitems__([0]).x
    chosen = recipe.trained
    check_model_memory(lambda: build_autoencoder(chosen, splits.signal, splits.normalization))
    model = build_autoencoder(chosen, splits.signal, splits.normalization)
    with torch.no_grad():
        y = model.normalize(x)
        output = model.eval()(y)
        if chosen.training is not None and chosen.objective is None:
            build_objective(chosen, splits.signal)(y, output, step=0)
        features = _tried_features(recipe, splits, y)
    if isinstance(chosen, TokenizerRecipe) and chosen.fitting is not None:
        _check_fitting(chosen.fitting, model, splits)
    if isinstance(chosen, TokenizerRecipe) and chosen.mixing and splits.signal.spatial_dims:
        raise InputError(
            f"Mixtures of two are examples where signals have no grid, got mixing "
            f"{chosen.mixing:g} of {splits.signal.plural}: set tokenizer.mixing to 0."
        )
    if chosen.training is not None:
        if chosen.objective is not None:
            objective = build_objective(chosen, splits.signal, splits.normalization, features)
            _try_objective(objective, model, y)
        _check_codebooks(model, splits)
        check_step_memory(lambda: model(y), model, chosen.training, recipe, recipe.stage)
    trained: list[tuple[nn.Module, Training | None]] = [(model, chosen.training)]
    if isinstance(model, Tokenizer) and recipe.prior is not None:
        trained += _tried_priors(recipe, model, splits, x)
    if recipe.reranker is not None:
        trained.append(_tried_reranker(recipe, splits))
    if features is not None and recipe.features is not None:
        trained.append((features, recipe.features.taught))
    model.train()
    return trained


def _tried_reranker(recipe: Recipe, splits: Splits) -> tuple[nn.Module, Training]:
    """Returns the reranker of a recipe and how it is trained, after the loss of one pair."""
    chosen = recipe.reranker
    assert chosen is not None
    if splits.train.endless:
        raise InputError(
            "A reranker learns from a set of pairs, got endless data: set --reranker null."
        )
    check_model_memory(lambda: build_reranker(chosen, splits))
    network, pair = build_reranker(chosen, splits).eval(), splits.train.__getitems__([0])
    assert pair.condition is not None
    check_step_memory(lambda: network(*pair), network, chosen.training, recipe, "reranker")
    return network, chosen.training


def _check_codebooks(model: Autoencoder, splits: Splits) -> None:
    """Checks that a tokenizer of one position has no more codewords than training examples.

    Raises:
        InputError: If some could stand for nothing.
    """
    if not isinstance(model, Tokenizer) or splits.train.endless or why_no_items(model) is not None:
        return
    sizes = [part.codebook_size for part in model.modules() if isinstance(part, Codebook)]
    if sizes and max(sizes) > len(splits.train):
        raise InputError(
            f"Each of {max(sizes)} codewords needs a training {splits.signal.noun} at least, got "
            f"{len(splits.train)}: set codebook_size to less, or give more {splits.signal.plural}."
        )


def _check_fitting(fitting: Fitting, model: Autoencoder, splits: Splits) -> None:
    """Checks that the quantizer of a tokenizer can be fitted to the training examples.

    Raises:
        InputError: If it cannot, or something else in it would have to be trained.
    """
    assert isinstance(model, DiscreteAutoencoder)
    for part in (model.encoder, model.decoder, model.likelihood):
        if part is not None and any(True for _ in part.parameters()):
            raise InputError(
                f"A fitting learns codebooks alone, and a {type(part).__name__} would be as it is "
                f"drawn: set tokenizer.encoder to IdentityEncoder, or give a training in the place "
                f"of the fitting."
            )
    if splits.train.endless:
        raise InputError(
            "A fitting goes over all training examples, got endless data: give a set of some size."
        )
    rows = len(splits.train) * math.prod(model.grid)
    fitting.check(model.quantizer, rows)
    chunk = FLOAT * min(rows, CHUNK) * model.quantizer.dim
    check_memory(8 * chunk, "A fitting to vectors of such sizes", "take shorter vectors")


def _tried_features(recipe: Recipe, splits: Splits, y: Tensor) -> FeatureNetwork | None:
    """Returns the network of features of a recipe, after a pass of normalized signals y.

    Raises:
        InputError: If it cannot take them, or gives no features of them.
    """
    if recipe.features is None:
        return None
    if not splits.signal.spatial_dims:
        raise InputError(
            f"Networks of features take signals with a grid, got {splits.signal.plural}: leave "
            f"features and PerceptualObjective out."
        )
    network = build_features(recipe.features, splits.signal, splits.normalization)
    name, found = type(network).__name__, None
    try:
        found = network.eval()(y.nan_to_num(nan=0.0))
    except Exception as error:  # whatever a user's class does
        raise InputError(
            f"The network of features {name} cannot take {tuple(y.shape)} "
            f"({type(error).__name__}: {first_line(error)}): choose other sizes, or another one."
        ) from error
    fits = isinstance(found, tuple | list) and len(found) > 0
    if not fits or not all(isinstance(m, Tensor) and m.ndim > 2 and len(m) == 1 for m in found):
        raise InputError(
            f"The network of features {name} gives a tuple of features (B, C, *size), got "
            f"{type(found).__name__}: correct it."
        )
    return network


def _try_objective(objective: Objective, model: Autoencoder, x: Tensor) -> None:
    """Computes the losses of a recipe's own objective, of two examples, as training will.

    Raises:
        InputError: If it cannot be computed, or is no loss.
    """
    name = type(objective).__name__
    x = torch.cat([x, x])  # some layers take means over a batch
    output = model(x)
    late = objective.warmup
    for training, step in ((False, late), (True, 0), (True, late)):
        objective.train(training)
        try:
            said = [objective(x, output, step)]
            if training:
                said.append(objective.adversary(x, detach_reconstruction(output), step) or said[0])
        except InputError:
            raise
        except Exception as error:  # whatever a user's class does
            raise InputError(
                f"The objective {name} cannot be computed of {tuple(x.shape)} "
                f"({type(error).__name__}: {first_line(error)}): correct it or its arguments."
            ) from error
        for terms in said:
            loss = terms.get("loss")
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                raise InputError(
                    f"The objective {name} gives its terms by name and what is minimised as "
                    f"'loss', one number, got {', '.join(map(str, terms)) or 'nothing'}: correct "
                    f"it."
                )


def _tried_priors(
    recipe: Recipe, tokenizer: Tokenizer, splits: Splits, x: Tensor
) -> list[tuple[nn.Module, Training]]:
    """Returns the priors of all levels and how they are trained, after the loss of one grid."""
    assert recipe.prior is not None
    if recipe.prior.examples is None and splits.train.endless:
        raise InputError(
            "Endless data cannot be turned into tokens whole: set prior.examples to a number."
        )
    tokens = tokenizer.encode_flat(x)
    grids = (tokens,) if recipe.priors == 1 else tokenizer.layout.unpack(tokens)
    return [
        _tried_prior(recipe, tokenizer, splits, level, grid) for level, grid in enumerate(grids)
    ]


def _tried_prior(
    recipe: Recipe, tokenizer: Tokenizer, splits: Splits, level: int, tokens: Tensor
) -> tuple[nn.Module, Training]:
    """Returns the prior of a level and how it is trained, after the loss of one grid."""
    chosen, quantizer = recipe.prior, tokenizer.levels[level]
    assert chosen is not None
    if quantizer.acts_on_grid and not isinstance(quantizer, MultiScaleQuantizer):
        raise InputError(
            f"The priors of recipes take indices of each position, and this "
            f"{type(quantizer).__name__} has {len(quantizer.codebook_sizes)} of the whole grid: "
            f"set --prior null to learn the tokenizer alone."
        )
    check_model_memory(lambda: build_prior(chosen, tokenizer, splits, level))
    prior = build_prior(chosen, tokenizer, splits, level)
    training = level_config(chosen, level).training
    context = any_context(prior)
    check_step_memory(lambda: prior.loss(tokens, context), prior, training, recipe, "prior")
    return prior, training
