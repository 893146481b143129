"""What each level of a hierarchy holds: reconstructions from the first n levels, and their rates.

A reconstruction from the first n levels shows what these say about the image; what the next one
adds is the difference. The rate of a level is that of its indices given those of the levels above,
−log p(q_l | q_1 … q_{l−1}), under its own prior.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smalti.autoencoders import Tokenizer
from smalti.counting import counted
from smalti.evaluation.batches import pieces
from smalti.evaluation.material import TokenMaterial
from smalti.evaluation.rate import OF_TOKENS
from smalti.evaluation.report import Picture, Report
from smalti.modalities.image.metrics import ReconstructionQuality
from smalti.modalities.image.pictures import grid
from smalti.priors import Cascade
from smalti.reporting.figures import Figure, figure

__all__ = ["levels", "prefix"]

SHOWN, MEASURED = 8, 1000  # images


def levels(material: TokenMaterial, report: Report) -> None:
    """Of a hierarchical tokenizer: pictures and figures of every prefix of its levels."""
    tokenizer = material.tokenizer
    count = len(tokenizer.levels)
    if count == 1:
        return
    with report.attempt("Picture of the levels"):
        chosen = material.order[:SHOWN]
        rows = [material.test_images(chosen)]
        rows += [prefix(tokenizer, material.encoded.indices[chosen], n + 1) for n in range(count)]
        report.pictures["levels"] = Picture(
            grid(torch.cat(rows), columns=len(chosen)),
            "Test images above; below them what is left of them in the first level, in the first "
            "two, and so on.",
        )
    with report.attempt("What the levels hold", "levels"):
        report.figures["levels"] = {str(n): _quality(material, n) for n in range(count)}
    if isinstance(material.prior, Cascade) and "levels" in report.figures:
        with report.attempt("Rates of the levels"):
            for name, rate in _rates(material, material.prior).items():
                report.figures["levels"][name] |= rate


@torch.no_grad()
def prefix(tokenizer: Tokenizer, tokens: Tensor, n: int) -> Tensor:
    """Images (B, C, H, W) from the first n levels of tokens (B, P)."""
    device = next(tokenizer.parameters()).device
    return tokenizer.decode(tokenizer.split(tokens.to(device))[:n])


def _quality(material: TokenMaterial, level: int) -> dict[str, Figure]:
    """How faithful reconstructions from the levels up to this one are."""
    material.check_test()
    numbers = material.order[:MEASURED]
    quality = ReconstructionQuality()
    for (piece,) in pieces(numbers, size=material.limits.batch_size):
        assert piece is not None
        x_hat = prefix(material.tokenizer, material.encoded.indices[piece], level + 1)
        quality.update(material.test_images(piece), x_hat)
    shape = "×".join(map(str, material.tokenizer.grids[level]))
    measured = quality.figures(
        f"N = {len(numbers)} of the test set; level {level} ({shape}) and those above it decoded"
    )
    return {name: measured[name] for name in ("mse_over_variance", "psnr")}


def _rates(material: TokenMaterial, prior: Cascade) -> dict[str, dict[str, Figure]]:
    """Nats an index and bits an image of each level."""
    indices, context = material.encoded.indices, material.encoded.conditions
    context = None if prior.condition is None else context
    nats = torch.zeros(len(prior.levels), dtype=torch.float64)
    for piece, condition in pieces(indices, context, size=material.limits.batch_size):
        assert piece is not None
        nats -= prior.log_probs(piece, condition).double().sum(0).cpu()
    rates = {}
    for level, (of_level, own) in enumerate(zip(prior.levels, nats.tolist(), strict=True)):
        given = f", given its {prior.condition.name}" if prior.condition is not None else ""
        above = f"{given} and the levels above" if level else given
        protocol = (
            f"{material.test_set}, {counted(of_level.positions, 'index', 'indices')} an image, "
            f"K = {of_level.codebook_size}{above}; mean of −log p over images, {OF_TOKENS}"
        )
        an_image = own / len(indices)
        rates[str(level)] = {
            "nats_per_index": figure(an_image / of_level.positions, "nats", protocol),
            "bits_per_image": figure(an_image / math.log(2), "bits", protocol),
        }
    return rates
