"""Reuses the tokenizer of a run in another run, which learns another prior over the same tokens.

The new run gets what it would make itself from the same data, recipe and seed: the manifest of the
data, the features, the tokenizer with its curves, and the tokens. All of it keeps the checksums of
what it was made from, and is checked like what a run has made.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from smalti.data.manifest import Manifest, read_manifest
from smalti.errors import InputError
from smalti.extension import with_new_recipe
from smalti.files import atomic_folder
from smalti.provenance import stage_checksums
from smalti.run_directory import Run

__all__ = ["shared_manifest", "take_tokenizer"]

logger = logging.getLogger(__name__)

STAGES = ("features", "tokenizer", "tokens")


def shared_manifest(source: Run, manifest: Manifest, recipe: Mapping[str, str]) -> Manifest:
    """Returns the manifest of a new run that reuses the tokenizer of another run.

    Arguments:
        source: The run that has the tokenizer.
        manifest: The manifest of the new run's data.
        recipe: Checksums of the parts of the new run's recipe.

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
    learned = stage_checksums(source.read_config())
    for name in ("features", "tokenizer"):
        if recipe.get(name) != learned.get(name):
            raise InputError(
                f"--tokenizer_from takes the tokenizer of the same recipe, got {source.folder}, "
                f"whose {name} or seed differ: fit {source.config} with other options of the prior."
            )
    taken = with_new_recipe(there, dict(recipe))
    return replace(taken, source=manifest.source)


def take_tokenizer(source: Run, run: Run) -> None:
    """Copies features, tokenizer, tokens and their curves to a run, where it lacks them.

    Each is copied as a whole or not at all, so that an interrupted copy can go on. If the recipe
    of the new run makes other tokens, its fit makes them anew.
    """
    for name in STAGES:
        _copy(source.folder / name, run.folder / name)
        _copy(source.folder / "logs" / name, run.folder / "logs" / name)
    logger.info("%s takes its tokenizer from %s", run.folder, source.folder)


def _copy(there: Path, here: Path) -> None:
    if not there.is_dir() or here.exists():
        return
    with atomic_folder(here) as temporary:
        shutil.copytree(there, temporary, dirs_exist_ok=True)
