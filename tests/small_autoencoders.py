"""Small continuous autoencoders, and one whose every quantity has a closed form."""

from __future__ import annotations

import torch
from torch import nn

from smalti.artifacts import registered
from smalti.autoencoders import ContinuousAutoencoder, PlainAutoencoder, VariationalAutoencoder
from smalti.losses.likelihoods import Gaussian, Likelihood
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder, Features, VectorDecoder, VectorEncoder
from smalti.signals import Signal

__all__ = ["AffineMap", "assemble", "linear_gaussian"]


def assemble(
    signal: Signal, dim: int = 5, likelihood: Likelihood | None = None, variational: bool = True
) -> ContinuousAutoencoder:
    """Tiny networks with a downsampling of 4; a VAE is Gaussian if not told otherwise."""
    grid = tuple(-(-length // 4) for length in signal.size)
    sizes = {"hidden": 8, "residual_hidden": 4}
    if variational:
        likelihood = likelihood or Gaussian(0.5)
    channels = likelihood.channels(signal.channels) if likelihood else signal.channels
    inner = ConvEncoder(signal, 3, **sizes)
    encoder = VectorEncoder(inner, grid, 2 * dim if variational else dim)
    decoder = VectorDecoder(
        ConvDecoder(Features(channels, spatial_dims=signal.spatial_dims), 3, **sizes), grid, dim
    )
    if variational:
        return VariationalAutoencoder(encoder, decoder, likelihood, signal).eval()
    return PlainAutoencoder(encoder, decoder, signal, likelihood).eval()


@registered
class AffineMap(nn.Module):
    """y = W x + b between flat signals and latents."""

    downsampling = 1

    def __init__(self, inputs: int, dim: int, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.dim = inputs if shape else dim  # a decoder's is that of its input
        self.shape = tuple(shape) or (dim,)
        self.linear = nn.Linear(inputs, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1)).unflatten(1, self.shape)


def linear_gaussian(
    scale: float = 0.4,
) -> tuple[VariationalAutoencoder, torch.distributions.MultivariateNormal]:
    """p(x | z) = N(W z + b, scale²) over 1×1×3 signals with D = 2, the true posterior as encoder,
    and the p(x) that follows: N(b, W Wᵀ + scale²).

    The columns of W are orthogonal, so that the true posterior has independent dimensions.
    """
    signal = Image(1, (1, 3), low=-9.0, high=9.0)
    model = VariationalAutoencoder(
        AffineMap(3, 4), AffineMap(2, 3, (1, 1, 3)), Gaussian(scale), signal
    )
    w = torch.tensor([[0.8, 0.3], [0.6, -0.4], [0.0, 0.5]])
    b = torch.tensor([0.1, -0.2, 0.3])
    assert float(w[:, 0] @ w[:, 1]) == 0
    variance = 1 / (1 + (w**2).sum(0) / scale**2)  # (2,)
    with torch.no_grad():
        model.decoder.linear.weight.copy_(w)
        model.decoder.linear.bias.copy_(b)
        to_mean = variance[:, None] * w.T / scale**2
        model.encoder.linear.weight.copy_(torch.cat([to_mean, torch.zeros(2, 3)]))
        model.encoder.linear.bias.copy_(torch.cat([-to_mean @ b, variance.log()]))
    marginal = torch.distributions.MultivariateNormal(b, w @ w.T + scale**2 * torch.eye(3))
    return model.eval(), marginal
