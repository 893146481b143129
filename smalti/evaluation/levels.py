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
from smalti.evaluation.evaluation_context import TokenEvaluationContext
from smalti.evaluation.rate import OF_TOKENS
from smalti.evaluation.report import Picture, Report
from smalti.modalities.image.metrics import ReconstructionQuality
from smalti.modalities.image.pictures import grid
from smalti.priors import Cascade
from smalti.reporting.figures import Figure, figure

__all__ = ["levels", "prefix"]

SHOWN, MEASURED = 8, 1000  # images


def levels(subject: TokenEvaluationContext, report: Report) -> None:
    """Of a hierarchical tokenizer: pictures and figures of every prefix of its levels."""
    tokenizer = subject.tokenizer
    count = len(tokenizer.levels)
    if count == 1:
        return
    with report.attempt("Picture of the levels"):
        chosen = subject.order[:SHOWN]
        rows = [subject.test_images(chosen)]
        rows += [prefix(tokenizer, subject.encoded.indices[chosen], n + 1) for n in range(count)]
        report.pictures["levels"] = Picture(
            grid(torch.cat(rows), columns=len(chosen)),
            "Test images above; below them what is left of them in the first level, in the first "
            "two, and so on.",
        )
    with report.attempt("What the levels hold", "levels"):
        report.figures["levels"] = {str(n): _quality(subject, n) for n in range(count)}
    if isinstance(subject.prior, Cascade) and "levels" in report.figures:
        with report.attempt("Rates of the levels"):
            for name, rate in _rates(subject, subject.prior).items():
                report.figures["levels"][name] |= rate


@torch.no_grad()
def prefix(tokenizer: Tokenizer, tokens: Tensor, n: int) -> Tensor:
    """Images (B, C, H, W) from the first n levels of tokens (B, L)."""
    device = next(tokenizer.parameters()).device
    return tokenizer.decode(tokenizer.layout.unpack(tokens.to(device))[:n])


def _quality(subject: TokenEvaluationContext, level: int) -> dict[str, Figure]:
    """How faithful reconstructions from the levels up to this one are."""
    subject.check_test()
    numbers = subject.order[:MEASURED]
    quality = ReconstructionQuality()
    for (piece,) in pieces(numbers, size=subject.limits.batch_size):
        assert piece is not None
        x_hat = prefix(subject.tokenizer, subject.encoded.indices[piece], level + 1)
        quality.update(subject.test_images(piece), x_hat)
    shape = "×".join(map(str, subject.tokenizer.layout.shapes[level]))
    measured = quality.figures(
        f"N = {len(numbers)} of the test set; level {level} ({shape}) and those above it decoded"
    )
    return {name: measured[name] for name in ("mse_over_variance", "psnr")}


def _rates(subject: TokenEvaluationContext, prior: Cascade) -> dict[str, dict[str, Figure]]:
    """Nats per index and bits per image of each level."""
    indices, context = subject.encoded.indices, subject.encoded.conditions
    context = None if prior.condition is None else context
    nats = torch.zeros(len(prior.levels), dtype=torch.float64)
    for piece, condition in pieces(indices, context, size=subject.limits.batch_size):
        assert piece is not None
        nats -= prior.log_probs(piece, condition).double().sum(0).cpu()
    rates = {}
    for level, (one_level, own) in enumerate(zip(prior.levels, nats.tolist(), strict=True)):
        given = f", given its {prior.condition.name}" if prior.condition is not None else ""
        above = f"{given} and the levels above" if level else given
        protocol = (
            f"{subject.test_set}, {counted(one_level.positions, 'index', 'indices')} per image, "
            f"K = {one_level.codebook_size}{above}; mean of −log p over images, {OF_TOKENS}"
        )
        an_image = own / len(indices)
        rates[str(level)] = {
            "nats_per_index": figure(an_image / one_level.positions, "nats", protocol),
            "bits_per_image": figure(an_image / math.log(2), "bits", protocol),
        }
    return rates
