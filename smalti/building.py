"""What a recipe says, built: autoencoder, objective and priors.

A recipe names a network and sizes; what they come to depends on the signal, on the likelihood and,
for the priors, on the tokenizer.
"""

from __future__ import annotations

import copy

from smalti.autoencoders import (
    Autoencoder,
    ContinuousAutoencoder,
    ConvDecoder,
    ConvEncoder,
    DiscreteAutoencoder,
    HierarchicalAutoencoder,
    PlainAutoencoder,
    Tokenizer,
    VariationalAutoencoder,
    VectorDecoder,
    VectorEncoder,
)
from smalti.conditions import CoarseTokens, Condition
from smalti.data import Splits
from smalti.errors import InputError
from smalti.losses import MSE
from smalti.losses.likelihoods import Gaussian
from smalti.priors import Prior
from smalti.recipes.schema import AutoencoderRecipe, FinePrior, PriorRecipe, TokenizerRecipe
from smalti.signals import Signal
from smalti.training import ContinuousObjective, Objective, TokenizerObjective

__all__ = ["build_autoencoder", "build_objective", "build_prior", "build_tokenizer", "level_config"]


def build_autoencoder(recipe: TokenizerRecipe | AutoencoderRecipe, signal: Signal) -> Autoencoder:
    """Builds the tokenizer or the continuous autoencoder of a recipe for a signal."""
    if isinstance(recipe, AutoencoderRecipe):
        return _continuous(recipe, signal)
    return build_tokenizer(recipe, signal)


def build_tokenizer(recipe: TokenizerRecipe, signal: Signal) -> Tokenizer:
    """Builds the tokenizer of a recipe for a signal: hierarchical where it has finer levels."""
    network, likelihood = recipe.network, recipe.likelihood
    sizes = {
        **network.inside,
        "spatial_dims": signal.spatial_dims,
    }
    quantizers = [recipe.quantizer, *(level.quantizer for level in recipe.fine_levels or [])]
    factors = recipe.downsamplings
    outputs = signal.channels if likelihood is None else likelihood.channels(signal.channels)
    encoders, decoders = [], []
    for level, quantizer in enumerate(quantizers):
        finest = level == len(quantizers) - 1
        ratio = factors[level] if finest else factors[level] // factors[level + 1]
        # Between the levels there are features, not vectors for a quantizer.
        given, wanted = (signal.channels, outputs) if finest else (network.hidden, network.hidden)
        dim = network.hidden if level else quantizer.dim
        encoders.append(ConvEncoder(given, dim, downsampling=ratio, **sizes))
        dim = quantizer.dim + network.hidden if level else quantizer.dim
        decoders.append(ConvDecoder(wanted, dim, downsampling=ratio, **sizes))
    if recipe.fine_levels:
        return HierarchicalAutoencoder(
            encoders, quantizers, decoders, signal, recipe.level_dropout, likelihood
        )
    return DiscreteAutoencoder(encoders[0], quantizers[0], decoders[0], signal, likelihood)


def _continuous(recipe: AutoencoderRecipe, signal: Signal) -> ContinuousAutoencoder:
    """Builds the continuous autoencoder of a recipe."""
    network, dim = recipe.network, recipe.dim
    grid = tuple(-(-length // network.downsampling) for length in signal.size)
    sizes = {
        **network.inside,
        "downsampling": network.downsampling,
        "spatial_dims": signal.spatial_dims,
    }

    def encoder(outputs: int) -> VectorEncoder:
        inner = ConvEncoder(signal.channels, network.residual_hidden, **sizes)
        return VectorEncoder(inner, grid, outputs)

    def decoder(channels: int) -> VectorDecoder:
        return VectorDecoder(ConvDecoder(channels, network.residual_hidden, **sizes), grid, dim)

    likelihood = recipe.likelihood
    if recipe.model == "PlainAutoencoder":
        outputs = signal.channels if likelihood is None else likelihood.channels(signal.channels)
        return PlainAutoencoder(encoder(dim), decoder(outputs), signal, likelihood)
    likelihood = likelihood or Gaussian(learned=True)
    return VariationalAutoencoder(
        encoder(2 * dim), decoder(likelihood.channels(signal.channels)), likelihood, signal
    )


def build_objective(recipe: TokenizerRecipe | AutoencoderRecipe) -> Objective:
    """Builds the loss of a recipe's tokenizer or continuous autoencoder."""
    if isinstance(recipe, AutoencoderRecipe):
        return ContinuousObjective(
            recipe.beta, recipe.beta_warmup, recipe.free_bits, recipe.reconstruction
        )
    return TokenizerObjective(
        recipe.reconstruction or MSE(),
        recipe.commitment_weight,
        recipe.commitment_warmup,
        recipe.loss_weights,
    )


def build_prior(recipe: PriorRecipe, tokenizer: Tokenizer, splits: Splits, level: int = 0) -> Prior:
    """The prior of a recipe over the tokens of a level of a tokenizer.

    Raises:
        InputError: If it is of a kind that is not trained, or an argument is out of range.
    """
    layout = tokenizer.layout
    sizes = [of_level[0] for of_level in layout.codebook_sizes]
    # Its own, which it puts in training and evaluation mode with the rest of it.
    condition: Condition | None = copy.deepcopy(splits.condition) if recipe.conditional else None
    if level:
        condition = CoarseTokens(sizes[:level], layout.shapes[:level], condition)
    try:
        return level_config(recipe, level).model(sizes[level], layout.shapes[level], condition)
    except TypeError as error:
        raise InputError(
            f"The recipe's prior cannot be built ({error}): choose one that learns, e.g. PixelCNN."
        ) from error


def level_config(recipe: PriorRecipe, level: int) -> PriorRecipe | FinePrior:
    """What a recipe says of the prior of a level, 0 the coarsest."""
    return (recipe.fine_levels or [])[level - 1] if level else recipe
