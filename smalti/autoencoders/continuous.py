"""Continuous autoencoders: a signal becomes one vector of D real numbers.

    z = encoder(x)          (B, D)
    x_hat = decoder(z)      (B, C, *size)

With a likelihood the decoder gives h, which makes a distribution of the signal: p(x | z) =
likelihood(h), x_hat = E[x | h].

They share encoders and decoders with the VQ-VAE: a `VectorEncoder` flattens the grid of vectors
that such an encoder gives and maps it linearly to z, a `VectorDecoder` goes the other way.

A plain autoencoder learns nothing about how its latents are distributed, so nothing can be drawn
from it as it is. What stands in here is the Gaussian of the mean and covariance that the latents of
training data had (ex-post density estimation).

References:
    Reducing the Dimensionality of Data with Neural Networks, G. E. Hinton and R. R. Salakhutdinov,
    2006.
    From Variational to Deterministic Autoencoders, P. Ghosh et al., 2019, arXiv 1903.12436, on
    drawing from an autoencoder.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from smalti.arguments import (
    a_generator,
    a_number,
    a_whole_number,
    as_floats,
    as_integers,
    as_tensor,
    check_finite,
    check_result,
    to_weights,
)
from smalti.artifacts import Pretrained, registered
from smalti.autoencoders.inputs import as_batch, as_pair
from smalti.autoencoders.padding import crop, pad
from smalti.autoencoders.paths import line
from smalti.errors import InputError
from smalti.losses.likelihoods import Likelihood
from smalti.nn.precision import KeepsFloat32
from smalti.signals import Signal

__all__ = [
    "Autoencoder",
    "ContinuousAutoencoder",
    "LatentReconstruction",
    "VectorDecoder",
    "VectorEncoder",
]


class LatentReconstruction(NamedTuple):
    """The output of a forward pass.

    Attributes:
        x_hat: (B, C, *size), the reconstruction.
        z: (B, D), the latents.
        losses: Unweighted scalars, in nats per dimension of the signal, such as "kl".
        kl: (D,), nats that each latent dimension holds, the mean over the batch; `None` where
            latents have no distribution.
    """

    x_hat: Tensor
    z: Tensor
    losses: dict[str, Tensor]
    kl: Tensor | None


@registered
class VectorEncoder(nn.Module):
    """Encodes signals with an encoder of grids and a linear map: x (B, C, *size) to (B, dim).

    Arguments:
        inner: (B, C, *size) → (B, E, *grid), with the attributes `dim` (E) and `downsampling`.
        grid: Its grid for the signals at hand.
        dim: Numbers per signal: D, or 2 D for a mean and a log-variance each.
    """

    def __init__(self, inner: nn.Module, grid: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.inner, self.grid, self.dim = inner, tuple(grid), dim
        self.downsampling: int = inner.downsampling  # type: ignore[assignment]
        self.linear = nn.Linear(inner.dim * math.prod(grid), dim)  # type: ignore[arg-type, operator]

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, C, *size) to (B, dim)."""
        return self.linear(rearrange(self.inner(x), "b e ... -> b (e ...)"))


@registered
class VectorDecoder(nn.Module):
    """The mirror of `VectorEncoder`: z (B, D) → (B, C, *size).

    Arguments:
        inner: (B, E, *grid) → (B, C, *size), with the attribute `dim` (E).
        grid: The grid that it starts from.
        dim: D.
    """

    def __init__(self, inner: nn.Module, grid: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.inner, self.grid, self.dim = inner, tuple(grid), dim
        self.linear = nn.Linear(dim, inner.dim * math.prod(grid))  # type: ignore[arg-type, operator]

    def forward(self, z: Tensor) -> Tensor:
        """Maps z (B, D) to (B, C, *size)."""
        return self.inner(self.linear(z).unflatten(1, (-1, *self.grid)))


class ContinuousAutoencoder(KeepsFloat32, Pretrained, ABC):
    """Abstract: signals to vectors and back, with a distribution to draw vectors from.

    Sizes that the downsampling does not divide are padded by reflection on the far side, and the
    reconstruction is cropped back.

    Arguments:
        encoder: (B, C, *size) → vectors, with the attribute `downsampling`.
        decoder: (B, D) → (B, C or more, *size), with the attribute `dim` (D).
        signal: What the model is trained on. `encode` checks its input against it.

    Attributes:
        dim: D.
        likelihood: p(x | h) of the decoder's output h, if it has one.
        latent_mean: (D,), of the latents of training data, see `summarise`.
        latent_covariance: (D, D), likewise.
        latent_kl: (D,), nats that each dimension holds; zeros where latents have no distribution.

    Raises:
        InputError: If the signal has no size.
    """

    in_float32 = ("latent_mean", "latent_covariance", "latent_kl")
    likelihood: Likelihood | None
    latent_mean: Tensor
    latent_covariance: Tensor
    latent_kl: Tensor

    def __init__(self, encoder: nn.Module, decoder: nn.Module, signal: Signal) -> None:
        super().__init__()
        if not signal.size:
            raise InputError("A latent vector is of a signal of one size, got none: give a size.")
        self.encoder, self.decoder, self.signal = encoder, decoder, signal
        self.downsampling: int = encoder.downsampling  # type: ignore[assignment]
        self.dim: int = decoder.dim  # type: ignore[assignment]
        zeros = torch.zeros(self.dim, dtype=torch.float32)
        self.register_buffer("latent_mean", zeros)
        self.register_buffer("latent_covariance", zeros.new_ones(self.dim).diag())
        self.register_buffer("latent_kl", zeros.clone())

    @abstractmethod
    def forward(self, x: Tensor) -> LatentReconstruction:
        """Reconstructs x (B, C, *size), with gradients and losses."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Encodes signals x (B, C, *size) to latents (B, D).

        Raises:
            InputError: If x is not a batch of the signal that the model was trained on.
        """

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Decodes latents (B, D) to signals (B, C, *size), clipped to the signal's range.

        Raises:
            InputError: If z has another shape.
        """

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws n latents (n, D) of the distribution that samples are made from.

        Arguments:
            n: How many.
            generator: On the CPU; torch's global one if there is none.
        """

    @property
    @abstractmethod
    def spread(self) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation, (D,) each, of what `draw` draws."""

    @property
    @abstractmethod
    def order(self) -> Tensor:
        """Returns (D,) int64: the latent dimensions, the one that holds most first."""

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws n new signals (n, C, *size).

        Raises:
            InputError: If n is negative or no whole number.
        """
        n = a_whole_number(n, "The number of samples", 0)
        return self.decode(self.draw(n, a_generator(generator)))

    def interpolate(self, x_a: Tensor, x_b: Tensor, steps: int) -> Tensor:
        """Decodes points on the straight line between the latents of two signals.

        Arguments:
            x_a: (C, *size).
            x_b: (C, *size).
            steps: Signals on the way, both ends included.

        Returns:
            (steps, C, *size): from the reconstruction of x_a to that of x_b.

        Raises:
            InputError: If the two are not signals that the model was trained on.
        """
        z_a, z_b = self.encode(as_pair(x_a, x_b, self.signal, self))
        return self.decode(line(z_a, z_b, steps))

    def traverse(self, x: Tensor, dims: Tensor, steps: int, reach: float = 3.0) -> Tensor:
        """Decodes latents in which one dimension changes and the others stay.

        Arguments:
            x: (C, *size), where the others come from.
            dims: (R,), which dimensions; see `order`.
            steps: Values of each dimension.
            reach: How far to each side of the mean, in standard deviations of `spread`.

        Returns:
            (R, steps, C, *size).

        Raises:
            InputError: If x is not a signal that the model was trained on, or reach is not above 0.
        """
        reach = a_number(reach, "The reach of a traversal", "3 is usual")
        if not 0 < reach < math.inf:
            raise InputError(f"The reach of a traversal is above 0, got {reach:g}: 3 is usual.")
        dims = as_integers(dims, "The dimensions")
        if dims.ndim != 1 or bool(((dims < 0) | (dims >= self.dim)).any()):
            raise InputError(
                f"The dimensions are a row of numbers from 0 to {self.dim - 1}, got "
                f"{dims.tolist()}: take some of `order`."
            )
        (z,) = self.encode(as_tensor(x, "The signal")[None])
        mean, deviation = self.spread
        values = line(mean - reach * deviation, mean + reach * deviation, steps)  # (steps, D)
        varied = z.expand(len(dims), steps, -1).clone()
        for row, d in zip(varied, dims.tolist(), strict=True):
            row[:, d] = values[:, d]
        return self.decode(varied.flatten(0, 1)).unflatten(0, (len(dims), steps))

    @torch.no_grad()
    def summarise(self, z: Tensor, kl: Tensor | None) -> None:
        """Takes note of how latents of training data lie; saved with the model.

        Arguments:
            z: (N, D), N at least 1; a single example lies at its place, with a covariance of 0.
            kl: (D,) nats, or `None`.
        """
        self.latent_mean.copy_(z.mean(0))
        covariance = torch.cov(z.T, correction=min(1, len(z) - 1))
        self.latent_covariance.copy_(covariance.reshape(self.dim, self.dim))
        if kl is not None:
            self.latent_kl.copy_(kl)

    def _shown(self, z: Tensor) -> Tensor:
        """Decodes latents of any floating-point type to signals, clipped to their range."""
        z = as_floats(z, "Latents")
        check_finite(z.float(), "Latents")
        x_hat = self._decoded(to_weights(z, self))
        if self.likelihood is not None:
            x_hat = self.likelihood.point_estimate(x_hat)
        return self.signal.finish(check_result(x_hat, "The decoder"))

    def _encoded(self, x: Tensor) -> Tensor:
        """Runs the encoder on x (B, C, *size), in float32."""
        return self.encoder(pad(x, self.downsampling)).float()

    def _decoded(self, z: Tensor) -> Tensor:
        """Runs the decoder on z (B, D); its output has the signal's size, in float32."""
        if z.ndim != 2 or z.shape[1] != self.dim:
            raise InputError(
                f"Latents have the shape (B, {self.dim}), got {tuple(z.shape)}: "
                f"give one vector a signal."
            )
        return crop(self.decoder(to_weights(z, self.decoder)), self.signal.size).float()


@registered
class Autoencoder(ContinuousAutoencoder):
    """The plain autoencoder: its one loss is that of the reconstruction.

    Arguments:
        encoder: (B, C, *size) → (B, D), with the attribute `downsampling`.
        decoder: (B, D) → (B, C, *size), or with a likelihood (B, likelihood.channels(C), *size),
            with the attribute `dim` (D).
        signal: What the model is trained on.
        likelihood: p(x | h) of the decoder's output h; the output is the signal itself if None.

    Example:
        >>> from smalti.autoencoders import ConvDecoder, ConvEncoder
        >>> from smalti.modalities.image import Image
        >>> grid = (7, 7)
        >>> model = Autoencoder(
        ...     VectorEncoder(ConvEncoder(1, 4, hidden=8), grid, 16),
        ...     VectorDecoder(ConvDecoder(1, 4, hidden=8), grid, 16),
        ...     Image(channels=1, size=(28, 26)),
        ... ).eval()
        >>> z = model.encode(torch.zeros(2, 1, 28, 26))
        >>> z.shape, model.decode(z).shape
        (torch.Size([2, 16]), torch.Size([2, 1, 28, 26]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        signal: Signal,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__(encoder, decoder, signal)
        self.likelihood = likelihood

    def forward(self, x: Tensor) -> LatentReconstruction:
        """See `ContinuousAutoencoder.forward`.

        Returns:
            With a likelihood, `losses` are "reconstruction" = −log p(x | z), in nats per dimension.
        """
        z = self._encoded(x)
        h = self._decoded(z)
        if self.likelihood is None:
            return LatentReconstruction(h, z, {}, None)
        nll, x_hat = self.likelihood(h, x)
        return LatentReconstruction(x_hat, z, {"reconstruction": nll.mean() / x[0].numel()}, None)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """See `ContinuousAutoencoder.encode`."""
        return check_result(self._encoded(as_batch(x, self.signal, self)), "The encoder")

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """See `ContinuousAutoencoder.decode`."""
        return self._shown(z)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws z ~ N(latent_mean, latent_covariance), (n, D)."""
        noise = torch.randn(n, self.dim, generator=generator).to(self.latent_mean)
        # In half precision there are no eigenvectors; and NaN has none at all.
        covariance = check_result(self.latent_covariance.float(), "The spread of the latents")
        values, vectors = torch.linalg.eigh(covariance)
        return self.latent_mean + (noise.float() * values.clamp_min(0).sqrt() @ vectors.T).to(noise)

    @property
    def spread(self) -> tuple[Tensor, Tensor]:
        """Returns `latent_mean`, and the roots of the diagonal of `latent_covariance`."""
        return self.latent_mean, self.latent_covariance.diagonal().sqrt()

    @property
    def order(self) -> Tensor:
        """Returns the latent dimensions, the one that varies most first."""
        return self.latent_covariance.diagonal().argsort(descending=True)
