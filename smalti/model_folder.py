"""Reads and verifies the folder of a saved model: its config, checksum and inputs.

    config.json          class, arguments, the number of the `format`, checksums
    model.safetensors    the weights

The checksum of a model is over both files, so it tells a truncated or edited folder. It is computed
once for files that have not changed since, however often a model is asked for.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from smalti import configs
from smalti.checksums import check_made_from
from smalti.errors import InputError, first_line
from smalti.files import is_abandoned, tidy

__all__ = [
    "CONFIG",
    "FORMAT",
    "MADE_FROM",
    "NOTES",
    "WEIGHTS",
    "AcceptedChecksums",
    "check_model",
    "checksum",
    "checksum_of",
    "find_model",
    "is_smalti_config",
    "made_from",
    "read_checked",
    "read_whole",
]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MADE_FROM = "made_from"
FORMAT = 1  # of names of classes and arguments; a higher number where they change
NOTES = ("format", "smalti_version", MADE_FROM)  # what a config holds beside class and arguments
RECENT = 2 * 10**9  # nanoseconds: two changes of a file so close may have one time

AcceptedChecksums = dict[str, tuple[str, ...]]


class _State(NamedTuple):
    """What changes with a file: where it lies, its size, and the times of its last changes."""

    device: int
    inode: int
    size: int
    written: int  # nanoseconds
    changed: int  # also of times and names, and not to be set by a program


# The config, state and checksum of each weights file that was read.
_known: dict[Path, tuple[str, _State, str]] = {}


def made_from(folder: str | Path) -> dict[str, str]:
    """Reads the checksums of the inputs of a saved model, by name; empty if not recorded.

    Raises:
        InputError: If the config is missing, is damaged, or was edited.
    """
    return dict(read_whole(Path(folder))[0].get(MADE_FROM, {}))


def checksum(folder: str | Path) -> str:
    """Returns the checksum of a saved model, which covers its config and weights.

    Raises:
        InputError: If a file is missing or damaged, or was edited.
    """
    return read_whole(Path(folder))[1]


def check_model(folder: Path, accepted: AcceptedChecksums, after: str = "") -> None:
    """Checks that a saved model was made from the present inputs of its run.

    Arguments:
        folder: The folder of the saved model.
        accepted: The accepted checksums of its inputs, by name.
        after: For the message: what was made from this model, and must be deleted with it.

    Raises:
        InputError: If the model is damaged, or was made from other inputs.
    """
    mend = f"copy the right one back, or delete {folder}{after} and fit again to learn it anew."
    check_made_from(str(folder), made_from(folder), accepted, mend)


def is_smalti_config(config_file: Path) -> bool:
    """Returns whether a file is the config of a model that smalti wrote."""
    try:
        return {"class", "checksum", "smalti_version"} <= configs.read_config(config_file).keys()
    except (OSError, ValueError):
        return False


def find_model(folder: Path) -> tuple[Path, Path]:
    """Returns the paths of config and weights in a model folder; raises if one is missing."""
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
            if is_abandoned(config_file.parent) and noted == checksum_of(config, folder / WEIGHTS):
                config_file.replace(folder / CONFIG)


def read_whole(folder: Path) -> tuple[dict[str, Any], str]:
    """Returns the config and the checksum of a model folder, which match."""
    return read_checked(*find_model(folder))


def read_checked(config_file: Path, weights_file: Path) -> tuple[dict[str, Any], str]:
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
    if noted != checksum_of(config, weights_file):
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


def checksum_of(config: dict[str, Any], weights_file: Path) -> str:
    """Returns the checksum of a config, without its own, and the weights that belong to it."""
    text = json.dumps(config, sort_keys=True)
    began, state = time.time_ns(), _state(weights_file)
    known = _known.get(weights_file.absolute())
    if known is not None and known[:2] == (text, state):
        return known[2]
    digest = hashlib.sha256(text.encode())
    with weights_file.open("rb") as weights:
        while block := weights.read(1 << 20):
            digest.update(block)
    found = digest.hexdigest()
    # A file that has just changed may change again without another time: it is read each time.
    if began - max(state.changed, state.written) > RECENT and state == _state(weights_file):
        _known[weights_file.absolute()] = (text, state, found)
    return found


def _state(file: Path) -> _State:
    """Returns what tells whether a file has changed."""
    found = file.stat()
    return _State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
