"""Fits runs stage by stage, and loads the data of runs.

    config.yaml, data/ ─┬▶ tokenizer/ ─┬▶ tokens/ ──▶ prior/ ─┬▶ samples/, report.html, report.json
                        │              └▶ ids.parquet ────────┤
                        └▶ autoencoder/ ──────────────────────┘

Of a hierarchical tokenizer each level has its prior: prior/0 of the coarsest, prior/1 …. Where an
objective compares signals in the features of a network, that is made first: features/.

Each stage writes its result whole or not at all, so a result that exists is done; a stage that was
interrupted goes on from `state/`. `data/` holds the fingerprint, split and label of each example,
and each result the checksums of what it was made from (`smalti.provenance`). The report is made by
`smalti.evaluation`, which knows how to draw samples.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from torch import nn
from torch.optim import Optimizer

from smalti import automatic, estimates, extension, item_ids, reuse
from smalti.artifacts import checksum
from smalti.autoencoders import (
    Tokenizer,
)
from smalti.building import (
    build_objective,
    channels_seen,
)
from smalti.counting import counted
from smalti.data import Examples, FactorizedSource, SplitName, Splits
from smalti.data.manifest import read_manifest, write_manifest
from smalti.errors import InputError
from smalti.files import sha256, write_text
from smalti.memory import give_back
from smalti.model_folder import check_model
from smalti.priors import TokenPrior
from smalti.provenance import (
    CHANGED,
    ExpectedChecksums,
    check_outside_data,
    load_data,
    stage_checksums,
)
from smalti.recipes import schema
from smalti.recipes.schema import Recipe
from smalti.run_directory import Run
from smalti.run_recipe import check_recipe, recipe_of
from smalti.run_stages import (
    cache_tokens,
    fit_autoencoder,
    fit_features,
    fit_prior,
    fit_reranker,
    give_ids,
)
from smalti.training import (
    Training,
    check_hardware,
)
from smalti.training.cpu import speed_up_cpu
from smalti.training.processes import is_first, wait_for_all
from smalti.training.threads import choose_threads

__all__ = ["Run", "load_run_data", "load_run_examples", "fit", "part_checksums"]

logger = logging.getLogger(__name__)


def fit(
    config: Namespace,
    folder: str | Path,
    splits: Splits | None = None,
    changed_data: str = "refuse",
    extend: bool = False,
    tokenizer_from: str | Path | None = None,
) -> tuple[Run, Splits]:
    """Fits a recipe: trains tokenizer and prior, or a continuous autoencoder, in a run directory.

    Between tokenizer and prior the tokens are cached. Finished stages are not run again.

    Arguments:
        config: The resolved configuration of a recipe.
        folder: The run directory.
        splits: The recipe's data, if they are loaded already.
        changed_data: What to do if the data have changed since the run was made, see
            `smalti.provenance`.
        extend: Whether to continue a run that took fewer steps than the recipe has, see
            `smalti.extension`.
        tokenizer_from: A run of the same data, tokenizer and seed, whose tokenizer and tokens are
            taken over, so that the prior alone is learned. Its residual quantizer may have more
            stages than the recipe lists.

    Returns:
        The run directory and the data it was made from.

    Raises:
        InputError: If the data cannot be used or are others, the folder holds a run of another
            recipe, something in it is of another run, or `tokenizer_from` has no such tokenizer.
    """
    speed_up_cpu()
    run = Run(folder)
    given, described = config, schema.dump(config)
    data = yaml.safe_load(described)["data"]
    check_outside_data(data, folder)
    run.tidy()
    more = check_recipe(run, config, extend)
    recipe = schema.build(automatic.without_auto(config))
    if extend and not more:
        _check_extensible(run, recipe)
    splits = load_data(run.folder, data, recipe.data, splits, changed=changed_data)
    if automatic.has_auto_dim(config):
        config = automatic.resolve_dims(config, channels_seen(splits))
        recipe = schema.build(automatic.without_auto(config))
    trained = _try_out(recipe, splits)
    config = _settled(run, config, recipe, splits, trained)
    recipe = schema.build(config)
    if isinstance(tokenizer := trained[0][0], Tokenizer):
        estimates.check_token_space(recipe, tokenizer, splits, run.folder)
        if recipe.ids is not None:
            item_ids.check_ids(tokenizer, splits, recipe.ids.collisions)
    check_hardware(recipe.hardware)
    taken = None if tokenizer_from is None else Run.existing(tokenizer_from)
    if taken is not None and read_manifest(run.data) is None:
        assert splits.manifest is not None
        shared = reuse.shared_manifest(taken, splits.manifest, yaml.safe_load(schema.dump(config)))
        splits = splits._replace(manifest=shared)
    # Not before: a mistake claims no folder, and removes nothing.
    if more and is_first():
        extension.remove_outdated(run.folder, more)
    if config != given:
        described = schema.dump(config)
    write_text(run.config, described)
    splits, expected = _recorded(run, yaml.safe_load(described), splits, bool(more))
    choose_threads(recipe.hardware, run.folder / "state")
    if taken is not None:
        if is_first():
            reuse.take_tokenizer(taken, run, yaml.safe_load(described), expected)
        wait_for_all()
    give_back()
    fit_features(run, recipe, splits, expected)
    give_back()
    fit_autoencoder(run, recipe, splits, expected)
    give_back()
    if recipe.ids is not None:
        if is_first():
            give_ids(run, recipe, splits, expected)
            give_back()
        wait_for_all()
    if recipe.prior is not None:
        folders = run.priors(recipe.priors)
        for folder_of_prior in folders:
            if folder_of_prior.exists():
                check_model(folder_of_prior, expected.prior(checksum(run.tokenizer)))
        if is_first():
            cache_tokens(run, recipe, splits, expected)
        wait_for_all()
        for level, folder_of_prior in enumerate(folders):
            if not folder_of_prior.exists():
                fit_prior(run, recipe, splits, level, expected)
        fit_reranker(run, recipe, splits, expected)
    return run, splits


def _check_extensible(run: Run, recipe: Recipe) -> None:
    """Raises `InputError` where a run has nothing that could take more steps."""
    if recipe.prior is None and recipe.trained.training is None:
        raise InputError(
            f"--extend takes more steps of a training, got the recipe of {run.folder}, whose "
            f"tokenizer is fitted to all examples at once: leave it out, or fit to another --out."
        )


def load_run_data(
    run: Run, changed_data: str = "refuse", place: str | None = None, lazily: bool = False
) -> Splits:
    """Loads the data of an existing run, with the examples and splits of its manifest.

    Arguments:
        run: The run.
        changed_data: What to do if data have changed: "refuse", or "ignore" to take the examples
            that are left.
        place: The path of the data, if they were moved.
        lazily: Whether only a few examples are needed; see `Source.load_lazily`.

    Raises:
        InputError: If the data are others, or its tokenizer or autoencoder is of other data.
    """
    config = run.read_config().get("data") or {}
    splits = load_data(
        run.folder,
        config,
        recipe_of(run, place).data,
        changed=changed_data,
        ways=CHANGED[:2],
        training=False,
        lazily=lazily,
    )
    manifest = splits.manifest
    if manifest is not None and run.data.exists():
        for folder in (run.tokenizer, run.autoencoder):
            if folder.exists():
                check_model(folder, ExpectedChecksums(manifest).model(folder.name))
    return splits


def load_run_examples(run: Run, split: SplitName, place: str | None = None) -> Examples:
    """Loads the examples of one split of a run's data; each is decoded or made when it is needed.

    Arguments:
        run: The run.
        split: The name of the split.
        place: The path of the data, if they were moved.

    Raises:
        InputError: If one is missing.
    """
    source = recipe_of(run, place).data
    if isinstance(source, FactorizedSource):
        return source.examples(split)
    splits = load_run_data(run, "ignore", place, lazily=True)
    examples: Examples = getattr(splits, split)
    wanted = splits.manifest.counts()[split] if splits.manifest else len(examples)
    if len(examples) < wanted:
        of = counted(wanted, f"{split} {splits.signal.noun}", f"{split} {splits.signal.plural}")
        raise InputError(
            f"{wanted - len(examples)} of {of} of {run.folder} are missing: put back what belongs "
            f"there."
        )
    return examples


def part_checksums(run: Run) -> dict[str, str]:
    """Returns the checksums of the parts of a run by name: data, models and tokens."""
    manifest = read_manifest(run.data)
    found = {} if manifest is None else {"data": manifest.checksum}
    models = [
        run.features,
        run.tokenizer,
        run.autoencoder,
        run.prior,
        run.reranker,
        *sorted(run.prior.glob("*")),
    ]
    for folder in models:
        if (folder / "config.json").is_file():
            found[folder.relative_to(run.folder).as_posix()] = checksum(folder)
    if (tokens := run.tokens / "tokens.json").is_file():
        found["tokens"] = sha256(tokens)
    if run.ids.is_file():
        found["ids"] = sha256(run.ids)
    return found


def _recorded(
    run: Run, config: Mapping[str, Any], splits: Splits, extended: bool
) -> tuple[Splits, ExpectedChecksums]:
    """Writes the manifest of a run that has none, or a new one, and says what follows from it."""
    manifest = splits.manifest
    assert manifest is not None
    recipe = stage_checksums(config)
    if not manifest.recipe:
        manifest = replace(manifest, recipe=recipe)
    elif extended:
        manifest = extension.with_new_recipe(manifest, recipe)
    there = read_manifest(run.data)
    if is_first() and (extended or there is None or there.checksum != manifest.checksum):
        write_manifest(manifest, run.data)
    return splits._replace(manifest=manifest), ExpectedChecksums(manifest)


def _settled(
    run: Run,
    config: Namespace,
    recipe: Recipe,
    splits: Splits,
    trained: Sequence[tuple[nn.Module, Training | None]],
) -> Namespace:
    """Returns the configuration with a number for every "auto"."""
    priors = [
        (model, training)
        for model, training in trained
        if isinstance(model, TokenPrior) and training is not None
    ]
    if recipe.prior is None or not priors:
        return config
    examples = recipe.prior.examples or len(splits.train)
    if not splits.train.endless:
        examples = min(examples, len(splits.train))
    there = run.read_config() if run.config.is_file() else {}
    return automatic.resolve_auto(config, priors, examples, there, splits.shift is not None)


def _try_out(recipe: Recipe, splits: Splits) -> list[tuple[nn.Module, Training | None]]:
    """Builds and tries all that is trained: a mistake shows before hours have been spent."""
    trained = estimates.dry_run(recipe, splits)
    made: list[tuple[nn.Module, Callable[[Iterable[nn.Parameter]], Optimizer]]] = [
        (model, training.optimizer) for model, training in trained if training is not None
    ]
    chosen, training = recipe.trained, recipe.trained.training
    if chosen.objective is not None and training is not None and chosen.objective.has_adversary:
        objective = build_objective(chosen, splits.signal, splits.normalization)
        made.append((objective, training.adversary_optimizer or training.optimizer))
    for model, make in made:
        try:
            make(model.parameters())
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The optimizer of a {type(model).__name__} cannot be made ({error}): "
                f"correct its arguments, or choose a model that learns."
            ) from error
    return trained
