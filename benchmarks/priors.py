"""Benchmark of priors over the tokens of one run, each after the same processor time.

    python benchmarks/priors.py RUN --seconds 400 --seeds 0 1 2 --out priors.json

RUN is a run directory with a tokenizer and its tokens, and with labels, which train the classifier.
Each prior is trained on the tokens from new weights for as many steps as its time allows; the first
steps are timed. With `--steps` it takes so many instead, such as what that time allows on another
machine, and `--device cuda` trains and measures on a GPU. `--keep FOLDER` saves each trained prior,
so that ways of sampling can be tried afterwards. Optimizer and schedule are the same for all;
learning rate, batch size and width were chosen on validation images. Then the priors are measured
on test images:

    nats per index         of test grids; of AbsorbingDiffusion a bound; MaskedPrior and
                           LatentDiffusion have none
    Fréchet distance       of N samples, in the features of the classifier of the report
    density, coverage      of the same samples, with 5 neighbours
    samples a second       in batches of 256, after training
    narrower               distance and coverage with the temperature or guidance in `NARROWER`
                           that has the best distance to validation images

Reconstructions and training images show the best that could be reached.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import smalti
from smalti.artifacts import save_model
from smalti.autoencoders import DiscreteAutoencoder
from smalti.conditions import Condition, OptionalCondition
from smalti.data import Examples
from smalti.evaluation.classifier import train_classifier
from smalti.evaluation.measurements.frechet import FeatureGaussian, fit_gaussian, frechet_distance
from smalti.evaluation.neighbourhoods import compare_neighbourhoods
from smalti.generation import Model
from smalti.modalities.base import Classifier
from smalti.priors import (
    AbsorbingDiffusion,
    BoundedPrior,
    LatentDiffusion,
    MaskedPrior,
    PixelCNN,
    Prior,
    SamplingConfig,
    TractablePrior,
    TransformerPrior,
)
from smalti.runs import load_run_data
from smalti.token_cache import read_cache
from smalti.training import CosineDecay, Hardware, PriorStage, Tokens, Training, train
from smalti.training.cpu import speed_up_cpu

DRAWN, NEIGHBOURS, DROPPED = 256, 5, 0.1
FIRST = 24  # steps that are timed
CLASSIFIER_STEPS = 1500  # as in reports
NARROWER = (
    SamplingConfig(temperature=0.9),
    SamplingConfig(temperature=0.8),
    SamplingConfig(guidance=1.5),
    SamplingConfig(guidance=1.5, temperature=0.9),
    SamplingConfig(guidance=2.0),
)


class Candidate(NamedTuple):
    """A prior of the table.

    Attributes:
        make: Makes it of codebook size, grid and condition.
        rate: The learning rate.
        batch: The batch size.
        config: How it is sampled.
    """

    make: partial[Any]
    rate: float
    batch: int
    config: SamplingConfig = SamplingConfig()


CANDIDATES = {
    "PixelCNN": Candidate(partial(PixelCNN, hidden=96, layers=8), 0.002, 64),
    "TransformerPrior": Candidate(
        partial(TransformerPrior, hidden=128, layers=4, heads=4), 0.004, 32
    ),
    "MaskedPrior": Candidate(
        partial(MaskedPrior, hidden=128, layers=4, heads=4), 0.004, 32, SamplingConfig(steps=12)
    ),
    "AbsorbingDiffusion": Candidate(
        partial(AbsorbingDiffusion, hidden=128, layers=4, heads=4),
        0.004,
        32,
        SamplingConfig(steps=32),
    ),
    "LatentDiffusion": Candidate(partial(LatentDiffusion), 0.002, 64),
}


class Judge:
    """Measures samples: a classifier's features of test images, and the model that decodes.

    Arguments:
        model: The model of the run.
        n: How many samples are compared, at most.
        device: The device to compute on.
    """

    def __init__(self, model: Model, n: int, device: str) -> None:
        splits = load_run_data(model.run) if model.run is not None else None
        assert splits is not None and model.run is not None
        assert isinstance(model.autoencoder, DiscreteAutoencoder)
        self.quantizer = copy.deepcopy(model.autoencoder.quantizer)
        self.model, self.device = model.to(device), device
        self.classifier: Classifier = train_classifier(splits, CLASSIFIER_STEPS, 0, device)
        self.tokens = {
            split: read_cache(model.run.tokens, split) for split in ("train", "validation", "test")
        }
        self.real = {
            split: self._features(getattr(splits, split)) for split in ("validation", "test")
        }
        self.n = min(n, *(len(real) for real in self.real.values()))
        self.train = self._features(splits.train, self.n)

    def grids(self, split: str) -> tuple[Tensor, Tensor | None]:
        """Returns the grids of a split, and their conditions."""
        found = self.tokens[split]
        return found.levels[0].long(), found.context

    def drawn(self, prior: Prior, split: str, config: SamplingConfig, seed: int) -> Tensor:
        """Draws grids under conditions of a split."""
        generator = torch.Generator().manual_seed(seed)
        _, context = self.grids(split)
        order = torch.randperm(len(self.real[split]), generator=generator)[: self.n]
        grids = []
        for part in order.split(DRAWN):
            given = None if prior.condition is None or context is None else context[part]
            given = None if given is None else given.to(self.device)
            drawn = prior.sample(len(part), given, config=config, generator=generator)
            grids.append(drawn.cpu())
        return torch.cat(grids)

    @torch.inference_mode()
    def features_of(self, grids: Tensor) -> Tensor:
        """Returns the features of what grids decode to."""
        parts = (
            self.classifier.features(self.model.decode(part).to(self.device))
            for part in grids.split(DRAWN)
        )
        return torch.cat(list(parts)).float().cpu()

    def distance(self, features: Tensor, split: str) -> float:
        """Returns the Fréchet distance of features to a split."""
        return frechet_distance(fit_gaussian(features), self._gaussian(split))

    def compare(self, features: Tensor) -> dict[str, float]:
        """Returns distance, density and coverage of features to test images."""
        found = compare_neighbourhoods(self.real["test"][: self.n], features, NEIGHBOURS)
        distance = self.distance(features, "test")
        return {"distance": distance, "density": found.density, "coverage": found.coverage}

    def _gaussian(self, split: str) -> FeatureGaussian:
        return fit_gaussian(self.real[split])

    @torch.inference_mode()
    def _features(self, examples: Examples, n: int | None = None) -> Tensor:
        chosen = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))[:n]
        return (
            torch.cat(
                [
                    self.classifier.features(examples.__getitems__(part.tolist()).x.to(self.device))
                    for part in chosen.split(DRAWN)
                ]
            )
            .float()
            .cpu()
        )


def fit(candidate: Candidate, judge: Judge, options: argparse.Namespace, seed: int) -> dict:
    """Trains a prior for its time; returns it, its steps and how long they took."""
    layout, condition = judge.model.layout, judge.model.condition
    assert layout is not None
    train_set, validation = (Tokens(*judge.grids(split)) for split in ("train", "validation"))
    regular = {"dropout": options.dropout} if options.dropout else {}
    noise = options.token_noise if candidate.make.func in (PixelCNN, TransformerPrior) else 0.0

    def trained(steps: int, validations: int = 1) -> tuple[Prior, float]:
        torch.manual_seed(seed)
        of = judge.quantizer if candidate.make.func is LatentDiffusion else layout.largest
        prior = candidate.make(of, layout.shape, optional(condition), **regular)
        prior.prepare(train_set.indices)
        optimizer = partial(torch.optim.AdamW, lr=candidate.rate)
        every = max(steps // validations, 2)
        schedule = CosineDecay(min(200, steps // 4))
        training = Training(
            steps,
            candidate.batch,
            optimizer,
            schedule,
            weight_ema=0.998,
            validate_every=every,
            save_every=steps,
            keep_best=True,
        )
        decay = options.weight_decay
        stage = PriorStage(
            prior, training, train_set, validation, seed=seed, token_noise=noise, weight_decay=decay
        )
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            train(stage, "prior", Path(folder), Hardware(accelerator=options.device))
        return stage.model, time.process_time() - began

    if not (steps := options.steps.get(candidate.make.func.__name__, 0)):
        trained(4)  # warms up: the first steps are slow
        few, more = trained(4)[1], trained(4 + FIRST)[1]
        steps = int(options.seconds * FIRST / (more - few))
    prior, took = trained(steps, 4)
    return {"prior": prior.to(judge.device), "steps": steps, "seconds": took}


def optional(condition: Condition | None) -> Condition | None:
    """Returns a copy of a condition that may be left out, as guidance needs."""
    if condition is None or condition.optional:
        return copy.deepcopy(condition)
    return OptionalCondition(copy.deepcopy(condition), DROPPED)


def nats(prior: Prior, judge: Judge) -> float | None:
    """Returns −log p of test grids in nats per index, or a bound on it."""
    grids, context = judge.grids("test")
    if not isinstance(prior, TractablePrior | BoundedPrior):
        return None
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(grids), DRAWN):
            part = slice(start, start + DRAWN)
            given = None if prior.condition is None or context is None else context[part]
            given = None if given is None else given.to(judge.device)
            part_grids = grids[part].to(judge.device)
            if isinstance(prior, TractablePrior):
                total -= prior.log_prob(part_grids, given).sum().item()
            else:
                generator = torch.Generator().manual_seed(start)
                total += prior.bound(part_grids, given, generator=generator).sum().item()
    return total / grids.numel()


def measure(name: str, judge: Judge, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Trains and measures one prior."""
    candidate = CANDIDATES[name]
    made = fit(candidate, judge, options, seed)
    prior: Prior = made.pop("prior")
    if options.keep is not None:
        save_model(prior, options.keep / f"{name}-{seed}")
    began = time.perf_counter()
    grids = judge.drawn(prior, "test", candidate.config, seed)
    speed = len(grids) / (time.perf_counter() - began)
    row = {
        "prior": name,
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in prior.parameters()),
        **made,
        "nats": nats(prior, judge),
        "bound": isinstance(prior, BoundedPrior),
        "per_second": speed,
        **judge.compare(judge.features_of(grids)),
    }
    narrower = list(narrowed(prior, candidate.config))
    tried = [
        judge.distance(
            judge.features_of(judge.drawn(prior, "validation", config, seed)), "validation"
        )
        for config in narrower
    ]
    best = narrower[tried.index(min(tried))]
    found = judge.compare(judge.features_of(judge.drawn(prior, "test", best, seed)))
    return {**row, "narrower": {**best.chosen(), **found}}


def narrowed(prior: Prior, config: SamplingConfig) -> Iterator[SamplingConfig]:
    """Yields the options of `NARROWER` that a prior takes, added to its own."""
    for way in NARROWER:
        if way.guidance == 1 or (prior.condition is not None and prior.condition.optional):
            yield SamplingConfig(**{**config.chosen(), **way.chosen()})


def named_number(word: str) -> tuple[str, int]:
    """Splits NAME=N."""
    name, _, number = word.partition("=")
    return name, int(number)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lays out means over seeds, with their spread, as a table in Markdown."""
    heads = ("prior", "weights", "steps", "nats per index", "Fréchet", "density", "coverage",
             "samples a second", "narrower", "its Fréchet", "its coverage", "seconds")  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name in dict.fromkeys(row["prior"] for row in rows):
        of = [row for row in rows if row["prior"] == name]

        def spread(values: Sequence[float], digits: int) -> str:
            mean = f"{statistics.mean(values):.{digits}f}"
            if len(values) < 2:
                return mean
            return f"{mean} ± {statistics.stdev(values):.{digits}f}"

        rates = [row["nats"] for row in of]
        rate = "–" if rates[0] is None else spread(rates, 3)
        figures = ("distance", "density", "coverage", "steps")
        chosen = [{k: v for k, v in row["narrower"].items() if k not in figures} for row in of]
        ways = sorted({", ".join(f"{k} {v:g}" for k, v in way.items()) for way in chosen})
        cells = [
            name,
            f"{of[0]['parameters'] / 1e6:.1f} M",
            spread([row["steps"] for row in of], 0),
            f"at most {rate}" if of[0]["bound"] else rate,
            spread([row["distance"] for row in of], 2),
            spread([row["density"] for row in of], 2),
            spread([row["coverage"] for row in of], 3),
            spread([row["per_second"] for row in of], 0),
            " or ".join(ways),
            spread([row["narrower"]["distance"] for row in of], 2),
            spread([row["narrower"]["coverage"] for row in of], 3),
            spread([row["seconds"] for row in of], 0),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Trains and measures all priors, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--priors", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--seconds", type=float, default=400.0, help="of processor time each")
    parser.add_argument(
        "--steps", nargs="*", type=named_number, default=[], help="PRIOR=N: so many, untimed"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--token_noise", type=float, default=0.0)
    parser.add_argument("--weight_decay", type=float, default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the trained priors")
    parser.add_argument("--out", type=Path, default=Path("priors.json"))
    options = parser.parse_args()
    options.steps = dict(options.steps)
    torch.set_num_threads(options.threads)
    speed_up_cpu()
    model = smalti.load(options.run)
    judge = Judge(model, options.samples, options.device)
    test, _ = judge.grids("test")
    limits = {
        "reconstructions": judge.compare(judge.features_of(test[: judge.n])),
        "training images": judge.compare(judge.train),
    }
    print(json.dumps(limits))
    rows = []
    for seed in options.seeds:
        for name in options.priors:
            rows.append(measure(name, judge, options, seed))
            print(json.dumps(rows[-1]), flush=True)
            found: dict[str, Any] = {
                "options": vars(options) | {"run": str(options.run)},
                "limits": limits,
            }
            found["rows"] = rows
            options.out.write_text(json.dumps(found, indent=2, default=str), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
