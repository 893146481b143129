"""Latents → decoder: a continuous autoencoder makes new data by itself.

Its prior is part of it: N(0, I) of a VAE, the Gaussian of the training latents of a plain
autoencoder.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from smalti.arguments import a_whole_number
from smalti.artifacts import load_model
from smalti.autoencoders import ContinuousAutoencoder
from smalti.errors import InputError
from smalti.generation.checks import check_room, generator_of, pieces, signal_pieces, source_of
from smalti.generation.traversal import traverse
from smalti.priors import GaussianPrior, SamplingConfig
from smalti.runs import Run
from smalti.signals import Signal

__all__ = ["ContinuousModel"]


class ContinuousModel:
    """A continuous autoencoder.

    Arguments:
        autoencoder: The autoencoder.
        run: The run directory that it comes from.

    Example:
        >>> model = ContinuousModel.load("runs/vae-fashion-mnist")  # doctest: +SKIP
        >>> model.sample(16).shape  # doctest: +SKIP
        torch.Size([16, 1, 28, 28])
    """

    def __init__(self, autoencoder: ContinuousAutoencoder, run: Run | None = None) -> None:
        self.autoencoder, self.run = autoencoder, run

    @classmethod
    def load(cls, folder: str | Path) -> ContinuousModel:
        """Loads the autoencoder of a run directory.

        Raises:
            InputError: If it is not a run directory, or the model is missing or damaged.
        """
        run = Run.existing(folder)
        if not run.autoencoder.exists():
            raise InputError(
                f"{folder} has no autoencoder yet: its fit has not come so far; give the same "
                f"smalti fit again to go on."
            )
        autoencoder = load_model(run.autoencoder)
        if not isinstance(autoencoder, ContinuousAutoencoder):
            raise InputError(f"The models in {folder} have changed places: copy the run again.")
        return cls(autoencoder, run)

    def to(self, device: str | torch.device) -> Self:
        """Moves it to a device."""
        self.autoencoder.to(device)
        return self

    @property
    def prior(self) -> GaussianPrior:
        """What latents are drawn from."""
        return GaussianPrior.of(*self.autoencoder.latent_distribution)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.autoencoder.latent_mean.device

    @property
    def signal(self) -> Signal:
        """What the autoencoder takes and gives."""
        return self.autoencoder.signal

    @property
    def dim(self) -> int:
        """D."""
        return self.autoencoder.dim

    def encode(self, x: Any) -> Tensor:
        """Signals (B, C, *size) → latents (B, D); see `ContinuousAutoencoder.encode`.

        Arguments:
            x: As of `Model.encode`.
        """
        parts = signal_pieces(x, self.signal, source_of(self.run))
        return torch.cat([self.autoencoder.encode(part) for part in parts])

    def decode(self, z: Tensor) -> Tensor:
        """Latents (B, D) → signals (B, C, *size); see `ContinuousAutoencoder.decode`."""
        return torch.cat([self.autoencoder.decode(part) for part in pieces(z, "Latents")])

    def sample(self, n: int, *, seed: int | None = None, temperature: float = 1.0) -> Tensor:
        """Makes n new signals (n, C, *size).

        Arguments:
            n: How many.
            seed: Makes the result repeatable.
            temperature: Scale of how far latents lie from their mean: below 1 for likelier, above
                1 for more varied samples.

        Raises:
            InputError: If n, seed or temperature is out of its range.
        """
        generator = generator_of(n, seed)
        n = a_whole_number(n, "The number of samples")
        check_room(n, self.signal.channels * math.prod(self.signal.size), "samples")
        config = SamplingConfig(temperature)
        return self.decode(self.prior.sample(n, config=config, generator=generator))

    def interpolate(self, x_a: Tensor, x_b: Tensor, steps: int = 8) -> Tensor:
        """From one signal (C, *size) to another: (steps, C, *size)."""
        steps = a_whole_number(steps, "steps")
        check_room(steps, self.signal.channels * math.prod(self.signal.size), "steps")
        return self.autoencoder.interpolate(x_a, x_b, steps)

    def traverse(
        self, x: Tensor, rows: int | None = None, steps: int = 9, reach: float = 3.0
    ) -> Tensor:
        """A signal x (C, *size), changed along one latent dimension a row: (R, steps, C, *size).

        Arguments:
            x: Where the other dimensions come from.
            rows: R, how many dimensions, the one that holds most first; all if not given.
            steps: Values of each.
            reach: How far to each side, in standard deviations of the prior.

        Raises:
            InputError: If x is no such signal, or one of the others is out of range.
        """
        if rows is not None:
            rows = a_whole_number(rows, "The number of dimensions, a row each,", 1, self.dim)
        steps = a_whole_number(steps, "steps")
        values = self.signal.channels * math.prod(self.signal.size)
        check_room(steps * (rows or self.dim), values, "signals")
        order = self.autoencoder.order[:rows]
        return traverse(self.autoencoder, self.prior, x, order, steps, reach)
