"""Loads and saves the models of a run directory, or of a folder that `Model.save` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from smalti.artifacts import checksum, load_model, save_model
from smalti.autoencoders import Autoencoder, Tokenizer
from smalti.conditions import OptionalCondition
from smalti.errors import InputError
from smalti.generation.token_priors import matches_layout
from smalti.model_folder import (
    CONFIG,
    WEIGHTS,
    AcceptedChecksums,
    check_model,
    is_smalti_config,
)
from smalti.networks import ContrastiveNetwork
from smalti.priors import LevelPriors, Prior, cascade_of
from smalti.run_directory import Run

__all__ = ["load_models", "save_models"]


class SavedModels(NamedTuple):
    """What a folder holds.

    Attributes:
        autoencoder: The autoencoder.
        prior: The prior over its latents, if it is there.
        run: The run directory, if the folder is one.
        reranker: What chooses among candidates, if it is there.
    """

    autoencoder: Autoencoder
    prior: Prior | None
    run: Run | None
    reranker: ContrastiveNetwork | None


def load_models(folder: str | Path) -> SavedModels:
    """Loads the autoencoder of a folder, its prior and reranker if it has them.

    Raises:
        InputError: If there is no autoencoder yet, a model is damaged, or the prior was made for
            another tokenizer.
    """
    run = Run.named(folder)
    saved = [path for path in (run.tokenizer, run.autoencoder) if path.exists()]
    if not saved or run.config.is_file():
        run = Run.existing(folder)
    if not saved:
        name = "autoencoder" if run.is_continuous() else "tokenizer"
        raise InputError(
            f"{folder} has no {name} yet: its fit has not come so far; give the same smalti fit "
            f"again to go on."
        )
    autoencoder = load_model(saved[0])
    if not isinstance(autoencoder, Autoencoder) or (
        (autoencoder.layout is None) != (saved[0] == run.autoencoder)
    ):
        raise InputError(f"The models in {folder} have changed places: copy the run again.")
    prior = _load_prior(run, autoencoder) if isinstance(autoencoder, Tokenizer) else None
    reranker = _load_reranker(run, prior) if run.reranker.exists() else None
    return SavedModels(autoencoder, prior, run if run.config.is_file() else None, reranker)


def _load_reranker(run: Run, prior: Prior | None) -> ContrastiveNetwork | None:
    """Loads the reranker of a run; None where there is no prior whose samples it could rank."""
    if prior is None or prior.condition is None:
        return None
    check_model(run.reranker, {})
    reranker, condition = load_model(run.reranker), prior.condition
    if isinstance(condition, OptionalCondition):
        condition = condition.condition
    if not isinstance(reranker, ContrastiveNetwork) or not reranker.condition.equals(condition):
        raise InputError(
            f"The reranker in {run.folder} is of other captions than its prior: copy the run "
            f"again, or delete {run.reranker} and fit again."
        )
    return reranker


def save_models(
    autoencoder: Autoencoder,
    prior: Prior | None,
    folder: str | Path,
    overwrite: bool = False,
    reranker: ContrastiveNetwork | None = None,
) -> None:
    """Saves an autoencoder, the prior over its tokens and what ranks samples of it, so that
    `load_models` finds them.

    Raises:
        InputError: If the folder is a run, or a model there would be replaced that smalti did not
            write.
    """
    run = Run(folder)
    if run.config.is_file():
        raise InputError(f"{folder} is a run, which has its models: choose another folder.")
    if autoencoder.layout is None:
        save_model(autoencoder, run.autoencoder, overwrite=overwrite)
        _remove_others(run, [run.autoencoder])
        return
    save_model(autoencoder, run.tokenizer, overwrite=overwrite)
    priors = prior.levels if isinstance(prior, LevelPriors) else (prior,)
    made_from, saved = {"tokenizer": checksum(run.tokenizer)}, [run.tokenizer]
    for level, place in zip(priors, run.priors(len(priors)), strict=True):
        if level is not None:
            save_model(level, place, overwrite=overwrite, made_from=made_from)
            saved.append(place)
    if reranker is not None:
        save_model(reranker, run.reranker, overwrite=overwrite)
        saved.append(run.reranker)
    _remove_others(run, saved)


def _remove_others(run: Run, saved: Sequence[Path]) -> None:
    """Removes the models of an earlier save that are not among the saved ones."""
    models = [run.tokenizer, run.autoencoder, *sorted(run.prior.glob("*")), run.prior, run.reranker]
    for folder in models:
        if folder in saved or not folder.is_dir():
            continue
        if is_smalti_config(folder / CONFIG):
            for name in (CONFIG, WEIGHTS):
                (folder / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def _load_prior(run: Run, tokenizer: Tokenizer) -> Prior | None:
    """Loads the prior over the tokens of a run, of several levels a cascade; None till all are
    there.

    Raises:
        InputError: If one is damaged, or is not that of its level.
    """
    over_all = (run.prior / "config.json").is_file()
    folders = run.priors(1 if over_all else len(tokenizer.levels))
    if not all(folder.exists() for folder in folders):
        return None
    accepted: AcceptedChecksums = {"tokenizer": (checksum(run.tokenizer),)}
    for folder in folders:
        check_model(folder, accepted)
    priors = [load_model(folder) for folder in folders]
    try:
        prior = priors[0] if len(priors) == 1 else cascade_of(priors)
    except (InputError, AttributeError) as error:  # of other levels, or no priors at all
        raise InputError(
            f"The priors in {run.prior} are not of its levels: copy the run again, or delete "
            f"{run.prior} and fit again."
        ) from error
    if not isinstance(prior, Prior):
        raise InputError(f"The models in {run.folder} have changed places: copy the run again.")
    if not matches_layout(prior, tokenizer.layout):
        raise InputError(
            f"The prior in {run.folder} is of another tokenizer: copy the run again, or delete "
            f"{run.prior} and fit again."
        )
    return prior
