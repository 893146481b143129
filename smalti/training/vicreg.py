"""VICReg, the self-supervised loss that trains a network of features without labels.

Each signal gives two random views: a random crop of at least half the length along each dimension,
resized to the whole, with a small random gain, offset and noise. An expander maps the features of
both views to embeddings z and z' (B, E), and

    loss = 25 · mean (z − z')² + 25 · V(z) + 25 · V(z') + C(z) + C(z')
    V(z) = mean_e max(0, 1 − std_e)         keeps each dimension from becoming constant
    C(z) = Σ_{i≠j} cov_ij² / E              keeps dimensions from repeating each other

The expander sees the mean over the positions of every layer, so that each layer learns. The
features come from a small network and these data alone: they tell such signals apart, and know
nothing of what people see in them.

References:
    VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning, A. Bardes,
    J. Ponce and Y. LeCun, 2022, arXiv 2105.04906, equations 1 to 6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.networks import FeatureNetwork, Normalization
from smalti.networks.normalization import network_input

__all__ = ["FeaturePretraining", "random_views", "vicreg"]

EMBEDDED = 256  # E
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
SMALLEST_PART = 0.5  # of the length, along each dimension
GAIN, OFFSET, NOISE = 0.4, 0.2, 0.05  # of views, where values are about 1
EPSILON = 1e-4


class FeaturePretraining(nn.Module):
    """A network of features, and the expander that it is trained with.

    Arguments:
        network: The network.
        normalization: Maps signals to what it sees; see `Splits.normalization`.
        x: (B, C, *size), signals to find the channels of its layers with.
    """

    def __init__(
        self, network: FeatureNetwork, normalization: Normalization | None, x: Tensor
    ) -> None:
        super().__init__()
        self.network, self.normalization = network, normalization
        with torch.no_grad():
            channels = sum(maps.shape[1] for maps in network(self.normalize(x)))
        self.expander = nn.Sequential(
            nn.BatchNorm1d(channels),  # means over positions differ little from signal to signal
            nn.Linear(channels, EMBEDDED),
            nn.BatchNorm1d(EMBEDDED),
            nn.ReLU(),
            nn.Linear(EMBEDDED, EMBEDDED),
        )

    def normalize(self, x: Tensor) -> Tensor:
        """Returns what the network sees of signals, 0 where a value is missing."""
        return network_input(x, self.normalization)

    def forward(self, x: Tensor) -> Tensor:
        """Maps views (B, C, *size) to embeddings (B, E)."""
        return self.expander(torch.cat([maps.flatten(2).mean(2) for maps in self.network(x)], 1))


def random_views(x: Tensor) -> Tensor:
    """Makes a random view of each signal x (B, C, *size), of one or two dimensions."""
    n, dims = len(x), x.ndim - 2
    planes = x.float() if dims == 2 else x.float().unsqueeze(2)
    part = torch.empty(n, 2, device=x.device).uniform_(SMALLEST_PART, 1)
    place = (1 - part) * torch.empty_like(part).uniform_(-1, 1)
    theta = torch.cat([torch.diag_embed(part), place[:, :, None]], 2)
    with torch.autocast(x.device.type, enabled=False):
        grid = F.affine_grid(theta, list(planes.shape), align_corners=False)
        moved = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    views = moved if dims == 2 else moved.squeeze(2)
    each = (n, *[1] * (x.ndim - 1))
    gain = 1 + GAIN * torch.empty(each, device=x.device).uniform_(-1, 1)
    channels = (n, x.shape[1], *[1] * dims)
    offset = OFFSET * torch.empty(channels, device=x.device).uniform_(-1, 1)
    return (gain * views + offset + NOISE * torch.randn_like(views)).to(x.dtype)


def vicreg(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Computes the loss of the embeddings (B, E) of two views, and its unweighted terms.

    Example:
        >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> {name: round(term.item(), 3) for name, term in vicreg(z, z).items()}
        {'loss': 0.0, 'invariance': 0.0, 'variance': 0.0, 'covariance': 0.0}
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float(), b.float()
        invariance = F.mse_loss(a, b)
        variance, covariance = torch.zeros_like(invariance), torch.zeros_like(invariance)
        for z in (a, b):
            centred = z - z.mean(0)
            std = (centred.square().sum(0) / max(len(z) - 1, 1) + EPSILON).sqrt()
            variance = variance + F.relu(1 - std).mean()
            of_pairs = centred.T @ centred / max(len(z) - 1, 1)
            off_diagonal = of_pairs.square().sum() - of_pairs.diagonal().square().sum()
            covariance = covariance + off_diagonal / z.shape[1]
        loss = INVARIANCE * invariance + VARIANCE * variance + COVARIANCE * covariance
    return {
        "loss": loss,
        "invariance": invariance,
        "variance": variance,
        "covariance": covariance,
    }
