"""The small VQ-VAE, VQ-VAE-2, VAE and prior that several experiments share."""

from __future__ import annotations

import torch
from common import fit
from torch import Tensor

from smalti.autoencoders import DiscreteAutoencoder, HierarchicalAutoencoder, VariationalAutoencoder
from smalti.data import Splits
from smalti.losses import MSE
from smalti.losses.likelihoods import Gaussian
from smalti.networks import ConvDecoder, ConvEncoder, Features, VectorDecoder, VectorEncoder
from smalti.priors import PixelCNN
from smalti.quantizers import EMACodebook, VectorQuantizer
from smalti.training import ContinuousObjective, TokenizerObjective, Tokens

__all__ = ["CODEBOOK", "DIM", "NETWORK", "pixelcnn", "vae", "vq_vae", "vq_vae_2"]

CODEBOOK, DIM = 64, 16
NETWORK = {"hidden": 32, "residual_blocks": 1, "residual_hidden": 16}


def vq_vae(splits: Splits, steps: int, seed: int, codebook: int = CODEBOOK) -> DiscreteAutoencoder:
    """A VQ-VAE, 4 px per token, trained on images."""
    torch.manual_seed(seed)
    channels = splits.signal.channels
    model = DiscreteAutoencoder(
        ConvEncoder(Features(channels), DIM, **NETWORK),
        VectorQuantizer(EMACodebook(codebook_size=codebook, dim=DIM)),
        ConvDecoder(Features(channels), DIM, **NETWORK),
        splits.signal,
    )
    _train(model, splits, steps, seed)
    return model


def vq_vae_2(
    splits: Splits,
    steps: int,
    seed: int,
    codebooks: tuple[int, int],
    level_dropout: float = 0.1,
) -> HierarchicalAutoencoder:
    """A VQ-VAE-2 of two levels, 8 px per token of the coarse one and 4 of the fine one."""
    torch.manual_seed(seed)
    channels, hidden = splits.signal.channels, NETWORK["hidden"]
    model = HierarchicalAutoencoder(
        [
            ConvEncoder(Features(hidden), DIM, downsampling=2, **NETWORK),
            ConvEncoder(Features(channels), hidden, **NETWORK),
        ],
        [VectorQuantizer(EMACodebook(codebook_size=codebook, dim=DIM)) for codebook in codebooks],
        [
            ConvDecoder(Features(hidden), DIM, downsampling=2, **NETWORK),
            ConvDecoder(Features(channels), hidden + DIM, **NETWORK),
        ],
        splits.signal,
        level_dropout,
    )
    _train(model, splits, steps, seed)
    return model


def _train(
    model: DiscreteAutoencoder | HierarchicalAutoencoder, splits: Splits, steps: int, seed: int
) -> None:
    objective = TokenizerObjective(MSE())

    def loss(x: Tensor, step: int) -> Tensor:
        return objective(x, model(x), step)["loss"]

    fit(model, loss, splits.train, steps=steps, seed=seed, after=model.update)


def vae(splits: Splits, steps: int, seed: int, latents: int = 16) -> VariationalAutoencoder:
    """A VAE with the same convolutions; its σ is learned, so that no weight has to be chosen."""
    torch.manual_seed(seed)
    channels, grid = splits.signal.channels, tuple(side // 4 for side in splits.signal.size)
    model = VariationalAutoencoder(
        VectorEncoder(ConvEncoder(Features(channels), DIM, **NETWORK), grid, 2 * latents),
        VectorDecoder(ConvDecoder(Features(channels), DIM, **NETWORK), grid, latents),
        Gaussian(0.5, learned=True),
        splits.signal,
    )
    objective = ContinuousObjective()
    fit(
        model,
        lambda x, step: objective(x, model(x), step)["loss"],
        splits.train,
        steps=steps,
        seed=seed,
    )
    return model


def pixelcnn(grids: Tensor, steps: int, seed: int, codebook: int = CODEBOOK) -> PixelCNN:
    """A PixelCNN of four layers over tokens (N, H, W)."""
    torch.manual_seed(seed)
    prior = PixelCNN(codebook, tuple(grids.shape[1:]), hidden=32, layers=4)
    fit(prior, lambda q, step: prior.loss(q), Tokens(grids), steps=steps, seed=seed)
    return prior
