"""Loads and saves the models of a run directory, or of a folder that `Model.save` wrote."""

from __future__ import annotations

from pathlib import Path

from smalti.artifacts import checksum, load_model, save_model
from smalti.autoencoders import Autoencoder, Tokenizer
from smalti.errors import InputError
from smalti.generation.token_priors import matches_layout
from smalti.model_folder import AcceptedChecksums, check_model
from smalti.priors import Cascade, Prior
from smalti.run_directory import Run

__all__ = ["load_models", "save_models"]


def load_models(folder: str | Path) -> tuple[Autoencoder, Prior | None, Run | None]:
    """Loads the autoencoder of a folder, its prior if it has one, and the run if it is a run's.

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
    return autoencoder, prior, run if run.config.is_file() else None


def save_models(
    autoencoder: Autoencoder, prior: Prior | None, folder: str | Path, overwrite: bool = False
) -> None:
    """Saves an autoencoder, and the prior over its tokens, so that `load_models` finds them.

    Raises:
        InputError: If the folder is a run, or a model there would be replaced that smalti did not
            write.
    """
    run = Run(folder)
    if run.config.is_file():
        raise InputError(f"{folder} is a run, which has its models: choose another folder.")
    if autoencoder.layout is None:
        save_model(autoencoder, run.autoencoder, overwrite=overwrite)
        return
    save_model(autoencoder, run.tokenizer, overwrite=overwrite)
    priors = prior.levels if isinstance(prior, Cascade) else (prior,)
    made_from = {"tokenizer": checksum(run.tokenizer)}
    for level, place in zip(priors, run.priors(len(priors)), strict=True):
        if level is not None:
            save_model(level, place, overwrite=overwrite, made_from=made_from)


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
        prior = priors[0] if len(priors) == 1 else Cascade(priors)
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
