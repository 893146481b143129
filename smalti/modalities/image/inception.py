"""FID and KID with features of Inception, if the network's weights are on this machine.

Published FIDs use one particular set of weights of Inception v3, 91 MB that smalti does not ship
and does not download on its own: an evaluation of local data never touches the network. If the
package `torch-fidelity` is installed (the extra `smalti[fid]`) and its weights lie where torch
keeps downloads, both distances are computed through torchmetrics.

References:
    GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, M. Heusel et
    al., 2017, arXiv 1706.08500.
    Demystifying MMD GANs, M. Bińkowski et al., 2018, arXiv 1801.01401.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from smalti.modalities.image.pictures import to_uint8

__all__ = [
    "Inception",
    "FIDAndKID",
    "inception_distances",
    "inception_features",
    "load_inception",
]

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
ADDRESS = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS}"
SUBSETS = 100


class FIDAndKID(NamedTuple):
    """FID and KID between two sets of images.

    Attributes:
        fid: The Fréchet inception distance.
        kid: The kernel inception distance, the mean over 100 random subsets.
        subset: Images per subset.
    """

    fid: float
    kid: float
    subset: int


class Inception(nn.Module):
    """Computes Inception's features (B, D) of images (B, C, H, W) in [-1, 1].

    Images are first converted to 8 bits and three channels.

    Arguments:
        network: The network, (B, 3, H, W), uint8 → (B, D).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        pixels = to_uint8(x).to(x.device)
        return self.network(pixels if pixels.shape[1] == 3 else pixels.expand(-1, 3, -1, -1))


def load_inception(
    device: torch.device | str = "cpu", folder: str | Path | None = None
) -> Inception | str:
    """Loads Inception up to its 2048 pooled features, or returns a line on why it is missing.

    Arguments:
        device: The device to load it to.
        folder: The folder of the weights; default: torch's own folder of downloads.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints" if folder is None else Path(folder)
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3
        from torchmetrics.utilities.imports import _TORCH_FIDELITY_AVAILABLE
    except Exception as error:  # its imports break in many ways beside an unfitting torchvision
        return f"torch-fidelity cannot be imported here ({type(error).__name__})."
    if not _TORCH_FIDELITY_AVAILABLE:
        return (
            "the package torch-fidelity, which holds the Inception network of published FIDs, "
            "is not installed (pip install 'smalti[fid]')."
        )
    weights = folder / WEIGHTS
    if not weights.is_file():
        return (
            f"the weights of Inception are not on this machine: download {ADDRESS} into {folder}."
        )
    # Without antialiasing: images are enlarged as those who published the distance did.
    network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights), antialias=False)
    return Inception(network).eval().to(device)


@torch.no_grad()
def inception_features(inception: Inception, images: Iterable[Tensor]) -> Tensor:
    """Computes features (N, D), on the CPU, of batches of images (B, 1 or 3, H, W) in [-1, 1]."""
    return torch.cat([inception(batch).cpu() for batch in images])


def inception_distances(real: Tensor, generated: Tensor, seed: int = 0) -> FIDAndKID:
    """Computes FID and KID between features (N, D) and (M, D), both of at least 2 rows.

    KID is the mean over 100 random subsets of at most 1000 rows.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    subset = min(1000, len(real), len(generated))
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # that KID keeps its features
        torch.default_generator.manual_seed(seed)  # features, and KID's draws, are on the CPU
        fid = FrechetInceptionDistance(feature=_Given(real.shape[1]))
        kid = KernelInceptionDistance(
            feature=_Given(real.shape[1]), subsets=SUBSETS, subset_size=subset
        )
        for metric in (fid, kid):
            metric.update(real.double(), real=True)
            metric.update(generated.double(), real=False)
        return FIDAndKID(fid.compute().item(), kid.compute()[0].item(), subset)


class _Given(nn.Module):
    """In the place of a network: takes features that were computed once for both distances."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
