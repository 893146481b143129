"""Builds what a recipe describes: autoencoder, objective and priors.

A recipe names a network and sizes; what they come to depends on the signal, on the likelihood and,
for the priors, on the tokenizer.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeVar

import torch

from smalti.artifacts import load_model
from smalti.autoencoders import (
    Autoencoder,
    ContinuousAutoencoder,
    DiscreteAutoencoder,
    HierarchicalAutoencoder,
    PlainAutoencoder,
    Tokenizer,
    VariationalAutoencoder,
)
from smalti.conditions import CoarseTokens, Condition, OptionalCondition
from smalti.counting import counted
from smalti.data import Splits
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.losses import MSE, ObservedValues
from smalti.losses.likelihoods import Gaussian, Likelihood
from smalti.networks import (
    ContrastiveNetwork,
    ConvEncoder,
    ConvFeatures,
    Decoder,
    Encoder,
    FeatureNetwork,
    Features,
    Normalization,
    SEANetEncoder,
    VectorDecoder,
    VectorEncoder,
)
from smalti.networks.levels import arguments_of_levels
from smalti.networks.normalization import normalized_channels
from smalti.priors import Prior, TokenPrior
from smalti.quantizers import MultiScaleQuantizer, Quantizer
from smalti.recipes.fields import MakeDecoder, MakeEncoder, MakePrior
from smalti.recipes.schema import (
    AutoencoderRecipe,
    FeaturesRecipe,
    FinePrior,
    PriorRecipe,
    RerankerRecipe,
    TokenizerRecipe,
)
from smalti.signals import Signal
from smalti.training import ContinuousObjective, Objective, TokenizerObjective

__all__ = [
    "build_autoencoder",
    "build_features",
    "build_objective",
    "build_prior",
    "build_reranker",
    "build_tokenizer",
    "channels_seen",
    "level_config",
]

Made = TypeVar("Made")


def build_autoencoder(
    recipe: TokenizerRecipe | AutoencoderRecipe,
    signal: Signal,
    normalization: Normalization | None = None,
) -> Autoencoder:
    """Builds the tokenizer or the continuous autoencoder of a recipe.

    Arguments:
        recipe: The recipe of the tokenizer or the autoencoder.
        signal: The signal that it encodes and decodes.
        normalization: Maps signals to what its networks see; see `Splits.normalization`.
    """
    normalization = copy.deepcopy(normalization)  # its own, as it moves with the model
    if isinstance(recipe, AutoencoderRecipe):
        return _continuous(recipe, signal, normalization)
    return build_tokenizer(recipe, signal, normalization)


def build_tokenizer(
    recipe: TokenizerRecipe, signal: Signal, normalization: Normalization | None = None
) -> Tokenizer:
    """Builds the tokenizer of a recipe for a signal: hierarchical if it has finer levels."""
    likelihood, make = recipe.likelihood, recipe.encoder or ConvEncoder
    if recipe.fine_levels:
        return _hierarchy(recipe, signal, normalization)
    quantizer, seen = recipe.quantizer, _seen(signal, normalization)
    encoder = make(seen, quantizer.dim)
    decoder = (recipe.decoder or encoder.mirror)(_output(seen, likelihood), quantizer.dim)
    return DiscreteAutoencoder(encoder, quantizer, decoder, signal, likelihood, normalization)


def _hierarchy(
    recipe: TokenizerRecipe, signal: Signal, normalization: Normalization | None
) -> HierarchicalAutoencoder:
    """Builds the tokenizer of a recipe with several levels.

    Between the levels there are features, as many as the encoder is wide.
    """
    make, seen = recipe.encoder or ConvEncoder, _seen(signal, normalization)
    outline = _outline(make, seen)
    fine = recipe.fine_levels or []
    quantizers = [recipe.quantizer, *(level.quantizer for level in fine)]
    factors = [outline.downsampling, *(level.downsampling for level in fine)]
    for coarse, finer in pairwise(factors):
        if finer < 1 or coarse <= finer or coarse % finer:
            raise InputError(
                f"Each level must be finer than the one before it, got downsamplings of "
                f"{', '.join(map(str, factors))}: give e.g. 8 (of the encoder), then 4."
            )
    encoders, decoders = _networks_of_levels(recipe, seen, factors, quantizers)
    return HierarchicalAutoencoder(
        encoders,
        quantizers,
        decoders,
        signal,
        recipe.level_dropout,
        recipe.likelihood,
        normalization,
    )


def _networks_of_levels(
    recipe: TokenizerRecipe, seen: Signal, factors: Sequence[int], quantizers: Sequence[Quantizer]
) -> tuple[list[Encoder], list[Decoder]]:
    """Builds encoders and decoders of a hierarchy, coarse to fine.

    Arguments:
        recipe: The recipe of the tokenizer.
        seen: What the finest encoder takes.
        factors: The downsampling of each level.
        quantizers: The quantizer of each level.
    """
    makes = _encoders_of_levels(recipe.encoder or ConvEncoder, seen, factors)
    back = recipe.decoder
    steps_back = [] if back is None else arguments_of_levels(_outline(back, seen), factors)
    encoders: list[Encoder] = []
    decoders: list[Decoder] = []
    try:
        signals = _between_levels(makes, seen)
        for level, (make, quantizer) in enumerate(zip(makes, quantizers, strict=True)):
            finest, taken = level == len(makes) - 1, signals[level]
            given = _output(seen, recipe.likelihood) if finest else taken
            dim = signals[level - 1].channels if level else quantizer.dim
            encoders.append(make(taken, dim))
            dim = quantizer.dim + (decoders[-1].channels if level else 0)
            if back is not None and (finest or _says(back, "gives_features", True)):
                decoders.append(back(given, dim, **steps_back[level]))
            else:
                decoders.append(encoders[-1].mirror(given, dim))
    except TypeError as error:
        raise InputError(
            f"The encoder of a hierarchy takes a downsampling, this one does not ({error}): "
            f"choose e.g. ConvEncoder or SEANetEncoder, or leave fine_levels out."
        ) from error
    return encoders, decoders


def _encoders_of_levels(
    make: MakeEncoder, seen: Signal, factors: Sequence[int]
) -> list[MakeEncoder]:
    """Returns what makes the encoder of each level, coarse to fine.

    One that takes no features is that of the finest level; above it are strided convolutions of a
    SEANetEncoder, as wide as it is.
    """
    outline = _outline(make, seen)
    steps = arguments_of_levels(outline, factors)
    if getattr(outline, "takes_features", True):
        return [partial(make, **step) for step in steps]
    ratios = [step["downsampling"] for step in steps[:-1]]
    above = [partial(SEANetEncoder, strides=[r], hidden=outline.width // 2) for r in ratios]
    return [*above, partial(make, **steps[-1])]


def _between_levels(makes: Sequence[MakeEncoder], seen: Signal) -> list[Signal]:
    """Returns what the encoder of each level takes, coarse to fine.

    Between the levels there are features, as many as the encoder of the finer one is wide.
    """
    taken = [seen]
    for make in makes[:0:-1]:
        width = _outline(make, taken[0]).width
        taken.insert(0, Features(width, spatial_dims=seen.spatial_dims))
    return taken


def _continuous(
    recipe: AutoencoderRecipe, signal: Signal, normalization: Normalization | None
) -> ContinuousAutoencoder:
    """Builds the continuous autoencoder of a recipe."""
    make, dim, likelihood = recipe.encoder or ConvEncoder, recipe.dim, recipe.likelihood
    seen = _seen(signal, normalization)
    narrow = _outline(make, seen).narrow
    plain = recipe.model == "PlainAutoencoder"
    if likelihood is None and not plain:
        likelihood = Gaussian(learned=True)
    inner = make(seen, narrow)
    grid = inner.grid(signal.size)
    encoder = VectorEncoder(inner, grid, dim if plain else 2 * dim)
    outer = (recipe.decoder or inner.mirror)(_output(seen, likelihood), narrow)
    decoder = VectorDecoder(outer, grid, dim)
    if plain:
        return PlainAutoencoder(encoder, decoder, signal, likelihood, normalization)
    assert likelihood is not None
    return VariationalAutoencoder(encoder, decoder, likelihood, signal, normalization)


def channels_seen(splits: Splits) -> int:
    """Returns the number of channels that networks see, after the data's normalization."""
    return _seen(splits.signal, splits.normalization).channels


def _seen(signal: Signal, normalization: Normalization | None) -> Signal:
    """Returns what networks take: the signal, or features where the normalization leaves fewer
    channels.
    """
    channels = normalized_channels(signal.channels, normalization)
    if channels == signal.channels:
        return signal
    return Features(channels, signal.size, signal.spatial_dims)


def _output(signal: Signal, likelihood: Likelihood | None) -> Signal:
    """Returns what a decoder gives: the channels of a signal, or of the h of a likelihood.

    It is the signal itself where that has a rate, of which decoders of waveforms make use.
    """
    if likelihood is None and getattr(signal, "rate", None) is not None:
        return signal
    channels = signal.channels if likelihood is None else likelihood.channels(signal.channels)
    return Features(channels, signal.size, signal.spatial_dims)


def _outline(make: Callable[[Signal, int], Made], signal: Signal) -> Made:
    """Makes a network without numbers, which draws nothing, for what it says of itself."""
    return _without_numbers(lambda: make(signal, 1))


def _without_numbers(make: Callable[[], Made]) -> Made:
    """Makes a module without numbers, which draws nothing."""
    drawn = torch.get_rng_state()
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # of layers without elements
            return make()
    finally:
        torch.set_rng_state(drawn)


def build_features(
    recipe: FeaturesRecipe, signal: Signal, normalization: Normalization | None = None
) -> FeatureNetwork:
    """Builds the network of features of a recipe, before it is trained, or loads one.

    Raises:
        InputError: If there is none in the folder, or one without weights of its own is not
            trained.
    """
    if recipe.folder is not None:
        network = load_model(recipe.folder)
    else:
        network = (recipe.network or ConvFeatures)(_seen(signal, normalization))
        if recipe.taught is None and isinstance(network, ConvFeatures):
            raise InputError(
                "A ConvFeatures has no weights of its own, got no training: give "
                "features.training, or features.folder with one that was trained."
            )
    if not isinstance(network, FeatureNetwork):
        raise InputError(
            f"{recipe.folder} holds a {type(network).__name__}, no network of features: give the "
            f"folder features of a run."
        )
    return network


def build_reranker(recipe: RerankerRecipe, splits: Splits) -> ContrastiveNetwork:
    """Builds the network that compares samples with their captions.

    Raises:
        InputError: If the examples have no captions, or an argument is out of range.
    """
    if splits.condition is None or not splits.condition.sizes.sequence:
        raise InputError(
            "A reranker compares samples with their captions, and these data have none: give "
            "--data.columns.text, or set --reranker null."
        )
    return ContrastiveNetwork(
        splits.signal,
        copy.deepcopy(splits.condition),
        recipe.dim,
        recipe.width,
        copy.deepcopy(splits.normalization),
    )


def build_objective(
    recipe: TokenizerRecipe | AutoencoderRecipe,
    signal: Signal,
    normalization: Normalization | None = None,
    features: FeatureNetwork | None = None,
) -> Objective:
    """Builds the training objective of a recipe's tokenizer or autoencoder: its weighted losses.

    Arguments:
        recipe: The recipe of the tokenizer or the autoencoder.
        signal: The signal of the data.
        normalization: Maps signals to what the objective is given; see `Splits.normalization`.
        features: The network of features that an objective may need.
    """
    if recipe.objective is not None:
        objective = copy.deepcopy(recipe.objective)  # which learns, if it has an adversary
        objective.prepare(_seen(signal, normalization), features)
        return objective
    reconstruction = recipe.reconstruction or MSE()
    if signal.gaps:
        reconstruction = ObservedValues(reconstruction)
    if isinstance(recipe, AutoencoderRecipe):
        return ContinuousObjective(
            recipe.beta, recipe.beta_warmup, recipe.free_bits, reconstruction
        )
    return TokenizerObjective(
        reconstruction,
        recipe.commitment_weight,
        recipe.commitment_warmup,
        recipe.loss_weights,
    )


def build_prior(recipe: PriorRecipe, tokenizer: Tokenizer, splits: Splits, level: int = 0) -> Prior:
    """Builds the prior of a recipe over the tokens of a level of a tokenizer, or of all of them.

    It is over all levels where the recipe has one prior and the tokenizer several levels.

    Raises:
        InputError: If it is of a kind that is not trained, or an argument is out of range.
    """
    layout = _layout_for_priors(tokenizer)
    # Its own, which it puts in training and evaluation mode with the rest of it.
    condition: Condition | None = copy.deepcopy(splits.condition) if recipe.conditional else None
    if recipe.condition_dropout:
        if condition is None:
            raise InputError(
                f"Prior.condition_dropout is of the label or time of an example, and these data "
                f"have none, got {recipe.condition_dropout}: set it to 0."
            )
        condition = OptionalCondition(condition, recipe.condition_dropout)
    if level:
        sizes = [max(of_level) for of_level in layout.codebook_sizes[:level]]
        condition = CoarseTokens(sizes, layout.shapes[:level], condition)
    shape, model = layout.shapes[level], level_config(recipe, level).model
    try:
        if _says(model, "over_vectors", False):
            if not recipe.fine_levels:
                _check_one_level(layout)
            return model(copy.deepcopy(tokenizer.levels[level]), shape, condition)
        if layout.levels > 1 and not recipe.fine_levels:
            _check_across_levels(model, layout, condition)
            return model(layout.codebook_sizes, layout.grids, condition)
        sizes_given = _sizes_for(model, layout.codebook_sizes[level], shape, condition)
        return model(sizes_given, shape, condition)
    except TypeError as error:
        raise InputError(
            f"The recipe's prior cannot be built ({error}): choose one that learns, e.g. PixelCNN."
        ) from error


def _layout_for_priors(tokenizer: Tokenizer) -> Layout:
    """Returns the layout of a tokenizer; of a multi-scale quantizer with its scales as levels."""
    quantizer = tokenizer.levels[0]
    if isinstance(quantizer, MultiScaleQuantizer) and len(tokenizer.levels) == 1:
        return quantizer.layout
    return tokenizer.layout


def _says(make: MakePrior | MakeDecoder, name: str, usual: bool) -> bool:
    """Returns what the class of a recipe's object says of itself.

    A recipe gives a class with some of its arguments: a partial of what makes objects, and of it.

    Arguments:
        make: Makes the object.
        name: The attribute.
        usual: What holds where no class says it.
    """
    parts = (make.func, *make.args) if isinstance(make, partial) else (make,)
    said: list[bool] = [getattr(part, name) for part in parts if hasattr(part, name)]
    return said[0] if said else usual


def _check_one_level(layout: Layout) -> None:
    """Raises `InputError` unless a tokenizer has one level, as one prior over vectors needs."""
    if layout.levels > 1:
        raise InputError(
            f"One prior over vectors takes a tokenizer of one level, got "
            f"{counted(layout.levels, 'level')}: choose TransformerPrior."
        )


def _check_across_levels(model: MakePrior, layout: Layout, condition: Condition | None) -> None:
    """Raises `InputError` if a recipe's prior cannot be over the tokens of all levels at once."""
    outline = _without_numbers(lambda: model(layout.largest, layout.shape, condition))
    if not (isinstance(outline, TokenPrior) and outline.across_levels):
        raise InputError(
            f"Each level of a tokenizer has its prior, got {counted(layout.levels, 'level')} and "
            f"1 prior, a {type(outline).__name__}: choose TransformerPrior, which takes all of "
            f"them, or give as many under prior.fine_levels as under tokenizer.fine_levels."
        )


def _sizes_for(
    model: MakePrior, sizes: tuple[int, ...], shape: tuple[int, ...], condition: Condition | None
) -> int | tuple[int, ...]:
    """Returns what a prior is made of: the size of each codebook if it takes that, or of all.

    Raises:
        InputError: If it takes one size, and they differ.
    """
    if len(sizes) == 1:
        return sizes[0]
    outline = _without_numbers(lambda: model(max(sizes), shape, condition))
    if isinstance(outline, TokenPrior) and outline.per_codebook:
        return sizes
    if len(set(sizes)) > 1:
        raise InputError(
            f"A {type(outline).__name__} takes codebooks of one size, this tokenizer has codebooks "
            f"of {', '.join(map(str, sorted(set(sizes))))}: choose TransformerPrior, or set "
            f"--prior null to learn the tokenizer alone."
        )
    return sizes[0]


def level_config(recipe: PriorRecipe, level: int) -> PriorRecipe | FinePrior:
    """Returns the part of a recipe that describes the prior of a level; level 0 is the coarsest."""
    return (recipe.fine_levels or [])[level - 1] if level else recipe
