"""Quantizers head to head on data: everything equal but the quantizer.

For each rate, method and seed one run: the same encoder with the same first weights, the same
number of bits per index, optimizer, steps and order of the examples, then the same small prior over
the tokens. A run is a run directory like any other, with a report of its own; what is done is not
done again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jsonargparse import Namespace

from smalti import automatic, runs
from smalti.comparison.methods import Method, method
from smalti.comparison.outcomes import Comparison, Outcome
from smalti.comparison.plan import announced, plan
from smalti.counting import counted
from smalti.data import Splits
from smalti.errors import InputError
from smalti.evaluation import Limits, evaluate
from smalti.evaluation.curves import read_curves
from smalti.generation import Model
from smalti.modalities.base import modality_of
from smalti.provenance import CHANGED, check_apart, load_data
from smalti.recipes import schema
from smalti.reporting import Record
from smalti.run_recipe import check_recipe
from smalti.runs import Run

__all__ = ["head_to_head"]

DISTORTION = "MSE/variance"
VALIDATIONS = 10  # points of a curve
FIGURES = {
    "usage": ("codebook", "usage"),
    "perplexity": ("codebook", "perplexity"),
    "prior, nats per index": ("rate", "prior", "nats_per_index"),
}


def head_to_head(
    recipe: Namespace,
    methods: Sequence[str],
    *,
    bits: Sequence[int],
    seeds: int,
    steps: int,
    folder: str | Path,
    changed_data: str = "refuse",
) -> Comparison:
    """Trains, measures and compares.

    Arguments:
        recipe: Where data, network and the tokenizer's training come from.
        methods: Short names of quantizers.
        bits: Rates, log2 K.
        seeds: Runs of each method at each rate: the seeds from 0 on.
        steps: Optimizer steps of each tokenizer; each prior has a quarter as many.
        folder: Where the runs go.
        changed_data: Where the data are not those that runs there were made from: "refuse", or
            "ignore" to compare on those alone.

    Returns:
        The comparison, in which a run that failed (because it diverged, say) is a line.

    Raises:
        InputError: If a name is unknown, the data cannot be used, a folder holds another run or one
            of other data, or every run failed.
    """
    folder = Path(folder)
    wanted = plan(methods, bits, seeds)
    fields = yaml.safe_load(schema.dump(recipe))
    tokenizer = schema.build(automatic.without(recipe)).tokenizer
    if tokenizer is None:
        raise InputError(
            "Quantizers are compared in a tokenizer, got the recipe of a continuous autoencoder: "
            "choose e.g. fashion-mnist."
        )
    if tokenizer.fine_levels:
        raise InputError(
            f"Quantizers are compared in a tokenizer of one level, got the recipe of one with "
            f"{1 + len(tokenizer.fine_levels)}: choose e.g. images64."
        )
    if tokenizer.training is None:
        raise InputError(
            "Quantizers are compared as they are trained, got a recipe whose tokenizer is fitted: "
            "choose one with a training, e.g. semantic-ids."
        )
    dim = tokenizer.quantizer.dim
    configs = [_config(fields, method(name), b, dim, seed, steps) for b, name, seed in wanted]
    folders = [Run(folder / f"{name}-{b}-bits-seed-{seed}") for b, name, seed in wanted]
    check_apart(fields["data"], folder)
    for run, config in zip(folders, configs, strict=True):
        check_recipe(run, config)  # of all, before hours go into the first
    splits = _data(configs[0], folders, changed_data)
    figures = _figures(splits)
    outcomes: list[Outcome] = []
    attempted = Record()
    for (b, name, seed), run, config in zip(announced(wanted), folders, configs, strict=True):
        with attempted.attempt(run.folder.name):
            report = _measured(run, config, splits)
            outcomes.append(Outcome(name, b, seed, *_read(run, report, figures)))
        if why := attempted.missing.get(run.folder.name):
            if len(attempted.missing) == len(wanted):
                raise InputError(f"Nothing could be compared. {run.folder.name}: {why}")
            outcomes.append(Outcome.none(name, b, seed, [*figures, "seconds"], why))
    data = recipe.data.class_path.rpartition(".")[2]
    path = getattr(recipe.data.init_args, "path", None)
    where = f"{data} ({Path(path).name})" if path else data
    title = (
        f"{where}: {counted(steps, 'step')} of batches of {recipe.tokenizer.training.batch_size}"
    )
    return Comparison(title, next(iter(figures)), "reconstruction loss", outcomes)


def _figures(splits: Splits) -> dict[str, tuple[str, ...]]:
    """Returns the place of each figure in a report, by its name; the distortion first."""
    found: dict[str, tuple[str, ...]] = {}
    for metric in modality_of(splits.signal).metrics(splits.signal):
        for key in sorted(metric.cards, key=lambda key: key != "mse_over_variance"):
            name = DISTORTION if key == "mse_over_variance" else metric.names[key]
            unit = f", {metric.units[key]}" if key in metric.units else ""
            found[f"{name}{unit}"] = ("reconstruction", key)
    return {**found, **FIGURES}


def _data(config: Namespace, there: Sequence[Run], changed_data: str) -> Splits:
    """Loads the data of all runs: those that existing runs were made from, if there are any."""
    source, splits = schema.build(config).data, None
    data = yaml.safe_load(schema.dump(config))["data"]
    for run in there:
        if run.config.is_file():
            splits = load_data(
                run.folder, data, source, splits, changed=changed_data, ways=CHANGED[:2]
            )
    return source.load() if splits is None else splits


def _config(
    recipe: dict[str, Any],
    chosen: Method,
    bits: int,
    dim: int,
    seed: int,
    steps: int,
) -> Namespace:
    """Returns the recipe with this quantizer and budget, and with a small prior without a
    condition.
    """
    fields = deepcopy(recipe)
    tokenizer = fields["tokenizer"]
    tokenizer["quantizer"] = chosen.quantizer(bits, dim, steps)
    tokenizer["loss_weights"] = dict(chosen.loss_weights) or None
    tokenizer["training"] |= {"steps": steps, "validate_every": max(2, steps // VALIDATIONS)}
    fields["prior"] = {
        "model": {"class_path": "PixelCNN", "init_args": {"hidden": 64, "layers": 4}},
        "conditional": False,
        "examples": 20_000,
        "training": {
            "steps": max(1, steps // 4),
            "batch_size": 64,
            "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.003}},
            "schedule": {"class_path": "CosineDecay"},
        },
    }
    fields["seed"] = seed
    return schema.parsed(fields)


def _measured(run: Run, config: Namespace, splits: Splits) -> dict[str, Any]:
    """Returns the report of a run, which is made where it is not there yet."""
    file = run.folder / "report.json"
    if not file.is_file() or not _is_of(run, file):
        runs.fit(config, run.folder, splits)
        model = Model.load(run.folder)
        limits = Limits(classifier_steps=0, downloaded=False)
        made = evaluate(model, splits, curves=run.curves(), limits=limits, title=run.folder.name)
        made.made_from = runs.parts(run)
        made.save(run.folder)
    try:
        report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        report["figures"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: delete it to have the run measured again.") from error
    return report


def _is_of(run: Run, file: Path) -> bool:
    """Returns whether a report is of the models of the run; False for a damaged or older one."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["made_from"]
    except (ValueError, KeyError, TypeError):
        return True
    return bool(found == runs.parts(run))


def _read(
    run: Run, report: dict[str, Any], wanted: dict[str, tuple[str, ...]]
) -> tuple[dict[str, float], list[tuple[int, float, float]], dict[str, str]]:
    """Reads the figures and curve of a run, and what is missing of them."""
    figures: dict[str, float] = {}
    missing: dict[str, str] = {}
    for name, path in wanted.items():
        branch: Any = report["figures"]
        note = "its report does not have it."
        for key in path:
            branch = branch.get(key) if isinstance(branch, dict) else None
            note = branch.get("note", note) if isinstance(branch, dict) else note
        value = branch.get("value") if isinstance(branch, dict) else None
        figures[name] = math.nan if value is None else float(value)
        if value is None:
            missing[name] = note
    figures["seconds"] = math.nan
    try:
        curves = read_curves(run.curves()["tokenizer"])
        at, seconds = zip(*curves["seconds"]["train"], strict=True)
        measured = curves["reconstruction"]["validation"]
    except (InputError, KeyError) as error:
        why = error if isinstance(error, InputError) else f"{run.folder} has no whole log"
        return figures, [], {**missing, "seconds": str(why)}
    figures["seconds"] = seconds[-1]
    curve = [(step, float(np.interp(step, at, seconds)), value) for step, value in measured]
    return figures, curve, missing
