"""The devices of a training. Lightning is imported only for what it alone knows of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from smalti.errors import InputError
from smalti.ranges import check_range, range_of
from smalti.training.loggers import Logger

__all__ = ["Hardware", "check_hardware_names"]

ACCELERATORS = {"auto", "cpu", "cuda", "gpu", "mps"}  # Lightning knows more, and so of STRATEGIES
STRATEGIES = {"auto", "ddp", "fsdp"}
PRECISIONS = (
    *("auto", "32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true", "16-true"),
    *("32", "bf16", "16", "64", "transformer-engine", "transformer-engine-float16"),
)


OF_ONE_PROCESS = ("auto", "32-true", "bf16-mixed", "32")  # precisions that any CPU has
LAUNCHED = ("LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID")  # variables of several processes
LAUNCHERS = ("SLURM_", "LSB_", "JSM_", "OMPI_", "PMI_", "PMIX_")
OTHERS = ("torch_xla", "habana_frameworks")  # packages of other devices


@dataclass(frozen=True)
class Hardware:
    """Devices, precision and processes of a training, in the words of Lightning's `Trainer`.

    Arguments:
        accelerator: "cpu", "gpu", ..., or "auto".
        devices: The number of devices, or "auto".
        num_nodes: Machines.
        strategy: "auto", "ddp", "fsdp", ...
        precision: "32-true", "bf16-mixed", "16-mixed", ..., or "auto": bf16-mixed on a device that
            is faster in bfloat16, up to twice, 32-true on others.
        workers: Processes that fetch the batches; 0 for none.
        wait: Seconds that processes which train together wait for each other to start, at most.
        threads: Threads of a training on the CPU. If not given, what OMP_NUM_THREADS says, or else
            what is found to be fastest when the run begins.
        loggers: Lightning loggers beside TensorBoard and CSV, made anew for each stage.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    workers: int = 0
    wait: int = 600
    threads: int | None = None
    loggers: list[Callable[[], Logger]] | None = None

    def __post_init__(self) -> None:
        check_hardware_names(self)

    def device(self) -> torch.device:
        """Returns the device for what one process does by itself: tokens and the report."""
        if self.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("cpu")

    @property
    def is_one_cpu(self) -> bool:
        """Returns whether this is one process on the CPU, as can be seen without Lightning.

        Where anything speaks of other devices or processes, it is not.
        """
        if self.devices not in ("auto", 1, "1") or self.num_nodes != 1 or self.strategy != "auto":
            return False
        if self.precision not in OF_ONE_PROCESS:
            return False
        if any(name in LAUNCHED or name.startswith(LAUNCHERS) for name in os.environ):
            return False
        if self.accelerator == "auto":
            gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
            return not gpu and not any(map(find_spec, OTHERS))
        return self.accelerator == "cpu"


def check_hardware_names(hardware: Hardware) -> None:
    """Checks the names and numbers in `Hardware`, without a look at this machine.

    Raises:
        InputError: If a name does not exist, or a number is out of range.
    """
    if hardware.accelerator not in ACCELERATORS:
        _one_of("accelerator", hardware.accelerator, {*ACCELERATORS, *_accelerators()})
    _one_of("precision", hardware.precision, PRECISIONS)
    if hardware.strategy not in STRATEGIES:
        _one_of("strategy", hardware.strategy, {"auto", *_strategies()})
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
    from lightning.pytorch.accelerators import AcceleratorRegistry

    return set(AcceleratorRegistry.available_accelerators())


def _strategies() -> set[str]:
    from lightning.pytorch.strategies import StrategyRegistry

    return set(StrategyRegistry.available_strategies())


def _one_of(name: str, word: str, known: set[str] | tuple[str, ...]) -> None:
    if word not in known:
        listed = ", ".join(sorted(known) if isinstance(known, set) else known)
        raise InputError(f"hardware.{name} is one of {listed}; got {word!r}: choose one of these.")
