"""Metrics of reconstructed images: MSE, MSE/variance, PSNR and SSIM.

Beside the squared error (`SquaredError`), of N images x of C·H·W values and reconstructions x̂

    PSNR         = mean over images of 10 log10(1 / mse(image))   images scaled to [0, 1]
    SSIM         = mean over images                               images scaled to [0, 1]

PSNR and SSIM are given on [0, 1] with a data range of 1: a data range of 2 on such images would
raise SSIM by 0.04 to 0.10 for nothing.

References:
    Image quality assessment: from error visibility to structural similarity (Wang et al., 2004):
    the window is a Gaussian of σ = 1.5 over 11 × 11 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics.functional.image.psnr import peak_signal_noise_ratio
from torchmetrics.functional.image.ssim import structural_similarity_index_measure

from smalti.modalities.base import Metric
from smalti.modalities.image.signal import Image
from smalti.modalities.squared_error import SquaredError
from smalti.reporting.figures import Figure, figure

__all__ = ["WINDOW", "ReconstructionQuality", "psnr"]

WINDOW = 11  # px: the side of the window of SSIM


def psnr(x_hat: Tensor, x: Tensor) -> float:
    """Computes the mean PSNR in dB of reconstructions x_hat of x, both (B, C, H, W) in [-1, 1].

    Example:
        >>> x = torch.zeros(1, 1, 4, 4)
        >>> round(psnr(x + 0.2, x), 3)  # 0.1 apart on [0, 1]
        20.0
    """
    return _psnr(*_unit(x_hat, x)).mean().item()


class ReconstructionQuality(Metric):
    """Measures MSE, MSE/variance, PSNR and SSIM of reconstructed images, batch by batch.

    Example:
        >>> quality = ReconstructionQuality()
        >>> x = torch.linspace(-1, 1, 4 * 3 * 16 * 16).view(4, 3, 16, 16)
        >>> quality.update(x, torch.zeros_like(x))
        >>> round(quality.figures("test set")["mse_over_variance"]["value"], 6)
        1.0
    """

    names: ClassVar[Mapping[str, str]] = {
        **SquaredError.names,
        "psnr": "PSNR",
        "ssim": "SSIM",
    }
    units: ClassVar[Mapping[str, str]] = {"psnr": "dB"}
    cards: ClassVar[Mapping[str, tuple[str, str]]] = {
        "psnr": ("PSNR of reconstructions", ""),
        "mse_over_variance": ("MSE / variance", "0 is perfect, 1 a flat grey"),
    }

    def __init__(self) -> None:
        self.error = SquaredError(Image(1))
        self.psnr: list[Tensor] = []
        self.ssim: list[Tensor] = []

    @torch.no_grad()
    def update(self, x: Tensor, x_hat: Tensor) -> None:
        """Adds a batch of x and x_hat, both (B, C, H, W) in [-1, 1]."""
        self.error.update(x, x_hat)
        x_hat, x = _unit(x_hat, x)
        self.psnr.append(_psnr(x_hat, x))
        if min(x.shape[2:]) >= WINDOW:
            ssim = structural_similarity_index_measure(x_hat, x, data_range=1.0, reduction="none")
            assert isinstance(ssim, Tensor)
            self.ssim.append(ssim.reshape(-1))

    def figures(self, measured_on: str) -> dict[str, Figure]:
        """Returns MSE, MSE/variance, PSNR and, where images are at least 11 px wide and high, SSIM.

        Arguments:
            measured_on: The set and its N, for the protocols.
        """
        figures = {**self.error.figures(measured_on), "psnr": self._mean_psnr(measured_on)}
        if self.ssim:
            figures["ssim"] = figure(
                torch.cat(self.ssim).double().mean().item(),
                "",
                f"{measured_on}, values in [0, 1], data range 1, Gaussian window 11 × 11, σ 1.5; "
                f"mean over images",
            )
        return figures

    def missing(self) -> dict[str, str]:
        """Says why there is no SSIM, where there is none."""
        if self.ssim:
            return {}
        return {"ssim": f"its window needs images of at least {WINDOW} × {WINDOW} pixels."}

    def _mean_psnr(self, measured_on: str) -> Figure:
        """Returns the mean PSNR; exact reconstructions are left out, and the protocol says so."""
        psnr = torch.cat(self.psnr).double()
        exact = psnr.isinf()
        protocol = f"{measured_on}, values in [0, 1], data range 1; mean over images"
        if exact.any() and not exact.all():
            psnr = psnr[~exact]
            protocol += (
                f", without {int(exact.sum())} that were reconstructed exactly (infinite PSNR)"
            )
        return figure(psnr.mean().item(), "dB", protocol)


def _unit(*images: Tensor) -> tuple[Tensor, ...]:
    """Clips to [-1, 1] and scales to [0, 1]."""
    return tuple((x.float().clamp(-1, 1) + 1) / 2 for x in images)


def _psnr(x_hat: Tensor, x: Tensor) -> Tensor:
    """Returns the PSNR (B,) of images in [0, 1]."""
    psnr = peak_signal_noise_ratio(x_hat, x, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return psnr.reshape(-1)
