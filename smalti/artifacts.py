"""Saves and loads models: a folder with `config.json` and `model.safetensors`.

`config.json` describes the model by its class and the arguments of its constructor
(`smalti.registry`), with the number of the `format`; `model.safetensors` holds the weights, those
of a module that stands in several places once. No pickle is ever read. What makes a folder a whole
model is in `smalti.model_folder`.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from huggingface_hub import ModelHubMixin, hf_hub_download
from torch import nn

from smalti import configs
from smalti.errors import InputError, first_line
from smalti.files import atomic_files, atomic_folder
from smalti.model_folder import (
    CONFIG,
    FORMAT,
    MADE_FROM,
    NOTES,
    WEIGHTS,
    checksum,
    checksum_of,
    find_model,
    is_smalti_config,
    made_from,
    read_checked,
    read_whole,
)
from smalti.registry import (
    build,
    describe,
    import_own_classes,
    instantiate,
    registered,
    registry,
)
from smalti.weights import first_difference, first_not_finite, limit_parts, read_tensor_specs

__all__ = [
    "Pretrained",
    "load_argument",
    "build",
    "checksum",
    "describe",
    "load_model",
    "made_from",
    "registered",
    "registry",
    "save_model",
]

CARD = "README.md"


def save_model(
    model: nn.Module,
    folder: str | Path,
    *,
    made_from: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes `config.json` and `model.safetensors` to `folder`, both or neither.

    What else lies in the folder stays.

    Arguments:
        model: A model whose class is in the registry.
        folder: The model's folder.
        made_from: Checksums of what the model was made from, by name; see `made_from`.
        overwrite: Whether two such files that smalti did not write are replaced.

    Raises:
        InputError: If there are such files, a class is not in the registry, or weights are not
            finite.
    """
    with _replacing(Path(folder), overwrite) as temporary:
        _write(model, temporary, made_from)


def load_argument(folder: str | Path, name: str) -> Any:
    """Loads one constructor argument of a saved model, such as its signal, without the model.

    Returns None if the model has no such argument.

    Raises:
        InputError: If the config is missing, is damaged, or was edited.
    """
    described = read_whole(Path(folder))[0].get(name)
    return None if described is None else build(described)


def load_model(folder: str | Path) -> Any:
    """Loads a model that `save_model` wrote, on the CPU and in evaluation mode.

    Raises:
        InputError: If a file is missing, truncated or was edited, or the config does not fit the
            weights.
    """
    folder = Path(folder)
    return _read(*find_model(folder))


class Pretrained(ModelHubMixin):
    """Gives models `save_pretrained`, `from_pretrained` and `push_to_hub` (a mixin)."""

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        overwrite: bool = False,
        **options: Any,
    ) -> str | None:
        """Writes the model as `save_model` does, and a model card; see `ModelHubMixin`.

        What else lies in the folder stays, a model card that is there as well.
        """
        with _replacing(Path(save_directory), overwrite, CARD) as temporary:
            super().save_pretrained(temporary, **options)
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or Path(save_directory).name, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        _write(self, save_directory)  # type: ignore[arg-type]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Any:
        """Loads a model of this class from a folder, or by its name on the hub.

        Arguments:
            pretrained_model_name_or_path: The folder or the name.
            options: revision, cache_dir, force_download, local_files_only and token, for the hub.

        Raises:
            InputError: If it is damaged, of another class, or not to be had.
        """
        return cls._from_pretrained(model_id=str(pretrained_model_name_or_path), **options)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Any:
        """Loads a model of this class from a folder or the hub; raises `InputError` if none."""
        if Path(model_id).is_dir():
            model = load_model(model_id)
        else:
            accepted = ("revision", "cache_dir", "force_download", "local_files_only", "token")
            chosen = {name: options[name] for name in accepted if name in options}
            try:
                files = [Path(hf_hub_download(model_id, n, **chosen)) for n in (CONFIG, WEIGHTS)]
            except (OSError, ValueError) as error:  # no network, no such name
                raise InputError(
                    f"There is no folder {model_id}, and the hub gives no model of that name "
                    f"({first_line(error)}): check the name."
                ) from error
            model = _read(*files)
        if not isinstance(model, cls):
            raise InputError(
                f"{model_id} holds a {type(model).__name__}, not a {cls.__name__}: "
                f"load it with that class."
            )
        return model


@contextmanager
def _replacing(folder: Path, overwrite: bool, *others: str) -> Iterator[Path]:
    """Gives a temporary folder; its model, and `others` that `folder` lacks, go to `folder`."""
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"A model is saved as a folder, got the file {folder}: choose another name."
        )
    if not folder.exists():
        with atomic_folder(folder) as temporary:
            yield temporary
        return
    there = [name for name in (CONFIG, WEIGHTS) if (folder / name).exists()]
    if there and not overwrite and not is_smalti_config(folder / CONFIG):
        raise InputError(
            f"{folder / there[0]} is there already and was not written by smalti: choose another "
            f"folder, or replace it with overwrite=True."
        )
    # The config last: if its checksum is that of the weights, both are there.
    names = [name for name in others if not (folder / name).exists()]
    with atomic_files(folder, *names, WEIGHTS, CONFIG) as temporary:
        yield temporary


def _write(model: nn.Module, folder: Path, made_from: Mapping[str, str] | None = None) -> None:
    """Writes config and weights to a folder; raises `InputError` if a weight is not finite."""
    # A shared module is in the state under each of its names; safetensors takes it under one.
    weights: dict[str, Any] = {}
    seen: set[Any] = set()
    for name, tensor in model.state_dict().items():
        storage: Any = (
            (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else name
        )
        if storage not in seen:
            weights[name] = tensor.detach().cpu().contiguous()
        seen.add(storage)
    if (bad := first_not_finite(weights)) is not None:
        raise InputError(
            f"The weights of this {type(model).__name__} are not all finite ({bad}), got NaN or "
            f"infinity: its training diverged, train it again with a lower learning rate."
        )
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(weights))
    config = {**describe(model), "format": FORMAT, "smalti_version": version("smalti")}
    if made_from:
        config[MADE_FROM] = dict(made_from)
    config["checksum"] = checksum_of(config, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")


def _read(config_file: Path, weights_file: Path) -> Any:
    """Checks config and weights against each other, then builds the model with its weights."""
    config, _ = read_checked(config_file, weights_file)
    for note in NOTES:
        config.pop(note, None)
    import_own_classes()
    configs.check_config(config, registry, nn.Module)
    weights = read_tensor_specs(weights_file)
    outline = _outline(config, len(weights))
    if outline and (difference := first_difference(outline, weights)) is not None:
        raise InputError(
            f"{weights_file} does not fit its config ({difference}): copy both files again."
        )
    with limit_parts(len(weights)):
        model = instantiate(config, [])
    try:
        safetensors.torch.load_model(model, os.fspath(weights_file))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{weights_file} does not fit its config ({first_line(error)}): copy both files again."
        ) from error
    if (bad := first_not_finite(model.state_dict())) is not None:
        raise InputError(
            f"{weights_file} holds weights that are not finite ({bad}), got NaN or infinity: its "
            f"training diverged, train it again with a lower learning rate."
        )
    return model.eval()


def _outline(config: dict[str, Any], entries: int) -> Any:
    """Builds the model of a config without numbers, so that its sizes can be checked.

    None where a class that is not smalti's cannot be built so: it may look at its numbers.
    """
    drawn = torch.get_rng_state()
    try:
        with warnings.catch_warnings(), torch.device("meta"), limit_parts(entries):
            warnings.simplefilter("ignore")  # of layers without elements
            return instantiate(config, [])
    except InputError:
        ours = [name for name, cls in registry.items() if cls.__module__.startswith("smalti.")]
        if configs.class_names(config) <= set(ours):
            raise
        return None
    finally:
        torch.set_rng_state(drawn)
