"""Checks that the parts of a run were made from its present data, recipe and stages.

A run writes the manifest of its data (`smalti.data.manifest`) before it trains. Whatever loads the
data of a run gets those of the manifest, in its order, with its splits and labels. The data as they
are now are compared with it, and a difference is an error until the user says how to go on:

    refuse   the default
    ignore   go on with the examples of the manifest alone, as it knows them
    accept   learn from what there is now: examples that were there keep their split, new ones get
             one by their hash; only while nothing final was learned from the old data

The checksums of what each stage is made from follow from the manifest and from the recipe.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from smalti.checksums import json_checksum
from smalti.data import FactorizedSource, Source, Splits
from smalti.data.manifest import Manifest, read_manifest, without_location
from smalti.data.manifest_comparison import (
    ManifestComparison,
    manifest_from_examples,
    merge_manifests,
    select_examples,
)
from smalti.errors import InputError
from smalti.model_folder import AcceptedChecksums, made_from

__all__ = [
    "CHANGED",
    "ExpectedChecksums",
    "check_outside_data",
    "stage_checksums",
    "load_data",
]

logger = logging.getLogger(__name__)

CHANGED = ("refuse", "ignore", "accept")
DATA, STATE = "data", "state"
LEARNED = ("tokenizer", "autoencoder", "prior")


def stage_checksums(config: Mapping[str, Any]) -> dict[str, str]:
    """Computes, for each stage of a run, the checksum of the parts of the recipe it depends on."""
    common = {"seed": config["seed"], "data": without_location(config["data"])}
    prior = config.get("prior")
    parts = {"tokenizer": config.get("tokenizer"), "autoencoder": config.get("autoencoder")}
    made = {name: json_checksum([common, part]) for name, part in parts.items() if part}
    for part in filter(None, parts.values()):
        if part.get("features") or part.get("objective"):
            made["features"] = json_checksum([common, part.get("features")])
    if reranker := config.get("reranker"):
        made["reranker"] = json_checksum([common, reranker])
    if ids := config.get("ids"):
        made["ids"] = json_checksum([common, ids])
    if prior:
        made["tokens"] = json_checksum(
            [common, *(prior.get(name) for name in ("examples", "views", "shift"))]
        )
        made["prior"] = json_checksum([common, prior])
    return made


@dataclass(frozen=True)
class ExpectedChecksums:
    """Checksums of the inputs that each stage of a run must have been made from.

    The methods return, for each input by name ("data", "recipe", ...), the checksums that are
    accepted; that of this run comes first.

    Arguments:
        manifest: The manifest of the run.
    """

    manifest: Manifest

    @property
    def data(self) -> tuple[str, ...]:
        """Returns the checksums of the manifest and of those that it continues.

        All of them have the same test examples.
        """
        return (self.manifest.checksum, *reversed(self.manifest.earlier))

    def model(self, name: str) -> AcceptedChecksums:
        """Returns those of the stage `name`: "tokenizer", "autoencoder", "features" or
        "reranker".
        """
        return {"data": self.data, "recipe": self._recipe(name)}

    def tokens(self) -> dict[str, str]:
        """Returns those of the cached tokens, without that of the tokenizer."""
        return {"data": self.data[0], "recipe": self.manifest.recipe.get("tokens", "")}

    def ids(self, tokenizer: str) -> AcceptedChecksums:
        """Returns those of the IDs that a tokenizer with this checksum gives."""
        return {"tokenizer": (tokenizer,), "data": self.data, "recipe": self._recipe("ids")}

    def prior(self, tokenizer: str) -> AcceptedChecksums:
        """Returns those of the prior over the tokens of a tokenizer with this checksum."""
        return {
            "tokenizer": (tokenizer,),
            "tokens": (json_checksum([tokenizer, self.tokens()]),),
            "recipe": self._recipe("prior"),
        }

    def _recipe(self, name: str) -> tuple[str, ...]:
        """Returns the checksums of a part of the recipe, as it is and was with fewer steps."""
        return (self.manifest.recipe.get(name, ""), *self.manifest.recipe_before.get(name, ()))


def load_data(
    folder: Path,
    config: Mapping[str, Any],
    source: Source,
    splits: Splits | None = None,
    *,
    changed: str = "refuse",
    ways: Sequence[str] = CHANGED,
    training: bool = True,
    lazily: bool = False,
) -> Splits:
    """Loads the data of a run as in its manifest; those of a new run with a new manifest.

    Arguments:
        folder: The run directory.
        config: The data of the run's configuration.
        source: The source that these build.
        splits: The result of `source.load()`, if it was called already.
        changed: What to do if the data differ from the manifest: one of `ways`.
        ways: The values of `changed` that are allowed.
        training: Whether a model may still be trained on the data.
        lazily: Whether only a few examples are needed; see `Source.load_lazily`.

    Raises:
        InputError: If they are not those of the manifest, or cannot be used.
    """
    if changed not in ways:
        raise InputError(f"changed_data is one of {', '.join(ways)}, got {changed!r}.")
    there = read_manifest(folder / DATA)
    if splits is None and (there is not None or _begun(folder)):
        _check_there(folder, source)
    if there is None and _begun(folder):
        _check_older(folder)
        splits = source.load_by_order() if splits is None else splits
    elif splits is None and lazily and there is not None:
        splits = source.load_lazily([name for name, _ in there.left_out])
    elif splits is None:
        splits = source.load()
    here = splits.manifest or manifest_from_examples(splits, isinstance(source, FactorizedSource))
    here = replace(here, source=dict(config), recipe={}, earlier=())
    if there is None:
        return splits._replace(manifest=here)
    comparison = ManifestComparison(there, here)
    differences = comparison.differences()
    if not differences:
        return select_examples(splits, comparison)
    said = f"The data of {folder} are not those it was made from: {'; '.join(differences)}"
    if comparison.sources:
        raise InputError(f"{said}. Restore {folder}/config.yaml, or fit to another --out.")
    if changed == "ignore":
        return _ignored(splits, comparison, said, training)
    if changed == "accept":
        return _accepted(folder, splits, comparison, said)
    accepts = "accept" in ways and not _is_finished(folder)
    accept = " or accept to take them as they are" if accepts else ""
    raise InputError(
        f"{said}. Put back what was there, give --changed_data ignore to go on with that alone"
        f"{accept}, or choose another --out."
    )


def _check_there(folder: Path, source: Source) -> None:
    """Raises `InputError` where there is nothing any more at the local path of a run's data."""
    path = getattr(source, "path", None)
    if isinstance(path, str) and Path(path).is_absolute() and not Path(path).exists():
        raise InputError(
            f"There is nothing at {path}, where the data of {folder} should be: put them back, or "
            f"say where they lie now with --data PATH."
        )


def _ignored(splits: Splits, comparison: ManifestComparison, said: str, training: bool) -> Splits:
    """Returns the examples of the manifest alone; raises `InputError` if a training lacks some."""
    if len(comparison.missing) and training:
        raise InputError(
            f"{said}. What is missing cannot be left out of a training that has begun: put it "
            f"back, or choose another --out."
        )
    chosen = select_examples(splits, comparison)
    if not all(map(len, chosen[:3])):
        raise InputError(f"{said}. Of one split nothing is left: put them back.")
    logger.warning("%s. Only those it was made from are used, as they were.", said)
    return chosen


def _accepted(folder: Path, splits: Splits, comparison: ManifestComparison, said: str) -> Splits:
    """Returns the data as they are now; raises `InputError` if the run is finished."""
    if _is_finished(folder):
        raise InputError(
            f"{said}. What was learned stays as it is: to learn from them fit to another --out, or "
            f"give --changed_data ignore."
        )
    logger.warning("%s. They are taken as they are; what was there keeps its split.", said)
    manifest = merge_manifests(comparison)
    return select_examples(splits, ManifestComparison(manifest, comparison.here))


def _is_finished(folder: Path) -> bool:
    """Returns whether the last model of a run is there, beside which nothing more is learned."""
    return any((folder / name).exists() for name in LEARNED[1:])


def _begun(folder: Path) -> bool:
    """Returns whether something was learned in a run, or partly."""
    return any((folder / name).exists() for name in LEARNED) or bool(_states(folder))


def _states(folder: Path) -> list[Path]:
    return sorted((folder / STATE).glob("*.ckpt"))


def _check_older(folder: Path) -> None:
    """Checks that a run without a manifest is so old that it had none, and warns of it."""
    models = [folder / name for name in LEARNED[:2] if (folder / name).exists()]
    noted: list[object] = [made_from(model) for model in models]
    if not models:
        noted = [_made_from_of_state(state) for state in _states(folder)]
    if any(noted):
        raise InputError(
            f"{folder / DATA} is missing, which says what data the run was made from: copy it "
            f"back, or fit to another --out."
        )
    logger.warning(
        "%s was made by an earlier version, which did not say from what data: that they are the "
        "same cannot be checked.",
        folder,
    )


def _made_from_of_state(state: Path) -> object:
    try:
        return torch.load(state, map_location="cpu", weights_only=True).get("made_from")
    except Exception:  # a broken one is told of when it is gone on from
        return None


def check_outside_data(data: Mapping[str, Any], folder: str | Path) -> None:
    """Raises `InputError` if a folder lies within that of the data, and would become part of them.

    Arguments:
        data: The data's part of a configuration.
        folder: The folder that will be written to.

    Raises:
        InputError: If it does.
    """
    path = (data.get("init_args") or {}).get("path")
    if not isinstance(path, str | Path) or not (place := Path(path).expanduser()).is_dir():
        return
    out = Path(folder).expanduser().absolute()
    inside = [*out.parents, *out.resolve().parents, out, out.resolve()]
    if any(parent.exists() and parent.samefile(place) for parent in inside):
        raise InputError(
            f"{folder} lies inside the data {path}, of which it would become a part: choose an "
            f"--out elsewhere."
        )
