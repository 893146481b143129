"""Checks the settings of `Hardware`, as far as no such machine is needed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry

from smalti.errors import InputError
from smalti.ranges import check_range, range_of

if TYPE_CHECKING:
    from smalti.training.trainer import Hardware

__all__ = ["check_hardware_names"]

PRECISIONS = (
    *("auto", "32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true", "16-true"),
    *("32", "bf16", "16", "64", "transformer-engine", "transformer-engine-float16"),
)


def check_hardware_names(hardware: Hardware) -> None:
    """Checks the names and numbers in `Hardware`, without a look at this machine.

    Raises:
        InputError: If a name does not exist, or a number is out of range.
    """
    _one_of("accelerator", hardware.accelerator, {"auto", "gpu", *_accelerators()})
    _one_of("precision", hardware.precision, PRECISIONS)
    _one_of("strategy", hardware.strategy, {"auto", *StrategyRegistry.available_strategies()})
    devices = hardware.devices
    fits = devices == -1 or devices > 0 if isinstance(devices, int) else _names_devices(devices)
    if not fits or isinstance(devices, bool):
        raise InputError(
            f"hardware.devices is a number of at least 1, auto, or a list such as 0,1; got "
            f"{devices}: choose one of these."
        )
    for name in ("num_nodes", "workers", "wait", "threads"):
        number = getattr(hardware, name)
        if number is not None:
            check_range(f"hardware.{name}", number, range_of("Hardware", name))


def _names_devices(word: str) -> bool:
    """Returns whether a word is "auto", "-1", a number of devices, or a list of theirs."""
    if word in ("auto", "-1"):
        return True
    listed = [part.strip() for part in word.split(",")]
    if not all(re.fullmatch(r"\d{1,6}", part) for part in listed):
        return False
    return len(set(listed)) == len(listed) and (len(listed) > 1 or int(listed[0]) > 0)


def _accelerators() -> set[str]:
    return set(AcceleratorRegistry.available_accelerators())


def _one_of(name: str, word: str, known: set[str] | tuple[str, ...]) -> None:
    if word not in known:
        listed = ", ".join(sorted(known) if isinstance(known, set) else known)
        raise InputError(f"hardware.{name} is one of {listed}; got {word!r}: choose one of these.")
