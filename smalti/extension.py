"""Extends a run by more steps: its trainings go on, and what was made from them is made anew.

    tokenizer.training.steps     ▶ the tokenizer goes on; tokens, priors and report are made anew
    prior.training.steps         ▶ the prior of that level goes on; the report is made anew
    autoencoder.training.steps   ▶ the autoencoder goes on; the report is made anew
    reranker.training.steps      ▶ the reranker goes on; the report is made anew

A stage goes on from its last saved state, which holds weights and optimizer, up to `save_every`
steps before its end, and takes the schedule of the longer training from there. Where no state was
kept it is learned from its first step. Results are removed before the recipe of the run is
replaced, so that a process which is killed between the two leaves a run that goes on.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from smalti.data.manifest import Manifest
from smalti.files import remove

__all__ = [
    "find_extended_steps",
    "remove_outdated",
    "with_new_recipe",
    "value_at",
    "with_old_steps",
]

logger = logging.getLogger(__name__)

STAGES = ("tokenizer", "autoencoder", "prior", "reranker")

Place = tuple[str | int, ...]


def find_extended_steps(there: dict[str, Any], wanted: dict[str, Any]) -> dict[Place, int]:
    """Finds the trainings that a new recipe gives more steps: path in the recipe → old steps.

    Example:
        >>> there, wanted = {"steps": 5}, {"steps": 9}
        >>> find_extended_steps({"prior": {"training": there}}, {"prior": {"training": wanted}})
        {('prior', 'training', 'steps'): 5}
    """
    found = {}
    for path in _trainings(wanted):
        old, new = value_at(there, path), value_at(wanted, path)
        if isinstance(old, int) and isinstance(new, int) and new > old:
            found[path] = old
    return found


def with_old_steps(wanted: dict[str, Any], steps: dict[Place, int]) -> dict[str, Any]:
    """Returns a new configuration with the old numbers of steps, to compare the rest."""
    changed = copy.deepcopy(wanted)
    for path, old in steps.items():
        value_at(changed, path[:-1])[path[-1]] = old
    return changed


def remove_outdated(folder: Path, steps: dict[Place, int]) -> None:
    """Removes the results that more training makes outdated, and logs which.

    Those are the results of the trainings that go on, and all that was made from them.

    Arguments:
        folder: The run directory.
        steps: The old steps by path, as `find_extended_steps` returns them.
    """
    stages = {str(place[0]) for place in steps}
    if "tokenizer" in stages:
        _start_priors_over(folder)
    for stage in STAGES:
        if stage not in stages or not (folder / stage).exists():
            continue
        states = sorted((folder / "state").glob(f"{stage}*.ckpt"))
        if states:
            logger.warning("The %s of %s goes on from %s.", stage, folder, states[0])
        else:
            logger.warning("No state of the %s of %s was kept: it starts over.", stage, folder)
        remove(folder / stage)


def with_new_recipe(manifest: Manifest, recipe: dict[str, str]) -> Manifest:
    """Replaces the checksums of the recipe in a manifest; the old ones go to `recipe_before`.

    Arguments:
        manifest: The manifest of the run.
        recipe: Checksums of the parts of the new recipe.
    """
    before = {}
    for name, checksum in recipe.items():
        old = (manifest.recipe.get(name), *manifest.recipe_before.get(name, ()))
        before[name] = tuple(dict.fromkeys(one for one in old if one and one != checksum))
    return replace(manifest, recipe=recipe, recipe_before=before)


def _start_priors_over(folder: Path) -> None:
    """Deletes IDs, tokens and priors of a run, with their states and logs, to be made anew."""
    made = [folder / "prior", folder / "tokens", folder / "ids.parquet"]
    made += [path for room in ("state", "logs") for path in (folder / room).glob("prior*")]
    made = [path for path in made if path.exists()]
    if made:
        ids = "IDs, tokens" if (folder / "ids.parquet").exists() else "Tokens"
        logger.warning("%s and prior of %s follow from its tokenizer: made anew.", ids, folder)
    for path in made:
        remove(path)


def _trainings(config: dict[str, Any]) -> Iterator[Place]:
    """Yields the paths of the steps of each training."""
    for stage in STAGES:
        yield stage, "training", "steps"
    finer = value_at(config, ("prior", "fine_levels"))
    for level in range(len(finer) if isinstance(finer, list) else 0):
        yield "prior", "fine_levels", level, "training", "steps"


def value_at(config: Any, path: Place) -> Any:
    """Returns the value at a path of keys in a config; None if there is none."""
    for key in path:
        try:
            config = config[key]
        except (KeyError, IndexError, TypeError):
            return None
    return config
