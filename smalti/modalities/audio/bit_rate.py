"""The bit rate of a tokenizer of sound, and how fast it encodes and decodes.

Of sounds of T samples at a rate of f Hz, which n tokens of K_i codewords stand for,

    tokens per second   = n f / T
    nominal rate        = f / T · Σ_i log2 K_i                    bit/s: each token as a number
    after coding        = f / T · mean of −log2 p(tokens)         bit/s, under a prior p

The last is a likelihood. An entropy coder reaches it up to a few bytes a file; what it writes is
measured by what writes files. A residual tokenizer of Q stages has a lower rate for each number of
its first stages (Q of them take all bits), so one model gives a table of qualities over rates.

Speed is in seconds of sound per second of time, for one sound after another: a codec in use has no
batches. On a CPU it is that of one thread. Times differ from run to run, as nothing else does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import ClassVar

import torch
from torch import Tensor

from smalti.modalities.audio.metrics import SoundQuality
from smalti.modalities.audio.signal import Sound
from smalti.quantizers.first_codebooks import first_codebooks
from smalti.reporting.blocks import Table, Text
from smalti.reporting.figures import Figure, display, figure, number, protocols
from smalti.reporting.measurement import Measurement, Subject
from smalti.reporting.section import Card, Section

__all__ = ["BitRate", "CodingSpeed", "depths"]

MEASURED = 32  # test sounds at each number of stages
TIMED = 5  # test sounds
SHOWN = ("si_sdr", "mel_distance", "stft_distance", "pesq", "stoi")


def why_no_codec(subject: Subject) -> str | None:
    """Returns why a model is no codec of sounds; `None` if it is one."""
    if not isinstance(subject.splits.signal, Sound):
        return "the data are no sounds."
    return None if subject.tokenizer is not None else "the latents of the model are no tokens."


def depths(stages: int) -> list[int]:
    """Returns the numbers of stages that are measured: 1, 2, 4, … and all.

    Example:
        >>> depths(1), depths(8), depths(12)
        ([1], [1, 2, 4, 8], [1, 2, 4, 8, 12])
    """
    return [*(1 << n for n in range(stages.bit_length()) if 1 << n < stages), stages]


class BitRate(Measurement[Subject]):
    """Measures bits and tokens per second, and the quality by the number of stages used."""

    key: ClassVar[str] = "bit_rate"
    title: ClassVar[str] = "Bit rate"
    chapter: ClassVar[str] = "Tokens"
    compared: ClassVar = {
        "nominal bit rate": ("nominal", "bits_per_second"),
        "bit rate under the prior": ("prior", "bits_per_second"),
    }

    def applies(self, subject: Subject) -> str | None:
        """See `Measurement.applies`."""
        return why_no_codec(subject)

    def run(self, subject: Subject) -> Section:
        """See `Measurement.run`."""
        section = self.section()
        section.blocks["introduction"] = Text(
            "Bits per second of sound: each token as a number, and after entropy coding under a "
            "prior, of which this is the likelihood; files add a few bytes."
        )
        bits = _bits_of_tokens(subject)
        with section.attempt("Bit rate", ""):
            section.figures |= _rates(subject, float(bits.sum()), len(bits))
            _show_rates(section, subject)
        if _stages(subject) > 1:
            with section.attempt("Quality by the number of stages", "stages"):
                section.figures["stages"] = _by_stages(subject, float(bits.sum()))
                _show_stages(section)
        return section


class CodingSpeed(Measurement[Subject]):
    """Measures how many times faster than real time sounds are encoded and decoded."""

    key: ClassVar[str] = "coding_speed"
    title: ClassVar[str] = "Speed of coding"
    chapter: ClassVar[str] = "Tokens"
    compared: ClassVar = {"encoding, × real time": ("encoding",), "decoding": ("decoding",)}

    def applies(self, subject: Subject) -> str | None:
        """See `Measurement.applies`."""
        return why_no_codec(subject)

    def run(self, subject: Subject) -> Section:
        """See `Measurement.run`."""
        section = self.section()
        sounds = subject.test_examples(subject.order[:TIMED])
        seconds = sounds.shape[-1] / subject.splits.signal.rate
        on = "one thread of the CPU" if subject.device.type == "cpu" else str(subject.device)
        protocol = (
            f"{subject.splits.signal.plural} of {seconds:.3g} s one by one, N = {len(sounds)} of "
            f"the test set, {on}, without entropy coding; median"
        )
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            tokens = [subject.encode(x) for x in sounds.split(1)]
            subject.decode(tokens[0])  # what is made at the first call is made before the clock
            spent = {
                "encoding": [_seconds(subject.encode, x, subject) for x in sounds.split(1)],
                "decoding": [_seconds(subject.decode, t, subject) for t in tokens],
            }
        finally:
            torch.set_num_threads(threads)
        for name, times in spent.items():
            section.figures[name] = figure(seconds / median(times), "× real time", protocol)
        section.blocks["table"] = Table(
            ("", "× real time"),
            {name: [found] for name, found in section.figures.items()},
            notes=protocols(section.figures),
            units=False,
        )
        return section


def _seconds(code: Callable[[Tensor], Tensor], given: Tensor, subject: Subject) -> float:
    """Returns how long a call takes, in seconds."""
    begun = time.perf_counter()
    code(given)
    if subject.device.type == "cuda":
        torch.cuda.synchronize(subject.device)
    return time.perf_counter() - begun


def _bits_of_tokens(subject: Subject) -> Tensor:
    """Returns log2 K of each token of a test sound, (n,), in the order of the tokens."""
    layout, tokens = subject.tokenizer.layout, subject.encoded.latents[0].numel()
    sizes = layout.sizes_of_tokens()
    if len(sizes) != tokens:  # of a tokenizer of any length, whose layout has one position
        sizes = sizes.repeat(tokens // len(sizes))
    return sizes.double().log2()


def _stages(subject: Subject) -> int:
    """Returns how many stages refine each other; 1 where no number of them can be left out."""
    layout = subject.tokenizer.layout
    if layout.levels > 1:
        return 1
    quantizer = subject.tokenizer.levels[0]
    refines = quantizer.codes_refine and not quantizer.acts_on_grid
    return len(layout.codebook_sizes[0]) if refines else 1


def _seconds_of_sound(subject: Subject) -> float:
    """Returns the length of a test sound, in seconds."""
    return subject.test_examples(subject.order[:1]).shape[-1] / subject.splits.signal.rate


def _rates(subject: Subject, bits: float, tokens: int) -> dict[str, dict[str, Figure]]:
    """Returns the nominal rate, and that under each prior with a likelihood."""
    seconds = _seconds_of_sound(subject)
    plural = subject.splits.signal.plural
    on = f"{subject.test_set}, {plural} of {seconds:.3g} s, {number(tokens)} tokens each"
    rates = {
        "nominal": {
            "bits_per_second": figure(bits / seconds, "bit/s", f"{on}; log2 K of each token"),
            "tokens_per_second": figure(tokens / seconds, "tokens/s", on),
        }
    }
    for name, prior in subject.priors.items():
        nats = subject.mean_nats(name) if name != "uniform" else None
        if nats is None:
            continue
        given = f", given its {prior.condition.name}" if prior.condition is not None else ""
        protocol = f"{on}; mean of −log2 p of the tokens{given}, a likelihood or a bound, no files"
        coded = nats / math.log(2)
        rates[name] = {"bits_per_second": figure(coded / seconds, "bit/s", protocol)}
        if bits:
            rates[name]["share_of_nominal"] = figure(coded / bits, "share", protocol)
    return rates


def _show_rates(section: Section, subject: Subject) -> None:
    """Adds the table of rates, and the card of the rate."""
    keys = {
        "bits_per_second": "bit/s",
        "tokens_per_second": "tokens/s",
        "share_of_nominal": "share of nominal",
    }
    titles = {**subject.titles, "nominal": "Nominal"}
    section.blocks["rates"] = Table(
        ("Rate", *keys.values()),
        {titles[name]: [of.get(key) for key in keys] for name, of in section.figures.items()},
        titles["prior"],
        [f"{titles[name]}: {protocols(of)[0]}" for name, of in section.figures.items()],
        units=False,
    )
    nominal = section.figures["nominal"]["bits_per_second"]
    if "prior" in section.figures:
        coded = section.figures["prior"]["bits_per_second"]
        section.cards.append(Card(coded, "after entropy coding", f"{display(nominal)} nominal"))
    else:
        section.cards.append(Card(nominal, "nominal bit rate"))


def _by_stages(subject: Subject, bits: float) -> dict[str, dict[str, Figure]]:
    """Measures the quality of reconstructions from the first 1, 2, 4 … stages, and all."""
    chosen = subject.order[:MEASURED]
    seconds, sizes = _seconds_of_sound(subject), subject.tokenizer.layout.codebook_sizes[0]
    each = [math.log2(size) for size in sizes]
    found = {}
    for stages in depths(len(sizes)):
        quality = SoundQuality(subject.splits.signal, judged=MEASURED, seed=subject.seed)
        for piece in chosen.split(subject.limits.batch_size):
            tokens = first_codebooks(subject.encoded.latents[piece], stages)
            x_hat = subject.decode(tokens.to(subject.device))
            quality.update(subject.test_examples(piece), x_hat)
        on = f"N = {len(chosen)} of the test set, first {stages} of {len(sizes)} stages decoded"
        rate = bits / seconds * sum(each[:stages]) / sum(each)
        found[str(stages)] = {
            "bits_per_second": figure(rate, "bit/s", f"{on}; log2 K of each token"),
            **quality.figures(on),
        }
    return found


def _show_stages(section: Section) -> None:
    """Adds the table of qualities over the number of stages."""
    stages = section.figures["stages"]
    titles = {"bits_per_second": "bit/s", **{key: SoundQuality.names[key] for key in SHOWN}}
    keys = [key for key in titles if any(key in figures for figures in stages.values())]
    section.blocks["stages"] = Table(
        ("Stages", *(titles[key] for key in keys)),
        {name: [figures.get(key) for key in keys] for name, figures in stages.items()},
        notes=[
            f"{titles[key]}: {next(iter(stages.values()))[key]['protocol']}"
            for key in keys
            if key in next(iter(stages.values()))
        ],
        units=False,
    )
