"""Saving and loading models: a folder with `config.json` and `model.safetensors`.

`config.json` describes the model by its class and the arguments of its constructor
(`smalti.registry`), with the number of the `format`; `model.safetensors` holds the weights, those
of a module that stands in several places once. No pickle is ever read. A checksum over both files
tells a truncated or edited folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from huggingface_hub import ModelHubMixin, hf_hub_download
from torch import Tensor, nn

from smalti import configs
from smalti.errors import InputError, first_line
from smalti.files import atomic_files, atomic_folder, is_abandoned, tidy
from smalti.registry import (
    build,
    describe,
    import_own_classes,
    instantiate,
    registered,
    registry,
)

__all__ = [
    "Pretrained",
    "argument",
    "build",
    "checksum",
    "describe",
    "first_not_finite",
    "load_model",
    "made_from",
    "registered",
    "registry",
    "save_model",
]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CARD = "README.md"
MADE_FROM = "made_from"
FORMAT = 1  # of names of classes and arguments; a higher number where they change
NOTES = ("format", "smalti_version", MADE_FROM)  # what a config holds beside class and arguments


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


def made_from(folder: str | Path) -> dict[str, str]:
    """Reads the checksums of what a saved model was made from, by name; empty if not recorded.

    Raises:
        InputError: If the config is missing, is damaged, or was edited.
    """
    return dict(_whole(Path(folder))[0].get(MADE_FROM, {}))


def argument(folder: str | Path, name: str) -> Any:
    """Builds one argument of a saved model, such as its signal, without the model.

    Returns None if the model has no such argument.

    Raises:
        InputError: If the config is missing, is damaged, or was edited.
    """
    described = _whole(Path(folder))[0].get(name)
    return None if described is None else build(described)


def checksum(folder: str | Path) -> str:
    """Returns the checksum of a saved model, over its config and its weights.

    Raises:
        InputError: If a file is missing or damaged, or was edited.
    """
    return _whole(Path(folder))[1]


def load_model(folder: str | Path) -> Any:
    """Reads a model that `save_model` wrote, on the CPU and in evaluation mode.

    Raises:
        InputError: If a file is missing, truncated or was edited, or the config does not fit the
            weights.
    """
    folder = Path(folder)
    return _read(*_files(folder))


class Pretrained(ModelHubMixin):
    """Has `save_pretrained`, `from_pretrained` and `push_to_hub`, in the format of `save_model`."""

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
    if there and not overwrite and not _is_ours(folder / CONFIG):
        raise InputError(
            f"{folder / there[0]} is there already and was not written by smalti: choose another "
            f"folder, or replace it with overwrite=True."
        )
    # The config last: if its checksum is that of the weights, both are there.
    names = [name for name in others if not (folder / name).exists()]
    with atomic_files(folder, *names, WEIGHTS, CONFIG) as temporary:
        yield temporary


def _is_ours(config_file: Path) -> bool:
    try:
        return {"class", "checksum", "smalti_version"} <= configs.read_config(config_file).keys()
    except (OSError, ValueError):
        return False


def _files(folder: Path) -> tuple[Path, Path]:
    """Returns the paths of the config and the weights of a model folder, which exist."""
    if not (folder / CONFIG).is_file():
        tidy(folder.parent, folder.name)  # a killed process may have been about to put it there
    _finish(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} is not a whole model: {name} is missing. "
                f"Copy it back or save the model again."
            )
    return folder / CONFIG, folder / WEIGHTS


def _finish(folder: Path) -> None:
    """Puts a config in its place, if a process was killed after it had put the weights there."""
    for config_file in folder.glob(f".files.*.partial/{CONFIG}"):
        with suppress(OSError, ValueError):
            config = configs.read_config(config_file)
            noted = config.pop("checksum", None)
            # While its writer lives it is left alone; the other file is still of the model before.
            if is_abandoned(config_file.parent) and noted == _checksum(config, folder / WEIGHTS):
                config_file.replace(folder / CONFIG)


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
    config["checksum"] = _checksum(config, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")


def _whole(folder: Path) -> tuple[dict[str, Any], str]:
    """Returns the config and the checksum of a model folder, which match."""
    return _checked(*_files(folder))


def _checked(config_file: Path, weights_file: Path) -> tuple[dict[str, Any], str]:
    """Returns the config of a model and its checksum, which is that of both files."""
    try:
        config = configs.read_config(config_file)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(
            f"{config_file} is not the JSON of a model ({first_line(error)}): copy it again."
        ) from error
    noted = config.pop("checksum", None)
    _check_format(config, config_file.parent)
    if noted != _checksum(config, weights_file):
        raise InputError(
            f"{config_file.parent} was truncated or edited after it was saved (its checksum "
            f"differs): copy it again, or save the model again."
        )
    sources = config.get(MADE_FROM, {})
    if not isinstance(sources, dict) or not all(isinstance(v, str) for v in sources.values()):
        raise InputError(
            f"{config_file} says {MADE_FROM} in another way than smalti: save it again."
        )
    return config, noted


def _check_format(config: dict[str, Any], folder: Path) -> None:
    """Raises `InputError` unless a config is of the format that this version reads."""
    found = config.get("format")
    if found == FORMAT and type(found) is int:
        return
    if type(found) is int and found > FORMAT:
        raise InputError(
            f"{folder} was saved by a newer smalti, got the format {found} and not {FORMAT}: "
            f"upgrade smalti."
        )
    if found is None and "smalti_version" in config:
        raise InputError(
            f"{folder} was saved by an older smalti, whose classes and arguments had other names, "
            f"got no format and not {FORMAT}: train it again."
        )
    raise InputError(
        f"{folder / CONFIG} has the format {found!r} and not {FORMAT}: save the model again."
    )


def _read(config_file: Path, weights_file: Path) -> Any:
    """Checks config and weights against each other, then builds the model with its weights."""
    config, _ = _checked(config_file, weights_file)
    for note in NOTES:
        config.pop(note, None)
    import_own_classes()
    configs.check(config, registry, nn.Module)
    weights = configs.sizes(weights_file)
    outline = _outline(config, len(weights))
    if outline and (difference := configs.first_difference(outline, weights)) is not None:
        raise InputError(
            f"{weights_file} does not fit its config ({difference}): copy both files again."
        )
    with configs.bounded(len(weights)):
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
        with warnings.catch_warnings(), torch.device("meta"), configs.bounded(entries):
            warnings.simplefilter("ignore")  # of layers without elements
            return instantiate(config, [])
    except InputError:
        ours = [name for name, cls in registry.items() if cls.__module__.startswith("smalti.")]
        if configs.classes(config) <= set(ours):
            raise
        return None
    finally:
        torch.set_rng_state(drawn)


def first_not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Returns the name of the first tensor that holds NaN or infinity; `None` if all are finite.

    Example:
        >>> first_not_finite({"a": torch.zeros(2), "b": torch.tensor([0.0, torch.nan])})
        'b'
    """
    numbers = {n: t for n, t in weights.items() if t.is_floating_point() or t.is_complex()}
    # All in one answer: to ask a GPU for each would make it wait each time.
    good = [tensor.isfinite().all() for tensor in numbers.values()]
    if not good or bool(torch.stack(good).all()):
        return None
    return next(name for name, one in zip(numbers, good, strict=True) if not one)


def _checksum(config: dict[str, Any], weights_file: Path) -> str:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    with weights_file.open("rb") as weights:
        while block := weights.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
