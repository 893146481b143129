"""Training steps per second: smalti's training against a bare PyTorch loop over the same modules.

    python benchmarks/training_speed.py --out training_speed.json

Both train the same tokenizer (28×28 grey, 64 channels, K 512, D 64, EMA) on the same random bytes,
batch 128, Adam, with the same memory settings; smalti's run has all that a fit has: Lightning,
logging to CSV and TensorBoard, saved states, progress. The two take turns and the medians are
compared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn

from smalti.autoencoders import DiscreteAutoencoder
from smalti.losses import MSE
from smalti.modalities.image import Image
from smalti.modalities.image.pixels import Pixels
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.quantizers import EMACodebook, VectorQuantizer
from smalti.training import AutoencoderStage, Hardware, TokenizerObjective, Training, train
from smalti.training.batch_order import StepSampler
from smalti.training.cpu import speed_up_cpu


def make() -> DiscreteAutoencoder:
    """The tokenizer, with the same weights each time."""
    torch.manual_seed(0)
    return DiscreteAutoencoder(
        ConvEncoder(Features(1), 64, hidden=64),
        VectorQuantizer(EMACodebook(codebook_size=512, dim=64)),
        ConvDecoder(Features(1), 64, hidden=64),
        Image(1, (28, 28)),
    )


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of both."""
    return torch.optim.Adam(parameters, lr=1e-3)


def bare(examples: Pixels, batch: int, steps: int) -> None:
    """The loop that anybody would write."""
    model = make().train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = adam(model.parameters())
    for indices in itertools.islice(StepSampler(len(examples), batch, seed=0), steps):
        x = examples.__getitems__(indices).x
        output = model(x)
        loss = (output.x_hat - x).square().mean() + 0.25 * output.losses["commitment"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.quantizer.update()


def lightning(examples: Pixels, batch: int, steps: int) -> None:
    """The tokenizer's stage of a fit."""
    training = Training(
        steps=steps, batch_size=batch, optimizer=adam, validate_every=10**9, save_every=250
    )
    objective = TokenizerObjective(MSE())
    stage = AutoencoderStage(make(), training, examples, examples, seed=0, objective=objective)
    with tempfile.TemporaryDirectory() as folder:
        train(stage, "tokenizer", Path(folder), Hardware(accelerator="cpu", precision="32-true"))


def rate(loop: Callable[[Pixels, int, int], None], examples: Pixels, batch: int) -> float:
    """Returns steps per second without what is paid once: a long training less a short one."""

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        loop(examples, batch, steps)
        return time.perf_counter() - start

    return (LONG - SHORT) / (seconds(LONG) - seconds(SHORT))


SHORT, LONG = 20, 220


def main() -> None:
    """Measures, prints a line each and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    speed_up_cpu()

    examples = Pixels(torch.randint(256, (10_000, 1, 28, 28), dtype=torch.uint8), None)
    loops = {"bare": bare, "smalti": lightning}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(options.repeats):
        for name, loop in loops.items():
            rates[name].append(rate(loop, examples, options.batch))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    share = medians["smalti"] / medians["bare"]
    for name, value in medians.items():
        print(f"{name:8} {value:7.2f} steps/s")
    print(f"smalti reaches {100 * share:.1f} % of the bare loop's rate ({options.threads} threads)")
    if options.out:
        settings = {key: value for key, value in vars(options).items() if key != "out"}
        report = {"settings": settings, "steps_a_second": rates, "medians": medians, "share": share}
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
