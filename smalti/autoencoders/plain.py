"""The plain autoencoder, trained by its reconstruction alone.

    z = encoder(x)        x_hat = decoder(z)        loss: between x_hat and x

It learns nothing about how its latents are distributed, so nothing can be drawn from it as it is.
What stands in is the Gaussian of the mean and covariance that the latents of training data had
(ex-post density estimation).

References:
    Reducing the Dimensionality of Data with Neural Networks, G. E. Hinton and R. R. Salakhutdinov,
    2006.
    From Variational to Deterministic Autoencoders, P. Ghosh et al., 2019, arXiv 1903.12436, on
    drawing from an autoencoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from smalti.arguments import check_result
from smalti.artifacts import registered
from smalti.autoencoders.base import Reconstruction
from smalti.autoencoders.continuous import ContinuousAutoencoder
from smalti.losses.likelihoods import Likelihood
from smalti.networks import Normalization
from smalti.signals import Signal

__all__ = ["PlainAutoencoder"]


@registered
class PlainAutoencoder(ContinuousAutoencoder):
    """A plain autoencoder, with latent vectors and the reconstruction loss alone.

    Arguments:
        encoder: (B, C, *size) → (B, D), with the attribute `downsampling`.
        decoder: (B, D) → (B, C, *size), or with a likelihood (B, likelihood.channels(C), *size),
            with the attribute `dim` (D).
        signal: The signal that it is trained on.
        likelihood: p(x | h) of the decoder's output h; the output is the signal itself if None.
        normalization: Maps signals to what the networks see; no normalization if None.

    Raises:
        InputError: If the signal has no size.

    Example:
        >>> from smalti.networks import ConvEncoder, VectorDecoder, VectorEncoder
        >>> from smalti.modalities.image import Image
        >>> signal, grid = Image(channels=1, size=(28, 26)), (7, 7)
        >>> inner = ConvEncoder(signal, 4, hidden=8)
        >>> model = PlainAutoencoder(
        ...     VectorEncoder(inner, grid, 16),
        ...     VectorDecoder(inner.mirror(signal, 4), grid, 16),
        ...     signal,
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
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__(encoder, decoder, signal)
        self.likelihood = likelihood
        self._take_normalization(normalization)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Reconstruction:
        """See `Autoencoder.forward`; it has losses with a likelihood alone."""
        self._refuse(mask)
        z = self._encoded(x)
        h, last = self._decoded(z), self._last_weight(self.decoder)
        if self.likelihood is None:
            return Reconstruction(h, z, {}, last_weight=last)
        nll, x_hat = self._likelihood_of(h, x)
        losses = {"reconstruction": nll.mean() / x[0].numel()}
        return Reconstruction(x_hat, z, losses, last_weight=last)

    @torch.no_grad()
    def encode(self, x: Any, any_size: bool = False) -> Tensor:
        """See `Autoencoder.encode`: latents are (B, D)."""
        y = self.normalize(self.as_batch(x, any_size))
        return check_result(self._encoded(y), "The encoder")

    def describe(self, x: Tensor) -> tuple[Tensor, None]:
        """See `ContinuousAutoencoder.describe`."""
        return self.encode(x), None

    @property
    def latent_distribution(self) -> tuple[Tensor, Tensor]:
        """Returns `latent_mean` and `latent_covariance`: as the latents of training data lie."""
        return self.latent_mean, self.latent_covariance

    @property
    def order(self) -> Tensor:
        """Returns the latent dimensions, the one that varies most first."""
        return self.latent_covariance.diagonal().argsort(descending=True)
