"""Saving and loading models: a folder with `config.json` and `model.safetensors`.

`config.json` holds the name of the class and the arguments of its constructor, nested where an
argument is itself such an object; `model.safetensors` holds the weights. Classes are looked up in
one explicit registry: nothing is imported because a config names it, and no pickle is ever read. A
module that stands in several places, as a shared codebook does, is described and saved once; in the
other places is its number, {"same": 2}. A checksum over both files tells a truncated or edited
folder.

A class enters the registry by its decorator:

    @registered
    class VectorQuantizer(Quantizer): ...
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from huggingface_hub import ModelHubMixin, hf_hub_download
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.files import atomic_folder
from smalti.signals import Signal

__all__ = [
    "Pretrained",
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
MADE_FROM = "made_from"
NOTES = ("smalti_version", MADE_FROM)  # what a config holds beside class and arguments

T = TypeVar("T", bound=type)
registry: dict[str, type] = {}


def registered(cls: T) -> T:
    """Class decorator: enters `cls` in the registry; instances remember their arguments."""
    if registry.setdefault(cls.__name__, cls) is not cls:
        raise InputError(
            f"The registry already holds a class named {cls.__name__}: choose another name."
        )
    init: Callable[..., None] = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(init)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [n for n, parameter in signature.parameters.items() if parameter.kind not in variadic]

    @functools.wraps(init)
    def remember(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        init(self, *args, **kwargs)
        arguments = {name: bound.arguments[name] for name in named[1:]}
        # Not a submodule: past nn.Module's own bookkeeping.
        object.__setattr__(self, "_arguments", arguments)

    cls.__init__ = remember  # type: ignore[misc]
    return cls


def describe(value: Any, _known: dict[int, int] | None = None) -> Any:
    """The JSON form of an argument: a plain value, or a registered object's class and arguments."""
    known = {} if _known is None else _known  # the numbers of modules, in order of appearance
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Signal):
        return {"class": "Signal", **value.to_dict()}
    if isinstance(value, list | tuple):
        return [describe(item, known) for item in value]
    if type(value).__name__ in registry:
        if isinstance(value, nn.Module):
            if id(value) in known:
                return {"same": known[id(value)]}
            known[id(value)] = len(known)
        return {
            "class": type(value).__name__,
            **{name: describe(item, known) for name, item in value._arguments.items()},
        }
    raise InputError(
        f"A {type(value).__name__} cannot be saved: its class is not in the registry. "
        f"Decorate it with smalti.artifacts.registered."
    )


def build(config: Any, _known: list[Any] | None = None) -> Any:
    """The inverse of `describe`.

    Raises:
        InputError: If a class is not in the registry, or its constructor refuses the arguments.
    """
    known = [] if _known is None else _known
    if isinstance(config, list):
        return tuple(build(item, known) for item in config)
    if not isinstance(config, dict):
        return config
    if config.keys() == {"same"}:
        return _same(known, config["same"])
    fields = dict(config)
    name = fields.pop("class", None)
    if name == "Signal":
        return Signal.from_dict(fields)
    if name not in registry:
        names = ", ".join(sorted(registry))
        raise InputError(
            f"The config names the class {name!r}, which is not in the registry: it holds {names}."
        )
    place = len(known)
    if issubclass(registry[name], nn.Module):
        known.append(None)  # its number comes before those of its arguments
    try:
        built = registry[name](**{key: build(item, known) for key, item in fields.items()})
    except TypeError as error:
        raise InputError(f"The config of {name} does not fit its constructor: {error}.") from error
    if isinstance(built, nn.Module):
        known[place] = built
    return built


def _same(known: list[Any], number: Any) -> Any:
    if not isinstance(number, int) or not 0 <= number < len(known) or known[number] is None:
        raise InputError(f"The config names the module {number!r}, got {len(known)} before it.")
    return known[number]


def save_model(
    model: nn.Module, folder: str | Path, *, made_from: Mapping[str, str] | None = None
) -> None:
    """Writes `config.json` and `model.safetensors` to `folder`, in the place of what was there.

    Arguments:
        model: Of a registered class.
        folder: The model's folder.
        made_from: Checksums of what the model was made from, by name; see `made_from`.
    """
    with atomic_folder(folder) as temporary:
        _write(model, temporary, made_from)


def made_from(folder: str | Path) -> dict[str, str]:
    """The checksums of what a saved model was made from, by name; empty where none were given.

    Raises:
        InputError: If the config is missing, is damaged, or was edited.
    """
    return dict(_whole(Path(folder))[0].get(MADE_FROM, {}))


def checksum(folder: str | Path) -> str:
    """The checksum of a saved model, over its config and its weights.

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
    """`save_pretrained`, `from_pretrained` and `push_to_hub`, in the format of `save_model`."""

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **options: Any,
    ) -> str | None:
        """Writes the model folder whole or not at all; see `ModelHubMixin.save_pretrained`.

        What else lies in the folder, such as a model card, stays.
        """
        with atomic_folder(save_directory) as temporary:
            if Path(save_directory).is_dir():
                shutil.copytree(save_directory, temporary, dirs_exist_ok=True)
            super().save_pretrained(temporary, **options)
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or Path(save_directory).name, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        _write(self, save_directory)  # type: ignore[arg-type]

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Any:
        if Path(model_id).is_dir():
            model = load_model(model_id)
        else:
            accepted = ("revision", "cache_dir", "force_download", "local_files_only", "token")
            chosen = {name: options[name] for name in accepted if name in options}
            model = _read(
                *(Path(hf_hub_download(model_id, name, **chosen)) for name in (CONFIG, WEIGHTS))
            )
        if not isinstance(model, cls):
            raise InputError(
                f"{model_id} holds a {type(model).__name__}, not a {cls.__name__}: "
                f"load it with that class."
            )
        return model


def _files(folder: Path) -> tuple[Path, Path]:
    """Config and weights of a model folder, which are there."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} is not a whole model: {name} is missing. "
                f"Copy it back or save the model again."
            )
    return folder / CONFIG, folder / WEIGHTS


def _write(model: nn.Module, folder: Path, made_from: Mapping[str, str] | None = None) -> None:
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
    config = {**describe(model), "smalti_version": version("smalti")}
    if made_from:
        config[MADE_FROM] = dict(made_from)
    config["checksum"] = _checksum(config, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")


def _whole(folder: Path) -> tuple[dict[str, Any], str]:
    """The config and the checksum of a model folder, which fit."""
    return _checked(*_files(folder))


def _checked(config_file: Path, weights_file: Path) -> tuple[dict[str, Any], str]:
    """The config of a model and its checksum, which is that of both files."""
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        noted = config.pop("checksum", None)
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{config_file} is not the JSON of a model ({error}): copy it again."
        ) from error
    if noted != _checksum(config, weights_file):
        raise InputError(
            f"{config_file.parent} was truncated or edited after it was saved (its checksum "
            f"differs): copy it again, or save the model again."
        )
    return config, noted


def _read(config_file: Path, weights_file: Path) -> Any:
    config, _ = _checked(config_file, weights_file)
    for note in NOTES:
        config.pop(note, None)
    model = build(config)
    try:
        safetensors.torch.load_model(model, os.fspath(weights_file))
    except (RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{weights_file} does not fit its config ({reason}): copy both files again."
        ) from error
    if (bad := first_not_finite(model.state_dict())) is not None:
        raise InputError(
            f"{weights_file} holds weights that are not finite ({bad}), got NaN or infinity: its "
            f"training diverged, train it again with a lower learning rate."
        )
    return model.eval()


def first_not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity; `None` if all are finite.

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
