"""Latents → decoder: a continuous autoencoder makes new data by itself.

Its prior is part of it: N(0, I) of a VAE, the Gaussian of the training latents of a plain
autoencoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from smalti.artifacts import load_model
from smalti.autoencoders import ContinuousAutoencoder
from smalti.errors import InputError
from smalti.generation.sources import generator_of
from smalti.runs import Run
from smalti.signals import Signal

__all__ = ["ContinuousModel"]

BATCH = 256  # signals at a time


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

    def encode(self, x: Tensor) -> Tensor:
        """Signals (B, C, *size) → latents (B, D); see `ContinuousAutoencoder.encode`."""
        return torch.cat([self.autoencoder.encode(part.to(self.device)) for part in x.split(BATCH)])

    def decode(self, z: Tensor) -> Tensor:
        """Latents (B, D) → signals (B, C, *size); see `ContinuousAutoencoder.decode`."""
        return torch.cat([self.autoencoder.decode(part.to(self.device)) for part in z.split(BATCH)])

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
        if temperature < 0:
            raise InputError(f"The temperature is at least 0, got {temperature}: try 0.8.")
        z = self.autoencoder.draw(n, generator_of(n, seed))
        mean, _ = self.autoencoder.spread
        return self.decode(mean + temperature * (z - mean))

    def interpolate(self, x_a: Tensor, x_b: Tensor, steps: int = 8) -> Tensor:
        """From one signal (C, *size) to another: (steps, C, *size)."""
        return self.autoencoder.interpolate(x_a.to(self.device), x_b.to(self.device), steps)

    def traverse(
        self, x: Tensor, rows: int | None = None, steps: int = 9, reach: float = 3.0
    ) -> Tensor:
        """A signal x (C, *size), changed along one latent dimension a row: (R, steps, C, *size).

        Arguments:
            x: Where the other dimensions come from.
            rows: R, how many dimensions, the one that holds most first; all if not given.
            steps: Values of each.
            reach: How far to each side, in standard deviations of the prior.
        """
        dims = self.autoencoder.order[:rows]
        return self.autoencoder.traverse(x.to(self.device), dims, steps, reach)
