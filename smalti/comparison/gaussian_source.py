"""Compares quantizers on a source whose rate-distortion bound is known: x ~ N(0, I).

No code of b bits per vector has a mean squared error per dimension below

    D(b) = 2^(−2b/D),

Shannon's distortion-rate function; 0.917 at 8 bits and D = 128. A codebook meets the vectors as
they are, without encoder or decoder, so that only what the quantizer itself learns is seen; a
quantizer of numbers learns its linear maps. Each step brings new vectors, the same to every method.

References:
    Coding theorems for a discrete source with a fidelity criterion, C. E. Shannon, 1959.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from smalti.autoencoders import Reconstruction
from smalti.comparison.methods import Method, find_method
from smalti.comparison.outcomes import Comparison, Outcome
from smalti.comparison.plan import log_each_run, plan_runs
from smalti.counting import counted
from smalti.errors import InputError
from smalti.losses import MSE
from smalti.quantizers import Quantizer, codebook_usage
from smalti.reporting import Record
from smalti.training import TokenizerObjective

__all__ = ["gaussian_distortion", "compare_on_gaussian"]

DIM, BATCH, RATE = 128, 1024, 3e-3
VALIDATION, TEST = 4096, 65_536  # vectors
POINTS = 20  # of a curve
DISTORTION = "MSE per dimension"
FIGURES = (DISTORTION, "usage", "perplexity", "seconds")


def gaussian_distortion(bits: float, dim: int = DIM) -> float:
    """Computes D(R) of N(0, I): the least possible mean squared error per dimension.

    Example:
        >>> round(gaussian_distortion(8), 3)
        0.917
    """
    return float(2 ** (-2 * bits / dim))


def compare_on_gaussian(
    methods: Sequence[str], *, bits: Sequence[int], seeds: int, steps: int
) -> Comparison:
    """Trains and measures quantizers on Gaussian vectors, at each rate, with each seed.

    Arguments:
        methods: Short names of quantizers.
        bits: Rates: bits per index, log2 K.
        seeds: The number of runs of each; seeds count from 0.
        steps: Optimizer steps, with 1,024 new vectors each.

    Raises:
        InputError: If a name is unknown, or every run failed.
    """
    chosen = {name: find_method(name) for name in methods}
    wanted, outcomes = plan_runs(methods, bits, seeds), []
    attempted = Record()
    for b, name, seed in log_each_run(wanted):
        with attempted.attempt(run := f"{name}-{b}-bits-seed-{seed}"):
            outcomes.append(Outcome(name, b, seed, *_learned(chosen[name], b, seed, steps)))
        if why := attempted.missing.get(run):
            if len(attempted.missing) == len(wanted):
                raise InputError(f"Nothing could be compared. {run}: {why}")
            outcomes.append(Outcome.none(name, b, seed, FIGURES, why))
    title = f"N(0, I) in {DIM} dimensions: {counted(steps, 'step')} of {BATCH} vectors"
    return Comparison(title, DISTORTION, DISTORTION, outcomes, gaussian_distortion)


def _learned(
    chosen: Method, bits: int, seed: int, steps: int
) -> tuple[dict[str, float], list[tuple[int, float, float]]]:
    """Trains one method, and returns its figures and its curve."""
    torch.manual_seed(seed)
    quantizer = _build_quantizer(chosen, bits, steps)
    objective = TokenizerObjective(MSE(), weights=chosen.loss_weights)
    learned = [parameter for parameter in quantizer.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=RATE) if learned else None
    # Of a seed of its own: the first codewords are drawn from the global generator with the other.
    source = torch.Generator().manual_seed(seed + 2**31)
    validation = torch.randn(VALIDATION, DIM, generator=source)
    curve, seconds = [], 0.0
    for step in range(1, steps + 1):
        x = torch.randn(BATCH, DIM, generator=source)
        start = time.perf_counter()
        output = Reconstruction(*quantizer(x))
        loss = objective(x, output, step)["loss"]
        if not loss.isfinite():
            raise InputError(
                f"The training of {chosen.summary} at {bits} bits has diverged, at step {step} the "
                f"loss is {loss.item()}: leave the method out, or choose other bits."
            )
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        quantizer.update()
        seconds += time.perf_counter() - start
        if step % max(1, steps // POINTS) == 0:
            curve.append((step, seconds, _distortion(quantizer, validation)))
    test = torch.randn(TEST, DIM, generator=source)
    used, perplexity = codebook_usage(quantizer.eval().encode(test), 2**bits)
    figures = {
        DISTORTION: _distortion(quantizer, test),
        "usage": used,
        "perplexity": perplexity,
        "seconds": seconds,
    }
    return figures, curve


def _build_quantizer(chosen: Method, bits: int, steps: int) -> Quantizer:
    """Builds the quantizer of a method for a training of `steps` steps.

    Where dead codewords are reset, strategy "codewords" takes the place of the method's own.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--quantizer", type=Quantizer)
    quantizer = chosen.quantizer(bits, DIM, steps)
    if "dead_code_reset" in quantizer["init_args"]:
        # On single vectors, in so many dimensions, codewords die again.
        quantizer["init_args"]["dead_code_reset"]["init_args"]["strategy"] = "codewords"
    config = parser.parse_object({"quantizer": quantizer})
    built: Quantizer = parser.instantiate(config).quantizer
    return built


@torch.no_grad()
def _distortion(quantizer: Quantizer, x: Tensor) -> float:
    """Returns the mean squared error per dimension of x decoded from its indices."""
    return float((quantizer.decode(quantizer.encode(x)) - x).square().mean())
