"""Codes of vectors without a network: what each method loses, and how long it takes.

    python benchmarks/vector_quantization.py --data FOLDER [FOLDER ...] --threads 1

Each method learns 3 codes of 256 on the training vectors of a set, as `Vectors` divides it, and is
measured on its test vectors: their mean squared error over the variance of all values. The share of
vectors whose codes no other one has is over all of them, as are the codes that nobody uses. Times
are processor times. faiss's residual quantizer (beam 5), LSQ, PQ and OPQ take part where it is
installed: pip install 'smalti[bench]'. Its PQ has parts of one length, so vectors of 50 dimensions
get a 51st, of zeros; both PQs make 25 iterations, both OPQs 50 of the rotation.

The limit is that of a Gaussian of the same covariance at as many bits
(`smalti.comparison.gaussian_bound`); what comes below it makes use of more than the covariance.

A method joins by a line in METHODS.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from smalti.comparison.gaussian_bound import gaussian_bound
from smalti.comparison.multi_codebook import packaged_tokenizer
from smalti.data import Examples, Splits
from smalti.modalities.vector import Vectors
from smalti.quantizers import (
    EMACodebook,
    GradientCodebook,
    ImplicitResidualQuantizer,
    ProductQuantizer,
    ResidualQuantizer,
    RotatedQuantizer,
    VectorQuantizer,
)
from smalti.quantizers.fitting import OptimizedProduct, ProductKMeans, ResidualKMeans, TensorRows
from smalti.training.mixing import mix_examples
from smalti.training.schedules import CosineDecay

SIZES = (256, 256, 256)
PASSES, TURNS = 25, 50  # iterations of PQ, and of the rotation of OPQ: those of faiss


class Coder(NamedTuple):
    """A method that has learned."""

    encode: Callable[[Tensor], Tensor]
    """Vectors (N, D) to codes (N, Q)."""

    decode: Callable[[Tensor], Tensor]
    """Codes (N, Q) to vectors (N, D)."""


Method = Callable[[Tensor, int], Coder]
"""Learns from vectors (N, D), with a seed."""


def residual_kmeans(beam: int, refine: int | None = 0) -> Method:
    """Returns residual k-means whose codes are searched with a beam, its codebooks refined or not.

    Arguments:
        beam: 1 is greedy search.
        refine: Rounds; None for the default.
    """

    def learn(x: Tensor, seed: int) -> Coder:
        stages = [
            VectorQuantizer(EMACodebook(codebook_size=size, dim=x.shape[1])) for size in SIZES
        ]
        quantizer = ResidualQuantizer(stages, beam=beam).eval()
        ResidualKMeans(refine=refine).fit(quantizer, TensorRows(x), seed=seed)
        return Coder(quantizer.encode, quantizer.decode)

    return learn


def implicit() -> Method:
    """Returns implicit codebooks (QINCo), trained as in the recipe semantic-ids-qinco.

    Unlike there no vectors are set apart for validation: the weights are the averages at the end.
    """
    chosen = packaged_tokenizer("semantic-ids-qinco")
    options = {**chosen["quantizer"]["init_args"], "stages": None}
    training, fitting = chosen["training"], chosen["fitting"].get("init_args", {})
    steps = training["steps"]

    def learn(x: Tensor, seed: int) -> Coder:
        torch.manual_seed(seed)
        mean, scale = x.mean(0), x.var(0, correction=0).mean().sqrt()
        rows = (x - mean) / scale
        options["stages"] = [
            VectorQuantizer(GradientCodebook(codebook_size=size, dim=x.shape[1])) for size in SIZES
        ]
        quantizer = ImplicitResidualQuantizer(**options)
        ResidualKMeans(**fitting).fit(quantizer, TensorRows(rows), seed=seed)
        optimizer = AdamW(quantizer.parameters(), **training["optimizer"]["init_args"])
        schedule = CosineDecay(**training["schedule"]["init_args"]).configure(optimizer, steps, 1)
        quantizer.attach(optimizer)
        average = AveragedModel(quantizer, multi_avg_fn=get_ema_multi_avg_fn(0.999))
        order = (torch.randperm(len(rows)) for _ in count())
        batches = chain.from_iterable(o.split(training["batch_size"]) for o in order)
        for batch in islice(batches, steps):
            optimizer.zero_grad()
            quantizer(mix_examples(rows[batch], chosen["mixing"])).losses["codebook"].backward()
            optimizer.step()
            schedule["scheduler"].step()
            average.update_parameters(quantizer)
        learned = cast(ImplicitResidualQuantizer, average.module.eval())
        return Coder(
            lambda y: learned.encode((y - mean) / scale),
            lambda codes: learned.decode(codes).detach() * scale + mean,
        )

    return learn


def product(rotated: bool) -> Method:
    """Returns product quantization, along the directions of the vectors or others."""

    def learn(x: Tensor, seed: int) -> Coder:
        share, more = divmod(x.shape[1], len(SIZES))
        parts = [
            VectorQuantizer(EMACodebook(codebook_size=size, dim=share + (place < more)))
            for place, size in enumerate(SIZES)
        ]
        if not rotated:
            plain = ProductQuantizer(parts).eval()
            ProductKMeans(PASSES).fit(plain, TensorRows(x), seed=seed)
            return Coder(plain.encode, plain.decode)
        turned = RotatedQuantizer(ProductQuantizer(parts)).eval()
        OptimizedProduct(TURNS).fit(turned, TensorRows(x), seed=seed)
        return Coder(turned.encode, turned.decode)

    return learn


def product_of_faiss(rotated: bool) -> Method:
    """Returns faiss's product quantization; vectors are filled up with zeros where they must."""

    def learn(x: Tensor, seed: int) -> Coder:
        import faiss

        dim = x.shape[1]
        whole = dim + -dim % len(SIZES)
        turn: Any = None
        if rotated:
            turn = faiss.OPQMatrix(dim, len(SIZES), whole)
            turn.niter = TURNS
            turn.train(x.numpy())
        learned: Any = faiss.ProductQuantizer(whole, len(SIZES), SIZES[0].bit_length() - 1)
        learned.cp.niter, learned.cp.seed = PASSES, 1234 + seed
        learned.cp.max_points_per_centroid = len(x)  # all are learned from

        def turned(y: Tensor) -> Any:
            return turn.apply(y.numpy()) if rotated else pad(y, (0, whole - dim)).numpy()

        def decode(codes: Tensor) -> Tensor:
            found = learned.decode(codes.to(torch.uint8).numpy())
            return torch.from_numpy(turn.reverse_transform(found) if rotated else found[:, :dim])

        learned.train(turned(x))
        return Coder(
            lambda y: torch.from_numpy(learned.compute_codes(turned(y))).long(),
            decode,
        )

    return learn


def of_faiss(name: str, **settings: int) -> Method:
    """Returns a quantizer of faiss, by the name of its class."""

    def learn(x: Tensor, seed: int) -> Coder:
        import faiss

        bits = SIZES[0].bit_length() - 1
        learned: Any = getattr(faiss, name)(x.shape[1], len(SIZES), bits)
        learned.random_seed = seed
        for key, value in settings.items():
            setattr(learned, key, value)
        learned.train(x.numpy())
        # One byte for each code of 256.
        return Coder(
            lambda y: torch.from_numpy(learned.compute_codes(y.numpy())).long(),
            lambda codes: torch.from_numpy(learned.decode(codes.to(torch.uint8).numpy())),
        )

    return learn


METHODS: dict[str, Method] = {
    "residual k-means, greedy": residual_kmeans(1),
    "residual k-means, beam 5": residual_kmeans(5),
    "residual k-means, refined, greedy": residual_kmeans(1, None),
    "residual k-means, refined, beam 5": residual_kmeans(5, None),
    "QINCo": implicit(),
    "PQ": product(rotated=False),
    "OPQ": product(rotated=True),
}

FAISS: dict[str, Method] = {
    "faiss RQ, beam 5": of_faiss("ResidualQuantizer", max_beam_size=5),
    "faiss LSQ": of_faiss("LocalSearchQuantizer"),
    "faiss PQ": product_of_faiss(rotated=False),
    "faiss OPQ": product_of_faiss(rotated=True),
}


class Figures(NamedTuple):
    """What is measured of a method."""

    error: float
    unique: float
    dead: int
    fit: float
    encode: float


def measured(method: Method, train: Tensor, test: Tensor, seed: int) -> Figures:
    """Learns on the training vectors, and measures on the test vectors."""
    start = time.process_time()
    coder = method(train, seed)
    fit = time.process_time() - start
    start = time.process_time()
    codes = coder.encode(train)
    encode = time.process_time() - start
    of_test = coder.encode(test)
    error = float((coder.decode(of_test) - test).square().mean() / test.var(correction=0))
    both = torch.cat([codes, of_test])
    _, found, counts = both.unique(dim=0, return_inverse=True, return_counts=True)
    unique = float((counts[found] == 1).float().mean())
    dead = sum(
        size - len(level.unique()) for size, level in zip(SIZES, codes.unbind(1), strict=True)
    )
    return Figures(error, unique, dead, fit, encode)


def vectors(examples: Examples, splits: Splits) -> Tensor:
    """Returns all vectors (N, D) of a split, as they are normalized."""
    x = examples.__getitems__(range(len(examples))).x
    return x if splits.normalization is None else splits.normalization(x)


def table(folder: Path, methods: dict[str, Method], seeds: Sequence[int]) -> str:
    """Returns the figures of a set as a table in markdown: means over seeds."""
    splits = Vectors(path=str(folder)).load()
    train, test = vectors(splits.train, splits), vectors(splits.test, splits)
    lines = [
        f"{folder.name}: {len(train):,} and {len(test):,} vectors of {train.shape[1]} dimensions",
        "",
        "| method | MSE/variance | unique | dead codes | fit | encode |",
        "|---|---|---|---|---|---|",
    ]
    for name, method in methods.items():
        runs = [measured(method, train, test, seed) for seed in seeds]
        error, unique, dead, fit, encode = (
            sum(column) / len(runs) for column in zip(*runs, strict=True)
        )
        lines.append(
            f"| {name} | {error:.4f} | {unique:.1%} | {dead:.1f} | {fit:.1f} s | {encode:.2f} s |"
        )
    limit = gaussian_bound(splits, len(SIZES))
    if limit is not None:
        lines.append(f"| Gaussian of the same covariance | {limit(8):.4f} | | | | |")
    return "\n".join(lines)


def main() -> None:
    """Prints a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="as of smalti fit")
    parser.add_argument("--methods", nargs="*", help="parts of the names of some; all if not given")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    methods = dict(METHODS)
    if find_spec("faiss") is not None:
        import faiss

        faiss.omp_set_num_threads(asked.threads)
        methods |= FAISS
    if asked.methods:
        methods = {
            name: method
            for name, method in methods.items()
            if any(part in name for part in asked.methods)
        }
    print(f"{asked.threads} threads, seeds {asked.seeds}, torch {torch.__version__}")
    for folder in asked.data:
        print(f"\n{table(folder, methods, asked.seeds)}", flush=True)


if __name__ == "__main__":
    main()
