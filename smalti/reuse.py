"""Reuses the tokenizer of a run in another run, which learns another prior over the same tokens.

The new run gets what it would make itself from the same data, recipe and seed: the manifest of the
data, the features, the tokenizer with its curves, and the tokens. All of it keeps the checksums of
what it was made from, and is checked like what a run has made.

Where the recipe of the new run lists fewer stages of a residual quantizer, it gets the tokenizer
without the others, as which it was trained where the quantizer has dropout: one tokenizer for
several bit rates, each with a prior of its own.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from smalti.artifacts import load_model, save_model
from smalti.autoencoders import DiscreteAutoencoder
from smalti.checksums import current_checksums
from smalti.data.manifest import Manifest, read_manifest
from smalti.errors import InputError
from smalti.extension import with_new_recipe
from smalti.files import atomic_folder
from smalti.provenance import ExpectedChecksums, stage_checksums
from smalti.quantizers import ResidualQuantizer
from smalti.recipes.first_stages import count_stages, keep_first_stages
from smalti.run_directory import Run

__all__ = ["shared_manifest", "take_tokenizer"]

logger = logging.getLogger(__name__)

STAGES = ("features", "tokenizer", "tokens")


def shared_manifest(source: Run, manifest: Manifest, config: Mapping[str, Any]) -> Manifest:
    """Returns the manifest of a new run that reuses the tokenizer of another run.

    Arguments:
        source: The run that has the tokenizer.
        manifest: The manifest of the new run's data.
        config: The recipe of the new run.

    Raises:
        InputError: If the source has no finished tokenizer, or data, seed or tokenizer differ.
    """
    there = read_manifest(source.data)
    if there is None or not source.tokenizer.exists():
        raise InputError(
            f"--tokenizer_from takes the tokenizer of a run, got {source.folder}, which has none "
            f"yet: fit it first."
        )
    if there.checksum != manifest.checksum:
        raise InputError(
            f"--tokenizer_from takes the tokenizer of the same data, got {source.folder}, which "
            f"was made from others: fit without it, or give the data of that run."
        )
    recipe = stage_checksums(config)
    learned = stage_checksums(_with_stages_of(source.read_config(), config))
    for name in ("features", "tokenizer"):
        if recipe.get(name) != learned.get(name):
            raise InputError(
                f"--tokenizer_from takes the tokenizer of the same recipe, got {source.folder}, "
                f"whose {name} or seed differ: fit {source.config} with other options of the prior."
            )
    taken = with_new_recipe(there, recipe)
    return replace(taken, source=manifest.source)


def take_tokenizer(
    source: Run, run: Run, config: Mapping[str, Any], expected: ExpectedChecksums
) -> None:
    """Copies features, tokenizer, tokens and their curves to a run, where it lacks them.

    Each is copied as a whole or not at all, so that an interrupted copy can go on. If the recipe
    of the new run makes other tokens, its fit makes them anew.

    Arguments:
        source: The run that has the tokenizer.
        run: The run that gets it.
        config: The recipe of that run.
        expected: The checksums of what its stages are made from.
    """
    stages = count_stages(config)
    fewer = stages is not None and stages != count_stages(source.read_config())
    for name in STAGES:
        if not (fewer and name in ("tokenizer", "tokens")):
            _copy(source.folder / name, run.folder / name)
        _copy(source.folder / "logs" / name, run.folder / "logs" / name)
    if fewer and not run.tokenizer.exists():
        assert stages is not None
        made_from = current_checksums(expected.model("tokenizer"))
        save_model(_first_stages(source, stages), run.tokenizer, made_from=made_from)
    logger.info("%s takes its tokenizer from %s", run.folder, source.folder)


def _with_stages_of(there: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the recipe of a run with as many stages as another recipe, if it has more."""
    stages, available = count_stages(config), count_stages(there)
    if stages is None or available is None or stages >= available:
        return there
    return keep_first_stages(there, stages)


def _first_stages(source: Run, stages: int) -> DiscreteAutoencoder:
    """Returns the tokenizer of a run, with the first stages of its quantizer alone."""
    model = load_model(source.tokenizer)
    if not isinstance(model, DiscreteAutoencoder) or not isinstance(
        model.quantizer, ResidualQuantizer
    ):
        raise InputError(
            f"The first {stages} stages are those of a ResidualQuantizer, got a tokenizer of "
            f"another kind in {source.folder}: fit without --tokenizer_from."
        )
    return model.with_quantizer(model.quantizer.first_stages(stages))


def _copy(there: Path, here: Path) -> None:
    if not there.is_dir() or here.exists():
        return
    with atomic_folder(here) as temporary:
        shutil.copytree(there, temporary, dirs_exist_ok=True)
