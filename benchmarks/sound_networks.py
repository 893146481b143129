"""How fast the encoders and decoders of waveforms are on one thread of a CPU.

    python benchmarks/sound_networks.py --out sound_networks.json
    python benchmarks/sound_networks.py --hour

At 16 kHz with a downsampling of 320 (strides of 2, 4, 5, 8) and 64 dimensions, weights as they are
at first. For each network: how many times faster than real time it takes a sound of ten seconds;
what a training step takes of a batch of eight sounds of a second (forward and backward); and what a
chunk of 20 ms takes of a causal one that is run chunk by chunk. The networks take turns, times are
of the processor, so that other programs disturb little, and the least of some rounds counts.

`--hour` encodes and decodes an hour, whole and then in a stream of chunks of a second, and says how
much memory that takes beside the sound itself and what is made of it.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smalti.autoencoders import DiscreteAutoencoder
from smalti.generation import Model
from smalti.modalities.audio import Sound
from smalti.networks import (
    SEANetEncoder,
    SpectrogramDecoder,
    SpectrogramEncoder,
    VocosDecoder,
)
from smalti.nn.streaming import Running
from smalti.quantizers import EMACodebook, VectorQuantizer

RATE, HOP, DIM = 16_000, 320, 64
SIGNAL = Sound(1, RATE)


def encoder(hidden: int, causal: bool) -> nn.Module:
    """A SEANetEncoder with one residual unit before each stride."""
    return SEANetEncoder(SIGNAL, DIM, hidden=hidden, causal=causal)


def decoder(hidden: int, causal: bool) -> nn.Module:
    """The mirror of that encoder."""
    return SEANetEncoder(SIGNAL, DIM, hidden=hidden, causal=causal).mirror(SIGNAL, DIM)


def frames(hidden: int, layers: int, causal: bool) -> nn.Module:
    """A VocosDecoder."""
    return VocosDecoder(SIGNAL, DIM, hidden=hidden, layers=layers, causal=causal)


def magnitudes(layers: int) -> SpectrogramEncoder:
    """A SpectrogramEncoder, which is never causal."""
    return SpectrogramEncoder(SIGNAL, DIM, layers=layers)


NETWORKS: dict[str, Callable[[bool], nn.Module]] = {
    "SEANetEncoder, hidden 16": lambda causal: encoder(16, causal),
    "SEANetEncoder, hidden 32": lambda causal: encoder(32, causal),
    "SEANetDecoder, hidden 16": lambda causal: decoder(16, causal),
    "SEANetDecoder, hidden 32": lambda causal: decoder(32, causal),
    "VocosDecoder, hidden 128, 4 layers": lambda causal: frames(128, 4, causal),
    "VocosDecoder, hidden 256, 4 layers": lambda causal: frames(256, 4, causal),
    "VocosDecoder, hidden 256, 8 layers": lambda causal: frames(256, 8, causal),
    "SpectrogramEncoder, hidden 256, 4 layers": lambda _: magnitudes(4),
    "SpectrogramDecoder, hidden 256, 4 layers": lambda _: magnitudes(4).mirror(SIGNAL, DIM),
}


def given(name: str, batch: int, seconds: float) -> torch.Tensor:
    """What a network takes of so many sounds of so many seconds."""
    samples = round(seconds * RATE)
    if "Encoder" in name:
        return torch.rand(batch, 1, samples) - 0.5
    return torch.randn(batch, DIM, samples // HOP)


def work_of(name: str) -> dict[str, Callable[[], object]]:
    """What is timed of a network, by name."""
    whole, sees_ahead = NETWORKS[name](False), "Spectrogram" in name
    long, batch, chunk = given(name, 1, 10), given(name, 8, 1), given(name, 1, HOP / RATE)
    target = torch.rand(8, 1, RATE) - 0.5

    def step() -> None:
        whole.zero_grad()
        if isinstance(whole, SpectrogramDecoder):
            whole.compare(batch, target)[1].backward()
        else:
            whole(batch).square().mean().backward()

    def apply(network: nn.Module, x: torch.Tensor, times: int = 1) -> None:
        with torch.no_grad():
            for _ in range(times):
                network(x)

    works: dict[str, Callable[[], object]] = {
        "ten_seconds": lambda: apply(whole, long),
        "training_step": step,
    }
    if sees_ahead:
        return works
    running = Running(NETWORKS[name](True))
    return {**works, "50_chunks": lambda: apply(running, chunk, 50)}


def measure(rounds: int) -> list[dict[str, Any]]:
    """The least times of all networks, in seconds."""
    torch.manual_seed(0)
    works = {name: work_of(name) for name in NETWORKS}
    least: dict[tuple[str, str], float] = {}
    for _ in range(rounds + 1):  # the first is slower
        for name, work in works.items():
            for what, timed in work.items():
                start = time.process_time()
                timed()
                taken = time.process_time() - start
                least[name, what] = min(least.get((name, what), taken), taken)
    return [
        {
            "network": name,
            "weights": sum(weight.numel() for weight in make(False).parameters()),
            "times_real_time": 10 / least[name, "ten_seconds"],
            "ms_of_a_training_step": 1e3 * least[name, "training_step"],
            "ms_of_a_chunk": 1e3 * least.get((name, "50_chunks"), math.nan) / 50,
        }
        for name, make in NETWORKS.items()
    ]


def _shown(milliseconds: float) -> str:
    """Says how long a chunk takes; nothing of a network that looks ahead."""
    return "–" if math.isnan(milliseconds) else f"{milliseconds:.2f}"


def memory(seconds: int = 3600) -> dict[str, float]:
    """Peak memory of an hour, in MB, less that before and of the sound and its reconstruction."""
    torch.manual_seed(0)
    quantizer = VectorQuantizer(EMACodebook(codebook_size=256, dim=DIM))
    quantizer.codebook.initialize(torch.randn(256, DIM))
    network = SEANetEncoder(SIGNAL, DIM, hidden=16, causal=True)
    decoder = VocosDecoder(SIGNAL, DIM, hidden=128, causal=True)
    model = Model(DiscreteAutoencoder(network, quantizer, decoder, SIGNAL).eval())
    x = torch.rand(1, 1, seconds * RATE).sub_(0.5)  # without a copy
    figures: dict[str, float] = {"of the sound": x.numel() * 4 / 1e6}
    start = peak()
    coder, back = model.stream_encoder(), model.stream_decoder()
    for chunk in x.split(RATE, -1):
        back.push(coder.push(chunk))
    figures["of a stream"] = peak() - start
    start = peak()
    model.decode(model.encode(x, any_size=True), size=(x.shape[-1],))
    figures["of the whole, with what is made of it"] = peak() - start
    return figures


def peak() -> float:
    """The most memory that the process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measures, prints a table, and writes a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--hour", action="store_true", help="measure the memory of an hour instead")
    parser.add_argument("--out", help="a .json file with the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.hour:
        for name, value in memory().items():
            print(f"{name}: {value:.0f} MB")
        return
    rows = measure(options.rounds)
    print("| network | weights | × real time | training step, ms | chunk of 20 ms, ms |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['network']} | {row['weights'] / 1e6:.2f} M | {row['times_real_time']:.0f} "
            f"| {row['ms_of_a_training_step']:.0f} | {_shown(row['ms_of_a_chunk'])} |"
        )
    if options.out:
        Path(options.out).write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
