"""Side by side with pythae's VQVAE and PixelCNN sampler, on Fashion-MNIST.

    pip install 'smalti[bench]'
    python benchmarks/against_pythae.py --data FOLDER --out against_pythae.json

The same encoder and decoder with the same first weights, the same K, D, batches in the same order,
optimizer and number of updates; each library's own quantizer and loss. Held-out figures are on the
whole test set. Then each library's PixelCNN (10 layers, kernel 5, 64 channels) draws the same
number of token grids and decodes them; its speed does not depend on how well it is trained, so
pythae's is trained for one pass over 2,000 images, without which it refuses, and smalti's not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import torch
from pythae.models import VQVAE, VQVAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.samplers import PixelCNNSampler, PixelCNNSamplerConfig
from pythae.trainers import BaseTrainerConfig
from torch import Tensor

from smalti.autoencoders import DiscreteAutoencoder
from smalti.data import Examples
from smalti.modalities.image import Image, Images
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.priors import PixelCNN
from smalti.quantizers import EMACodebook, GradientCodebook, VectorQuantizer, codebook_usage
from smalti.training.batch_order import StepSampler
from smalti.training.cpu import speed_up_cpu

K, D, HIDDEN = 512, 64, 64
LAYERS, KERNEL, CHANNELS = 10, 5, 64


class Encoder(BaseEncoder):
    """smalti's encoder in pythae's clothes."""

    def __init__(self) -> None:
        super().__init__()
        self.network = ConvEncoder(Features(1), D, hidden=HIDDEN)

    def forward(self, x: Tensor) -> ModelOutput:
        return ModelOutput(embedding=self.network(x))


class Decoder(BaseDecoder):
    """smalti's decoder in pythae's clothes."""

    def __init__(self) -> None:
        super().__init__()
        self.network = ConvDecoder(Features(1), D, hidden=HIDDEN)

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z))


def ours(ema: bool) -> DiscreteAutoencoder:
    """smalti's tokenizer."""
    torch.manual_seed(0)
    encoder, decoder = (
        ConvEncoder(Features(1), D, hidden=HIDDEN),
        ConvDecoder(Features(1), D, hidden=HIDDEN),
    )
    codebook = (
        EMACodebook(codebook_size=K, dim=D) if ema else GradientCodebook(codebook_size=K, dim=D)
    )
    return DiscreteAutoencoder(encoder, VectorQuantizer(codebook), decoder, Image(1, (28, 28)))


def theirs(ema: bool) -> VQVAE:
    """pythae's VQVAE over the same networks."""
    torch.manual_seed(0)
    encoder, decoder = Encoder(), Decoder()
    config = VQVAEConfig(input_dim=(1, 28, 28), latent_dim=D, num_embeddings=K, use_ema=ema)
    return VQVAE(config, encoder=encoder, decoder=decoder)


def loss_of(model: DiscreteAutoencoder | VQVAE, x: Tensor) -> Tensor:
    """Each library's own loss."""
    if isinstance(model, VQVAE):
        return model({"data": x}).loss
    output = model(x)
    weighted = [
        (0.25 if name == "commitment" else 1) * loss for name, loss in output.losses.items()
    ]
    return (output.x_hat - x).square().mean() + sum(weighted)


def fit(model: DiscreteAutoencoder | VQVAE, examples: Examples, batch: int, updates: int) -> float:
    """Trains, and returns the images per second."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    start = time.perf_counter()
    for indices in itertools.islice(StepSampler(len(examples), batch, seed=0), updates):
        loss = loss_of(model, examples.__getitems__(indices).x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if isinstance(model, DiscreteAutoencoder):
            model.quantizer.update()
    return batch * updates / (time.perf_counter() - start)


@torch.no_grad()
def held_out(model: DiscreteAutoencoder | VQVAE, examples: Examples) -> tuple[float, float, float]:
    """MSE on [-1, 1], the same over the variance, and the usage of the codebook."""
    model.eval()
    reconstructions, indices = [], []
    for chunk in torch.arange(len(examples)).split(500):
        x = examples.__getitems__(chunk.tolist()).x
        if isinstance(model, VQVAE):
            output = model({"data": x})
            x_hat, index = output.recon_x, output.quantized_indices
        else:
            x_hat, index = model(x)[:2]
        reconstructions.append(x_hat)
        indices.append(index.flatten(1))
    x = examples.__getitems__(range(len(examples))).x
    mse = (torch.cat(reconstructions) - x).square().mean().item()
    return mse, mse / x.var().item(), codebook_usage(torch.cat(indices), K)[0]


def our_samples(model: DiscreteAutoencoder, n: int) -> float:
    """Samples per second: tokens drawn and decoded."""
    prior = PixelCNN(K, model.grid, hidden=CHANNELS, layers=LAYERS, kernel_size=KERNEL).eval()
    start = time.perf_counter()
    model.decode(prior.sample(n))
    return n / (time.perf_counter() - start)


def their_samples(model: VQVAE, examples: Examples, n: int) -> float | str:
    """Samples per second, or what went wrong."""
    x = (examples.__getitems__(range(2000)).x + 1) / 2
    config = PixelCNNSamplerConfig(n_layers=LAYERS, kernel_size=KERNEL)
    try:
        sampler = PixelCNNSampler(model, config)
        with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()):
            training = BaseTrainerConfig(output_dir=folder, num_epochs=1, learning_rate=1e-3)
            sampler.fit(x, training_config=training)
        start = time.perf_counter()
        with torch.no_grad():
            sampler.sample(n, batch_size=n)
        return n / (time.perf_counter() - start)
    except Exception as error:  # whatever it is, it is the result
        return f"fails: {type(error).__name__}: {str(error).splitlines()[0]}"


def main() -> None:
    """Measures, prints a table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--updates", type=int, default=320)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    speed_up_cpu()

    splits = Images(options.data, 28, channels=1).load()
    rows = []
    for ema in (False, True):
        for name, make in (("smalti", ours), ("pythae", theirs)):
            model = make(ema)
            images = fit(model, splits.train, options.batch, options.updates)
            mse, relative, usage = held_out(model, splits.test)
            if isinstance(model, VQVAE):
                samples = their_samples(model, splits.train, options.samples)
            else:
                samples = our_samples(model, options.samples)
            rows.append(
                {
                    "library": name,
                    "codebook": "EMA" if ema else "gradient",
                    "mse": mse,
                    "mse_over_variance": relative,
                    "usage": usage,
                    "images_a_second": images,
                    "samples_a_second": samples,
                }
            )
            drawn = samples if isinstance(samples, str) else f"{samples:.1f} samples/s"
            print(
                f"{name} {rows[-1]['codebook']:8} MSE {mse:.4f} MSE/variance {relative:.4f} "
                f"usage {usage:.1%} {images:.0f} images/s, {drawn}",
                flush=True,
            )
    if options.out:
        settings = {key: value for key, value in vars(options).items() if key != "out"}
        options.out.write_text(json.dumps({"settings": settings, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
