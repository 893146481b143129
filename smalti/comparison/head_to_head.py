"""Compares quantizers head to head on data: everything is equal but the quantizer.

For each rate, method and seed one run: the same encoder with the same first weights, the same
number of bits, optimizer, steps and order of the examples, then the same small prior over the
tokens where the recipe has one. Methods of several indices per position include some without a
network, which are fitted to the vectors themselves. A run is a run directory like any other, with a
report of its own; what is done is not done again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from smalti import automatic, runs
from smalti.comparison.faiss_lsq import measure_faiss
from smalti.comparison.figures import (
    DISTORTION,
    figure_places,
    read_figures,
    read_log,
    rename_figures,
)
from smalti.comparison.gaussian_bound import gaussian_bound
from smalti.comparison.methods import METHODS, Method
from smalti.comparison.multi_codebook import FAISS_LSQ, MULTI_CODEBOOK_METHODS, MultiCodebookMethod
from smalti.comparison.outcomes import Comparison, Outcome
from smalti.comparison.plan import log_each_run, plan_runs
from smalti.comparison.recipes import (
    choose_methods,
    indices_per_position,
    make_run_config,
    single_level_tokenizer,
)
from smalti.counting import counted
from smalti.data import Splits
from smalti.errors import InputError
from smalti.evaluation import Limits, evaluate
from smalti.generation import Model
from smalti.provenance import CHANGED, check_outside_data, load_data
from smalti.recipes import schema
from smalti.recipes.schema import TokenizerRecipe
from smalti.reporting import Record
from smalti.run_recipe import check_recipe
from smalti.runs import Run

__all__ = ["head_to_head"]


def head_to_head(
    recipe: Namespace,
    methods: Sequence[str],
    *,
    bits: Sequence[int],
    seeds: int,
    steps: int,
    folder: str | Path,
    changed_data: str = "refuse",
    stages: int | None = None,
) -> Comparison:
    """Trains a recipe with each quantizer at each rate with each seed, and compares the results.

    Arguments:
        recipe: Gives the data, the network and the tokenizer's training.
        methods: Short names of quantizers.
        bits: Rates: bits per index, log2 K.
        seeds: The number of runs of each method at each rate; seeds count from 0.
        steps: Optimizer steps of each tokenizer; each prior has a quarter as many.
        folder: The folder that the runs are written to.
        changed_data: What to do if the data have changed since runs there were made: "refuse", or
            "ignore" to compare on the examples of those runs alone.
        stages: Indices per position; those of the recipe's quantizer if not given, or one where all
            methods have one.

    Returns:
        The comparison, in which a run that failed (because it diverged, say) is a line.

    Raises:
        InputError: If a name is unknown, the data cannot be used, a folder holds another run or one
            of other data, or every run failed.
    """
    folder = Path(folder)
    wanted = plan_runs(methods, bits, seeds)
    tokenizer = single_level_tokenizer(recipe)
    if stages is None:
        of_one = all(name in METHODS or name not in MULTI_CODEBOOK_METHODS for name in methods)
        stages = 1 if of_one else indices_per_position(tokenizer)
    chosen = choose_methods(methods, stages, tokenizer)
    dim = automatic.AUTO if automatic.has_auto_dim(recipe) else tokenizer.quantizer.dim
    configs = [
        make_run_config(recipe, chosen[one.method], one, dim, stages, steps) for one in wanted
    ]
    folders = [Run(folder / f"{name}-{b}-bits-seed-{seed}") for b, name, seed in wanted]
    check_outside_data(yaml.safe_load(schema.dump(recipe))["data"], folder)
    for one, run, config in zip(wanted, folders, configs, strict=True):
        if one.method != FAISS_LSQ:
            check_recipe(run, config)  # of all, before hours go into the first
    splits = _data(configs[0], folders, changed_data)
    _check_vectors(chosen, splits)
    figures = figure_places(splits, stages, recipe.prior is not None)
    outcomes: list[Outcome] = []
    reports: list[dict[str, Any]] = []
    attempted = Record()
    for one, run, config in zip(log_each_run(wanted), folders, configs, strict=True):
        b, name, seed = one
        with attempted.attempt(run.folder.name):
            report, seconds, curve, why = _taken(chosen[name], name, run, config, splits)
            found, missing = read_figures(report, figures)
            missing |= {"seconds": why} if why else {}
            reports.append(report)
            outcomes.append(Outcome(name, b, seed, {**found, "seconds": seconds}, curve, missing))
        if failed := attempted.missing.get(run.folder.name):
            if len(attempted.missing) == len(wanted):
                raise InputError(f"Nothing could be compared. {run.folder.name}: {failed}")
            outcomes.append(Outcome.none(name, b, seed, [*figures, "seconds"], failed))
    return Comparison(
        _title(recipe, tokenizer, steps, stages),
        next(iter(figures)),
        "reconstruction loss",
        rename_figures(outcomes, figures, reports),
        gaussian_bound(splits, stages) if DISTORTION in figures else None,
        "a Gaussian of the same covariance, at best",
    )


def _check_vectors(chosen: dict[str, Method | MultiCodebookMethod], splits: Splits) -> None:
    """Raises `InputError` where methods without a network meet signals that have a grid."""
    bare = [
        name
        for name, one in chosen.items()
        if isinstance(one, MultiCodebookMethod) and not one.network
    ]
    if bare and splits.signal.spatial_dims:
        raise InputError(
            f"{', '.join(bare)} works on vectors without a network, got {splits.signal.plural}, "
            f"which have a grid: leave it out, or choose from "
            f"{','.join(name for name, one in MULTI_CODEBOOK_METHODS.items() if one.network)}."
        )


def _title(recipe: Namespace, tokenizer: TokenizerRecipe, steps: int, stages: int) -> str:
    """Says what is compared, on what, with which budget."""
    data = recipe.data.class_path.rpartition(".")[2]
    path = getattr(recipe.data.init_args, "path", None)
    where = f"{data} ({Path(path).name})" if path else data
    each = f", {counted(stages, 'index', 'indices')} each" if stages > 1 else ""
    if tokenizer.training is None:
        return f"{where}{each}"
    return f"{where}{each}: {counted(steps, 'step')} of batches of {tokenizer.training.batch_size}"


def _data(config: Namespace, there: Sequence[Run], changed_data: str) -> Splits:
    """Loads the data of all runs: those that existing runs were made from, if there are any."""
    source, splits = schema.build(automatic.without_auto(config)).data, None
    data = yaml.safe_load(schema.dump(config))["data"]
    for run in there:
        if run.config.is_file():
            splits = load_data(
                run.folder, data, source, splits, changed=changed_data, ways=CHANGED[:2]
            )
    return source.load() if splits is None else splits


def _taken(
    chosen: Method | MultiCodebookMethod, name: str, run: Run, config: Namespace, splits: Splits
) -> tuple[dict[str, Any], float, list[tuple[int, float, float]], str]:
    """Makes a run and its report, where they are not there yet.

    Returns:
        The report, the seconds that learning took, the curve, and why one is missing.
    """
    if name == FAISS_LSQ:
        report, seconds = measure_faiss(run.folder, config, splits)
        return report, seconds, [], ""
    report = _measured(run, config, splits)
    fitted = (
        isinstance(chosen, MultiCodebookMethod)
        and chosen.fitting is not None
        and not chosen.trained_as
    )
    return report, *read_log(run, fitted)


def _measured(run: Run, config: Namespace, splits: Splits) -> dict[str, Any]:
    """Returns the report of a run, which is made where it is not there yet."""
    file = run.folder / "report.json"
    if not file.is_file() or not _is_of(run, file):
        runs.fit(config, run.folder, splits)
        model = Model.load(run.folder)
        limits = Limits(classifier_steps=0, feature_steps=0, downloaded=False)
        made = evaluate(model, splits, curves=run.curves(), limits=limits, title=run.folder.name)
        made.made_from = runs.part_checksums(run)
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
    return bool(found == runs.part_checksums(run))
