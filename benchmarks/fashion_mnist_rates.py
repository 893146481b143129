"""Learning rate and batch size of the recipe `fashion-mnist`, chosen on validation images.

    python benchmarks/fashion_mnist_rates.py --threads 1 --rates 0.001 0.002 --batches 64

Trains the recipe's tokenizer on the same number of images with each pair of rate and batch size,
its schedule scaled along, and prints the MSE/variance of the 3,000 validation images. The test set
is not looked at.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import torch

from smalti.artifacts import load_model
from smalti.recipes import schema
from smalti.runs import fit
from smalti.training.batch_order import evaluation_loader


def validation_error(rate: float, batch: int, images: int, data: list[str]) -> float:
    """MSE/variance on the validation images, after `images` training images."""
    training = "tokenizer.training"
    overrides = [
        f"--{training}.optimizer.init_args.lr={rate}",
        f"--{training}.batch_size={batch}",
        f"--{training}.steps={images // batch}",
        f"--{training}.validate_every={images}",  # only the end counts
        "--prior=null",
    ]
    with tempfile.TemporaryDirectory() as folder:
        run, splits = fit(schema.read("fashion-mnist", overrides + data), Path(folder) / "run")
        tokenizer = load_model(run.tokenizer)
    errors, pixels = [], []
    with torch.inference_mode():
        for batch_of_images in evaluation_loader(splits.validation, 256):
            x = batch_of_images.x
            errors.append((tokenizer.decode(tokenizer.encode(x)) - x).square().flatten())
            pixels.append(x.flatten())
    return float(torch.cat(errors).mean() / torch.cat(pixels).var())


def main() -> None:
    """Prints a line for every pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="Folder of the four IDX files; the recipe's by default.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-3, 3e-3, 4e-3, 6e-3])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--images", type=int, default=57_000)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = [f"--data.init_args.path={options.data}"] if options.data else []
    for batch, rate in itertools.product(options.batches, options.rates):
        error = validation_error(rate, batch, options.images, data)
        print(f"batch {batch:4}  rate {rate:g}  validation MSE/variance {error:.4f}", flush=True)


if __name__ == "__main__":
    main()
