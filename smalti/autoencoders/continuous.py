"""Continuous autoencoders: a signal becomes one vector of D real numbers.

    z = encoder(x)          (B, D)
    x_hat = decoder(z)      (B, C, *size)

They share encoders and decoders with the VQ-VAE, by way of `smalti.networks.VectorEncoder`.

How the latents of training data lie, their mean and covariance and what each dimension holds, is
saved with the model. Which distribution new latents are drawn from follows from the kind of model,
see `latent_distribution`; they are drawn by `smalti.priors.GaussianPrior`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from smalti.arguments import as_floats, check_finite, check_result, to_weights
from smalti.autoencoders.base import Autoencoder
from smalti.autoencoders.padding import crop, pad
from smalti.autoencoders.paths import linear_path
from smalti.errors import InputError
from smalti.nn.precision import KeepsFloat32
from smalti.signals import Signal

__all__ = ["ContinuousAutoencoder"]


class ContinuousAutoencoder(KeepsFloat32, Autoencoder):
    """Abstract: an autoencoder whose latents are vectors (B, D) of real numbers.

    Sizes that the downsampling does not divide are padded by reflection on the far side, and the
    reconstruction is cropped back.

    Arguments:
        encoder: (B, C, *size) → vectors, with the attribute `downsampling`.
        decoder: (B, D) → (B, C or more, *size), with the attribute `dim` (D).
        signal: The signal that it is trained on. `encode` checks its input against it.

    Attributes:
        dim: D.
        latent_mean: The mean (D,) of the latents of training data; `summarise` sets it.
        latent_covariance: Their covariance (D, D).
        latent_kl: The mean KL of each dimension (D,), in nats; zeros where latents have no
            distribution.

    Raises:
        InputError: If the signal has no size.
    """

    in_float32 = ("latent_mean", "latent_covariance", "latent_kl")
    latent_mean: Tensor
    latent_covariance: Tensor
    latent_kl: Tensor

    def __init__(self, encoder: nn.Module, decoder: nn.Module, signal: Signal) -> None:
        super().__init__()
        if signal.spatial_dims and not signal.size:
            raise InputError("A latent vector is of a signal of one size, got none: give a size.")
        self.encoder, self.decoder, self.signal = encoder, decoder, signal
        self.downsampling: int = encoder.downsampling  # type: ignore[assignment]
        self.dim: int = decoder.dim  # type: ignore[assignment]
        zeros = torch.zeros(self.dim, dtype=torch.float32)
        self.register_buffer("latent_mean", zeros)
        self.register_buffer("latent_covariance", zeros.new_ones(self.dim).diag())
        self.register_buffer("latent_kl", zeros.clone())

    @property
    def layout(self) -> None:
        """Returns `None`: latents are real numbers."""

    @property
    @abstractmethod
    def latent_distribution(self) -> tuple[Tensor, Tensor]:
        """Returns mean (D,) and covariance (D, D) of the Gaussian of new latents."""

    @abstractmethod
    def describe(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns the latents of x, (B, D), and the nats that each dimension holds, (B, D).

        The second is `None` where latents have no distribution.
        """

    @property
    @abstractmethod
    def order(self) -> Tensor:
        """Returns (D,) int64: the latent dimensions, the one that holds most first."""

    @property
    def one_size(self) -> str:
        """See `Autoencoder.one_size`: a latent vector has a fixed number of dimensions."""
        return f"A {type(self).__name__}"

    def encode_flat(self, x: Any) -> Tensor:
        """See `Autoencoder.encode_flat`: latents are one tensor."""
        return self.encode(x)

    def decode_flat(self, latents: Tensor) -> Tensor:
        """See `Autoencoder.decode_flat`."""
        return self.decode(latents)

    def update(self) -> None:
        """Does nothing: all that is learned is learned by gradients."""

    def interpolate(self, x_a: Any, x_b: Any, steps: int) -> Tensor:
        """See `Autoencoder.interpolate`."""
        z_a, z_b = self.encode(self.as_pair(x_a, x_b))
        return self.decode(linear_path(z_a, z_b, steps))

    @torch.no_grad()
    def nll(self, x: Tensor, latents: Any = None) -> Tensor:
        """See `Autoencoder.nll`; latents are those that `encode` gives if they are not given."""
        self.needed_likelihood()
        x = self.as_batch(x)
        z = self.encode(x) if latents is None else as_floats(latents, "Latents")
        return self._nats(self._decoded(to_weights(z, self)), x)

    @torch.no_grad()
    def summarise(self, z: Tensor, kl: Tensor | None) -> None:
        """Stores mean, covariance and KL of the latents of training data in the model.

        Arguments:
            z: (N, D), N at least 1; a single example lies at its place, with a covariance of 0.
            kl: (D,) nats, or `None`.
        """
        self.latent_mean.copy_(z.mean(0))
        covariance = torch.cov(z.T, correction=min(1, len(z) - 1))
        self.latent_covariance.copy_(covariance.reshape(self.dim, self.dim))
        if kl is not None:
            self.latent_kl.copy_(kl)

    @torch.no_grad()
    def decode(self, latents: Any, size: tuple[int, ...] | None = None) -> Tensor:
        """Decodes latents (B, D) to signals (B, C, *size), clipped to the signal's range.

        With a likelihood it is the mean of p(x | z) that is shown.

        Raises:
            InputError: If the latents have another shape, or a size is given that is not the
                signal's own, or the result is not finite.
        """
        if size is not None and tuple(size) != tuple(self.signal.size):
            raise InputError(
                f"A latent vector is of a signal of the size {self.signal.size}, got {size}: leave "
                f"it out."
            )
        z = as_floats(latents, "Latents")
        check_finite(z.float(), "Latents")
        x_hat = self._decoded(to_weights(z, self))
        if self.likelihood is not None:
            x_hat = self.likelihood.point_estimate(x_hat)
        return self.signal.finish(check_result(self._raw(x_hat), "The decoder"))

    def _refuse(self, mask: Tensor | None) -> None:
        """Raises `InputError` for a mask."""
        if mask is not None:
            raise InputError(
                f"A {type(self).__name__} takes signals as a whole, got a mask: leave it out, or "
                f"train on signals of one size."
            )

    def _encoded(self, x: Tensor) -> Tensor:
        """Runs the encoder on x (B, C, *size), as `normalize` gives it, in float32."""
        return self.encoder(pad(self._seen(x), self.downsampling)).float()

    def _decoded(self, z: Tensor) -> Tensor:
        """Runs the decoder on z (B, D); its output has the signal's size, in float32."""
        if z.ndim != 2 or z.shape[1] != self.dim:
            raise InputError(
                f"Latents have the shape (B, {self.dim}), got {tuple(z.shape)}: "
                f"give one vector a signal."
            )
        return crop(self.decoder(to_weights(z, self.decoder)), self.signal.size).float()
