"""Benchmark of bitstreams: real bytes beside the likelihood, speed, and damaged files.

python benchmarks/bitstreams.py sizes RUN --examples 1000
python benchmarks/bitstreams.py speed --seconds 20
python benchmarks/bitstreams.py fuzz --mutations 100000
python benchmarks/bitstreams.py fuzz RUN --mutations 10000
python benchmarks/bitstreams.py logits RUN

sizes     the test examples of a run in one file, and in an archive of one file each: bytes under
          the learned prior, the unigram and uniform, beside −log₂ p
speed     tokens of a speech codec, 50 positions a second of 1 to 12 codebooks of 1,024, under a
          TransformerPrior with new weights (delayed, 4 layers of 128 channels): seconds of sound
          for a second of one thread, without the tokenizer
fuzz      files and archives (of a run, or of small priors with new weights: several sizes,
          conditions, names, levels) with bits, bytes, lengths and parts changed at random, half of
          them with the checksum at the end mended: each must give one line, or what was written
logits    how far the logits of a full pass and of a stepper, in steps of 1/64 nat, lie apart in
          float64, beside the tolerance; and how many values are listed
"""

from __future__ import annotations

import argparse
import math
import resource
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import smalti
from smalti.codec import Codec, Coded, LearnedModel, UniformModel, UnigramModel
from smalti.codec.container import Writer, packed, write_row
from smalti.codec.frequencies import STEPS, TOLERANCE, to_steps
from smalti.conditions import TimeOfDay
from smalti.errors import InputError
from smalti.generation import Model
from smalti.generation.compression import CODERS, codec_of, conditioned
from smalti.layout import Layout
from smalti.priors import AutoregressivePrior, Cascade, PixelCNN, TransformerPrior
from smalti.runs import load_run_data

RATE, SIZE, BOOKS = 50, 1024, (1, 2, 4, 8, 12)
SECONDS = 2  # of a piece


def main() -> None:
    """Parses the command line and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("sizes", "speed", "fuzz", "logits"))
    parser.add_argument("run", nargs="?")
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "speed":
        measure_speed(given.seconds)
        return
    if given.what == "fuzz" and given.run is None:
        report_fuzz(small_files(), given.mutations, given.seed)
        return
    model = smalti.load(given.run)
    if given.what == "sizes":
        measure_sizes(model, given.examples)
    elif given.what == "fuzz":
        fuzz_run(model, given.mutations, given.seed)
    else:
        compare_logits(model, given.examples)


def measure_sizes(model: Model, count: int) -> None:
    """Prints the bytes of test examples beside their likelihood."""
    levels, words = test_tokens(model, count)
    n = len(levels[0])
    values = n * math.prod(model.signal.shape)
    for prior in CODERS:
        codec = codec_of(model, prior)
        coded = conditioned(codec, Coded(levels, "all"), words if prior == "learned" else None)
        worth = float(codec.bits(coded).sum()) / 8
        told = 0 if coded.context is None else conditions_size(coded)
        began = time.process_time()
        whole = len(codec.encode_all([coded]))
        took = time.process_time() - began
        parts = [
            Coded(
                tuple(level[m : m + 1] for level in levels),
                f"{m}",
                None if coded.context is None else coded.context[m % len(coded.context)][None],
            )
            for m in range(n)
        ]
        archive = len(codec.encode_all(parts))
        one = len(codec.encode_all(parts[:1]))
        print(
            f"{prior:8} {n} signals: −log p {worth:.0f} bytes, one file {whole}, of which "
            f"conditions {told} ({(whole - told) / worth - 1:+.2%} without), bits per value "
            f"{8 * whole / values:.4f}; archive of {n} files {archive / n:.1f} bytes each, one "
            f"alone {one}; {took / n * 1e3:.2f} ms each"
        )


def conditions_size(coded: Coded) -> int:
    """Returns how many bytes of a file say what its signals are conditioned on."""
    assert coded.context is not None
    rows = Writer()
    for value in coded.context.tolist():
        write_row(rows, value if isinstance(value, list) else [value])
    return len(packed(rows))


def measure_speed(seconds: int) -> None:
    """Prints how many seconds of sound are coded in a second of one thread."""
    for books in BOOKS:
        torch.manual_seed(0)
        prior = TransformerPrior(
            [SIZE] * books if books > 1 else SIZE,
            (SECONDS * RATE, books) if books > 1 else (SECONDS * RATE,),
            hidden=128,
            layers=4,
            heads=4,
            pattern="delayed",
        ).eval()
        shape = (1, seconds * RATE, books) if books > 1 else (1, seconds * RATE)
        tokens = torch.randint(SIZE, shape)
        for model in (LearnedModel(prior), UniformModel(prior.layout)):
            codec = Codec(model)
            began = time.process_time()
            content = codec.encode(tokens)
            coded = time.process_time()
            codec.decode(content)
            ended = time.process_time()
            print(
                f"{books:2} codebooks, {model.name:8} encoding {seconds / (coded - began):6.1f} × "
                f"real time, decoding {seconds / (ended - coded):6.1f} ×, {len(content)} bytes"
            )


def fuzz_run(model: Model, mutations: int, seed: int) -> None:
    """Decodes damaged files of a run under all priors, and prints what became of them."""
    levels, words = test_tokens(model, 12)
    files: list[tuple[Codec, bytes]] = []
    for prior in CODERS:
        codec = codec_of(model, prior)
        coded = conditioned(codec, Coded(levels, "all"), words if prior == "learned" else None)
        archive = [
            coded._replace(
                levels=tuple(level[m : m + 1] for level in levels),
                name=f"{m}.x",
                context=None if coded.context is None else coded.context[:1],
            )
            for m in range(4)
        ]
        files += [(codec, codec.encode_all([coded])), (codec, codec.encode_all(archive))]
    report_fuzz(files, mutations, seed)


def small_files() -> list[tuple[Codec, bytes]]:
    """Makes files of all that the format knows, and their codecs."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden": 8, "layers": 1, "heads": 2}
    delayed = TransformerPrior([7, 5], (4, 2), TimeOfDay(), pattern="delayed", **sizes)
    learned = Codec(LearnedModel(delayed), rate=16_000)
    parts = [
        Coded((torch.randint(5, (1, n, 2)),), f"{n}.wav", torch.tensor([10.0]), (3 * n,))
        for n in (4, 9, 3)
    ]
    named = Coded((torch.randint(5, (5, 4, 2)),), "x", torch.arange(5.0) + 0.5, names=list("abcde"))
    levels = [PixelCNN(9, (2, 2), None, 8, 1), PixelCNN(5, (4, 4), None, 8, 1)]
    cascade = Codec(LearnedModel(Cascade(levels)))
    grids = (torch.randint(9, (2, 3, 5)), torch.randint(5, (2, 6, 10)))
    uniform = Codec(UniformModel(Layout(((2,), (4,)), ((3,), (300, 2)))))
    rows = (torch.randint(3, (1, 5)), torch.randint(2, (1, 10, 2)))
    unigram = Codec(UnigramModel(Layout(((4, 4),), ((64,),)), [np.arange(64)]))
    return [
        (learned, learned.encode_all([*parts, named])),
        (cascade, cascade.encode(grids, size=(12, 20))),
        (uniform, uniform.encode(rows, size=(40,))),
        (unigram, unigram.encode(torch.randint(64, (30, 4, 4)))),
    ]


def report_fuzz(files: list[tuple[Codec, bytes]], mutations: int, seed: int) -> None:
    """Decodes so many mutations, a share of each file, and prints what became of them."""
    found: Counter[str] = Counter()
    slowest = 0.0
    for part, (codec, content) in enumerate(files):
        told, worst = fuzz(content, codec, -(-mutations // len(files)), seed + part)
        found += told
        slowest = max(slowest, worst)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{sum(found.values())} mutations, slowest {slowest:.2f} s, peak memory {peak:.0f} MiB")
    for line, times in found.most_common():
        print(f"{times:7} {line}")


def fuzz(content: bytes, codec: Codec, count: int, seed: int) -> tuple[Counter[str], float]:
    """Decodes so many mutations of a file: what became of them, and how long the slowest took.

    Raises:
        AssertionError: If one decodes to other tokens although its checksum was not mended.
    """
    rng = np.random.default_rng(seed)
    whole = codec.decode_all(content)
    found: Counter[str] = Counter()
    slowest = 0.0
    for number in range(count):
        mended = number % 2 == 1
        damaged = mutate(content, rng)
        if mended:
            damaged = damaged[:-4] + struct.pack("<I", zlib.crc32(damaged[:-4]))
        began = time.process_time()
        try:
            got = codec.decode_all(damaged)
        except InputError as error:
            assert "\n" not in str(error)
            found[str(error).partition(": get it")[0][:90]] += 1
        else:
            same = same_tokens(got, whole)
            assert mended or damaged == content, "altered, and not refused"
            found["decoded: the tokens as written" if same else "decoded: made anew"] += 1
        slowest = max(slowest, time.process_time() - began)
    return found, slowest


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes a file at random in one of eight ways, or several."""
    changed = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 5]))):
        at = int(rng.integers(len(changed) + 1)) if rng.random() < 0.5 else int(rng.integers(60))
        at = min(at, max(len(changed) - 1, 0))
        MUTATIONS[int(rng.integers(len(MUTATIONS)))](changed, at, rng)
    return bytes(changed)


def _flip(x: bytearray, at: int, rng: np.random.Generator) -> None:
    x[at : at + 1] = bytes([x[at] ^ 1 << int(rng.integers(8))]) if x else b""


def _any(x: bytearray, at: int, rng: np.random.Generator) -> None:
    x[at : at + 1] = rng.bytes(1)


def _cut(x: bytearray, at: int, rng: np.random.Generator) -> None:
    del x[at:]


def _drop(x: bytearray, at: int, rng: np.random.Generator) -> None:
    del x[at : at + int(rng.integers(1, 9))]


def _insert(x: bytearray, at: int, rng: np.random.Generator) -> None:
    x[at:at] = rng.bytes(int(rng.integers(1, 9)))


def _large(x: bytearray, at: int, rng: np.random.Generator) -> None:
    x[at : at + 1] = b"\xff" * int(rng.integers(1, 9)) + b"\x7f"


def _again(x: bytearray, at: int, rng: np.random.Generator) -> None:
    x[at:at] = x[at : at + int(rng.integers(1, 65))]


def _zeros(x: bytearray, at: int, rng: np.random.Generator) -> None:
    n = int(rng.integers(1, 17))
    x[at : at + n] = bytes(n)


Mutation = Callable[[bytearray, int, np.random.Generator], None]
MUTATIONS: tuple[Mutation, ...] = (
    _flip,
    _any,
    _cut,
    _drop,
    _insert,
    _large,
    _again,
    _zeros,
)


def same_tokens(got: list[Coded], whole: list[Coded]) -> bool:
    """Returns whether two files hold the same tokens under the same names."""
    pairs = zip(got, whole, strict=False)
    return len(got) == len(whole) and all(
        a.name == b.name
        and len(a.levels) == len(b.levels)
        and all(map(torch.equal, a.levels, b.levels))
        for a, b in pairs
    )


@torch.no_grad()
def compare_logits(model: Model, count: int) -> None:
    """Prints how far logits lie apart that a full pass and a stepper compute."""
    codec = codec_of(model, "learned")
    assert isinstance(codec.model, LearnedModel)
    prior = codec.model.prior
    if not isinstance(prior, AutoregressivePrior):
        raise InputError("Logits are compared of a prior of one level: give another run.")
    levels, words = test_tokens(model, count)
    given = conditioned(codec, Coded(levels), words).context
    context = None if given is None else given.expand(len(levels[0]), *given.shape[1:])
    tokens = prior.layout.pack([*levels]).view(-1, *prior.grid)
    stepper = prior.start(len(tokens), context)
    logits = prior.logits(tokens, context).flatten(1, -2)
    apart, listed = 0.0, 0
    order = prior.order.tolist()
    for place in order:
        now = stepper.logits()
        apart = max(apart, float((now - logits[:, place]).abs().max()))
        listed += int(to_steps(logits[:, place].numpy()).near.sum())
        if place != order[-1]:
            stepper.push(tokens.flatten(1)[:, place])
    print(
        f"{logits.numel():,} logits: at most {STEPS * apart:.1e} steps apart, tolerance "
        f"{TOLERANCE:.1e}; {listed} listed"
    )


def test_tokens(model: Model, count: int) -> tuple[tuple[Tensor, ...], list[str] | None]:
    """Returns the tokens of test examples, and what they show in words."""
    assert model.run is not None
    splits = load_run_data(model.run)
    drawn = splits.test.drawn(count, 0)
    test = drawn.__getitems__(range(len(drawn)))
    latents = model.encode(test.x)
    levels = latents if isinstance(latents, tuple) else (latents,)
    if model.condition is None or test.condition is None:
        return levels, None
    return levels, [model.condition.format(value) for value in test.condition.tolist()]


if __name__ == "__main__":
    main()
