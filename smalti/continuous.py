"""The stage of a run that learns a continuous autoencoder: built, tried out, trained, summarised.

It takes the place of tokenizer, tokens and prior. After training, the latents of training examples
are summarised (`ContinuousAutoencoder.summarise`), so that the model knows how they lie: a plain
autoencoder draws its samples from that, and traversals take the dimensions in the order of it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from smalti.artifacts import save_model
from smalti.autoencoders import (
    ContinuousAutoencoder,
    ConvDecoder,
    ConvEncoder,
    PlainAutoencoder,
    VariationalAutoencoder,
    VectorDecoder,
    VectorEncoder,
)
from smalti.autoencoders.variational import kl_to_normal
from smalti.checksums import own
from smalti.data import Examples, Splits
from smalti.losses.likelihoods import Gaussian
from smalti.recipes.schema import AutoencoderRecipe, Recipe
from smalti.signals import Signal
from smalti.training import ContinuousObjective, ContinuousStage, train
from smalti.training.batch_order import evaluation_loader
from smalti.training.processes import is_first, wait_for_all

__all__ = ["build", "build_objective", "fit", "summarise", "dry_run"]

SUMMARISED = 10_000  # training examples whose latents are summarised


def build(recipe: AutoencoderRecipe, signal: Signal) -> ContinuousAutoencoder:
    """The autoencoder of a recipe for a signal."""
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


def build_objective(recipe: AutoencoderRecipe) -> ContinuousObjective:
    """The loss of a recipe's autoencoder."""
    return ContinuousObjective(
        recipe.beta, recipe.beta_warmup, recipe.free_bits, recipe.reconstruction
    )


def dry_run(recipe: AutoencoderRecipe, splits: Splits) -> ContinuousAutoencoder:
    """The autoencoder of a recipe after one forward pass: a mistake shows before training."""
    autoencoder = build(recipe, splits.signal)
    x = splits.train.__getitems__([0]).x
    with torch.no_grad():
        build_objective(recipe)(x, autoencoder(x), step=0)
    return autoencoder


def fit(
    run: Path,
    recipe: Recipe,
    splits: Splits,
    target: Path,
    made_from: dict[str, tuple[str, ...]],
) -> None:
    """Trains the autoencoder of a recipe, from the saved state if there is one, and saves it.

    Arguments:
        run: The run directory, for state and logs.
        recipe: The whole recipe.
        splits: The data.
        target: The model's folder.
        made_from: Checksums of what it is made from, see `smalti.checksums`.
    """
    chosen = recipe.autoencoder
    assert chosen is not None
    torch.manual_seed(recipe.seed)
    stage = ContinuousStage(
        build(chosen, splits.signal),
        chosen.training,
        splits.train,
        splits.validation,
        seed=recipe.seed,
        objective=build_objective(chosen),
        augment=splits.augment,
        workers=recipe.hardware.workers,
    )
    stage.made_from = made_from
    train(stage, "autoencoder", run, recipe.hardware)
    if is_first():
        device = recipe.hardware.device()
        summarise(stage.model.to(device), splits.train.drawn(SUMMARISED, recipe.seed))
        save_model(stage.model.cpu(), target, made_from=own(made_from))
    wait_for_all()


@torch.no_grad()
def summarise(autoencoder: ContinuousAutoencoder, examples: Examples) -> None:
    """Has an autoencoder take note of how the latents of examples lie."""
    latents: list[Tensor] = []
    kl: list[Tensor] = []
    for batch in evaluation_loader(examples, 256):
        x = batch.x.to(autoencoder.latent_mean.device)
        if isinstance(autoencoder, VariationalAutoencoder):
            posterior = autoencoder.posterior(x)
            latents.append(posterior.mean)
            kl.append(kl_to_normal(posterior))
        else:
            latents.append(autoencoder.encode(x))
    autoencoder.summarise(torch.cat(latents), torch.cat(kl).mean(0) if kl else None)
