"""The allowed range of each numeric argument, by its name.

Arguments of recipes, of saved models and of commands are compared with the same table. Where a
class means something else by a word, it has an entry of its own, `Class.word`. A number that has no
entry must at least be finite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from smalti.errors import InputError

__all__ = ["MOST_SAMPLES", "RANGES", "Range", "check_range", "range_of"]

LARGEST_INTEGER = 2**63 - 1  # of what an int64 holds
LONG = 10**15  # steps: more than anybody will wait for
MOST_SAMPLES = 10**12


class Range(NamedTuple):
    """An interval of allowed numbers.

    Arguments:
        least: The lower bound.
        most: The upper bound.
        above: Whether the lower bound is excluded.
        below: Whether the upper bound is excluded.

    Example:
        >>> str(Range(0, 1, below=True)), 1 in Range(0, 1, below=True)
        ('is at least 0 and below 1', False)
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or not -math.inf < value < math.inf:
            return False
        low = self.least < value if self.above else self.least <= value
        return low and (value < self.most if self.below else value <= self.most)

    def for_a(self, value: float) -> str:
        """Says which end of a long range `value` missed."""
        if self.most <= 1000 or not -math.inf < value < math.inf:
            return str(self)
        missed = (
            self._replace(most=math.inf) if value <= self.least else self._replace(least=-math.inf)
        )
        return str(missed)

    def __str__(self) -> str:
        if self.least > -math.inf and self.most < math.inf and not (self.above or self.below):
            return f"lies between {_number(self.least)} and {_number(self.most)}"
        ends = []
        if self.least > -math.inf:
            ends.append(f"{'above' if self.above else 'at least'} {_number(self.least)}")
        if self.most < math.inf:
            ends.append(f"{'below' if self.below else 'at most'} {_number(self.most)}")
        return f"is {' and '.join(ends)}" if ends else "is a finite number"


SHARE = Range(0, 1, above=True, below=True)
DROPOUT = Range(0, 1, below=True)
POSITIVE = Range(0, above=True)
NOT_NEGATIVE = Range(0)
WIDTH = Range(1, 2**20)
LENGTH = Range(1, 2**32)  # of a signal, or of a grid of indices
LAYERS = Range(1, 1000)  # beyond, building them alone is endless
VALUE = Range(-(2**32), 2**32)  # of a sample, 16 or 32 bits of an integer among them
MILLISECONDS = Range(0, 10_000, above=True)
STEPS = Range(1, LONG)
WARMUP = Range(0, LONG)

RANGES: dict[str, Range] = {
    # of models
    "size": Range(1, 2**40),
    "codebook_size": Range(1, LARGEST_INTEGER),
    "GradientCodebook.codebook_size": Range(1, 2**40),
    "EMACodebook.codebook_size": Range(1, 2**40),
    "TransformedCodebook.codebook_size": Range(1, 2**40),
    "GumbelQuantizer.codebook_size": Range(1, 2**40),
    "dim": WIDTH,
    "Whitening.dims": WIDTH,
    "hidden": WIDTH,
    "width": WIDTH,
    "Caption.length": Range(1, 2**16),
    "ConvEncoder.hidden": Range(2, 2**20),
    "ConvDecoder.hidden": Range(2, 2**20),
    "residual_hidden": WIDTH,
    "residual_blocks": Range(0, 1000),
    "layers": LAYERS,
    "tokens": LENGTH,
    "blocks": LAYERS,
    "LatentDiffusion.dims": WIDTH,
    "convolutions": Range(0, 1000),
    "heads": Range(1, 4096),
    "kernel_size": Range(1, 255),
    "kernel_sizes": Range(1, 255),
    "strides": Range(1, 2**16),
    "n_fft": Range(2, 2**20),
    "frames": Range(1, 64),
    "power": Range(0, 1, above=True),
    "SpectrogramDecoder.iterations": Range(1, 10**4),
    "dilations": Range(1, 2**16),
    "downsampling": Range(1, 2**16),
    "components": LAYERS,
    "bits": Range(1, 62),
    "group": Range(1, 16),
    "grid": LENGTH,
    "grids": LENGTH,
    "codebook_sizes": Range(1, LARGEST_INTEGER),
    "channels": WIDTH,
    "signal_channels": WIDTH,
    "spatial_dims": Range(1, 3),
    "Features.spatial_dims": Range(0, 3),
    "dropout": DROPOUT,
    "ResidualQuantizer.dropout": Range(0, 1),  # of stages
    "ProductQuantizer.dropout": Range(0, 1),  # of parts
    "beam": Range(1, 2**16),
    "training_beam": Range(1, 2**16),
    "candidates": Range(1, 2**20),
    "prefix_weight": NOT_NEGATIVE,
    "level_dropout": DROPOUT,
    "condition_dropout": DROPOUT,
    "decay": SHARE,
    "threshold": DROPOUT,
    "every": STEPS,
    "stop_after": WARMUP,
    "updates": STEPS,
    "start": POSITIVE,
    "end": POSITIVE,
    "temperature": POSITIVE,
    "inverse_temperature": POSITIVE,
    "diversity": NOT_NEGATIVE,
    "noise": NOT_NEGATIVE,
    "scale": POSITIVE,
    "minutes": NOT_NEGATIVE,
    "iterations": Range(0, 10**6),
    "refine": Range(0, 10**6),
    "capacity": Range(1),
    "ResidualKMeans.mixing": DROPOUT,
    "Sinkhorn.iterations": Range(1, 10**6),
    "kmeans_iterations": Range(0, 10**6),
    "kmeans_updates": Range(1, 2**31),
    "sample": Range(2, 2**40),
    "num_values": Range(2, LARGEST_INTEGER),
    "scales": Range(1, 2**16),
    # of data
    "Signal.size": LENGTH,
    "Signal.low": VALUE,
    "Series.rate": POSITIVE,
    "Sound.rate": Range(1, 10**6),
    "Signal.high": VALUE,
    "seed": Range(0, LARGEST_INTEGER),
    # of training
    "steps": STEPS,
    "batch_size": Range(1, 2**40),
    "accumulate": Range(1, 10**9),
    "clip": POSITIVE,
    "weight_ema": SHARE,
    "validate_every": Range(2, LONG),
    "save_every": STEPS,
    "patience": WARMUP,
    "factor": SHARE,
    "warmup": WARMUP,
    "final": NOT_NEGATIVE,
    "token_noise": DROPOUT,
    "shift": DROPOUT,
    "commitment_weight": NOT_NEGATIVE,
    "mixing": Range(0, 0.5),
    "commitment_warmup": WARMUP,
    "AdversarialObjective.start": WARMUP,
    "ramp": WARMUP,
    "cap": POSITIVE,
    "gamma": NOT_NEGATIVE,
    "weight": NOT_NEGATIVE,
    "feature_matching": NOT_NEGATIVE,
    "mel_weight": NOT_NEGATIVE,
    "stft_weight": NOT_NEGATIVE,
    "SpectralLoss.rate": POSITIVE,
    "SpectralLoss.windows": MILLISECONDS,
    "MultiScaleSTFTDiscriminator.windows": MILLISECONDS,
    "periods": Range(1, 2**16),
    "SpectralLoss.bands": Range(1, 1024),
    "SpectralLoss.floor": Range(0, 1, above=True),
    "gain": POSITIVE,
    "loss_weights": NOT_NEGATIVE,
    "weights": NOT_NEGATIVE,
    "beta": NOT_NEGATIVE,
    "beta_warmup": WARMUP,
    "free_bits": NOT_NEGATIVE,
    "lr": NOT_NEGATIVE,
    "eps": Range(0, 1, above=True),
    "weight_decay": NOT_NEGATIVE,
    "momentum": DROPOUT,
    "betas": DROPOUT,
    # of recipes
    "views": Range(1, 10_000),
    "examples": Range(1, 2**40),
    "samples": Range(2, MOST_SAMPLES),
    "classifier_steps": WARMUP,
    "feature_steps": WARMUP,
    "judge_steps": WARMUP,
    "Evaluation.test": STEPS,
    "num_nodes": Range(1, 65_536),
    "threads": Range(1, 1024),
    "workers": Range(0, 1024),
    "wait": Range(1, 10**7),
}


def range_of(owner: type | str, name: str) -> Range:
    """Returns the allowed range of an argument of a class, its own or an inherited one.

    A class may have `RANGES` of its own, by the names of its arguments.

    Example:
        >>> class Signal: ...
        >>> class Pulse(Signal): ...
        >>> range_of(Pulse, "low") == range_of("Signal", "low")
        True
    """
    classes: Sequence[Any] = [owner] if isinstance(owner, str) else owner.__mro__
    for cls in classes:
        own = vars(cls).get("RANGES", {}) if isinstance(cls, type) else {}
        key = f"{getattr(cls, '__name__', cls)}.{name}"
        if name in own or key in RANGES:
            return own[name] if name in own else RANGES[key]
    return RANGES.get(name) or Range()


def check_range(what: str, value: Any, allowed: Range) -> None:
    """Checks that a number, or every number in a list or mapping, lies in a range.

    Arguments:
        what: What the message calls it.
        value: The value; what is no number is not checked.
        allowed: The range.

    Raises:
        InputError: If one is NaN, infinite or outside of the range.

    Example:
        >>> check_range("clip", 0.5, Range(0, above=True))
        >>> check_range("clip", -1, Range(0, above=True))
        Traceback (most recent call last):
        smalti.errors.InputError: clip is above 0, got -1: choose one in this range.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_range(f"{what}.{key}", item, allowed)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            check_range(what, item, allowed)
    elif isinstance(value, int | float) and not isinstance(value, bool) and value not in allowed:
        raise InputError(
            f"{what} {allowed.for_a(value)}, got {_number(value)}: choose one in this range."
        )


def _number(value: float) -> str:
    """Formats a number in full if that is short, else by its size."""
    if value == LARGEST_INTEGER:
        return "2^63 - 1"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**21 else f"a number of {_digits(value)} digits"
    return f"{value:.15g}"


def _digits(value: int) -> int:
    return int(abs(value).bit_length() * math.log10(2)) + 1
